"""A way to ask a framework: what people write first, whole and streamed, sync and async, and what spreads out.

Each file of a framework adds its own to `WAYS`. A way makes what it needs at the URL of a provider and answers the text
that it was given; only then is its framework imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from quotaware.core.usage import Usage
from tests.sdks.provider import USAGE

GPT, CLAUDE, GEMINI, EMBEDS = "gpt-4.1", "claude-sonnet-4-5", "gemini-2.5-flash", "text-embedding-3-small"
HI = [{"role": "user", "content": "hi"}]
KEY = {"api_key": "x"}
EMBEDDED = Usage(USAGE.input)


@dataclass(frozen=True)
class Way:
    """A way to ask a framework.

    package    what must be installed; ask: gives the answer's text, awaited or not
    model      that is asked; denied: the exception that a denial comes as, module and name
    stream     whether its answers come as streams on the wire
    usage      of each call; calls: how many it makes; at_once: how many of them before it has an answer
    """

    package: str
    ask: Callable[[str], Any]
    model: str
    denied: str
    stream: bool = False
    usage: Usage = USAGE
    calls: int = 1
    at_once: int = 1

    def __str__(self) -> str:
        return f"{self.ask.__module__.rpartition('.')[2]}.{self.ask.__name__}"

    @property
    def is_async(self) -> bool:
        """Whether it is awaited."""
        return inspect.iscoroutinefunction(self.ask)

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        try:
            metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return False
        return True


WAYS: list[Way] = []


def missing() -> list[str]:
    """What is not installed of all that the ways need."""
    return sorted({way.package for way in WAYS if not way.installed})


def ways_of(
    package: str, model: str, denied: str, **also: Any
) -> Callable[..., Callable[[Callable[[str], Any]], Callable[[str], Any]]]:
    """What adds the ways of a package that are alike: `@way(stream=True)`."""

    def way(**more: Any) -> Callable[[Callable[[str], Any]], Callable[[str], Any]]:
        def add(ask: Callable[[str], Any]) -> Callable[[str], Any]:
            WAYS.append(Way(package, ask, model, denied, **(also | more)))
            return ask

        return add

    return way


def v1(url: str) -> str:
    """Where OpenAI's paths begin."""
    return f"{url}/v1"
