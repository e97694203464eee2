"""The replay: calls come in, wait, are let go or denied, and end, as time goes by.

Each holds what it held then, and ends when and as it did. What was used before the period, back to the beginning of the
windows that it lies in, counts as it was.
"""

from __future__ import annotations

import heapq
from collections import deque
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ..core.alerts import Stop
from ..core.ledger import Fired, View, decide
from ..core.simulation import ALERTS, Alerted, Example, Met, Reason, Simulation
from ..core.steps import COST, NOTHING, Over, Reserve, Settle
from ..core.totals import FOREVER_MS
from ..tenancy.plans import alerts_on
from .recorded import Call, Tree

TIDY = 10_000
"""After so many steps counters that nothing depends on any more are let go of."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)


class Terms(NamedTuple):
    """How calls are let go: whether an output cap may be lowered, how long one waits for others, ms, and how many."""

    clamps: bool
    wait: int
    waiters: int


_END, _CORRECT, _BOOK, _GIVE_UP = range(4)


class Replay:
    """Decides calls in the order of admission, as time goes by."""

    def __init__(self, tree: Tree, since: int, until: int, terms: Terms, below: str) -> None:
        self._tree = tree
        self._since = since
        self._terms = terms
        self._below = below
        self._view = View()
        self._zone = ZoneInfo(tree.zone)
        self._due: list[tuple[int, bool, int, int, Call]] = []
        self._queues: dict[str, deque[Call]] = {}
        self._waiting = 0
        self._count = 0
        self.found = Simulation(tree.org, moment(since), moment(until))

    def begin(self, call: Call) -> None:
        """A call comes in; what ended until then has ended."""
        if call.said.get("lookup"):  # counts under no limit
            return
        row = call.row
        self._pass(row.at)
        self._view.now = row.at
        call.path = self._tree.place(call.said)
        if self._counts(call):
            for tally in self.found.tallies(call.said.get("project"), self._day(row.at)):
                tally.calls += 1
                tally.cost += call.cost
        if row.hold == NOTHING:  # let through while the store was away: booked, whatever the limits say
            call.policy = self._tree.policy(call.path, call.said, row.at)
            self._at(row.settled_at, True, _BOOK, call)
        elif row.at < self._since:
            self._open(call, force=True)
        elif behind := self._behind(call):
            self._wait(call, behind)
        else:
            self._try(call)
        self._count += 1
        if self._count % TIDY == 0:
            self._tidy()

    def end(self) -> None:
        """All that is under way ends."""
        self._pass(FOREVER_MS)

    def _pass(self, now: int) -> None:
        """Time goes by. In one ms ends come before a new call, unless they take more than they held."""
        due = self._due
        while due and due[0][:2] < (now, True):
            at, _, _, what, call = heapq.heappop(due)
            self._view.now = max(self._view.now, at)
            if what == _GIVE_UP:
                if call.state == "waiting":
                    self._deny(call)
            else:
                self._finish(call, what)

    def _at(self, ms: int, late: bool, what: int, call: Call) -> None:
        self._count += 1
        heapq.heappush(self._due, (ms, late, self._count, what, call))

    # letting go

    def _try(self, call: Call) -> None:
        """Lets a call go, has it wait or denies it."""
        for node in call.path.nodes:
            mark = self._view.stops.get(node.id)
            if mark is not None and not (stop := Stop.read(mark)).over(self._view.now):
                call.why = Reason(node.id, stop.limit, stopped=True)
                self._deny(call)
                return
        hard = [entry for entry in self._open(call) if entry.hard]
        if not hard:
            return
        call.why = hard[0]
        if (left := self._left(call, hard)) is not None:
            tokens, _, one = call.hold
            call.hold = (tokens, left, one)
            if not any(entry.hard for entry in self._open(call)):
                self._met(call, "clamped")
                return
            call.hold = call.row.hold
        if all(entry.waits for entry in hard):
            self._wait(call, hard[0].counter)
        else:
            self._deny(call)

    def _open(self, call: Call, *, force: bool = False) -> tuple[Over, ...]:
        """The caps that it passes; it is let go where none of them is hard."""
        view, row = self._view, call.row
        policy = call.policy = self._tree.policy(call.path, call.said, view.now)
        on_expiry = row.real if row.how == "expired" else NOTHING
        step = Reserve(row.id, policy.plan, call.hold, on_expiry, FOREVER_MS, "", force=force)
        result = decide(view, [step])[0]
        if result.verdict != "denied":
            waited, call.state = call.state == "waiting", "open"
            call.late = view.now - row.at
            self._at(row.settled_at + call.late, row.overrun, _END, call)
            if waited:
                self._waiting -= 1
                self._met(call, "waited")
            if result.over and not force:
                call.why = result.over[0]
                self._met(call, "over")
            self._hear(call)
        return result.over if result.verdict == "denied" else ()

    def _left(self, call: Call, hard: list[Over]) -> int | None:
        """What is left for a call of hard budgets alone, if it pays for all that the call came to."""
        costs = {counter.key for counter, index in call.policy.plan.lines if index == COST}  # type: ignore[union-attr]
        if not self._terms.clamps or not all(entry.counter in costs for entry in hard):
            return None
        left = min(entry.cap - entry.used - entry.held for entry in hard)
        return left if left > 0 and call.cost <= left and call.answered else None

    # waiting

    def _behind(self, call: Call) -> str | None:
        """A counter of it that others wait for already, where it may wait too."""
        if not self._queues or self._waiting >= self._terms.waiters:
            return None
        call.policy = self._tree.policy(call.path, call.said, self._view.now)
        for counter, index in call.policy.plan.lines:
            if counter.hard and index and call.hold[index - 1] and (first := self._first(counter.key)):
                call.why = first.why
                return counter.key
        return None

    def _first(self, counter: str) -> Call | None:
        """Who waits first for a counter; those that gave up leave the queue."""
        queue = self._queues.get(counter)
        while queue and queue[0].state != "waiting":
            queue.popleft()
        if queue:
            return queue[0]
        self._queues.pop(counter, None)
        return None

    def _wait(self, call: Call, counter: str) -> None:
        queue = self._queues.get(counter) or deque()
        if call.state == "waiting":  # it stood in line before
            queue.appendleft(call)
        elif self._terms.wait > 0 and self._waiting < self._terms.waiters:
            call.state = "waiting"
            self._waiting += 1
            self._at(call.row.at + self._terms.wait, True, _GIVE_UP, call)
            queue.append(call)
        else:
            self._deny(call)
            return
        self._queues[counter] = queue

    def _wake(self, counter: str) -> None:
        """Who waits for a counter tries again, in turn, until one has to wait on."""
        while call := self._first(counter):
            self._queues[counter].popleft()
            self._try(call)
            if self._first(counter) is call:
                return

    # ends

    def _finish(self, call: Call, what: int) -> None:
        """A call ends, is corrected, or is booked that nobody decided."""
        view, row, plan = self._view, call.row, call.policy.plan  # type: ignore[union-attr]
        real, correction = row.real, call.correction
        if what == _CORRECT and correction is not None:
            tokens, cost, one = (was + change for was, change in zip(real, correction.real, strict=True))
            step = Settle(row.id, plan, (tokens, cost, one), "")
        elif what == _END and row.how == "expired":
            step = Settle(row.id, plan, NOTHING, "", "expired", force=True)
            if correction is not None:
                self._at(max(view.now, correction.settled_at + call.late), True, _CORRECT, call)
        else:
            step = Settle(row.id, plan, real, "", force=what == _BOOK)
        decide(view, [step])
        if what == _CORRECT or correction is None:
            view.ended.pop(row.id, None)
        view.rows.clear()
        self._hear(call)
        for counter, _ in plan.lines:
            self._wake(counter.key)

    def _deny(self, call: Call) -> None:
        if call.state == "waiting":
            self._waiting -= 1
        call.state = "denied"
        self._met(call, "denied")

    # telling

    def _counts(self, call: Call) -> bool:
        said = call.said
        ours = (self._tree.org, said.get("team"), said.get("project"), said.get("key"))
        return call.row.at >= self._since and (not self._below or self._below in ours)

    def _met(self, call: Call, what: Met) -> None:
        if not self._counts(call) or call.why is None:
            return
        said, row, found = call.said, call.row, self.found
        for tally in found.tallies(said.get("project"), self._day(row.at)):
            tally.met(what, call.cost)
        reason, figures = _told(call, call.why)
        if what == "denied":
            found.reasons[reason] = found.reasons.get(reason, 0) + 1
        who = (said.get("project"), said.get("key"), said.get("end_user"), said.get("model"))
        found.show(Example(what, row.id, moment(row.at), *who, call.cost, reason, *figures))

    def _hear(self, call: Call) -> None:
        """Notes which alerts are due since the last step, which was this call's."""
        view = self._view
        view.made.clear()
        if not view.fired:
            return
        if self._counts(call):
            for fired in view.fired:
                self._alert(call, fired)
        view.fired.clear()

    def _alert(self, call: Call, fired: Fired) -> None:
        caps = call.policy.caps if call.policy is not None else {}
        limit, node = next(meaning for (key, _), meaning in caps.items() if key == fired.counter)
        mark = tuple(fired.mark.split(":")[:2])
        alert = next(
            (each for each in alerts_on(call.path, node, limit) if (each.action, each.level) == mark), None
        )
        project = call.said.get("project")
        for tally in self.found.tallies(project, self._day(fired.at)):
            tally.alerts += 1
        if len(self.found.alerts) < ALERTS:
            text = str(alert) if alert is not None else ":".join(mark)
            told = Alerted(moment(fired.at), node.id, str(limit), text, fired.cap, fired.used, project)
            self.found.alerts.append(told)

    def _day(self, ms: int) -> date:
        return moment(ms).astimezone(self._zone).date()

    def _tidy(self) -> None:
        """Lets go of counters that nothing depends on any more."""
        view = self._view
        for key, cell in list(view.cells.items()):
            counter = cell.counter
            if counter.span:
                cell.slide(counter.span, view.now)
                gone = not cell.ring
            else:
                gone = 0 < counter.keep < view.now
            if gone:
                cell.live = False
                del view.cells[key]


def _told(call: Call, why: Over | Reason) -> tuple[Reason, tuple[int, int, int, int]]:
    """What a call met, and its figures: cap, used, held, asked."""
    if isinstance(why, Reason) or call.policy is None:
        return why if isinstance(why, Reason) else Reason("", ""), (0, 0, 0, 0)
    limit, node = call.policy.meaning(why)
    return Reason(node.id, str(limit)), (why.cap, why.used, why.held, why.asked)


def moment(ms: int) -> datetime:
    return EPOCH + ms * MS
