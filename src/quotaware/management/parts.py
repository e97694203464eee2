"""What the management API is handed of a Quota, and what it asks of the door that its requests come through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..core.simulation import Simulation
from ..engine import Engine
from ..organization.service import Organizations
from ..stores.protocol import Store
from ..tenancy.access import Actor
from ..tenancy.service import Tenancy


class Door(Protocol):
    """Who sends a request: the inbound edge of a Quota."""

    async def authenticate(self, scope: Mapping[str, Any]) -> Actor:
        """The actor, as the store has it now. Raises `ApiError`."""
        ...

    async def again(self, scope: Mapping[str, Any], digest: str) -> Actor:
        """The same for a key that was shown before, by its digest."""
        ...


class Page(Protocol):
    """An answer to a scrape."""

    media: str
    body: bytes


class Scraped(Protocol):
    """What tells metrics."""

    def opens(self, authorization: str) -> bool:
        """Whether this header lets see the series of all organizations."""
        ...

    def page(self, organization: str | None = None) -> Page:
        """The metrics: of all, or of one organization."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """tenancy  the tree, acting for the host; routes use it `by` the actor of their request
    usage       what was used, for sync code
    alerts      what was sent to whom, for sync code
    engine      decides calls; knows the store's time
    store       keeps what idempotency keys were answered
    simulate    decides recorded calls under other limits, for sync code
    organization  an organization as one file, for sync code
    health      how the store is, as `Quota.health` has it
    metrics     what `/metrics` tells; None: there is no such page
    """

    tenancy: Tenancy
    usage: Any
    alerts: Any
    engine: Engine
    store: Store
    simulate: Callable[..., Simulation]
    organization: Organizations
    health: Callable[[], Mapping[str, object]]
    metrics: Scraped | None = None
