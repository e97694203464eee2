"""Who calls, for the host's own code: what the integrations hand to its handlers, and ask before these run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .. import context
from ..context import Binding, Identity
from ..core import permissions
from ..engine import Engine
from ..errors import ApiError, AuthenticationError, InvalidKeyFormat, NotFound, PermissionDenied, StoreError
from ..stores.tickets import Steps, drive_async
from ..tenancy.nodes import Path
from .denials import final
from .standing import away, disabled


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes this request.

    organization, team, project, key   ids of where the caller stands; None where there is none
    member       name of the member whom the host named
    permissions  what the key, or the member at this place, may do; none for a project that the host named
    end_user     the host app's own customer, and `tags`: as `identify` answered them
    """

    organization: str
    team: str | None = None
    project: str | None = None
    key: str | None = None
    member: str | None = None
    permissions: tuple[str, ...] = ()
    end_user: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def may(self, permission: str) -> bool:
        """Whether the caller has it, here and below."""
        return permissions.allows(self.permissions, permission)


async def current_caller() -> Caller:
    """Who makes this request. What is known of a key or member is trusted for `key_ttl`, so that it costs no trip.

    Raises `ApiError` where nobody does (401), or where the member or project is not there (403), `StoreUnavailable`;
    `RuntimeError` where no middleware has bound anything.
    """
    _, caller = await _standing()
    return caller


async def permitted(*wanted: str) -> Caller:
    """The same, where the caller has all these permissions at its place, and nothing there is disabled.

    Raises `PermissionDenied`, naming what is missing, and what `current_caller` raises. Shadow mode changes nothing
    here.
    """
    path, caller = await _standing()
    if refusal := disabled(path):
        raise final(refusal)
    for permission in wanted:
        if not caller.may(permission):
            raise final(_lacks(caller, permission))
    return caller


async def _standing() -> tuple[Path, Caller]:
    binding = context.current()
    if binding is None:
        raise RuntimeError("nobody is bound here: QuotaMiddleware is missing, or leaves this path out")
    try:
        found = await drive_async(_looked_up(binding.meter.engine, binding))
    except StoreError:
        found = away()
    if isinstance(found, ApiError):
        raise final(found)
    return found


def _looked_up(engine: Engine, binding: Binding) -> Steps[tuple[Path, Caller] | ApiError]:
    if binding.refusal is not None:
        return binding.refusal
    named = binding.caller or Identity()
    if isinstance(named, Identity):
        found = yield from _found(engine, named)
        if isinstance(found, ApiError):
            return found
        named = found
    try:
        path = yield from engine.path(named.org, named.node, engine.settings.key_ms, named.member)
    except NotFound as error:
        if named.digest is not None:
            return AuthenticationError()
        return PermissionDenied(error.message, code="unattributed")
    if named.digest is not None and isinstance(refusal := engine.standing(path, named), AuthenticationError):
        return refusal
    return path, _caller(path, named)


def _found(engine: Engine, identity: Identity) -> Steps[context.Caller | ApiError]:
    """Where whom the host named stands: a member without a project is somebody, who makes no LLM calls."""
    if identity.member is not None and identity.project is None:
        yield from engine.prepared()
        org = yield from engine.home(identity)
        if org is None:
            return PermissionDenied(
                f"Which organization member '{identity.member}' is of is not known", code="unattributed"
            )
        return context.Caller(org, org, identity.end_user, identity.tags, member=identity.member)
    found = yield from engine.resolve(identity)
    anonymous = identity.key is None and identity.project is None
    if anonymous and (isinstance(found, ApiError) or not found.node):
        return InvalidKeyFormat(code="missing_api_key")
    return found


def _caller(path: Path, named: context.Caller) -> Caller:
    held = path.key.permissions if path.key is not None else path.held or ()
    team, project, key = path.team, path.project, path.key
    return Caller(
        path.org,
        team.id if team is not None else None,
        project.id if project is not None else None,
        key.id if key is not None else None,
        named.member or None,
        held,
        named.end_user,
        named.tags,
    )


def _lacks(caller: Caller, permission: str) -> PermissionDenied:
    who = "API key" if caller.key is not None else f"Member '{caller.member}'"
    if caller.key is None and caller.member is None:
        who = f"Project '{caller.project}', without a key or a member,"
    return PermissionDenied(
        f"{who} does not have '{permission}' permission", fields={"permission": permission}
    )
