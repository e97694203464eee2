"""What observers are told of: each call that is let go, how it ended, and each that is refused.

An observer hears of it on the call's own way, so it takes note and does not wait. What it raises is logged and reaches
nobody. Names that callers choose come cleaned: no quotaware key, no control character, of bounded length.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from .core.bounds import Call
from .core.usage import Quality, Usage
from .errors import without_keys
from .logs import logged

logger = logging.getLogger("quotaware")
T = TypeVar("T")

NAME = 200
"""Characters of a name that are told."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose a call is: ids of the organization, and of the team and project where there is one."""

    organization: str
    team: str | None
    project: str | None


class Server(NamedTuple):
    """Where a request goes: the host as the app names it, and the port."""

    address: str
    port: int | None


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that is let go.

    id          of its usage record
    model       the name that it asks for
    cap         output tokens that each choice may have, None where nothing bounds them
    decided_s   seconds that it took to let it go, what it waited for others included
    degraded    whether it is let go while the store is away
    would_deny  what would have kept it out, if that were not shadow
    server      None for a call that is not HTTP
    """

    id: str
    place: Place
    call: Call
    model: str | None
    cap: int | None
    decided_s: float
    degraded: bool
    would_deny: tuple[str, ...]
    server: Server | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended.

    status    HTTP status of the answer, 0 where there was none
    model     the name that the answer gives
    usage     what it is charged for; quality, how well that is known
    reported  whether the usage is what the provider reported
    cost      nano-dollars
    seconds   from when it was let go
    first_s   seconds until the first piece of a streamed answer had something generated in it, None where none had
    """

    status: int
    model: str | None
    usage: Usage
    quality: Quality
    reported: bool
    cost: int
    seconds: float
    first_s: float | None


@dataclass(frozen=True, slots=True)
class Late:
    """What a call is charged that had ended before its provider told what was used, and the model that it names."""

    place: Place
    call: Call
    model: str | None
    usage: Usage
    cost: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that was kept from going: `code` and `status` of the error that it was answered with; `server` as of
    `Begun`.
    """

    place: Place
    call: Call
    model: str | None
    code: str
    status: int
    decided_s: float
    server: Server | None = None


class Watch(Protocol):
    """One call, watched."""

    def around(self) -> AbstractContextManager[object]:
        """The block in which its request is sent."""
        ...

    def ended(self, ended: Ended) -> None:
        """It ended; called once, by any thread."""
        ...


class Observer(Protocol):
    """What `Quota(telemetry=…)` takes."""

    def begun(self, begun: Begun) -> Watch | None:
        """A call is let go; called where the call is made. None: its end is of no interest."""
        ...

    def refused(self, refused: Refused) -> None:
        """A call is kept from going."""
        ...

    def late(self, late: Late) -> None:
        """A call that ended `unsettled` is charged; in any process, in a thread of ours."""
        ...

    def observe(
        self, health: Callable[[], Mapping[str, object]], stats: Callable[[], Mapping[str, int]]
    ) -> None:
        """A Quota is made that tells this observer; `health` and `stats` are the Quota's."""
        ...


class Observers:
    """All observers of a Quota, told one after another. Never raises; without any it is false."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def __bool__(self) -> bool:
        return bool(self._observers)

    def begun(self, begun: Begun) -> Watches:
        """A call is let go."""
        found = [_quietly(observer.begun, begun) for observer in self._observers]
        return Watches([watch for watch in found if watch is not None])

    def refused(self, refused: Refused) -> None:
        """A call is kept from going."""
        for observer in self._observers:
            _quietly(observer.refused, refused)

    def late(self, late: Late) -> None:
        """A call that ended `unsettled` is charged."""
        for observer in self._observers:
            _quietly(observer.late, late)


class Watches:
    """One call, watched by all of them."""

    __slots__ = ("_watches",)

    def __init__(self, watches: list[Watch]) -> None:
        self._watches = watches

    def around(self) -> AbstractContextManager[object]:
        """The block in which its request is sent."""
        return _Around([found for watch in self._watches if (found := _quietly(watch.around))])

    def ended(self, ended: Ended) -> None:
        """It ended."""
        for watch in self._watches:
            _quietly(watch.ended, ended)


class _Around:
    """Some blocks as one, which neither fail nor swallow what is raised in them."""

    __slots__ = ("_blocks",)

    def __init__(self, blocks: list[AbstractContextManager[object]]) -> None:
        self._blocks = blocks

    def __enter__(self) -> None:
        for block in self._blocks:
            _quietly(block.__enter__)

    def __exit__(self, *exc: Any) -> None:
        for block in reversed(self._blocks):
            _quietly(block.__exit__, *exc)


UNWATCHED: AbstractContextManager[object] = nullcontext()
"""The block of a call that nobody watches."""


def _quietly(tell: Callable[..., T], *what: Any) -> T | None:
    try:
        return tell(*what)
    except Exception:
        logger.exception("an observer failed", extra=logged("observer_failed"))
        return None


def cleaned(name: str | None) -> str | None:
    """A name that somebody chose, as it is told: on one line, without what cannot be written, and without keys."""
    if name is None:
        return None
    name = without_keys(name[: 2 * NAME])[:NAME]
    return (
        name
        if name.isprintable()
        else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    )
