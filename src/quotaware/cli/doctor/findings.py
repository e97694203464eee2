"""What a check finds, and what it is given to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ...quota import Quota
from ...stores.memory import system_clock
from ...stores.protocol import Clock, Store
from ..client import Client
from ..settings import Settings
from .apps import Layers

Level = Literal["error", "warning"]


class Finding(NamedTuple):
    """Something that is wrong. error: money or access is at stake; warning: it may be meant so.

    do  what to do about it
    """

    level: Level
    what: str
    do: str


class NotLooked(Exception):
    """A check had nothing that it could look at: why."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What there is to look at; None: it was not given, or cannot be had (`why` says for the API).

    layers    the app: its middlewares, outermost first
    quota     the app's Quota
    store     the app's store, or the one that was named
    api       the management API: of the running app, of the app's Quota, or of the store
    settings  where the command looks; a running app is at its `url`
    environ   environment variables
    workers   how many processes the app runs in, as far as the command was told
    days      a key that ends within so many is told of
    clock     ours, ms since the epoch
    """

    layers: Layers | None = None
    quota: Quota | None = None
    store: Store | None = None
    api: Client | None = None
    why: str = "no store, URL or app was given"
    settings: Settings = field(default_factory=Settings)
    environ: Mapping[str, str] = field(default_factory=dict)
    workers: int | None = None
    days: int = 14
    clock: Clock = system_clock

    @property
    def app(self) -> Layers:
        """The app's middlewares. Raises NotLooked."""
        if self.layers is None:
            raise NotLooked("no app was given (MODULE:APP)")
        return self.layers

    @property
    def reached(self) -> Client:
        """The API. Raises NotLooked."""
        if self.api is None:
            raise NotLooked(self.why)
        return self.api


Look = Callable[[Evidence], Iterator[Finding]]


def some(things: list[str], most: int = 5) -> str:
    """A few of many, and how many more there are."""
    told = ", ".join(things[:most])
    return told if len(things) <= most else f"{told} and {len(things) - most} more"
