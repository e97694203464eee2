"""What an entry of the file says of a thing, in the words of the tree; and what is wrong with it, field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ..core.limits import Limit
from ..core.permissions import CALL_PERMISSIONS, ROLES
from ..core.terms import Override
from ..errors import ConfigurationError, Problem
from ..tenancy.checks import email
from ..tenancy.keys import Kind, is_id
from ..tenancy.nodes import DEFAULTS, Node, fields_of
from ..tenancy.people import Group, Member, Role, predefined
from ..tenancy.pricing import price_id
from ..words import terms
from ..words.prices import NewPrice
from .model import ChannelEntry, Common, OrganizationFile, OverrideEntry

Path = tuple[str | int, ...]
"""Where something stands in the file."""
ALIASES = {"budget_usd": "monthly_budget_usd", "total_monthly_budget": "monthly_budget_usd"}
WORDS = {"allowed_models": "models", "allowed_ips": "addresses", "time_zone": "zone"}
"""Words of the file that are called otherwise in the tree."""
PLAIN = ("enabled", "environment", "expires_at", "permissions", *WORDS)
NEEDED = {"email": "email", "slack": "url", "webhook": "url"}
"""What a channel of each type is made from."""


class Entry(NamedTuple):
    """A node of the file: what it says, where, and which kind and name it is of."""

    path: Path
    kind: Kind
    name: str
    said: Common


def nodes(file: OrganizationFile) -> Iterator[Entry]:
    """All nodes of the file, each before what is below it."""
    yield Entry(("organization",), "organization", file.organization.name, file.organization)
    for name, team in (file.teams or {}).items():
        yield Entry(("teams", name), "team", name, team)
    for name, project in (file.projects or {}).items():
        yield Entry(("projects", name), "project", name, project)
    for above, team in (file.teams or {}).items():
        for name, project in (team.projects or {}).items():
            yield Entry(("teams", above, "projects", name), "project", name, project)


def keys(entry: Entry) -> Iterator[Entry]:
    """The keys of a node."""
    for name, key in (getattr(entry.said, "keys", None) or {}).items():
        yield Entry((*entry.path, "keys", name), "key", name, key)


def fields(said: Common, node: Node | None = None) -> dict[str, Any]:
    """The fields of a node that an entry says; limits and alerts as they follow from those that it has. Raises
    ConfigurationError naming the field as the tree calls it.
    """
    given = said.given()
    found = {
        WORDS.get(word, word): DEFAULTS[WORDS.get(word, word)] if value is None else value
        for word, value in given.items()
        if word in PLAIN
    }
    return fields_of(found) | _terms(given, node)


def _terms(given: Mapping[str, Any], node: Node | None) -> dict[str, Any]:
    sent = {ALIASES.get(word, word): value for word, value in given.items()}
    limits, alerts = (node.limits, node.alerts) if node is not None else ((), ())
    found = terms.changes(sent, limits, alerts)
    carryover = given.get("carryover")
    if carryover is None:
        return found
    if "limits" in given:
        raise ConfigurationError(
            "carryover", "is a word of the limits where these are texts: $300/month carryover"
        )
    windows = {str(terms.BUDGETS[word].window) for word in sent if word in terms.BUDGETS}
    found["limits"] = tuple(_carried(found.get("limits", limits), windows, carryover))
    return found


def _carried(limits: Iterable[Limit], windows: set[str], carryover: bool) -> Iterator[Limit]:
    """The limits, of which the budgets of these windows (none: all) carry over, or do not."""
    for limit in limits:
        is_own = limit.metric == "cost" and limit.models is None and limit.per is None
        if is_own and limit.window is not None and limit.window.kind == "calendar":
            chosen = not windows or str(limit.window) in windows
            yield replace(limit, carryover=carryover) if chosen else limit
        else:
            yield limit


def override(entry: OverrideEntry) -> Override:
    """An override. Raises ConfigurationError."""
    is_cost = entry.limit.split("/")[0] == "cost"
    wanted, other = ("amount_usd", "amount") if is_cost else ("amount", "amount_usd")
    if getattr(entry, wanted) is None:
        raise ConfigurationError(wanted, "is missing")
    if getattr(entry, other) is not None:
        raise ConfigurationError(other, f"is not what '{entry.limit}' counts; give {wanted}")
    return Override(entry.limit, getattr(entry, wanted), entry.since, entry.until)


def problems(file: OrganizationFile) -> Iterator[Problem]:
    """What is wrong with a file by itself, whatever it is applied to; each with its path, no line."""
    for path, message in _problems(file):
        yield Problem(dotted(path), message)


def dotted(path: Path) -> str:
    """A path as text: `teams.engineering.limits[0]`."""
    found = ""
    for part in path:
        found += f"[{part}]" if isinstance(part, int) else f".{part}" if found else str(part)
    return found


Told = tuple[Path, str]


def _problems(file: OrganizationFile) -> Iterator[Told]:
    may_carry = file.global_settings is None or file.global_settings.carryover_allowed is not False
    seen: dict[str, Path] = {}
    for entry in nodes(file):
        for each in (entry, *keys(entry)):
            yield from _node_problems(each, may_carry)
            yield from _twice(each, seen)
        yield from _place_problems(entry, file.custom_roles)
    yield from _people_problems(file)
    yield from _price_problems(file.prices or ())


def _node_problems(entry: Entry, may_carry: bool) -> Iterator[Told]:
    path, said = entry.path, entry.said
    given = said.given()
    for alias, word in ALIASES.items():
        if alias in given and word in given:
            yield (*path, alias), f"says the same as {word}; give one of the two"
    node = _whole(entry)
    if node is None:
        yield from _field_problems(entry, given)
    if node is not None and not may_carry and any(limit.carryover for limit in node.limits):
        yield (
            (*path, "carryover" if said.carryover else "limits"),
            ("carry over what is left, which global_settings.carryover_allowed forbids"),
        )
    for number, each in enumerate(said.overrides or ()):
        yield from _tried((*path, "overrides", number), override, each)


def _whole(entry: Entry) -> Node | None:
    """The node that an entry says, None where something is wrong with it."""
    try:
        return _sample(entry, fields(entry.said))
    except ConfigurationError:
        return None


def _field_problems(entry: Entry, given: Mapping[str, Any]) -> Iterator[Told]:
    """What is wrong with an entry, one field after the other."""
    path, said = entry.path, entry.said
    yield from _tried(path, _sample, entry, {}, word="name")
    for word in given.keys() & {*PLAIN}:
        one = type(said).model_construct({word}, **{word: given[word]})
        yield from _tried(path, lambda one: _sample(entry, fields(one)), one, word=word)
    for at, what in _tried((), lambda: _sample(entry, _terms(given, None))):
        yield (*path, word_of(said, str(at[0]))), what


def word_of(said: Common, field: str) -> str:
    """The word in which an entry says a field of the tree."""
    if field == "limits":
        return next((alias for alias in ALIASES if alias in said.model_fields_set), terms.field_of(said))
    if field == "alerts":
        return "alerts" if "alerts" in said.model_fields_set else "quota_alerts"
    return next((word for word, inside in WORDS.items() if inside == field), field)


def _sample(entry: Entry, given: Mapping[str, Any]) -> Node:
    parent = "" if entry.kind == "organization" else "org_sample"
    extra = {"permissions": CALL_PERMISSIONS} if entry.kind == "key" else {}
    node = Node("sample", entry.kind, parent, entry.name, **(extra | dict(given)))
    if entry.kind == "organization" and any(alert.action == "close" for alert in node.alerts):
        raise ConfigurationError("alerts", "close no organization, since nobody in it could enable it again")
    return node


def _twice(entry: Entry, seen: dict[str, Path]) -> Iterator[Told]:
    id = entry.said.id
    if id is None:
        return
    if id in seen:
        yield (*entry.path, "id"), f"is that of {dotted(seen[id])} as well"
    elif not is_id(id):
        yield (*entry.path, "id"), "is 1 to 64 characters of a-z, 0-9, _ and -"
    else:
        seen[id] = entry.path


def _place_problems(entry: Entry, custom: Mapping[str, object] | None) -> Iterator[Told]:
    said: Any = entry.said
    for name in said.roles or {}:
        yield from _tried((*entry.path, "roles", name), Group, "sample", "sample", name, word="")
    for name, held in (said.roles or {}).items():
        yield from _role_problems((*entry.path, "roles", name), held, custom)
    for number, channel in enumerate(said.channels or ()):
        yield from (((*entry.path, "channels", number, *at), what) for at, what in _channel_problems(channel))


def _role_problems(path: Path, roles: Iterable[str], custom: Mapping[str, object] | None) -> Iterator[Told]:
    """Roles that there are not; where the file says none of its own, that is seen where it is applied."""
    for number, role in enumerate(roles):
        if custom is not None and predefined(role) is None and role not in custom:
            yield (*path, number), no_role(role)


def no_role(role: str) -> str:
    """What is wrong with a role that there is not."""
    return f"there is no role {role!r}; give one of {', '.join(sorted(ROLES))}, or of custom_roles"


def _channel_problems(channel: ChannelEntry) -> Iterator[Told]:
    needed = NEEDED[channel.type]
    given = channel.given()
    if channel.id is None and given.get(needed) is None:
        yield (), f"{needed} is missing: a channel of type {channel.type} has one"
    for word in ("email", "url", "secret"):
        allowed = word == needed or (word == "secret" and channel.type == "webhook")
        if given.get(word) is not None and not allowed:
            yield (word,), f"is nothing that a channel of type {channel.type} has"
    if channel.email is not None:
        yield from _tried((), email, channel.email, "email", word="email")


def _people_problems(file: OrganizationFile) -> Iterator[Told]:
    for name, role in (file.custom_roles or {}).items():
        path: Path = ("custom_roles", name)
        yield from _tried(path, Role, "sample", "sample", name, word="")
        for number, each in enumerate(role.permissions):
            at = (*path, "permissions", number)
            yield from _tried(at, Role, "sample", "sample", "sample", (each,), word="")
        yield from _tried(path, Role, "sample", "sample", "sample", (), role.description)
    for name, member in (file.members or {}).items():
        path = ("members", name)
        yield from _tried(path, Member, "sample", "sample", name, word="")
        yield from _tried(path, Member, "sample", "sample", "sample", member.email)
        for number, held in enumerate(member.roles or ()):
            found = _role_problems((*path, "roles", number), [held.role], file.custom_roles)
            yield from (((*path, "roles", number, "role"), what) for _, what in found)


def _price_problems(prices: Iterable[NewPrice]) -> Iterator[Told]:
    seen: dict[str, int] = {}
    for number, price in enumerate(prices):
        path: Path = ("prices", number)
        told = list(_tried(path, price.rule))
        yield from told
        if told:
            continue
        first = seen.setdefault(price_id(price.rule()), number)
        if first != number:
            yield path, f"says the same as prices[{first}]: a price of this model from then on"


def _tried(path: Path, work: Callable[..., object], *args: Any, word: str | None = None) -> Iterator[Told]:
    """What a ConfigurationError says, at the field that it names, or at this one."""
    try:
        work(*args)
    except ConfigurationError as error:
        at = error.field if word is None else word
        yield (*path, *((at,) if at else ())), str(error).partition(": ")[2]


def node_fields_of(file: OrganizationFile) -> dict[str, Any]:
    """What the file says of the organization beside its entry: settings and prices, as the tree calls them."""
    found: dict[str, Any] = {}
    if file.global_settings is not None:
        given = file.global_settings.given()
        found |= {word: DEFAULTS[word] if given[word] is None else given[word] for word in given}
    if file.prices is not None:
        found["prices"] = tuple(price.rule() for price in file.prices)
    return found
