"""`/api-keys`: keys of projects, teams and organizations. A secret is answered once, where it was made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field

from ..core.permissions import CALL_PERMISSIONS
from ..errors import AlreadyExists, ConfigurationError, PreconditionFailed
from ..tenancy.checks import MAX_ENTRIES
from ..tenancy.credentials import MAX_GRACE_MS
from ..tenancy.keys import Kind
from ..tenancy.nodes import Node
from ..words import terms
from ..words.terms import Terms
from ..words.wire import Answer, Body, Listing, Moment, Time
from .nodes import ChosenId, Inside, Models, Name, NodeAnswer, found, made, page, said, shown
from .routes import Ask, Route

_PLACES: tuple[Kind, ...] = ("project", "team", "organization")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class Place(Body):
    """Where a key hangs: one of the three, by id or name. It counts there and below, and only one on a project makes
    calls without naming a project.
    """

    project_id: str | None = None
    team_id: str | None = None
    organization_id: str | None = None


class NewApiKey(Place, Terms):
    """A key that is to be made. What a restricted maker leaves out is as with the maker's own key."""

    name: Name | None = None
    id: ChosenId | None = None
    permissions: list[str] = Field(list(CALL_PERMISSIONS), max_length=MAX_ENTRIES)
    expires_at: Time | None = None
    allowed_ips: list[str] | None = Field(
        None, max_length=MAX_ENTRIES, description="addresses and CIDR blocks; empty: every address"
    )
    allowed_models: Models | None = None


class ApiKeyChange(Terms):
    """What is sent replaces, what is absent stays."""

    name: Name | None = None
    permissions: list[str] = Field([], max_length=MAX_ENTRIES)
    add_permissions: list[str] = Field([], max_length=MAX_ENTRIES)
    remove_permissions: list[str] = Field([], max_length=MAX_ENTRIES)
    expires_at: Time | None = None
    allowed_ips: list[str] | None = Field(None, max_length=MAX_ENTRIES)
    allowed_models: Models | None = None


class Rotation(Body):
    """How a key is rotated."""

    grace_seconds: int = Field(
        0, ge=0, le=MAX_GRACE_MS // 1000, description="so long the old key still works"
    )


class ApiKeys(Inside):
    """Which of them, and which page."""

    project_id: str | None = Field(None, description="those of this project, by id or name")
    team_id: str | None = Field(None, description="those of this team, on its projects or itself")
    organization_id: str | None = Field(None, description="those of the organization")
    revoked: bool | None = None


class ApiKeyAnswer(NodeAnswer):
    """A key, without its secret.

    project_id, team_id, organization_id   where it hangs, and what is above that
    revoked         it never works again
    created_by      id of the key or member that made it, null for the host's own code
    replaces        id of the first key of those that it took the place of by rotation
    last_used_at    when a call was last made with it
    """

    project_id: str | None
    team_id: str | None
    organization_id: str
    permissions: list[str]
    expires_at: Moment | None
    allowed_ips: list[str]
    revoked: bool
    created_by: str | None
    replaces: str | None
    last_used_at: Moment | None


class NewApiKeyAnswer(ApiKeyAnswer):
    """A key with its secret."""

    key: str | None = Field(description="shown this once; null in a repeat")


class RotatedAnswer(Answer):
    """The key that took the place of another."""

    new_key_id: str
    key: str | None = Field(description="shown this once; null in a repeat")
    expires_at: Moment | None
    name: str | None


def list_api_keys(ask: Ask) -> Listing[ApiKeyAnswer]:
    """Those that the caller may look at. Takes api_key:read."""
    query = ask.query
    nodes = page(
        ask,
        "key",
        lambda node: node,
        place(ask, query),
        revoked=query.revoked,
    )
    return Listing(data=told(ask, nodes.data), next_cursor=nodes.next_cursor)


def create_api_key(ask: Ask) -> NewApiKeyAnswer:
    """Nobody makes a key that may more than its maker: with other permissions, models, addresses, rates, or a longer
    life. Takes api_key:create, or `:limited` in projects where the caller holds a role.
    """
    parent = place(ask, ask.body)
    if parent is None:
        raise ConfigurationError("project_id", "is missing; give it, or team_id or organization_id")
    given = {name: value for name, value in made(ask.body).items() if name not in Place.model_fields}
    key = ask.tenancy.create_key(parent, org=ask.org, **given)
    (answer,) = told(ask, [key.node])
    return NewApiKeyAnswer(**dict(answer), key=key.secret)


def get_api_key(ask: Ask) -> ApiKeyAnswer:
    """Takes api_key:read; a key may always look at itself."""
    return one(ask, ask.tenancy.get(ask.org, found(ask, "key")))


def put_api_key(ask: Ask) -> ApiKeyAnswer:
    """As PATCH: what is sent replaces, what is absent stays. Takes api_key:create."""
    return one(ask, changed(ask, found(ask, "key"), ask.body.given()))


def update_api_key(ask: Ask) -> ApiKeyAnswer:
    """Nobody makes a key to be more than he is himself. Takes api_key:create."""
    return one(ask, changed(ask, found(ask, "key"), ask.body.given()))


def revoke_api_key(ask: Ask) -> None:
    """It never works again; it can still be looked at. Takes api_key:delete."""
    ask.tenancy.revoke_key(ask.org, found(ask, "key"), expect=ask.expect)


def enable_api_key(ask: Ask) -> ApiKeyAnswer:
    """Takes api_key:create."""
    return one(ask, changed(ask, found(ask, "key"), {"enabled": True}))


def disable_api_key(ask: Ask) -> ApiKeyAnswer:
    """It does nothing until it is enabled. Takes api_key:create."""
    return one(ask, changed(ask, found(ask, "key"), {"enabled": False}))


def rotate_api_key(ask: Ask) -> RotatedAnswer:
    """A key in its place: same name, place, permissions, limits, spend and history. The old one stops at once, in every
    process, or works `grace_seconds` longer. Takes api_key:create.
    """
    grace = ask.body.grace_seconds * 1000
    new = ask.tenancy.rotate_key(ask.org, found(ask, "key"), grace_ms=grace, expect=ask.expect)
    return RotatedAnswer(
        new_key_id=new.node.id, key=new.secret, expires_at=new.node.expires_at, name=new.node.name
    )


def place(ask: Ask, where: Place | ApiKeys) -> str | None:
    """The id of the node that is named, None where none is. Raises NotFound, ConfigurationError."""
    named = [
        (f"{kind}_id", kind, name) for kind in _PLACES if (name := getattr(where, f"{kind}_id")) is not None
    ]
    if len(named) > 1:
        raise ConfigurationError(named[1][0], f"is given besides {named[0][0]}; give one of them")
    return found(ask, *named[0][1:]) if named else None


def changed(ask: Ask, id: str, given: dict[str, Any]) -> Node:
    """A key with what is given changed."""

    def revise(node: Node) -> dict[str, Any]:
        return terms.changes(given, node.limits, node.alerts)

    node: Node = ask.tenancy.update_key(ask.org, id, expect=ask.expect, revise=revise, **said(given))
    return node


def one(ask: Ask, node: Node) -> ApiKeyAnswer:
    """A key as it is answered."""
    (answer,) = told(ask, [node])
    return answer


def told(ask: Ask, nodes: list[Node]) -> list[ApiKeyAnswer]:
    """Keys as they are answered."""
    above = {parent: ask.tenancy.above(ask.org, parent) for parent in {node.parent for node in nodes}}
    used = ask.parts.usage.last_used([node.id for node in nodes], organization=ask.org)
    return [
        ApiKeyAnswer(
            **shown(ask, node),
            project_id=above[node.parent].get("project"),
            team_id=above[node.parent].get("team"),
            organization_id=ask.org,
            permissions=list(node.permissions),
            expires_at=node.expires_at,
            allowed_ips=list(node.addresses),
            revoked=node.revoked,
            created_by=node.creator or None,
            replaces=node.origin or None,
            last_used_at=(used[node.id] - _EPOCH) // _MS if node.id in used else None,
        )
        for node in nodes
    ]


_ONE = "/api-keys/{id}"
_TAG = "api keys"

ROUTES = (
    Route(
        "GET",
        "/api-keys",
        list_api_keys,
        "Keys, by id",
        _TAG,
        "api_key:read",
        Listing[ApiKeyAnswer],
        query=ApiKeys,
    ),
    Route(
        "POST",
        "/api-keys/service",
        create_api_key,
        "Makes a key",
        _TAG,
        "api_key:create:limited",
        NewApiKeyAnswer,
        NewApiKey,
        status=201,
        secrets=("key",),
    ),
    Route("GET", _ONE, get_api_key, "A key, without its secret", _TAG, "api_key:read", ApiKeyAnswer),
    Route(
        "PUT",
        _ONE,
        put_api_key,
        "Changes a key",
        _TAG,
        "api_key:create:limited",
        ApiKeyAnswer,
        ApiKeyChange,
        errors=(AlreadyExists,),
    ),
    Route(
        "PATCH",
        _ONE,
        update_api_key,
        "Changes a key",
        _TAG,
        "api_key:create:limited",
        ApiKeyAnswer,
        ApiKeyChange,
        errors=(AlreadyExists,),
    ),
    Route(
        "DELETE",
        _ONE,
        revoke_api_key,
        "Revokes a key",
        _TAG,
        "api_key:delete",
        status=204,
        errors=(AlreadyExists,),
    ),
    Route(
        "POST",
        f"{_ONE}/enable",
        enable_api_key,
        "Lets it work again",
        _TAG,
        "api_key:create:limited",
        ApiKeyAnswer,
        errors=(PreconditionFailed,),
    ),
    Route(
        "POST",
        f"{_ONE}/disable",
        disable_api_key,
        "Lets it do nothing",
        _TAG,
        "api_key:create:limited",
        ApiKeyAnswer,
        errors=(PreconditionFailed,),
    ),
    Route(
        "POST",
        f"{_ONE}/rotate",
        rotate_api_key,
        "Puts a new key in its place",
        _TAG,
        "api_key:create:limited",
        RotatedAnswer,
        Rotation,
        status=201,
        errors=(PreconditionFailed,),
        secrets=("key",),
    ),
)
