"""An app as it stands in a module: loaded, and looked through for its middlewares and its Quota.

Starlette and FastAPI keep what `add_middleware` was told, outermost first; so does Litestar. An app that was wrapped by
hand (`app = CORSMiddleware(app, …)`) has what it wraps as `app`. Nothing is called and no middleware is made.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...inbound.middleware import QuotaMiddleware
from ...quota import Quota
from ..failures import USAGE, Failure

DEEP = 16
"""So many apps in one another are looked into."""


class Layer(NamedTuple):
    """A middleware: its class (or what makes it) and what it is made with, by name."""

    kind: Any
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of its class."""
        return str(getattr(self.kind, "__name__", self.kind))

    @property
    def ours(self) -> bool:
        """Whether it is the one that knows who calls."""
        return isinstance(self.kind, type) and issubclass(self.kind, QuotaMiddleware)

    def named(self, pattern: str) -> bool:
        """Whether the name of its class, or of one that it is made from, has this in it; case does not count."""
        kinds = self.kind.__mro__ if isinstance(self.kind, type) else [self.kind]
        return any(re.search(pattern, str(getattr(each, "__name__", each)), re.IGNORECASE) for each in kinds)


Layers = tuple[Layer, ...]


def load(target: str, directory: str = ".") -> Any:
    """The app that `module:attribute` names; a function without parameters is called for it. Raises Failure."""
    module, colon, path = target.partition(":")
    if not (module and colon and path):
        raise Failure(f"'{target}' names no app: write it as module:app, as for uvicorn", USAGE)
    sys.path.insert(0, str(Path(directory).resolve()))
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
        if inspect.isfunction(found) and not inspect.signature(found).parameters:
            found = found()
    except Exception as error:
        raise Failure(f"The app {target} cannot be loaded: {type(error).__name__}: {error}", USAGE) from error
    finally:
        sys.path.pop(0)
    return found


def layers_of(app: Any) -> Layers:
    """Its middlewares, outermost first; down into the mounted app that has ours, where the outer one has none."""
    found = tuple(_layers(app, DEEP))
    if not any(layer.ours for layer in found):
        for mounted in _mounted(app, DEEP):
            inner = tuple(_layers(mounted, DEEP))
            if any(layer.ours for layer in inner):
                return (*found, *inner)
    return found


def quota_of(layers: Layers) -> Quota | None:
    """The Quota of the outermost of ours."""
    found = (layer.options.get("quota") for layer in layers if layer.ours)
    return next((quota for quota in found if isinstance(quota, Quota)), None)


def _layers(app: Any, depth: int) -> Iterator[Layer]:
    declared = getattr(app, "user_middleware", None)  # Starlette's and FastAPI's
    if declared is None and type(app).__module__.partition(".")[0] == "litestar":
        declared = app.middleware
    if isinstance(declared, list | tuple):
        yield from map(_declared, declared)
    elif depth and callable(inner := getattr(app, "app", None)):
        yield Layer(type(app), vars(app) if hasattr(app, "__dict__") else {})
        yield from _layers(inner, depth - 1)


def _declared(entry: Any) -> Layer:
    """What `Middleware` of Starlette and `DefineMiddleware` of Litestar say; a bare middleware is itself."""
    kind = getattr(entry, "cls", None) or getattr(entry, "middleware", None)
    if kind is None:
        return Layer(entry, {})
    options = dict(entry.kwargs)
    if isinstance(kind, type):
        names = [name for name in inspect.signature(kind).parameters if name != "app"]
        options |= dict(zip(names, entry.args, strict=False))
    return Layer(kind, options)


def _mounted(app: Any, depth: int) -> Iterator[Any]:
    inner = getattr(app, "app", None)
    if depth and callable(inner) and not hasattr(app, "path"):
        yield from _mounted(inner, depth - 1)
    for route in getattr(app, "routes", None) or ():
        mounted = getattr(route, "app", None)
        if depth and mounted is not None and hasattr(mounted, "routes"):
            yield mounted
            yield from _mounted(mounted, depth - 1)
