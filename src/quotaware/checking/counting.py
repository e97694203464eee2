"""Counters as their keys tell of them, and what records say of each."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from ..core.steps import CONCURRENCY, COST, REQUESTS, TOKENS, Amounts, Counter
from ..core.windows import Window

INDEX = {"requests": REQUESTS, "tokens": TOKENS, "cost": COST, "concurrency": CONCURRENCY}
"""Where each metric stands among a call's amounts."""


class Change(NamedTuple):
    """The shapes of limits that a node had from a revision on; `made`: it was not there before."""

    rev: int
    at: int
    shapes: frozenset[str]
    made: bool


@dataclass(slots=True)
class Bounds:
    """What records say of a counter: at most, and at least."""

    most: int = 0
    least: int = 0

    def add(self, amount: int, sure: bool) -> None:
        """An amount that counts, or may."""
        self.most += amount
        self.least += amount if sure else 0


class Family:
    """The counters of one shape of limits on one node: each end user's (""), by the beginning of their windows."""

    def __init__(self, node: str, shape: str) -> None:
        self.node = node
        self.shape = shape
        said, _, pattern = shape.partition("/for:")
        self.metric = said.partition("/")[0]
        self.index = INDEX[self.metric]
        self.pattern = pattern or None
        self.per_user = "/per:end_user" in said
        self.window = Window.parse(said.split("/")[1]) if "/" in said else None
        self.counters: defaultdict[str, list[Counter]] = defaultdict(list)

    def at(self, user: str, ms: int) -> list[Counter]:
        """The counters in whose windows a call at that time is: one, or more where the time zone was changed."""
        return [c for c in self.counters.get(user, ()) if c.span or (c.since <= ms < (c.until or ms + 1))]


@dataclass(slots=True)
class Call:
    """A call in rolling windows, with its corrections."""

    at: int
    hold: Amounts
    settled_at: int
    counters: list[tuple[Counter, int, bool]]
    real: list[int] = field(default_factory=lambda: [0, 0, 0])


def parts_of(key: str, counter: Counter) -> tuple[str, str, str, int]:
    """Node, shape, end user's digest and beginning of the window, of a counter's key (`tenancy.plans.counter_of`): not
    every store keeps what the key says.
    """
    node, _, rest = key.partition("/")
    since = 0
    if counter.until:
        rest, _, began = rest.rpartition("@")
        since = int(began)
    if "/per:end_user" in rest.partition("/for:")[0]:
        shape, _, user = rest.rpartition("/")
        return node, shape, user, since
    return node, rest, "", since


def digest(end_user: str) -> str:
    return hashlib.sha256(end_user.encode("utf-8", "surrogatepass")).hexdigest()[:32]
