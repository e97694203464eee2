# ruff: noqa: S101
"""What finished calls leave: records in the order of their booking, sums behind a watermark, events to be told."""

from __future__ import annotations

import json

import pytest

from ...core.steps import NOTHING, Event, Mark, Peek, Settle, Sum, position_of
from ...stores.protocol import Store
from .kit import (
    FOREVER,
    LEASE,
    NOON,
    ORG,
    OTHER_ORG,
    FakeClock,
    NewId,
    ask,
    budget,
    hold,
    in_threads,
    insist,
    plan,
)


class Records:
    """What happened."""

    def test_a_record_says_all_that_was_told(self, store: Store, clock: FakeClock, new: NewId) -> None:
        limit = budget(10)
        id = new()
        about = hold(id, limit).about
        ask(store, hold(id, limit, 6, tokens=2, slots=1))
        clock.advance(250)
        ask(store, Settle(id, limit, (3, 7, 0), '{"status":200}'))
        ((position, row),) = store.records(ORG, 0, FOREVER, "", 10)
        assert position_of(position) == (NOON + 250, 0)
        assert row._asdict() == {
            "id": id,
            "part": 0,
            "at": NOON,
            "settled_at": NOON + 250,
            "about": about,
            "outcome": '{"status":200}',
            "how": "settled",
            "hold": (2, 6, 1),
            "real": (3, 7, 0),
            "overrun": True,
        }

    def test_records_come_in_the_order_in_which_they_were_booked(
        self, store: Store, clock: FakeClock, new: NewId
    ) -> None:
        limit = budget(1000)
        called = [new() for _ in range(6)]
        for id in called:
            ask(store, hold(id, limit, 1))
        for id in reversed(called):
            ask(store, Settle(id, limit, (0, 1, 0), ""))
            clock.advance(10)
        booked = called[::-1]

        def found(since: int, until: int, after: str, limit: int) -> list[str]:
            return [row.id for _, row in store.records(ORG, since, until, after, limit)]

        everything = store.records(ORG, 0, FOREVER, "", 9)
        assert [row.id for _, row in everything] == booked
        assert found(0, FOREVER, "", 4) == booked[:4]
        assert found(0, FOREVER, everything[3][0], 4) == booked[4:]
        assert found(0, FOREVER, everything[5][0], 4) == []
        assert found(NOON + 10, NOON + 30, "", 9) == booked[1:3]
        assert found(NOON + 10, NOON + 30, everything[1][0], 9) == booked[2:3]
        assert found(NOON + 60, FOREVER, "", 9) == []
        assert store.records(OTHER_ORG, 0, FOREVER, "", 9) == []

    def test_records_are_read_back_from_the_newest(self, store: Store, clock: FakeClock, new: NewId) -> None:
        limit = budget(1000)
        for _ in range(3):
            called = [new(), new()]
            ask(store, *(hold(id, limit, 1) for id in called))
            ask(store, *(Settle(id, limit, (0, 1, 0), "") for id in called))
            clock.advance(10)
        everything = store.records(ORG, 0, FOREVER, "", 9)
        assert len(everything) == 6
        booked = [position_of(at)[0] for at, _ in everything]
        for since, until in ((0, FOREVER), (booked[2], FOREVER), (0, booked[4]), (booked[2], booked[2] + 1)):
            asked = [each for each, at in zip(everything, booked, strict=True) if since <= at < until][::-1]
            for size in range(1, 8):
                assert store.records(ORG, since, until, "", size, True) == asked[:size]
                for number, (position, _) in enumerate(asked):
                    behind = asked[number + 1 :][:size]
                    assert store.records(ORG, since, until, position, size, True) == behind
        late = everything[-1][0]
        assert store.records(ORG, 0, booked[4], late, 9, True) == everything[3::-1]
        assert store.records(OTHER_ORG, 0, FOREVER, "", 9, True) == []

    def test_what_is_under_way_is_told_until_it_ends(self, store: Store, new: NewId) -> None:
        limit = budget(1000)
        called = [new() for _ in range(5)]
        asks = [hold(id, limit, 1, lease=0 if id == called[2] else LEASE) for id in called]
        ask(store, *asks)
        told = {(each.id, each.about) for each in asks}
        assert set(store.under_way(ORG, 9)) == told
        some = store.under_way(ORG, 2)
        assert len(set(some)) == 2
        assert set(some) < told
        ask(
            store,
            Settle(called[0], limit, (0, 1, 0), ""),
            Settle(called[1], limit, NOTHING, "", "released"),
            Settle(called[2], limit, NOTHING, "", "expired"),
        )
        assert {id for id, _ in store.under_way(ORG, 9)} == set(called[3:])
        assert store.under_way(OTHER_ORG, 9) == []

    def test_every_record_has_a_position_of_its_own(self, store: Store, clock: FakeClock, new: NewId) -> None:
        """Many of one millisecond and one batch, corrections among them; a page may begin between any two."""
        limit = budget(1000)
        called = [new() for _ in range(4)]
        for id in called:
            ask(
                store,
                hold(id, limit, 9, expiry=(0, 2, 0), lease=0),
                Settle(id, limit, NOTHING, "", "expired"),
            )
        ask(store, *(Settle(id, limit, (0, 5, 0), "") for id in called[1:3]))
        everything = [*((id, 0) for id in called), (called[1], 1), (called[2], 1)]
        positions = [position_of(at) for at, _ in store.records(ORG, 0, FOREVER, "", 99)]
        assert positions == sorted(set(positions))
        for size in range(1, 7):
            seen: list[tuple[str, int]] = []
            after = ""
            while page := store.records(ORG, 0, FOREVER, after, size):
                seen += [(row.id, row.part) for _, row in page]
                after = page[-1][0]
            assert seen == everything, size

    # sums

    def test_sums_are_written_behind_a_watermark_that_one_of_many_moves(self, store: Store) -> None:
        assert store.folded(ORG) == ""
        hour = Sum("hour", NOON, '{"model":"m"}', '{"calls":1}', FOREVER)
        assert store.fold(ORG, "", "5-0", [hour])
        assert store.folded(ORG) == "5-0"
        late = hour._replace(body='{"calls":9}')
        assert not store.fold(ORG, "", "6-0", [late])
        assert not store.fold(ORG, "4-0", "6-0", [late])
        assert store.folded(ORG) == "5-0"
        assert store.sums(ORG, "hour", 0, FOREVER) == [hour]
        more = hour._replace(body='{"calls":2}')
        other = hour._replace(bucket=NOON + 1)
        assert store.fold(ORG, "5-0", "6-0", [more, other, hour._replace(cube="day")])
        assert sorted(store.sums(ORG, "hour", NOON, NOON + 2)) == [more, other]
        assert store.sums(ORG, "hour", NOON, NOON + 1) == [more]
        assert store.sums(ORG, "hour", NOON + 2, FOREVER) == []
        which = [("hour", NOON, hour.dims), ("hour", NOON, "{}"), ("day", NOON, hour.dims)]
        assert store.pick(ORG, which) == [more.body, None, hour.body]
        assert store.pick(OTHER_ORG, which) == [None, None, None]
        assert (store.folded(OTHER_ORG), store.sums(OTHER_ORG, "hour", 0, FOREVER)) == ("", [])

    def test_sums_can_be_asked_for_by_how_their_dims_begin(self, store: Store) -> None:
        dims = [
            '["a","x"]',
            '["a","y"]',
            '["a%","x"]',
            '["ab","x"]',
            '["b","x"]',
            "[null,1]",
            '["\U0010ffff"]',
        ]
        put = [Sum("hour", NOON + at, each, "{}", FOREVER) for at in (-1, 0, 3, 7) for each in dims]
        assert store.fold(ORG, "", "5-0", [*put, put[0]._replace(cube="day")])
        for lead in (
            "",
            '["a"',
            '["a",',
            '["a","x"]',
            '["a%',
            "[null",
            "[",
            '["\U0010ffff"',
            "x",
            '["a","x"]]',
        ):
            found = store.sums(ORG, "hour", NOON, NOON + 7, lead)
            wanted = [each for each in put if NOON <= each.bucket < NOON + 7 and each.dims.startswith(lead)]
            assert sorted(found) == sorted(wanted), lead
        assert store.sums(OTHER_ORG, "hour", 0, FOREVER, '["a"') == []

    def test_of_folders_at_once_one_moves_the_watermark(self, store: Store) -> None:
        won = [False] * 8

        def fold(number: int) -> None:
            won[number] = store.fold(ORG, "", "7-0", [Sum("hour", NOON, "{}", str(number), FOREVER)])

        in_threads(8, fold)
        assert won.count(True) == 1
        assert store.sums(ORG, "hour", 0, FOREVER)[0].body == str(won.index(True))

    # records of another store

    def test_records_are_kept_at_the_positions_that_another_store_gave_them(
        self, store: Store, other_store: Store, clock: FakeClock, new: NewId
    ) -> None:
        limit = budget(1000)
        for _ in range(3):
            id = new()
            ask(store, hold(id, limit, 6, tokens=2, slots=1))
            ask(store, Settle(id, limit, (3, 7, 0), '{"status":200}'))
        clock.advance(10)
        ask(store, hold(id := new(), limit, 9, expiry=(0, 2, 0), lease=0))
        ask(store, Settle(id, limit, NOTHING, "", "expired"), Settle(id, limit, (0, 5, 0), ""))
        booked = store.records(ORG, 0, FOREVER, "", 9)
        assert other_store.folded(ORG) == ""
        assert other_store.keep(ORG, "", booked[:2])
        assert other_store.folded(ORG) == booked[1][0]
        for behind in ("", booked[0][0], booked[2][0]):
            assert not other_store.keep(ORG, behind, booked[2:])
        assert other_store.records(ORG, 0, FOREVER, "", 9) == booked[:2]
        assert other_store.keep(ORG, booked[1][0], booked[2:])
        assert other_store.records(ORG, 0, FOREVER, "", 9) == booked
        assert other_store.records(ORG, NOON + 10, FOREVER, booked[3][0], 9) == booked[4:]
        assert other_store.folded(ORG) == booked[-1][0]
        assert other_store.keep(ORG, booked[-1][0], [])
        assert other_store.folded(ORG) == booked[-1][0]
        assert store.folded(ORG) == ""

    def test_of_copiers_at_once_one_writes(self, store: Store, other_store: Store, new: NewId) -> None:
        limit = budget(1000)
        for _ in range(3):
            ask(store, hold(id := new(), limit, 1))
            ask(store, Settle(id, limit, (0, 1, 0), ""))
        booked = store.records(ORG, 0, FOREVER, "", 9)
        won = [False] * 8

        def copy(number: int) -> None:
            won[number] = other_store.keep(ORG, "", booked)

        in_threads(8, copy)
        assert won.count(True) == 1
        assert other_store.records(ORG, 0, FOREVER, "", 99) == booked

    # thresholds

    def test_a_threshold_is_told_once_until_it_is_done(
        self, store: Store, clock: FakeClock, new: NewId
    ) -> None:
        """I-28: one event a counter, mark and cap, in the step that crossed it."""
        marks = (Mark("half", 5), Mark("most", 8))
        limit = budget(10, marks=marks)
        id = new()
        answer = ask(store, hold(id, limit, 9), Settle(id, limit, (0, 9, 0), ""))
        assert answer.events == 2
        ask(store, Settle(id, limit, (0, 9, 0), ""), Peek(limit))
        half, most = store.outbox(ORG)
        assert (half.at, most.at) == (NOON, NOON)
        assert json.loads(half.body) == {"counter": "budget", "mark": "half", "cap": 10, "used": 9}
        assert half.id != most.id
        assert store.outbox(ORG, done=(half.id,)) == [most]
        forecast = Event("forecast", NOON - 1, "{}")
        assert store.outbox(ORG, put=(forecast, most._replace(body="other"))) == [forecast, most]
        assert store.outbox(ORG, done=("forecast", most.id, "nothing")) == []
        assert store.outbox(OTHER_ORG) == []

    @pytest.mark.parametrize("span", [0, 60_000])
    def test_a_threshold_that_is_armed_again_is_told_again_though_nobody_took_the_first(
        self, store: Store, clock: FakeClock, new: NewId, span: int
    ) -> None:
        """I-28: raised and lowered, in one ms, while no sender is there; what is repeated arms and tells nothing."""
        lines = [budget(cap, span=span, marks=(Mark("most", cap * 8 // 10),)).lines for cap in (10, 20, 10)]
        first, raised, lowered = (plan(*line, rev=rev) for rev, line in enumerate(lines, 1))
        id, forced = new(), new()
        settled, booked = Settle(id, first, (0, 5, 0), ""), insist(forced, first, (0, 4, 0))
        assert ask(store, hold(id, first, 9), settled, booked).events == 1
        assert ask(store, settled, booked).events == 0
        assert ask(store, Peek(raised), Peek(lowered)).events == 1
        assert ask(store, settled, booked, Peek(first), Peek(lowered)).events == 0
        events = store.outbox(ORG)
        assert [json.loads(each.body)["mark"] for each in events] == ["most", "most"]
        assert len({each.id for each in events}) == 2
        clock.advance(1)
        assert ask(store, settled, booked, Peek(lowered)).events == 0
        assert store.outbox(ORG) == events

    def test_a_threshold_of_a_window_that_was_empty_is_told_again_though_nobody_took_the_first(
        self, store: Store, clock: FakeClock, new: NewId
    ) -> None:
        """I-28, rolling: whether the store remembers the empty counter or not."""
        limit = budget(10, span=1000, marks=(Mark("most", 8),))
        for crossed in (1, 2, 3):
            id = new()
            steps = (hold(id, limit, 9), Settle(id, limit, (0, 9, 0), ""))
            assert ask(store, *steps).events == 1
            assert ask(store, *steps).events == 0
            assert len({each.id for each in store.outbox(ORG)}) == len(store.outbox(ORG)) == crossed
            clock.advance(1000 if crossed == 1 else 5000)
