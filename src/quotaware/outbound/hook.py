"""The one piece of global state: patches that let every client of the process ask whose its calls are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Lock
from types import ModuleType
from typing import Any

from .. import forks
from ..context import current
from ..logs import logged
from . import aiohttp, botocore, executors, httpx, requests, websockets
from .meter import Meter
from .patching import ImportWatcher, Patch

logger = logging.getLogger("quotaware")


class Hook:
    """Holds the meters that are instrumented, and the `patches` while there are any.

    The Quota bound to the running context is served; a call that nothing is bound to goes to the first Quota that
    was instrumented.
    """

    def __init__(self, patches: Sequence[Patch]) -> None:
        self.patches = tuple(patches)
        self._watcher = ImportWatcher(frozenset(patch.module for patch in patches), self._imported)
        self._meters: list[Meter] = []
        self._made: dict[tuple[Any, str], tuple[Any, Any]] = {}
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: as it is."""
        self._lock = Lock()

    def add(self, meter: Meter) -> None:
        """Instruments the libraries that are imported, and the others when they will be."""
        with self._lock:
            if meter not in self._meters:
                self._meters.append(meter)
            self._watcher.begin()
        self._watcher.catch_up()  # without the lock, which a thread that is importing will want

    def remove(self, meter: Meter) -> None:
        """Undoes `add`; with the last meter gone the classes are as they were. Where somebody else has patched them
        since, ours stays below theirs and lets everything pass.
        """
        with self._lock:
            if meter in self._meters:
                self._meters.remove(meter)
            if self._meters:
                return
            self._watcher.end()
            for (owner, name), (original, ours) in list(self._made.items()):
                if getattr(owner, name) is ours:
                    setattr(owner, name, original)
                    del self._made[owner, name]

    def unpatched(self, kind: type, name: str) -> Any:
        """A method of a class as it is without us."""
        for owner in kind.__mro__:
            if name in vars(owner):
                original, ours = self._made.get((owner, name), (None, None))
                return original if ours is vars(owner)[name] else vars(owner)[name]
        return getattr(kind, name)

    def _serving(self) -> Meter | None:
        binding = current() if self._meters else None
        return binding.meter if binding is not None else next(iter(self._meters), None)

    def _imported(self, module: ModuleType) -> None:
        with self._lock:
            for patch in self.patches if self._meters else ():
                if patch.module == module.__name__:
                    try:
                        self._patch(getattr(module, patch.owner), patch)
                    except Exception as error:  # it is the app's import, which goes on
                        logger.error(
                            "calls through %s are not metered: %s",
                            patch.module,
                            error,
                            extra=logged("library_not_metered", module=patch.module, why=error),
                        )

    def _patch(self, owner: Any, patch: Patch) -> None:
        if (owner, patch.name) not in self._made:
            original = getattr(owner, patch.name)
            ours = patch.wrap(original, self._serving)
            self._made[owner, patch.name] = original, ours
            setattr(owner, patch.name, ours)


_LIBRARIES = (httpx, aiohttp, requests, botocore, websockets, executors)
hook = Hook([patch for library in _LIBRARIES for patch in library.PATCHES])
