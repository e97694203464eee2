"""The journal: what was let through while the store was away survives the process, and is booked once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quotaware.core.steps import COST, REMEMBER_MS, TOKENS, Counter, Mark, Plan, Settle
from quotaware.ids import Ids
from quotaware.stores import journal as journals
from quotaware.stores.journal import Journal, leftovers
from quotaware.stores.memory import MemoryStore
from quotaware.stores.thread import call_of
from quotaware.testing.store_suite.kit import ORG, ask
from tests.support import NOON

PLAN = Plan(
    ORG,
    3,
    ("project",),
    (
        (Counter("budget", 100, marks=(Mark("half", 50),), watch=(80,)), COST),
        (Counter("rate", 9, span=60_000), TOKENS),
    ),
)


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*")) if directory.exists() else []


def test_a_call_that_the_store_forgot_gets_one_new_id_whoever_reads_it(tmp_path):
    """I-5: it is written down before it is sent."""
    ids = Ids()
    old = ids.new(NOON)
    journal = Journal(tmp_path)
    assert journal.begin(old, PLAN, (1, 2, 0), '{"model":"m"}')
    journal.close()
    seen = set()
    for _ in range(2):
        (leftover,) = leftovers(tmp_path, NOON + REMEMBER_MS, Ids())
        (settle,) = leftover.settles
        assert json.loads(settle.about) == {"first": old, "model": "m"}
        assert call_of(settle) == old
        seen.add(settle.id)
        leftover.close()
    assert len(seen) == 1
    assert old not in seen
    (leftover,) = leftovers(tmp_path, NOON + REMEMBER_MS, Ids())
    assert leftover.booked(old)
    assert files(tmp_path) == []


def test_a_call_that_is_booked_is_not_booked_again_days_later(tmp_path, new):
    """I-5: its process died before the file could be taken away, and nobody came for longer than ids are remembered.
    Both the process that had let it through and one that found it note what is booked.
    """
    first, second, third = (new() for _ in range(3))
    journal = Journal(tmp_path)
    for id in (first, second, third):
        assert journal.begin(id, PLAN, (1, 2, 0), "{}")
    assert not journal.booked(first)
    journal.close()
    later = NOON + 3 * REMEMBER_MS
    (leftover,) = leftovers(tmp_path, later, Ids())
    assert [call_of(settle) for settle in leftover.settles] == [second, third]
    assert not leftover.booked(second)
    leftover.close()
    (leftover,) = leftovers(tmp_path, later + 3 * REMEMBER_MS, Ids())
    assert [call_of(settle) for settle in leftover.settles] == [third]
    leftover.close()


def test_a_new_id_that_was_sent_is_the_one_that_is_sent_again(tmp_path, new):
    """I-5: the process died before it heard that the store has it, so it may be booked already."""
    id = new()
    later = NOON + REMEMBER_MS
    fresh, another = Ids().new(later), Ids().new(later)
    journal = Journal(tmp_path)
    assert journal.begin(id, PLAN, (1, 2, 0), "{}")
    journal.renamed(id, fresh)
    journal.renamed("another's", another)
    journal.close()
    for _ in range(2):
        (leftover,) = leftovers(tmp_path, later, Ids())
        assert [settle.id for settle in leftover.settles] == [fresh]
        leftover.renamed("another's", another)
        leftover.close()
    (leftover,) = leftovers(tmp_path, later, Ids())
    leftover.renamed(id, another)
    leftover.close()
    (leftover,) = leftovers(tmp_path, later, Ids())
    assert [settle.id for settle in leftover.settles] == [another]
    leftover.close()


def test_where_a_new_id_cannot_be_written_down_nothing_is_sent(tmp_path, new, monkeypatch, caplog):
    journal = Journal(tmp_path)
    assert journal.begin(new(), PLAN, (1, 2, 0), "{}")
    journal.close()
    with monkeypatch.context() as full:
        full.setattr(journals.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("no space")))
        assert list(leftovers(tmp_path, NOON + REMEMBER_MS, Ids())) == []
    assert "cannot be used" in caplog.text
    (leftover,) = leftovers(tmp_path, NOON + REMEMBER_MS, Ids())
    assert len(leftover) == 1
    leftover.close()


def test_a_plan_that_could_not_be_written_is_written_with_the_next_call(tmp_path, new, monkeypatch):
    journal = Journal(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(journals, "_append", lambda *_: (_ for _ in ()).throw(OSError("no space")))
        assert not journal.begin(new(), PLAN, (1, 2, 0), "{}")
    assert journal.begin(new(), PLAN, (1, 2, 0), "{}")
    journal.close()
    (leftover,) = leftovers(tmp_path, NOON, Ids())
    assert [settle.plan for settle in leftover.settles] == [PLAN]
    leftover.close()


def test_a_line_that_was_written_by_half_counts_as_not_written(tmp_path, new):
    journal = Journal(tmp_path)
    assert journal.begin(new(), PLAN, (1, 2, 0), "{}")

    class Full:
        def write(self, data: bytes) -> int:
            return len(data) // 2

        def flush(self) -> None:
            pass

    own, journal._file = journal._file, Full()
    assert not journal.begin(new(), PLAN, (1, 2, 0), "{}")
    journal._file = own
    journal.close()


def test_no_file_before_it_is_needed(tmp_path):
    journal = Journal(tmp_path / "deep" / "journal")
    journal.sync()
    journal.close()
    assert files(tmp_path) == []
    assert len(journal) == 0


def test_what_a_process_left_behind_is_found(tmp_path, new):
    journal = Journal(tmp_path)
    ended, under_way = new(), new()
    assert journal.begin(ended, PLAN, (1, 2, 0), '{"model":"m"}')
    assert journal.begin(under_way, PLAN, (3, 4, 0), '{"model":"n"}')
    journal.end(ended, (5, 6, 0), '{"status":200}')
    journal.sync()
    assert list(leftovers(tmp_path, NOON, Ids())) == [], "it is still somebody's"
    journal.close()
    (leftover,) = leftovers(tmp_path, NOON, Ids())
    assert leftover.settles == [
        Settle(ended, PLAN, (5, 6, 0), '{"status":200}', force=True, about='{"model":"m"}'),
        Settle(under_way, PLAN, (3, 4, 0), "{}", "expired", force=True, about='{"model":"n"}'),
    ]
    assert list(leftovers(tmp_path, NOON, Ids())) == [], "it has an owner again"
    assert not leftover.booked("another")
    assert not leftover.booked(ended)
    assert len(leftover) == 1
    assert leftover.booked(under_way)
    assert files(tmp_path) == []


def test_its_file_goes_when_all_is_booked(tmp_path, new):
    directory = tmp_path / "journal"
    journal = Journal(directory)
    first, second = new(), new()
    for id in (first, second):
        journal.begin(id, PLAN, (0, 0, 0), "")
    assert not journal.booked("another")
    assert not journal.booked(first)
    assert len(files(directory)) == 1
    assert journal.booked(second)
    assert not directory.exists()
    assert journal.begin(new(), PLAN, (0, 0, 0), "")
    assert len(files(directory)) == 1
    journal.close()


def test_it_is_bounded(tmp_path, new, monkeypatch):
    monkeypatch.setattr(journals, "MAX_CALLS", 3)
    journal = Journal(tmp_path)
    called = [new() for _ in range(4)]
    assert [journal.begin(id, PLAN, (0, 0, 0), "") for id in called] == [True, True, True, False]
    journal.booked(called[0])
    assert journal.begin(called[3], PLAN, (0, 0, 0), "")
    monkeypatch.setattr(journals, "MAX_BYTES", 100)
    journal.booked(called[1])
    assert not journal.begin(called[1], PLAN, (0, 0, 0), "")
    journal.close()


def test_where_it_cannot_be_written_nothing_is_let_through(tmp_path, new, caplog):
    place = tmp_path / "file"
    place.write_text("")
    journal = Journal(place)
    assert not journal.begin(new(), PLAN, (0, 0, 0), "")
    assert "cannot be written" in caplog.text


def test_an_end_that_cannot_be_written_is_reported(tmp_path, new, caplog):
    journal = Journal(tmp_path)
    id = new()
    journal.begin(id, PLAN, (1, 2, 0), "")
    journal._file.close()
    journal._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    journal.end(id, (5, 6, 0), "{}")
    assert "could not be written" in caplog.text
    journal.close()


@pytest.mark.parametrize(
    "rubbish", [b'{"call":"0', b"\xff\n", b"[]\n", b'{"end":5}\n', b'{"plan":1,"lines":[1]}\n']
)
def test_a_line_that_was_cut_short_is_passed_over(tmp_path, new, rubbish):
    journal = Journal(tmp_path)
    id = new()
    journal.begin(id, PLAN, (1, 2, 0), "")
    journal._file.write(rubbish)
    journal.close()
    (leftover,) = leftovers(tmp_path, NOON, Ids())
    assert [settle.id for settle in leftover.settles] == [id]
    leftover.close()


def test_an_empty_file_is_removed(tmp_path):
    (tmp_path / "1-a.jsonl").write_bytes(b"")
    (leftover,) = leftovers(tmp_path, NOON, Ids())
    assert len(leftover) == 0
    assert not any(path.suffix == ".jsonl" for path in files(tmp_path))


def test_a_forked_child_writes_a_file_of_its_own(tmp_path, new):
    journal = Journal(tmp_path)
    journal.begin(new(), PLAN, (0, 0, 0), "")
    parents = journal._file
    journal.begin_again()  # as in a child
    journal.begin(new(), PLAN, (0, 0, 0), "")
    assert len(files(tmp_path)) == 2
    journal.close()
    parents.close()


WRITER = """
import sys
from quotaware.stores.journal import Journal
from tests.stores.test_journal import PLAN
from tests.support import FakeClock, ids

journal, new = Journal(sys.argv[1]), ids(FakeClock())
for number in range(int(sys.argv[2])):
    id = new()
    assert journal.begin(id, PLAN, (1, 1, 0), "")
    if number % 10:
        journal.end(id, (2, 2, 0), "{}")
print("written", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("calls", [1000, pytest.param(10_000, marks=pytest.mark.slow, id="bounded-10000")])
def test_a_killed_process_leaves_every_call_once(tmp_path, clock, calls):
    """F19: let through in an outage, kill -9, restart: each is in the records once, also when it is read again."""
    root = Path(__file__).parents[2]
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), str(calls)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with writer:
        assert writer.stdout.readline() == "written\n"
        os.kill(writer.pid, signal.SIGKILL)
    store = MemoryStore(clock)
    (leftover,) = leftovers(tmp_path, NOON, Ids())
    content = Path(leftover._file.name).read_bytes()
    for _ in range(2):
        assert len(leftover.settles) == calls
        for start in range(0, calls, 256):
            batch = leftover.settles[start : start + 256]
            ask(store, *batch)
            for settle in batch:
                leftover.booked(settle.id)
        assert files(tmp_path) == []
        tmp_path.mkdir(exist_ok=True)
        (tmp_path / "1-again.jsonl").write_bytes(content)  # as if the crash had come before its removal
        (leftover,) = leftovers(tmp_path, NOON, Ids())
    leftover.close()
    rows = [row for _, row in store.records(ORG, 0, 1 << 53, "", 100_000)]
    assert len({row.id for row in rows}) == len(rows) == calls
    assert sum(row.real[1] for row in rows) == calls * 2 - calls // 10
    assert sum(row.how == "expired" for row in rows) == calls // 10
