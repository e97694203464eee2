"""Records kept elsewhere: a second store that gets a copy of every record, before the first one's retention takes it.

Any process copies, and many may at once: the archive's own watermark says up to where it has them, and what is written
counts only where that still stands where it stood when the records were read. So each is there once, whoever stops in
the middle; and several archives get a complete copy each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from .core.steps import Row, position_of
from .core.totals import FOREVER_MS
from .errors import ConfigurationError, Lost
from .stores.protocol import Store
from .turns import Turn

PAGE = 500
"""Records copied in one step."""
TURN_MS = 30_000
"""How long a copier that stopped in the middle keeps the others from copying."""


class Archive:
    """The records of a store, kept in another. Blocking, thread-safe; raises `StoreError`.

    main   where records are booked
    store  where they are kept; nothing is booked there
    page   records copied in one step
    turn   whose turn it is to copy

    Raises `ConfigurationError` where the two are one: the same object, or of the same `place`, which a store may say.
    """

    def __init__(self, main: Store, store: Store, *, page: int = PAGE) -> None:
        if getattr(store, "place", store) == getattr(main, "place", main):
            raise ConfigurationError("records", "is another store than the one that the records come from")
        self._shelf = _Shelf(store)
        self.store = cast("Store", self._shelf)
        self.turn = Turn(self.store, "copy", TURN_MS)
        self.page = page
        self._main = main

    @property
    def state(self) -> str:
        """Whether it answers: "ok", or "away" from a call that failed until one about the same succeeds."""
        return "away" if self._shelf.failing else "ok"

    def copy(self, org: str) -> int:
        """Copies one page; answers how many records were not in the archive yet (at most a page). Where another copied
        at the same moment its copies stand: ask again.
        """
        after = self.store.folded(org)
        page = self._main.records(org, 0, FOREVER_MS, after, self.page)
        if page:
            self.store.keep(org, after, page)
        return len(page)

    def has_oldest(self, org: str, limit: int) -> bool:
        """Whether the oldest so many records of the main store are here, so that they may be taken away there."""
        oldest = self._main.records(org, 0, FOREVER_MS, "", limit)
        return not oldest or position_of(oldest[-1][0]) <= position_of(self.store.folded(org))

    def records(
        self, org: str, since: int, until: int, after: str, limit: int, back: bool = False
    ) -> list[tuple[str, Row]]:
        """As `Store.records`: those in the archive, and behind them those that were not copied yet."""
        if back:
            return self._back(org, since, until, after, limit)
        found: list[tuple[str, Row]] = []
        while len(found) < limit:
            at = found[-1][0] if found else after
            left = limit - len(found)
            kept = self.store.records(org, since, until, at, left)
            if not kept:
                fresh = self._main.records(org, since, until, at, left)
                # What was copied at this very moment may have been gone from the main store already.
                kept = self.store.records(org, since, until, at, left)
                if not kept:
                    return found + fresh
            found += kept
        return found

    def _back(self, org: str, since: int, until: int, after: str, limit: int) -> list[tuple[str, Row]]:
        """The newest first: what the main store still has, and before that what is kept."""
        found = self._main.records(org, since, until, after, limit, True)
        if len(found) < limit:
            before = found[-1][0] if found else after
            found += self.store.records(org, since, until, before, limit - len(found), True)
        return found


class _Shelf:
    """The store of an archive. What it lost is copied again as far as the main store has it, so that where it is behind
    (`Lost`) it simply goes on with what is there.

    failing   the organizations of which the last call failed; "" for what is of none
    """

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.failing: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return partial(self._do, found) if callable(found) else found

    def _do(self, verb: Callable[..., Any], *args: Any, **named: Any) -> Any:
        org = str(args[0]) if args else ""
        try:
            done = self._once_more(verb, org, *args, **named)
        except Exception:
            self.failing.add(org)
            raise
        self.failing.discard(org)
        return done

    def _once_more(self, verb: Callable[..., Any], org: str, *args: Any, **named: Any) -> Any:
        try:
            return verb(*args, **named)
        except Lost:
            if self._inner.adopt(org) is None:
                raise
            return verb(*args, **named)
