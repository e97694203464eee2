"""The ways in which a provider fails, as values, and their names for the header `x-fake-fault`.

What each does on the wire is the fake provider's part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

CLOSE = "quotaware.close"
"""Key of `scope["extensions"]` under which the loopback server offers a callable that closes the request's
connection after what was sent so far; ASGI itself knows no way to."""


@dataclass(frozen=True, slots=True)
class Status:
    """An error answer in the provider's own shape; `retry_after` in seconds goes out as `Retry-After`.

    Name: `429`, `503`, `429:1.5` (with the seconds).
    """

    code: int
    retry_after: float | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing more comes until the client or the server hangs up: no answer at all, or none after so many
    events (a whole answer is one).

    Name: `hang`, `hang:3`.
    """

    after_events: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """The answer begins and its connection breaks: after whole events, or at an exact byte of the body.

    `after_bytes` goes before `after_events` and counts what is on the wire, so compressed bytes where the
    answer is compressed. A whole (JSON) answer has no events: without `after_bytes` it breaks half way.
    Name: `cut`, `cut:3`, `cut:120b`.
    """

    after_events: int = 1
    after_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Garbage:
    """200 and nonsense: HTML that says it is JSON, or a stream of broken events. Name: `garbage`."""


@dataclass(frozen=True, slots=True)
class NoUsage:
    """A good answer that does not say what it used. Name: `no-usage`."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is closed before any answer. Name: `reset`."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Another place is named in `Location`. Name: `redirect:http://…`."""

    url: str
    status: int = 307


Fault: TypeAlias = Status | Hang | Cut | Garbage | NoUsage | Reset | Redirect


def _cut(argument: str) -> Fault:
    if argument.endswith("b"):
        return Cut(after_bytes=int(argument[:-1]))
    return Cut(after_events=int(argument)) if argument else Cut()


def _bare(fault: Fault) -> Callable[[str], Fault]:
    def read(argument: str) -> Fault:
        if argument:
            raise ValueError(argument)
        return fault

    return read


def _redirect(argument: str) -> Fault:
    if not argument:
        raise ValueError(argument)
    return Redirect(argument)


_NAMES: dict[str, Callable[[str], Fault]] = {
    "hang": lambda argument: Hang(int(argument) if argument else None),
    "cut": _cut,
    "garbage": _bare(Garbage()),
    "no-usage": _bare(NoUsage()),
    "reset": _bare(Reset()),
    "redirect": _redirect,
}

_KNOWN = (
    "429, 429:SECONDS, hang, hang:EVENTS, cut, cut:EVENTS, cut:BYTESb, garbage, no-usage, reset, redirect:URL"
)


def parse(text: str) -> Fault:
    """The fault that a name says, as each fault's own description gives it. Raises `ValueError`."""
    name, _, argument = text.strip().partition(":")
    try:
        if name.isdecimal() and 100 <= int(name) <= 599:
            return Status(int(name), float(argument) if argument else None)
        return _NAMES[name](argument)
    except (KeyError, ValueError):
        raise ValueError(f"no fault is named {text!r}; known are: {_KNOWN}") from None
