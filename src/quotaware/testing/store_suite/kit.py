"""What the tests of a store are written with: plans, steps and documents in few words."""

from __future__ import annotations

import json
from collections.abc import Callable
from threading import Barrier, Thread
from typing import Any

import pytest

from ...core.steps import COST, NOTHING, Amounts, Answer, Counter, Op, Peek, Plan, Reserve, Row, Settle
from ...errors import StoreError
from ...stores import items
from ...stores.protocol import Change, Doc, Store
from ..clocks import NOON, FakeClock, ids

ORG, OTHER_ORG = "org_a", "org_b"
FOREVER = 1 << 53
DAY = 86_400_000
LEASE = 60_000

NewId = Callable[[], str]

__all__ = [
    "DAY",
    "FOREVER",
    "LEASE",
    "NOON",
    "ORG",
    "OTHER_ORG",
    "FakeClock",
    "NewId",
    "ask",
    "budget",
    "commit",
    "doc",
    "hold",
    "ids",
    "in_threads",
    "insist",
    "plan",
    "plan_of",
    "skip_unless",
    "today",
    "totals",
    "verdicts",
]


def plan(*lines: tuple[Counter, int], rev: int = 0, deps: tuple[str, ...] = (), org: str = ORG) -> Plan:
    """A plan of these lines."""
    return Plan(org, rev, deps, lines)


def budget(cap: int, **more: Any) -> Plan:
    """One limit on cost; `more` is the counter's."""
    return plan((Counter("budget", cap, **more), COST))


def today(now: int, cap: int, name: str = "day", rev: int = 0, **more: Any) -> Plan:
    """One limit on cost a day (UTC), in the day that is now."""
    start = now // DAY * DAY
    counter = Counter(f"{name}@{start}", cap, since=start, until=start + DAY, keep=start + 30 * DAY, **more)
    return plan((counter, COST), rev=rev)


def hold(
    id: str,
    limit: Plan,
    cost: int = 0,
    *,
    tokens: int = 0,
    slots: int = 0,
    expiry: Amounts = NOTHING,
    lease: int = LEASE,
    **more: Any,
) -> Reserve:
    """A reserve whose record will tell under which plan it was made, so that the books can be checked."""
    told = json.dumps(items.pack_plan(limit), separators=(",", ":"))
    return Reserve(id, limit, (tokens, cost, slots), expiry, lease, told, **more)


def plan_of(row: Row) -> Plan:
    """The plan under which the call of a record was reserved."""
    return items.unpack_plan(json.loads(row.about))


def insist(id: str, limit: Plan, real: Amounts) -> Settle:
    """A settle that is booked though the store never saw the reserve."""
    return Settle(id, limit, real, "{}", force=True, about=hold(id, limit).about)


def doc(id: str, parent: str = "", name: str | None = None, kind: str = "node", body: str = "{}") -> Doc:
    """A document."""
    return Doc(id, kind, parent, name, 0, body)


def ask(store: Store, *ops: Op, org: str = ORG) -> Answer:
    """The answer to one organization's batch."""
    answer = store.apply({org: ops}, store.deadline)[org]
    if isinstance(answer, StoreError):
        raise answer
    return answer


def verdicts(answer: Answer) -> list[str]:
    """What each step came to."""
    return [result.verdict for result in answer.results]


def totals(store: Store, limit: Plan) -> list[tuple[int, int]]:
    """(used, held) of each of a plan's counters."""
    found = ask(store, Peek(limit), org=limit.org).totals
    return [found[counter.key] for counter, _ in limit.lines]


def commit(store: Store, *put: Doc, org: str = ORG, **more: Any) -> int:
    """Changes documents on top of what is there; answers the revision."""
    rev, _ = store.read(org, ())
    return store.commit(org, Change(rev, put, **more))


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Runs it in threads that begin together; raises what one of them raised."""
    begin, failed = Barrier(count), []

    def run(number: int) -> None:
        begin.wait()
        try:
            work(number)
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def skip_unless(there: object, why: str) -> None:
    """Skips the test, and says why."""
    if there is None:
        pytest.skip(why)
