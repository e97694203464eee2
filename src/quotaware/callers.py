"""Who calls, and where they stand in the tree: from memory as far as it knows, else from the store.

Steps that sync and async code drive, as in the engine, which is this and decides what such a caller may do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from .caches import SharedCache
from .context import NOBODY, Binding, Caller, Identity
from .core.steps import Plan
from .errors import (
    ApiError,
    AuthenticationError,
    ConfigurationError,
    NotFound,
    PermissionDenied,
    QuotawareError,
    StoreError,
)
from .logs import logged
from .settings import Settings
from .stores.lanes import Lanes
from .stores.protocol import Clock
from .stores.tickets import Steps
from .tenancy.access import Actor
from .tenancy.directory import UNREAD, Directory, KeyPlace
from .tenancy.nodes import Path

T = TypeVar("T")
logger = logging.getLogger("quotaware")

LOOKUP_TRIPS = 5
"""Trips to the store that one look-up in the tree may take, each within its deadline."""


class Callers:
    """Finds callers and their paths for all calls of a Quota in this process."""

    def __init__(self, lanes: Lanes, directory: Directory, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.directory = directory
        self.lanes = lanes
        self.clock = clock
        self.ahead = 0  # how far the store's clock is ahead of ours, ms
        self.simple: Caller | None = None
        self.unready = ""  # why the store cannot be used, as long as it cannot
        self._prepare: Callable[[], None] | None = None
        self._confirmed: SharedCache[tuple[str, str], int] | None = (
            SharedCache(4096) if settings.on_store_error.allows else None
        )

    def prepare_with(self, work: Callable[[], None]) -> None:
        """Blocking work to do once, before the first call is decided."""
        self._prepare = work

    def prepared(self) -> Steps[None]:
        """Sees to it that the work of `prepare_with` is done. Raises `StoreError`, also where the set-up cannot be
        used: nothing passes then that a limit may bear on.
        """
        work = self._prepare
        if work is None:
            return
        try:
            yield from self._call(work)
        except ConfigurationError as error:
            if self.unready != str(error):
                logger.error("the store cannot be used: %s", error, extra=logged("store_unusable", why=error))
            self.unready = str(error)
            raise StoreError(f"the store cannot be used: {error}") from error
        self._prepare, self.unready = None, ""

    def now(self) -> int:
        """The store's time as far as this process knows it, ms."""
        return self.clock() + self.ahead

    def known_caller(self, binding: Binding) -> Caller | ApiError | None:
        """Who calls, from memory; None where only the store would know."""
        caller = binding.caller or Identity()
        if isinstance(caller, Caller):
            return caller
        if caller.key is not None:
            place = self.directory.peek_key(caller.key)
            if place is None or place is UNREAD:
                return None
            return Caller(place.org, place.key, caller.end_user, caller.tags, caller.key)
        project = caller.project or self.settings.project
        if project is None:
            nobody = self._nobody()
            if isinstance(nobody, ApiError):
                return binding.refusal or nobody
            return replace(nobody, end_user=caller.end_user, tags=caller.tags)
        org = caller.organization or self.directory.peek_home(project)
        if org is None:
            return None
        return Caller(org, project, caller.end_user, caller.tags, member=caller.member or "")

    def resolve(self, identity: Identity) -> Steps[Caller | ApiError]:
        """Looks up where a named key or project stands. Raises `StoreError`."""
        yield from self.prepared()
        if identity.key is not None:
            digest = identity.key
            place = yield from self.locate_key(digest)
            if place is None:
                return AuthenticationError()
            return Caller(place.org, place.key, identity.end_user, identity.tags, digest)
        project = identity.project or self.settings.project
        if project is None:
            caller = self._nobody()
            if isinstance(caller, ApiError):
                return _no_project_for(identity.member) if identity.member is not None else caller
            return replace(caller, end_user=identity.end_user, tags=identity.tags)
        org = identity.organization or (yield from self._call(lambda: self.directory.locate(project)))
        if org is None:
            return _no_project(project)
        return Caller(org, project, identity.end_user, identity.tags, member=identity.member or "")

    def locate_key(self, digest: str) -> Steps[KeyPlace | None]:
        """Where the key with this SHA-256 lies, from memory or the store. Raises `StoreError`."""
        place = self.directory.peek_key(digest)
        if place is UNREAD:
            place = yield from self._call(lambda: self.directory.load_key(digest))
        return place

    def home(self, identity: Identity) -> Steps[str | None]:
        """The organization of whom the host names; None where nothing tells it. Raises `StoreError`."""
        if identity.organization is not None:
            return identity.organization
        if (project := identity.project) is not None:
            return (yield from self._call(lambda: self.directory.locate(project)))
        return (yield from self._call(self.directory.only_organization))

    def _nobody(self) -> Caller | ApiError:
        """Who stands for a call that nobody was identified for."""
        policy = self.settings.unattributed
        if self.simple is not None:
            return self.simple
        if policy == "allow":
            return NOBODY
        return PermissionDenied(
            "This LLM call belongs to nobody: no quotaware key and no identify() named a caller. Bind one with "
            "quota.acting_as(...), or set Quota(unattributed='allow') or Quota(unattributed='project:<id>')",
            code="unattributed",
        )

    def known_path(self, caller: Caller, trusted_ms: int) -> Path | None:
        """The path of a caller, from memory; a key's only if it was seen valid at most so many ms ago."""
        if not caller.node:
            return Path(caller.org, 0, ())
        if caller.digest is None:
            return self.directory.peek(
                caller.org, caller.node, trusted_ms if caller.member else None, caller.member
            )
        seen = self._confirmed.get((caller.org, caller.node)) if self._confirmed is not None else None
        recent = seen is not None and self.now() - seen <= trusted_ms
        return self.directory.peek(caller.org, caller.node, None if recent else trusted_ms)

    def confirm(self, plan: Plan) -> None:
        """The store let a call go under this plan: whoever it is for is valid now."""
        if self._confirmed is not None and plan.deps:
            self._confirmed[plan.org, plan.deps[0]] = self.now()

    def path(self, org: str, node: str, within: int | None = None, member: str = "") -> Steps[Path]:
        """The documents from a node up to its organization, from memory (if at most `within` ms old) or the store, and
        who acts there. Raises `NotFound`, `StoreError`.
        """
        found = self.directory.peek(org, node, within, member)
        if found is None:
            found = yield from self.reread(org, node, member)
        return found

    def reread(self, org: str, node: str, member: str = "") -> Steps[Path]:
        """The same, as it stands in the store now."""
        return (yield from self._call(lambda: self.directory.load(org, node, member)))

    def place(self, caller: Caller, known: Path | None = None) -> Steps[Path | ApiError]:
        """The path of a caller: one newer than `known`, where that is said to be out of date. Raises `StoreError`."""
        if not caller.node:
            return Path(caller.org, 0, ())
        try:
            if known is None:
                return (yield from self.path(caller.org, caller.node, member=caller.member))
            return (yield from self._call(lambda: self._newer(known, caller.member)))
        except NotFound as error:
            if caller.member:
                return PermissionDenied(error.message, code="unattributed")
            return AuthenticationError() if caller.digest is not None else _no_project(caller.node)

    def _newer(self, known: Path, member: str) -> Path:
        """The path as it is now; one read serves all calls that find it out of date."""
        newest = self.directory.peek(known.org, known.ids[0], member=member)
        if newest is not None and newest.rev > known.rev:
            return newest
        return self.directory.load(known.org, known.ids[0], member)

    def acting(self, org: str, member: str) -> Steps[Actor]:
        """The actor that a member is, as the store has it now. Raises `NotFound`, `PermissionDenied` where the member
        is disabled, `StoreError`.
        """
        return (yield from self._call(lambda: self.directory.acting(org, member)))

    def _call(self, work: Callable[[], T]) -> Steps[T]:
        ticket = self.lanes.call(work)
        yield ticket, self.lanes.deadline * LOOKUP_TRIPS
        if not ticket.done:
            raise StoreError("the store did not answer in time")
        try:
            return ticket.value()
        except QuotawareError:
            raise
        except (
            Exception
        ) as error:  # a store that breaks its word is one that is away, and no reason to let calls pass
            raise StoreError(f"the store failed: {error!r}") from error


def _no_project_for(member: str) -> ApiError:
    return PermissionDenied(
        f"Member '{member}' makes calls in a project: identify names it as `project`", code="project_required"
    )


def _no_project(project: str) -> ApiError:
    return PermissionDenied(f"There is no project '{project}'", code="unattributed")
