"""Patches of classes that may not be there yet: made where a library is imported, now or later, and undone."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

from .meter import Meter

Serving = Callable[[], Meter | None]
"""Whose the calls of the running context are; None: nobody's."""


class Patch(NamedTuple):
    """A method of a library's class that we stand in front of.

    module  that has the class when it is imported; owner: the class; name: the method
    wrap    makes ours of the original and of who is served; raises `NotImplementedError` saying why it cannot
    """

    module: str
    owner: str
    name: str
    wrap: Callable[[Any, Serving], Any]


class ImportWatcher:
    """Stands first among the finders and says when one of these modules has been imported; it finds nothing itself."""

    def __init__(self, modules: frozenset[str], imported: Callable[[ModuleType], None]) -> None:
        self._modules = modules
        self._imported = imported

    def begin(self) -> None:
        """Watches from now on."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def catch_up(self) -> None:
        """Says so of what is imported already; one that another thread is importing just now is waited for."""
        for name in self._modules:
            if sys.modules.get(name) is not None:
                with suppress(ImportError):
                    self._imported(importlib.import_module(name))

    def end(self) -> None:
        """Watches no longer."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the others find, with a loader that tells us when it is done."""
        if name not in self._modules:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None) if finder is not self else None
            spec: ModuleSpec | None = find(name, path, target) if find is not None else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec, self._imported)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """A loader that is another's but for the word at its end; then the module has its own again."""

    def __init__(self, spec: ModuleSpec, imported: Callable[[ModuleType], None]) -> None:
        self._spec = spec
        self._loader: Any = spec.loader
        self._imported = imported

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        self._spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._imported(module)
