"""The values of the tree: a node of any kind, and the path from one up to its organization.

A node says what was set on it and nothing more: what its ancestors add, and whether a caller may act, is
decided by those who read the whole path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final, get_args

from ..core.alerts import Alert
from ..core.limits import Limit
from ..core.models import check_pattern
from ..core.terms import Override, PriceRule
from ..errors import ConfigurationError
from . import checks
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
MAX_MAKERS: Final = 8


@dataclass(frozen=True, slots=True)
class Node:
    """An organization, team, project or key. Raises ConfigurationError naming the field that is wrong.

    parent       id of the node above, "" for an organization
    name         as people call it; a key may have none
    limits       on this node, no two of the same shape and mode
    alerts       on its limits
    overrides    other amounts of its limits for a time
    enabled      False: no calls here and below
    models       patterns of the models allowed here and below; empty for all
    created_at   ms since the epoch
    stopped      the threshold that stopped it, if one did
    carry_since  (shape, ms): since when a limit that carries over is as it is (`carrying.py`)
    rev          the organization's revision at which it last changed; 0 before it is written

    of a key:
    permissions  what it may do on its node and below
    expires_at   ms since the epoch, None for never
    revoked      it will never work again
    addresses    IP addresses and CIDR blocks that it may be used from; empty for all
    digest       SHA-256 of the secret
    creator      id of the key or member that made it
    origin       id of the key that it took the place of, and whose counters it goes on with
    makers       ids of the limited keys that it was made by, whose limits bear on its calls too

    of a project:
    environment  keys on one called `test` look so

    of an organization:
    zone         IANA name of the zone that its calendar windows follow
    zone_since   ms since which it is that one; 0: from the beginning
    prices       what models cost it
    alert_threshold    millionths of a budget: an alert on every budget that has none
    auto_upgrade       requests for more are granted at once within the parent's budget
    carryover_allowed  False: no limit here may carry over
    """

    id: str
    kind: Kind
    parent: str
    name: str | None
    limits: tuple[Limit, ...] = ()
    alerts: tuple[Alert, ...] = ()
    overrides: tuple[Override, ...] = ()
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
    creator: str = ""
    origin: str = ""
    makers: tuple[str, ...] = ()
    prices: tuple[PriceRule, ...] = ()
    alert_threshold: int | None = None
    auto_upgrade: bool = False
    carryover_allowed: bool = True
    stopped: str | None = None
    carry_since: tuple[tuple[str, int], ...] = ()
    zone_since: int = 0
    rev: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigurationError("kind", f"is one of {', '.join(KINDS)}")
        check_id(self.id, "id")
        if self.kind != "organization":
            check_id(self.parent, "parent")
        elif self.parent != "":
            raise ConfigurationError("parent", "an organization stands below nothing")
        for (field, default, only, check), value in zip(_RULES, _values_of(self), strict=True):
            if value is default:  # most of a node is as it is without a word, which is well
                continue
            if only is not None and only != self.kind and value != default:
                raise ConfigurationError(field, f"is said of a {only} only, not of a {self.kind}")
            if check is not None:
                check(value, field)
        if self.name is None and self.kind != "key":
            raise ConfigurationError("name", f"a {self.kind} has one")


@dataclass(frozen=True, slots=True)
class Path:
    """A node and all above it, narrowest first, as they stood at one revision or later.

    rev     the organization's revision at which it was read (the lowest, where the reads differ)
    makers  the limited keys that its key was made by
    people  ids of the documents about people that it depends on too: the member who acts first, and what roles are made
    of held    what the member who acts may do here; None where none does
    """

    org: str
    rev: int
    nodes: tuple[Node, ...]
    people: tuple[str, ...] = ()
    held: tuple[str, ...] | None = None
    makers: tuple[Node, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the nodes, narrowest first."""
        return tuple(node.id for node in self.nodes)

    @property
    def deps(self) -> tuple[str, ...]:
        """Ids of all documents that a plan made from this path depends on."""
        return (*self.ids, *(maker.id for maker in self.makers), *self.people)

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
_ONLY: Final[dict[str, Kind]] = {
    **dict.fromkeys(
        ("permissions", "expires_at", "revoked", "addresses", "digest", "creator", "origin", "makers"), "key"
    ),
    **dict.fromkeys(
        ("zone", "zone_since", "prices", "alert_threshold", "auto_upgrade", "carryover_allowed"),
        "organization",
    ),
    "environment": "project",
}
_PARSED: Final[dict[str, Callable[[str], Any]]] = {
    "limits": Limit.parse,
    "alerts": Alert.parse,
    "addresses": checks.written_address,
}
_SEVERAL: Final = ("models", "permissions", "overrides", "prices")


def fields_of(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a node as people give them, made ready: lists as tuples, limits and alerts read from their texts.

    Raises ConfigurationError naming the field.
    """
    return {name: _ready(value, name) for name, value in given.items()}


def _ready(value: Any, field: str) -> Any:
    if field not in _SEVERAL and field not in _PARSED:
        return value
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigurationError(field, "takes several: give a list")
    parse = _PARSED.get(field)
    return tuple(parse(each) if parse is not None and isinstance(each, str) else each for each in value)


def _alerts(values: Any, field: str) -> None:
    checks.each(checks.one_of(Alert, "Alert.parse('80% email')"))(values, field)
    if len(set(values)) < len(values):
        raise ConfigurationError(field, "has one twice; leave it out")


def _an_id(value: Any, field: str) -> None:
    check_id(value, field)


def _makers(values: Any, field: str) -> None:
    checks.each(_an_id)(values, field)
    if len(values) > MAX_MAKERS:
        raise ConfigurationError(field, f"a limited key's keys make keys only {MAX_MAKERS} deep")


_CHECKS: Final[dict[str, checks.Check]] = {
    "name": checks.maybe(checks.text(checks.MAX_NAME)),
    "limits": checks.limits,
    "alerts": _alerts,
    "overrides": checks.each(checks.one_of(Override, "Override('cost/month', 10**9, since, until)")),
    "enabled": checks.flag,
    "models": checks.each(check_pattern),
    "permissions": checks.each(checks.permission),
    "expires_at": checks.maybe(checks.number),
    "revoked": checks.flag,
    "addresses": checks.each(checks.address),
    "zone": checks.zone,
    "environment": checks.text(64),
    "created_at": checks.number,
    "digest": checks.digest,
    "makers": _makers,
    "prices": checks.each(checks.one_of(PriceRule, "PriceRule.of('my-model', {'input': 2, 'output': 8})")),
    "alert_threshold": checks.maybe(checks.number),
    "auto_upgrade": checks.flag,
    "carryover_allowed": checks.flag,
    "stopped": checks.maybe(checks.text(1024)),
    "zone_since": checks.number,
    "rev": checks.number,
}
# of each field that is looked at: its name, what it is without a word, the kind that it is said of only, and its check
_RULES: Final = tuple(
    (field, DEFAULTS[field], _ONLY.get(field), _CHECKS.get(field)) for field in {**_ONLY, **_CHECKS}
)
_values_of: Final = attrgetter(*(field for field, *_ in _RULES))
