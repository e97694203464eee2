"""One organization's books, kept by hand beside the server's: every step that it took, added up without its kernel.

A verdict is judged before it is believed: who was let in had room on every counter at that moment, under the policy
of that moment, and whoever was refused had not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field

from quotaware.core.cells import CLAIM_MS, part_ms
from quotaware.core.steps import (
    COST,
    NOTHING,
    REQUESTS,
    Amounts,
    Answer,
    Counter,
    Extend,
    Op,
    Peek,
    Plan,
    Reserve,
    Result,
    Row,
    Settle,
)
from quotaware.stores.memory import _Organization
from quotaware.tenancy.nodes import Node

Fail = Callable[[str, str], None]


@dataclass(slots=True)
class Entry:
    """What a reservation has on one rolling counter since `at`."""

    at: int
    used: int
    held: int


@dataclass(slots=True)
class Held:
    """A reservation; `charged` and `how` once it has ended, `entries` by rolling counter."""

    plan: Plan
    at: int
    lease_end: int
    hold: Amounts
    on_expiry: Amounts
    entries: dict[str, Entry] = field(default_factory=dict)
    how: str = ""
    charged: Amounts = NOTHING


class Log:
    """All that happened on a rolling counter within the window, and within the part of it that may leave late."""

    __slots__ = ("entries", "late", "span")

    def __init__(self, span: int) -> None:
        self.span = span
        self.late = part_ms(span)
        self.entries: deque[Entry] = deque()

    def add(self, at: int, used: int, held: int) -> Entry:
        entry = Entry(at, used, held)
        self.entries.append(entry)
        return entry

    def within(self, now: int, late: int = 0) -> tuple[int, int]:
        """(used, held) of what is younger than the window, and `late` ms more."""
        begin = now - self.span - late
        while self.entries and self.entries[0].at <= now - self.span - self.late:
            self.entries.popleft()
        used = held = 0
        for entry in self.entries:
            if entry.at > begin:
                used += entry.used
                held += entry.held
        return used, held


class Books:
    """The books of one organization, and what its documents say."""

    def __init__(self, fail: Fail, granted: set[str]) -> None:
        self.fail = fail
        self.granted = granted  # in any history, also one that the server has lost
        self.reservations: dict[str, Held] = {}
        self.rows: dict[str, list[Row]] = {}
        self.used: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.logs: dict[str, Log] = {}
        self.claims: dict[str, tuple[str, int, int]] = {}
        self.nodes: dict[str, Node] = {}
        self.rev = 0
        self.closed = 0
        self.adrift = False
        self._caps: dict[tuple[str, ...], dict[str, int]] = {}
        self._right: dict[int, Plan] = {}

    def copy(self) -> Books:
        """As they stand now, for a snapshot. It has no claims: whoever waits leaves his anew."""
        memo: dict[int, object] = {id(self.fail): self.fail, id(self.granted): self.granted}
        for held in self.reservations.values():
            memo[id(held.plan)] = held.plan
        for rows in self.rows.values():
            memo.update((id(row), row) for row in rows)
        for node in self.nodes.values():
            memo[id(node)] = node
        for plan in self._right.values():
            memo[id(plan)] = plan
        copied = deepcopy(self, memo)
        copied.claims.clear()
        return copied

    def is_open(self, id: str) -> bool:
        found = self.reservations.get(id)
        return found is not None and not found.how

    # the tree

    def documents(self, nodes: dict[str, Node], rev: int) -> None:
        """What the documents say from now on."""
        self.nodes = nodes
        self.rev = rev
        self._caps.clear()
        self._right.clear()

    def caps(self, path: tuple[str, ...]) -> dict[str, int]:
        """Hard caps that bear on a path now, by counter (without its window)."""
        found = self._caps.get(path)
        if found is None:
            found = self._caps[path] = {
                f"{id}/{limit.shape}": limit.amount
                for id in path
                if id in self.nodes
                for limit in self.nodes[id].limits
                if limit.mode == "hard"
            }
        return found

    def _current(self, plan: Plan) -> bool:
        """I-18: whether all that the plan was made from stands so now, and lets calls go."""
        if id(plan) not in self._right:
            if not all(
                (node := self.nodes.get(dep)) and node.enabled and not node.revoked for dep in plan.deps
            ):
                return False
            if {_base(c.key): c.cap for c, _ in plan.lines if c.hard} != self.caps(plan.deps):
                return False
            self._right[id(plan)] = plan
        return True

    # steps

    def take(self, ops: list[Op], answer: Answer) -> Iterator[tuple[Op, Result, Held | None]]:
        """Judges and enters the steps of a batch one by one; with each the reservation that it is about."""
        now = answer.now
        for op, result in zip(ops, answer.results, strict=True):
            if isinstance(op, Reserve):
                self._reserve(op, result, now)
            elif isinstance(op, Settle):
                self._settle(op, result, now)
            elif isinstance(op, Extend):
                self._extend(op, result, now)
            yield op, result, None if isinstance(op, Peek) else self.reservations.get(op.id)

    def _reserve(self, op: Reserve, result: Result, now: int) -> None:
        known = self.reservations.get(op.id)
        verdict = result.verdict
        if known is not None:
            expected = "ended" if known.how else "again"
            if verdict != expected:
                self.fail("I-6", f"a reserve of {op.id} that was here before is answered {verdict}")
        elif verdict == "denied":
            self._denied(op, result, now)
        elif verdict == "done" and not op.dry:
            if not op.force:
                self._policy(op, now)
            if not op.force or op.id not in self.granted:  # what was let in once may be told again
                self._room(op, now)
            self.granted.add(op.id)
            self._let_in(op, now)

    def _policy(self, op: Reserve, now: int) -> None:
        if now < self.closed:
            self.fail("rule 7", f"{op.id} is let in while the store is closed after a loss")
        if not self.adrift and not self._current(op.plan):
            self.fail("I-18", f"{op.id} is let in under a policy that was changed: {op.plan}")
        for counter, _ in op.plan.lines:
            if counter.until and not counter.since <= now < counter.until:
                self.fail("I-15", f"{op.id} is let in at {now} on {counter}")

    def _room(self, op: Reserve, now: int) -> None:
        """I-1, I-16, I-26: there is room on every hard counter, older waiters' claims left free."""
        caps = self.caps(op.plan.deps)
        for counter, amount in _amounts(op):
            if counter.hard:
                used, held = self.figures(counter, now)
                cap = caps.get(_base(counter.key), counter.cap)
                if used + held + amount > cap:
                    self.fail("I-1", f"{op.id} takes {amount} of {counter.key}: {used}+{held} of {cap}")
                ahead = self._ahead(op.id, counter.key, now)
                if used + held + ahead + amount > cap:
                    self.fail("I-26", f"{op.id} takes {amount} of {counter.key} that an older one waits for")

    def _let_in(self, op: Reserve, now: int) -> None:
        self.claims = {key: claim for key, claim in self.claims.items() if claim[0] != op.id}
        held = self.reservations[op.id] = Held(op.plan, now, now + op.lease, op.hold, op.on_expiry)
        for counter, index in op.plan.lines:
            if index == REQUESTS:
                self._add(counter, now, 1, 0)
            elif amount := op.hold[index - 1]:
                entry = self._add(counter, now, 0, amount)
                if entry is not None:
                    held.entries[counter.key] = entry

    def _denied(self, op: Reserve, result: Result, now: int) -> None:
        hard = [entry for entry in result.over if entry.hard]
        amounts = {counter.key: (counter, amount) for counter, amount in _amounts(op)}
        if not hard:
            self.fail("I-1", f"{op.id} is refused, and nothing is in the way")
        for entry in hard:
            counter, amount = amounts[entry.counter]
            used, held = self.figures(counter, now, late=True)
            cap = self.caps(op.plan.deps).get(_base(entry.counter))
            if entry.cap != cap or used + held + self._ahead(op.id, entry.counter, now) + amount <= cap:
                self.fail("I-1", f"{op.id} is refused for {entry}: {used}+{held} are taken")
        if op.wait and all(entry.waits for entry in hard):
            for counter, amount in amounts.values():
                id, _, until = self.claims.get(counter.key, ("", 0, 0))
                if counter.hard and (until <= now or op.id <= id):
                    self.claims[counter.key] = (op.id, amount, now + CLAIM_MS)

    def _ahead(self, id: str, key: str, now: int) -> int:
        claimed, amount, until = self.claims.get(key, ("", 0, 0))
        return amount if claimed < id and until > now else 0

    def _settle(self, op: Settle, result: Result, now: int) -> None:
        known = self.reservations.get(op.id)
        verdict = result.verdict
        if known is None:
            if verdict == "done":
                self._book_unknown(op, now)
            elif verdict != "unknown" or op.force or op.how == "released":
                self.fail("I-5", f"an end of {op.id}, which is not here, is answered {verdict}: {op}")
        elif known.how and (known.how != "expired" or op.how == "expired"):
            if verdict != "again":
                self.fail("I-5", f"{op.id} was {known.how}, and {op.how} again: {verdict}")
        elif not known.how and op.how == "expired" and now < known.lease_end and not op.force:
            if verdict != "again":
                self.fail("I-5", f"{op.id} expires before its lease has ended: {verdict}")
        elif verdict != "done":
            self.fail("I-5", f"{op.id} cannot be {op.how}: {verdict}")
        else:
            self._end(op, known, now)

    def _book_unknown(self, op: Settle, now: int) -> None:
        ended = Held(op.plan, now, now, NOTHING, NOTHING, how=op.how)
        self.reservations[op.id] = ended
        self.claims = {key: claim for key, claim in self.claims.items() if claim[0] != op.id}
        if op.how != "released":
            ended.charged = op.real
            for counter, index in op.plan.lines:
                if amount := 1 if index == REQUESTS else op.real[index - 1]:
                    self._add(counter, now, amount, 0)

    def _end(self, op: Settle, was: Held, now: int) -> None:
        tokens, cost, concurrency = map(min, was.on_expiry, was.hold)
        real = {"settled": op.real, "released": NOTHING, "expired": (tokens, cost, concurrency)}[op.how]
        for counter, index in was.plan.lines:
            if index != REQUESTS:
                held, now_used = was.hold[index - 1], real[index - 1]
                before = was.charged[index - 1]
                within = min(held, now_used)
                entry = was.entries.get(counter.key)
                if entry is not None:
                    entry.held, entry.used = 0, within
                elif not counter.span:
                    self.held[counter.key] = self.held.get(counter.key, 0) - (0 if was.how else held)
                    self.used[counter.key] = self.used.get(counter.key, 0) + within - before
                if now_used > held:
                    self._add(counter, now, now_used - held, 0)
        was.how, was.charged = op.how, real

    def _extend(self, op: Extend, result: Result, now: int) -> None:
        known = self.reservations.get(op.id)
        expected = "unknown" if known is None else "ended" if known.how else "done"
        if result.verdict != expected:
            self.fail("I-9", f"an extension of {op.id} is answered {result.verdict}, not {expected}")
        if known is not None and not known.how:
            known.lease_end = max(known.lease_end, now + op.lease)

    def _add(self, counter: Counter, at: int, used: int, held: int) -> Entry | None:
        key = counter.key
        if counter.span:
            log = self.logs.get(key)
            if log is None:
                log = self.logs[key] = Log(counter.span)
            return log.add(at, used, held)
        self.used[key] = self.used.get(key, 0) + used
        self.held[key] = self.held.get(key, 0) + held
        return None

    def figures(self, counter: Counter, now: int, *, late: bool = False) -> tuple[int, int]:
        """(used, held) of a counter; with `late`, what may not have left a rolling window yet is counted too."""
        if counter.span:
            log = self.logs.get(counter.key)
            return log.within(now, log.late if late else 0) if log is not None else (0, 0)
        return self.used.get(counter.key, 0), self.held.get(counter.key, 0)

    # against the server's

    def compare(self, now: int, totals: dict[str, tuple[int, int]]) -> None:
        """I-2, I-4: what the server counts is what its steps come to."""
        for key, (used, held) in totals.items():
            log = self.logs.get(key)
            if log is None:
                expected = (self.used.get(key, 0), self.held.get(key, 0))
                if (used, held) != expected:
                    self.fail("I-2", f"{key} has {(used, held)}, its steps come to {expected}")
            else:
                least, most = log.within(now), log.within(now, log.late)
                if not (least[0] <= used <= most[0] and least[1] <= held <= most[1]):
                    self.fail("I-2", f"{key} has {(used, held)}, its steps come to {least} to {most}")

    def enter_rows(self, rows: list[Row]) -> None:
        """I-5: one record a call, and at most one correction of one that had expired."""
        for row in rows:
            found = self.rows.setdefault(row.id, [])
            if row.part != len(found) or row.part > 1 or (row.part == 1 and found[0].how != "expired"):
                self.fail("I-5", f"{row.id} has a record already: {found}, {row}")
            found.append(row)

    def compare_all(self, state: _Organization) -> None:
        """The same for everything that the server has."""
        view = state.view
        open_here = {id for id, held in self.reservations.items() if not held.how}
        if view.open.keys() != open_here:
            self.fail("I-2", f"open are {sorted(view.open)}, the steps say {sorted(open_here)}")
        fixed = {key: (cell.used, cell.held) for key, cell in view.cells.items() if not cell.counter.span}
        for key in self.used.keys() | self.held.keys():
            fixed.setdefault(key, (0, 0))
        self.compare(view.now, fixed)
        booked: dict[str, list[int]] = {}
        for _, row in state.rows:
            booked.setdefault(row.id, []).append(row.real[COST - 1])
        if booked != {id: [row.real[COST - 1] for row in rows] for id, rows in self.rows.items()}:
            self.fail("I-2", "the records are not those that were booked")


def _amounts(op: Reserve) -> Iterator[tuple[Counter, int]]:
    for counter, index in op.plan.lines:
        if amount := 1 if index == REQUESTS else op.hold[index - 1]:
            yield counter, amount


def _base(key: str) -> str:
    """A counter's key without its window."""
    return key.partition("@")[0]
