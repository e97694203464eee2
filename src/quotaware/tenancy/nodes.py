"""The values of the tree: a node of any kind, the path from one up to its organization, a node as a document.

A node says what was set on it and nothing more: what its ancestors add, and whether a caller may act, is
decided by those who read the whole path.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final, cast, get_args

from ..core import permissions, windows
from ..core.limits import Limit, check_pattern
from ..errors import ConfigurationError, StoreError
from ..stores.protocol import Doc
from .keys import Kind, check_id

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""From the top down."""
PARENTS: Final[dict[Kind, tuple[Kind, ...]]] = {
    "organization": (),
    "team": ("organization",),
    "project": ("team", "organization"),
    "key": ("project", "team", "organization"),
}
"""What a node of each kind may stand below."""

MAX_NAME = 200
MAX_ENTRIES = 1000
"""How many limits, models, permissions or addresses a node may have, each."""
MAX_MS = 253_402_300_799_999
"""The last ms of the year 9999: what RFC 3339 can still write."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Node:
    """An organization, team, project or key. Raises ConfigurationError naming the field that is wrong.

    parent       id of the node above, "" for an organization
    name         as people call it; a key may have none
    limits       on this node, no two of the same shape and mode
    enabled      False: no calls here and below
    models       patterns of the models allowed here and below; empty for all
    permissions  of a key
    expires_at   of a key, ms since the epoch, None for never
    revoked      a key that will never work again
    addresses    of a key: IP addresses and CIDR blocks that it may be used from; empty for all
    zone         of an organization: IANA name of the zone that its calendar windows follow
    environment  of a project; keys on one called `test` look so
    created_at   ms since the epoch
    digest       of a key: SHA-256 of the secret
    stopped      the threshold that stopped it, if one did
    rev          the organization's revision at which it last changed; 0 before it is written
    """

    id: str
    kind: Kind
    parent: str
    name: str | None
    limits: tuple[Limit, ...] = ()
    enabled: bool = True
    models: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    expires_at: int | None = None
    revoked: bool = False
    addresses: tuple[str, ...] = ()
    zone: str = "UTC"
    environment: str = "live"
    created_at: int = 0
    digest: str = ""
    stopped: str | None = None
    rev: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigurationError("kind", f"is one of {', '.join(KINDS)}")
        check_id(self.id, "id")
        if self.kind != "organization":
            check_id(self.parent, "parent")
        elif self.parent != "":
            raise ConfigurationError("parent", "an organization stands below nothing")
        for field, kind in _ONLY.items():
            if self.kind != kind and getattr(self, field) != DEFAULTS[field]:
                raise ConfigurationError(field, f"is said of a {kind} only, not of a {self.kind}")
        for field, check in _CHECKS.items():
            check(getattr(self, field), field)
        if self.name is None and self.kind != "key":
            raise ConfigurationError("name", f"a {self.kind} has one")


@dataclass(frozen=True, slots=True)
class Path:
    """A node and all above it, narrowest first, as they stood at one revision or later.

    rev  the organization's revision at which it was read (the lowest, where the reads differ)
    """

    org: str
    rev: int
    nodes: tuple[Node, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the nodes, narrowest first: what a plan made from this path depends on."""
        return tuple(node.id for node in self.nodes)

    @property
    def key(self) -> Node | None:
        return self._of("key")

    @property
    def project(self) -> Node | None:
        return self._of("project")

    @property
    def team(self) -> Node | None:
        return self._of("team")

    @property
    def organization(self) -> Node:
        return self.nodes[-1]

    @property
    def zone(self) -> str:
        """IANA name of the time zone that calendar windows follow."""
        return self.organization.zone

    def _of(self, kind: Kind) -> Node | None:
        return next((node for node in self.nodes if node.kind == kind), None)


DEFAULTS: Final[dict[str, Any]] = {field.name: field.default for field in fields(Node)}
LISTS: Final = ("limits", "models", "permissions", "addresses")
"""The fields that hold several."""
_ONLY: Final[dict[str, Kind]] = {
    "permissions": "key",
    "expires_at": "key",
    "revoked": "key",
    "addresses": "key",
    "digest": "key",
    "zone": "organization",
    "environment": "project",
}
_BODY = tuple(name for name in DEFAULTS if name not in ("id", "kind", "parent", "name", "stopped", "rev"))


def to_doc(node: Node) -> Doc:
    """The node as a store keeps it: what differs from the defaults, as JSON.

    A revoked key's name goes into the body, so that another may have it.
    """
    body: dict[str, Any] = {name: value for name in _BODY if (value := getattr(node, name)) != DEFAULTS[name]}
    if node.limits:
        body["limits"] = [str(limit) for limit in node.limits]
    name = node.name
    if node.revoked and name is not None:
        name, body["name"] = None, name
    return Doc(
        node.id, node.kind, node.parent, name, node.rev, json.dumps(body, separators=(",", ":")), node.stopped
    )


@lru_cache(maxsize=4096)
def from_doc(doc: Doc) -> Node:
    """The node of a document. Members that it does not know are passed over: a newer version may write them.

    Raises StoreError where the document cannot be read: a limit left out would let calls through.
    """
    try:
        body = json.loads(doc.body)
        if not isinstance(body, dict):
            raise ValueError("it is no JSON object")
        given = {name: body[name] for name in _BODY if name in body}
        for field in LISTS:
            if isinstance(given.get(field), list):
                given[field] = tuple(map(Limit.parse, given[field]) if field == "limits" else given[field])
        name = doc.name if doc.name is not None else body.get("name")
        kind = cast("Kind", doc.kind)
        return Node(doc.id, kind, doc.parent, name, **given, stopped=doc.stopped, rev=doc.rev)
    except ValueError as error:
        raise StoreError(f"the document of {doc.id} cannot be read: {error}") from error


def fields_of(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a node as people give them, made ready: lists as tuples, limits read from their texts.

    Raises ConfigurationError naming the field.
    """
    return {name: _several(value, name) if name in LISTS else value for name, value in given.items()}


def _several(value: Any, field: str) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigurationError(field, "takes several: give a list")
    if field == "limits":
        return tuple(Limit.parse(each) if isinstance(each, str) else each for each in value)
    return tuple(value)


def _text(longest: int) -> Callable[[Any, str], None]:
    def check(value: Any, field: str) -> None:
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise ConfigurationError(field, f"is text of 1 to {longest} characters")
        if not value.isprintable() or value != value.strip():
            raise ConfigurationError(field, "has no control characters, and no spaces around it")

    return check


def _maybe(check: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    return lambda value, field: None if value is None else check(value, field)


def _each(check: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    def check_all(values: Any, field: str) -> None:
        if not isinstance(values, tuple) or len(values) > MAX_ENTRIES:
            raise ConfigurationError(field, f"is a tuple of at most {MAX_ENTRIES}")
        for value in values:
            check(value, field)

    return check_all


def _limit(value: Any, field: str) -> None:
    if not isinstance(value, Limit):
        raise ConfigurationError(field, "holds limits, such as Limit.parse('$50/month')")


def _limits(values: Any, field: str) -> None:
    _each(_limit)(values, field)
    seen: set[tuple[str, str]] = set()
    for limit in values:
        if (limit.shape, limit.mode) in seen:
            raise ConfigurationError(field, f"has two {limit.mode} limits on {limit.shape}; leave one out")
        seen.add((limit.shape, limit.mode))


def _permission(value: Any, field: str) -> None:
    try:
        canonical = permissions.parse(value)
    except ConfigurationError as error:
        raise ConfigurationError(field, str(error)) from None
    if value != canonical:
        raise ConfigurationError(field, f"{value!r} is written {canonical!r}")


def _address(value: Any, field: str) -> None:
    try:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is no text")
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ConfigurationError(field, f"holds IP addresses and CIDR blocks: {error}") from None


def _zone(value: Any, field: str) -> None:
    try:
        windows.zone(value)
    except ConfigurationError as error:
        raise ConfigurationError(field, str(error)) from None


def _flag(value: Any, field: str) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(field, "is True or False")


def _number(value: Any, field: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_MS:
        raise ConfigurationError(field, f"is a whole number from 0 to {MAX_MS}")


def _hash(value: Any, field: str) -> None:
    if value != "" and not (isinstance(value, str) and _DIGEST.fullmatch(value)):
        raise ConfigurationError(field, "is a SHA-256 in lower-case hex")


_CHECKS: Final[dict[str, Callable[[Any, str], None]]] = {
    "name": _maybe(_text(MAX_NAME)),
    "limits": _limits,
    "enabled": _flag,
    "models": _each(check_pattern),
    "permissions": _each(_permission),
    "expires_at": _maybe(_number),
    "revoked": _flag,
    "addresses": _each(_address),
    "zone": _zone,
    "environment": _text(64),
    "created_at": _number,
    "digest": _hash,
    "stopped": _maybe(_text(1024)),
    "rev": _number,
}
