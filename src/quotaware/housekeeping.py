"""What is done beside: records are copied to the archive, folded into sums, and what is past its time is taken away.

Any process does it for the organizations that it hears of, and now and then looks for others. All of it is bounded work
that can be broken off anywhere, repeated, or done by two at once; what the store refuses is done later. It runs on
whatever thread calls `turn`, and starts none.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence

from .archive import Archive
from .core.rollups import KEEP, Keep
from .core.steps import Answer, Op, Settle
from .errors import Lost, StoreError
from .logs import logged
from .rollups import Folder
from .stores.protocol import Store
from .turns import Turn

logger = logging.getLogger("quotaware")

FOLD_AT = 1000
"""Settles after which an organization's records are folded; FOLD_S: seconds after which they are, however few."""
FOLD_S = 5.0
PRUNE_S = 60.0
"""How often it is looked for what is past its time, seconds; PRUNE: rows a kind that are taken away at once."""
PRUNE = 200
LATER_S = 5.0
"""When what failed is tried again, seconds."""
TURN_S = 0.02
"""A turn begins nothing after so many seconds."""
PAGE = 500
"""Records folded at once, in 10 to 25 ms; fewer cost more each, since they touch nearly as many sums."""
ORGANIZATIONS = 10_000
"""How many organizations are looked after, those that were heard of last."""
ROAM = 100
"""How many others are looked up at once, every `PRUNE_S`."""
HEARD = 100_000
"""How many answers are remembered between two turns."""


class _Care:
    """An organization's standing: settles since it was folded, and when (s) to fold and to prune it."""

    __slots__ = ("fold_at", "prune_at", "settles")

    def __init__(self, now: float) -> None:
        self.settles = 0
        self.fold_at = now + FOLD_S  # what another process left, too
        self.prune_at = now + PRUNE_S

    @property
    def due(self) -> float:
        return min(self.fold_at, self.prune_at)

    def put_off(self, until: float) -> None:
        self.fold_at, self.prune_at = max(self.fold_at, until), max(self.prune_at, until)


class Housekeeper:
    """Looks after the organizations of a store. `turn` is for one thread at a time, `heard` for any.

    archive  where the records are kept too; nothing is taken away before it has them
    keep     how long sums are kept
    timer    seconds, of a clock that does not jump
    """

    def __init__(
        self,
        store: Store,
        archive: Archive | None = None,
        *,
        keep: Keep = KEEP,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._archive = archive
        self._folder = Folder(store, archive, keep=keep, page=PAGE)
        self._pruning = Turn(store, "prune", int(PRUNE_S * 1000))
        self._timer = timer
        self._heard: deque[tuple[str, int]] = deque(maxlen=HEARD)
        self._cares: dict[str, _Care] = {}
        self._away: dict[Hashable, float] = {}
        self._roam_at = timer() + PRUNE_S
        self._roamed = ""

    def heard(self, org: str, answer: Answer, ops: Sequence[Op]) -> None:
        """Hears of an answer of the store. Takes no lock, since a finalizer may be what made the steps."""
        settles = sum(isinstance(op, Settle) for op in ops)
        if settles or org not in self._cares:
            self._heard.append((org, settles))

    def organizations(self) -> list[str]:
        """Those that it looks after: heard of, or come upon in the store."""
        return list(self._cares)

    def turn(self, orgs: Iterable[str] = ()) -> bool:
        """Does some of what is due, for these organizations and those heard of; whether more is due already.

        Never raises `StoreError`, and begins nothing after `TURN_S`.
        """
        until = self._timer() + TURN_S
        self._note(orgs)
        while due := self._due():
            for org in due:
                if self._timer() >= until:
                    return True
                if not self._see_to(org, self._cares[org]):
                    break  # others of its lane are not due any more
        return False

    def clear(self, org: str, told: Callable[[int], None] = lambda rows: None) -> int | None:
        """Does all that is due in an organization now: copies and folds its records, and takes away what is past its
        time; how many rows these were, None where another process is at it. `told` hears how many so far. Raises
        StoreError.
        """
        for work in (self._copy, self._fold):
            while more := work(org):
                pass
            if more is None:
                return None
        gone = 0
        if not self._pruning.take(org):
            return None
        try:
            while pruned := self._prune_once(org):
                gone += pruned
                told(gone)
        finally:
            self._pruning.let_go(org)
        return gone

    def _note(self, orgs: Iterable[str]) -> None:
        now = self._timer()
        if now >= self._roam_at:
            self._roam_at = now + PRUNE_S
            orgs = [*orgs, *self._roam()]
        for org in orgs:
            self._care(org, now)
        for _ in range(len(self._heard)):
            org, settles = self._heard.popleft()
            care = self._care(org, now)
            care.settles += settles
            if not settles:
                continue
            if care.settles >= FOLD_AT:
                care.settles, care.fold_at = 0, min(care.fold_at, now)
            else:
                care.fold_at = min(care.fold_at, now + FOLD_S)
        while len(self._cares) > ORGANIZATIONS:
            del self._cares[next(iter(self._cares))]

    def _care(self, org: str, now: float) -> _Care:
        care = self._cares.pop(org) if org in self._cares else _Care(now)
        self._cares[org] = care  # those heard of last stand last
        return care

    def _roam(self) -> list[str]:
        """Some organizations of the store, each time others: nobody may have called in them for long."""
        try:
            found = self._store.orgs(self._roamed, ROAM)
        except StoreError:
            return []
        self._roamed = found[-1] if found else ""
        return found

    def _due(self) -> list[str]:
        """What is due, the longest first, and where the store answers."""
        now = self._timer()
        due = sorted((care.due, org) for org, care in self._cares.items() if care.due <= now)
        self._away = {lane: until for lane, until in self._away.items() if until > now}
        return [org for _, org in due if not self._away or self._store.lane(org) not in self._away]

    def _see_to(self, org: str, care: _Care) -> bool:
        """One piece of what is due; whether the store took it."""
        now = self._timer()
        try:
            if care.fold_at <= now:
                care.fold_at = now + self._copy_and_fold(org)
            else:
                more = self._prune(org)
                care.prune_at = now if more else now + PRUNE_S
            return True
        except StoreError as error:
            logger.warning(
                "housekeeping of %s is put off: %s",
                org,
                error,
                extra=logged("housekeeping_put_off", organization=org, why=error),
            )
            care.put_off(self._timer() + LATER_S)
            if not isinstance(error, Lost):  # that is one organization's; else nothing of the lane may answer
                self._away[self._store.lane(org)] = self._timer() + LATER_S
        except Exception:
            logger.exception(
                "housekeeping of %s failed, and is tried again",
                org,
                extra=logged("housekeeping_failed", organization=org),
            )
            care.put_off(self._timer() + PRUNE_S)
        return False

    def _copy_and_fold(self, org: str) -> float:
        """Does a page; in how many seconds there is more to do: none before somebody settles, if all is done."""
        copied = self._copy(org)
        folded = None if copied else self._fold(org)
        if copied or folded:
            return 0.0
        return FOLD_S if None in (copied, folded) else math.inf

    def _copy(self, org: str) -> bool | None:
        """Copies a page to the archive; whether there is more. None where another does it."""
        archive = self._archive
        if archive is None:
            return False
        if not archive.turn.take(org):
            return None
        more = archive.copy(org) >= archive.page
        if not more:
            archive.turn.let_go(org)
        return more

    def _fold(self, org: str) -> bool | None:
        """Folds a page; whether there is more. None where another does it."""
        folder = self._folder
        if not folder.turn.take(org):
            return None
        more = folder.fold(org) >= folder.page
        if not more:
            folder.turn.let_go(org)
        return more

    def _prune(self, org: str) -> bool:
        """Takes away some of what is past its time; whether there may be more. Then nobody looks for `PRUNE_S`."""
        return self._pruning.take(org) and self._prune_once(org) > 0

    def _prune_once(self, org: str) -> int:
        archive = self._archive
        if archive is not None and not archive.has_oldest(org, PRUNE):
            return 0
        pruned = self._store.prune(org, PRUNE)
        if archive is not None:
            pruned += archive.store.prune(org, PRUNE)
        return pruned
