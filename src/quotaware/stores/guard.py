"""A store as one process uses it: never waited for in vain, and never taken for empty when it lost what it knew.

After some failures in a row the store is left alone, and tried again once a second; meanwhile all are refused at once.
Where it answers `Lost`, the process adopts what is there and replays what it knows of the last minute: reserves still
open, settles, changes of the tree. Ids guard the replay, so that every living process may do it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from threading import Lock, RLock
from typing import Any, NamedTuple, TypeVar, cast

from .. import forks
from ..core.steps import Answer, Event, Op, Reserve, Result, Settle
from ..errors import Conflict, Lost, StoreError, StoreFull
from ..logs import logged
from .protocol import Change, Clock, Doc, Store

logger = logging.getLogger("quotaware")
T = TypeVar("T")

FAILURES = 5
"""Trips in a row that fail before the store is left alone."""
PROBE_S = 1.0
"""How often a store that is left alone is tried, and a loss that could not be mended, seconds."""
REPLAY_S = 60.0
"""How far back a process knows what it told the store, seconds; it knows its calls under way whatever their age."""
REPLAY_STEPS = 100_000
"""How many steps of that time it keeps at most."""
LANES = 1000
"""Lanes that fail whose failures are counted at most."""
BATCH = 256
TRIES = 5
TOLD_MS = 400 * 86_400_000
"""How long it is remembered that an adoption was told of."""
_TOLD = " told"
LOOKS = frozenset({"audit", "once", "outbox"})
"""Verbs about one organization in which a loss is noticed and mended too: what is done beside the calls looks often."""


class _Told(NamedTuple):
    """What the store took, and when (monotonic seconds)."""

    at: float
    org: str
    ops: Sequence[Op]
    results: Sequence[Result]


class _Changed(NamedTuple):
    """A change of the tree that the store took as its revision `rev`, and the first time as `first`; or a key's link
    that it was told.
    """

    at: float
    org: str
    rev: int
    first: int
    change: Change | None
    link: Callable[[], None] | None = None


class _Failing(NamedTuple):
    """A lane whose last trip failed.

    since   of the first of the trips that failed in a row; next: when it is tried again (both monotonic seconds)
    failures   how many those are; where it only had no room, none did, and it is tried as ever
    org     one of those that it failed for
    """

    since: float
    next: float
    failures: int
    org: str


class Guard:
    """Wraps any store, and does what it does. `adopted` hears of organizations that go on after a loss: when they do,
    and when all is replayed.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.inner = store
        self.deadline = store.deadline
        self.adopted: Callable[[str], None] = lambda org: None
        self.ahead = 0
        self._clock = clock
        self._failing: dict[Hashable, _Failing] = {}
        self._told: deque[_Told] = deque()
        self._steps = 0
        self._changed: deque[_Changed] = deque(maxlen=REPLAY_STEPS)
        self._lost: dict[str, float] = {}
        self._bases: dict[
            str, int
        ] = {}  # while an organization is mended: its revision from before the adoption
        self._mended: dict[str, int] = {}  # how often it was
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: what the parent told the store is known, its calls under way are its own."""
        self._keeping = Lock()
        self._mending = RLock()
        self._open: dict[str, tuple[str, Reserve]] = {}

    def health(self) -> dict[str, object]:
        """`store`: "ok", "full", "away" or "lost"; `away_s`; `lost`: organizations whose loss could not be mended;
        `ahead_ms`: how far the store's clock is ahead of this process's (one far ahead stands still until it is caught
        up with).
        """
        # a lane that its organization has left, after a failover, says nothing any more
        failing = [each for lane, each in list(self._failing.items()) if self.lane(each.org) == lane]
        since = [each.since for each in failing if each.failures]
        state = "lost" if self._lost else "away" if since else "full" if failing else "ok"
        away = round(time.monotonic() - min(since), 3) if since else 0
        return {"store": state, "away_s": away, "lost": sorted(self._lost), "ahead_ms": self.ahead}

    # steps

    def lane(self, org: str) -> Hashable | None:
        return self.inner.lane(org)

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Mapping[str, Answer | StoreError]:
        first = next(iter(work), "")
        lane = self.lane(first)
        if lane in self._failing and not self._may_try(lane):
            raise StoreError(f"the store failed {FAILURES} times and is tried once a second")
        mended, held_back = self._mended.copy(), {}
        if lost := work.keys() & self._lost.keys():
            held_back = {org: _unmended(org) for org in lost if not self._mend_once(org, mended.get(org, 0))}
            work = {org: ops for org, ops in work.items() if org not in held_back}
            mended = self._mended.copy()
        try:
            answers = dict(self.inner.apply(work, deadline)) if work else {}
        except StoreError as error:  # any other is a fault in the store's own code, and it is not away
            self._failed(lane, first, error)
            raise
        for org in [org for org, answer in answers.items() if isinstance(answer, Lost)]:
            if self._mend_once(org, mended.get(org, 0)):
                answers |= self.inner.apply({org: work[org]}, deadline)
        failed: StoreError | None = None
        for org, answer in answers.items():
            if isinstance(answer, Answer):
                self.ahead = answer.now - self._clock()
                self._keep(org, work[org], answer.results)
            elif not isinstance(answer, Lost) and (failed is None or isinstance(failed, StoreFull)):
                failed = answer
        if failed is not None:
            self._failed(lane, first, failed)
        elif lane in self._failing and work:
            self._failing.pop(lane, None)
        return answers | held_back

    def _may_try(self, lane: Hashable) -> bool:
        with self._keeping:
            now = time.monotonic()
            found = self._failing.get(lane)
            if found is None or found.failures < FAILURES:
                return True
            if now < found.next:
                return False
            self._failing[lane] = found._replace(next=now + PROBE_S)
            return True

    def _failed(self, lane: Hashable, org: str, error: StoreError) -> None:
        with self._keeping:
            now = time.monotonic()
            before = self._failing.pop(lane, None)
            count = 0 if isinstance(error, StoreFull) else 1 + (before.failures if before else 0)
            since = before.since if before and (before.failures or not count) else now
            self._failing[lane] = _Failing(since, now + PROBE_S, count, org)
            while len(self._failing) > LANES:
                del self._failing[next(iter(self._failing))]

    def _keep(self, org: str, ops: Sequence[Op], results: Sequence[Result]) -> None:
        now = time.monotonic()
        with self._keeping:
            for op, result in zip(ops, results, strict=True):
                if isinstance(op, Reserve):
                    if result.verdict in {"done", "again"} and not op.dry:
                        self._open[op.id] = org, op
                elif isinstance(op, Settle):
                    self._open.pop(op.id, None)
            while len(self._open) > REPLAY_STEPS:  # others ended them: their leases were over
                del self._open[next(iter(self._open))]
            self._told.append(_Told(now, org, ops, results))
            self._steps += len(ops)
            while self._told[0].at < now - REPLAY_S or self._steps > REPLAY_STEPS:
                self._steps -= len(self._told.popleft().ops)
                if not self._told:
                    break

    # after a loss

    def _mend_once(self, org: str, mended: int) -> bool:
        """The same as `_mend`, if it was not done by another thread since it had been done `mended` times."""
        with self._mending:
            return self._mended.get(org, 0) != mended or self._mend(org)

    def _mend(self, org: str) -> bool:
        """Adopts what is there and replays; whether the organization can be worked with again. Until it can, no step of
        this process passes what is to be replayed: the end of a call would be taken for its first.
        """
        with self._mending:
            if time.monotonic() < self._lost.get(org, 0.0):
                return False
            self._lost[org] = time.monotonic() + PROBE_S
            try:
                rev = self.inner.adopt(org)
                if rev is None:
                    logger.error(
                        "organization %s is gone from the store; it stays closed until it is restored",
                        org,
                        extra=logged("organization_gone", organization=org),
                    )
                    return False
                logger.error(
                    "the store went on without what it knew of organization %s; replaying",
                    org,
                    extra=logged("store_went_back", organization=org),
                )
                # after a replay that failed there is nothing to adopt any more, and the answer is what is there now
                rev = self._bases[org] = min(rev, self._bases.get(org, rev))
                self.adopted(org)
                self._replay_changes(org, rev)
                self._replay_steps(org)
                self._tell(org, rev)
            except StoreError:
                logger.exception(
                    "what the store lost of organization %s could not be replayed yet",
                    org,
                    extra=logged("replay_failed", organization=org),
                )
                return False
            self._lost.pop(org, None)
            self._bases.pop(org, None)
            self._mended[org] = self._mended.get(org, 0) + 1
        self.adopted(org)
        return True

    def _tell(self, org: str, rev: int) -> None:
        """Tells of an adoption once, whichever processes come to it and how often; each adoption has a token, which the
        store loses with it. Where a sender takes it between two that come at the same moment, it is told under the same
        key twice.
        """
        name = f"adopted|{rev}"
        token = self.inner.once(org, name, secrets.token_hex(8), TOLD_MS)
        if token.endswith(_TOLD):
            return
        told = json.dumps({"adopted": org, "rev": rev})
        self.inner.outbox(org, put=(Event(f"{name}|{token}", self._clock(), told),))
        self.inner.once(org, name, token + _TOLD, TOLD_MS, expect=token)

    def _replay_changes(self, org: str, rev: int) -> None:
        since = time.monotonic() - REPLAY_S
        with self._keeping:
            changes = [each for each in self._changed if each.org == org and each.at >= since]
        for each in changes:
            if each.link is not None:
                each.link()
            elif each.change is not None and (
                each.rev > rev or self._was_replaced(org, each.rev, each.change)
            ):
                self._commit_anew(each, each.change)

    def _was_replaced(self, org: str, rev: int, change: Change) -> bool:
        """Whether another's change has its revision: of who had seen nothing newer, and wrote before it was adopted."""
        written = [text for at, text in self.inner.audit(org, rev - 1, 1) if at == rev]
        return change.audit != "" and written != [change.audit]

    def _commit_anew(self, each: _Changed, change: Change) -> None:
        """Makes a change again, where nobody made a later one of the same document, or made that again."""
        org = each.org
        told = json.dumps(json.loads(change.audit or "{}") | {"again": each.first}, separators=(",", ":"))
        for _ in range(TRIES):
            ids = (*(doc.id for doc in change.put), *change.drop)
            current, docs = self.inner.read(org, ids)
            late = {
                id
                for id, doc in zip(ids, docs, strict=True)
                if doc is not None and self._is_later(org, doc, each)
            }
            anew = Change(
                current,
                tuple(doc for doc in change.put if doc.id not in late),
                tuple(id for id in change.drop if id not in late),
                tuple(id for id in change.resume if id not in late),
                told,
            )
            with contextlib.suppress(Conflict):
                if anew.put or anew.drop:
                    rev = self.inner.commit(org, anew)
                    with self._keeping:
                        again = replace(change, audit=told)
                        self._changed.append(_Changed(time.monotonic(), org, rev, each.first, again))
                return
        logger.error(
            "a change of organization %s that the store lost could not be made again",
            org,
            extra=logged("change_lost", organization=org),
        )

    def _is_later(self, org: str, doc: Doc, ours: _Changed) -> bool:
        """Whether a document's last change was made, the first time, no earlier than ours."""
        for rev, text in self.inner.audit(org, doc.rev - 1, 1):
            if rev == doc.rev:
                return int(json.loads(text).get("again", rev)) >= ours.first
        # a change without a row is a threshold's stop, which changed nothing else
        return doc.stopped is None and doc.rev > ours.rev

    def _replay_steps(self, org: str) -> None:
        since = time.monotonic() - REPLAY_S
        with self._keeping:
            told = [each for each in self._told if each.org == org and each.at >= since]
        steps: dict[str, list[Op]] = {}
        for each in told:
            for op, result in zip(each.ops, each.results, strict=True):
                if result.verdict in {"done", "again"}:
                    if isinstance(op, Settle) and op.how == "released":
                        steps.setdefault(op.id, []).append(op)
                    elif isinstance(op, Settle) and op.how == "settled":
                        if not any(isinstance(known, Settle) for known in steps.get(op.id, ())):
                            # says all, also at what time it was reserved
                            steps[op.id] = [replace(op, force=True)]
                    elif isinstance(op, Reserve) and not op.dry:
                        steps.setdefault(op.id, [replace(op, force=True, wait=False)])
        with self._keeping:  # calls may run for longer than that
            under_way = [op for home, op in self._open.values() if home == org]
        for op in under_way:
            steps.setdefault(op.id, [replace(op, force=True, wait=False)])
        ops = [op for of_one in steps.values() for op in of_one]  # what expired will do so again
        for start in range(0, len(ops), BATCH):
            some = ops[start : start + BATCH]
            answer = self.inner.apply({org: some}, self.deadline)[org]
            if isinstance(answer, StoreError):
                raise answer
            self._keep(org, some, answer.results)

    def _do(self, org: str, call: Callable[[], T]) -> T:
        """A call that is made once more where a loss was mended."""
        mended = self._mended.get(org, 0)
        try:
            return call()
        except Lost:
            if not self._mend_once(org, mended):
                raise
            return call()

    # the tree

    def link(self, digest: str, org: str, key: str) -> None:
        self._linked(org, lambda: self.inner.link(digest, org, key))

    def unlink(self, digest: str) -> None:
        self.inner.unlink(digest)

    def _linked(self, org: str, link: Callable[[], None]) -> None:
        link()
        with self._keeping:
            self._changed.append(_Changed(time.monotonic(), org, 0, 0, None, link))

    def commit(self, org: str, change: Change) -> int:
        rev = self._do(org, lambda: self.inner.commit(org, change))
        with self._keeping:
            self._changed.append(_Changed(time.monotonic(), org, rev, rev, change))
        return rev

    def read(self, org: str, ids: Sequence[str]) -> tuple[int, list[Doc | None]]:
        return self._do(org, lambda: self.inner.read(org, ids))

    def children(
        self, org: str, kind: str, parent: str, name: str | None, after: str, limit: int
    ) -> list[Doc]:
        return self._do(org, lambda: self.inner.children(org, kind, parent, name, after, limit))

    def adopt(self, org: str, *, empty: bool = False) -> int | None:
        """As the store's own; said by an operator."""
        rev = self.inner.adopt(org, empty=empty)
        self._lost.pop(org, None)
        self._bases.pop(org, None)
        return rev

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self.inner, name)
        if name in LOOKS:
            return lambda org, *more, **named: self._do(org, lambda: verb(org, *more, **named))
        return verb  # what needs no guarding


def _unmended(org: str) -> Lost:
    return Lost(f"what the store lost of organization {org} is not replayed yet")


def guarded(store: Store, clock: Clock) -> Store:
    """The store as a process should use it. One that never waits is this process's own, and needs no guard."""
    return store if store.lane("") is None else cast("Store", Guard(store, clock))
