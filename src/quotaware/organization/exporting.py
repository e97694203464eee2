"""An organization as the file says it, in the shortest words: applied where it comes from, it changes nothing.

Secrets are not in it; keys without a name, and what is over, neither. Ids that nobody chose are left out unless they
are asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from ..core.alerts import SHARE
from ..core.denials import iso
from ..core.money import to_usd
from ..core.terms import PriceRule, nested
from ..errors import ConfigurationError
from ..tenancy.channels import Channel
from ..tenancy.nodes import Node
from ..tenancy.people import Group, Member, Role
from . import yamltext
from .reading import Format
from .state import State

T = TypeVar("T", Node, Group, Member, Role)
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "org:manage": ("roles", "custom_roles", "members", "prices"),
    "api_key:read": ("keys",),
    "quota:manage": ("channels",),
}
"""What of the file takes more than quota:read to be looked at."""
_RANDOM = re.compile(r"[a-z]+_[0-9A-Za-z]{20}")
_BUDGET = {"organization": "total_monthly_budget", "team": "budget_usd", "project": "budget_usd"}


def exported(
    state: State, org: str, now: int, *, ids: bool = False, without: Collection[str] = ()
) -> dict[str, Any]:
    """The organization as values, as `OrganizationFile` reads them.

    ids      also those that nobody chose
    without  sections that are left out
    """
    root = state.node(org)
    if root is None:
        raise ConfigurationError("organization", f"there is none with the id {org!r}")
    writer = _Writer(state, root, now, ids, frozenset(without))
    found: dict[str, Any] = {"organization": writer.place(root)}
    teams = {str(team.name): writer.team(team) for team in _by_name(state.nodes("team", org))}
    projects = writer.projects(org)
    found |= {"teams": teams} if teams else {}
    found |= {"projects": projects} if projects else {}
    found["global_settings"] = _without_none(
        alert_threshold=None if root.alert_threshold is None else _number(root.alert_threshold / SHARE),
        auto_upgrade=root.auto_upgrade,
        carryover_allowed=root.carryover_allowed,
    )
    if roles := _by_name(state.of(Role, org)):
        found["custom_roles"] = {
            role.name: _without_none(permissions=list(role.permissions), description=role.description)
            for role in roles
        }
    if members := _by_name(state.of(Member, org)):
        found["members"] = {member.name: writer.member(member) for member in members}
    if root.prices:
        found["prices"] = [_price(rule) for rule in root.prices]
    return {name: value for name, value in found.items() if name not in writer.without}


class _Writer:
    def __init__(self, state: State, root: Node, now: int, ids: bool, without: frozenset[str]) -> None:
        self.without = without
        self._state = state
        self._root = root
        self._now = now
        self._ids = ids
        self._calls: dict[str, int] = {}
        for thing in state.by_id.values():
            if isinstance(thing, Node) and thing.kind != "key":
                for name in {thing.name or "", self._full(thing)}:
                    self._calls[name] = self._calls.get(name, 0) + 1
        self._groups: dict[str, int] = {}
        for thing in state.by_id.values():
            if isinstance(thing, Group):
                for name in {thing.name, self._full_group(thing)}:
                    self._groups[name] = self._groups.get(name, 0) + 1

    def place(self, node: Node) -> dict[str, Any]:
        """An organization, a team or a project, without what stands below it."""
        found: dict[str, Any] = {"name": node.name} if node.kind == "organization" else {}
        found |= self._common(node)
        if groups := _by_name(self._state.of(Group, node.id)):
            found["roles"] = {group.name: [self._role(role) for role in group.roles] for group in groups}
        keys = _by_name(key for key in self._state.nodes("key", node.id) if key.name is not None)
        if keys:
            found["keys"] = {str(key.name): self._key(key) for key in keys}
        if channels := self._state.channels(node.id):
            found["channels"] = [_channel(each) for each in sorted(channels, key=_channel_order)]
        return {name: value for name, value in found.items() if name not in self.without}

    def team(self, node: Node) -> dict[str, Any]:
        """A team with its projects."""
        found = self.place(node)
        if projects := self.projects(node.id):
            found["projects"] = projects
        return found

    def projects(self, parent: str) -> dict[str, Any] | list[str]:
        """Projects below a node: their names, where there is nothing more to say of any."""
        found = {str(node.name): self.place(node) for node in _by_name(self._state.nodes("project", parent))}
        return found if any(found.values()) else list(found)

    def member(self, member: Member) -> dict[str, Any]:
        """A person."""
        found = _without_none(email=member.email)
        if held := [each for each in member.roles if self._state.node(each.node) is not None]:
            found["roles"] = [
                {"role": self._role(each.role), "node": self._called(each.node)} for each in held
            ]
        groups = [self._state.by_id.get(id) for id in member.groups]
        if named := [self._group(each) for each in groups if isinstance(each, Group)]:
            found["groups"] = named
        return found | ({} if member.enabled else {"enabled": False})

    def _common(self, node: Node) -> dict[str, Any]:
        found: dict[str, Any] = {"id": node.id} if self._ids or not _RANDOM.fullmatch(node.id) else {}
        found |= _limits(node)
        plain = {
            "allowed_models": list(node.models),
            "environment": node.environment,
            "time_zone": node.zone,
            "enabled": node.enabled,
        }
        defaults = {"allowed_models": [], "environment": "live", "time_zone": "UTC", "enabled": True}
        found |= {
            name: value
            for name, value in plain.items()
            if value != defaults[name] and not (name == "enabled" and node.kind == "organization")
        }
        if live := [each for each in node.overrides if each.until > self._now]:
            found["overrides"] = [
                {
                    "limit": each.limit,
                    **(
                        {"amount_usd": _number(to_usd(each.amount))}
                        if each.limit.split("/")[0] == "cost"
                        else {"amount": each.amount}
                    ),
                    "since": iso(each.since),
                    "until": iso(each.until),
                }
                for each in live
            ]
        return found

    def _key(self, key: Node) -> dict[str, Any]:
        found = self._common(key)
        found["permissions"] = list(key.permissions)
        if key.addresses:
            found["allowed_ips"] = list(key.addresses)
        if key.expires_at is not None:
            found["expires_at"] = iso(key.expires_at)
        return found

    def _role(self, role: str) -> str:
        if role == "org_admin":
            return "admin"
        custom = self._state.by_id.get(role)
        return custom.name if isinstance(custom, Role) else role

    def _full(self, node: Node) -> str:
        above = self._state.node(node.parent) if node.kind == "project" else None
        return f"{above.name}/{node.name}" if above and above.kind == "team" else node.name or ""

    def _called(self, id: str) -> str:
        """The shortest unambiguous way to name a node."""
        node = self._state.node(id)
        if node is None:
            return id
        names = (node.name or "", self._full(node))
        return next((name for name in names if self._calls[name] == 1), id)

    def _full_group(self, group: Group) -> str:
        node = self._state.node(group.parent)
        return f"{self._full(node)}/{group.name}" if node is not None else group.name

    def _group(self, group: Group) -> str:
        names = (group.name, self._full_group(group))
        return next((name for name in names if self._groups[name] == 1), group.id)


def _by_name(things: Iterable[T]) -> list[T]:
    """In an order that does not depend on ids, so that two exports can be compared."""
    return sorted(things, key=lambda thing: thing.name or "")


def _limits(node: Node) -> dict[str, Any]:
    """Limits and alerts: a budget by its own word where that is all there is."""
    found: dict[str, Any] = {}
    word = _BUDGET.get(node.kind, "monthly_budget_usd")
    if [str(limit.window) for limit in node.limits] == ["month"]:
        (limit,) = node.limits
        is_plain = limit.metric == "cost" and limit.mode == "hard" and not limit.carryover
        if is_plain and limit.models is None and limit.per is None:
            found[word] = _number(to_usd(limit.amount))
    if node.limits and not found:
        found["limits"] = list(map(str, node.limits))
    if node.alerts:
        found["alerts"] = list(map(str, node.alerts))
    return found


def _channel_order(channel: Channel) -> tuple[str, ...]:
    return channel.type, channel.hint, channel.id


def _channel(channel: Channel) -> dict[str, Any]:
    """A channel; by its id, where it sends to what may not be shown."""
    if channel.type == "email":
        return {"type": "email", "email": channel.target}
    if not channel.target.startswith("env:"):
        return {"type": channel.type, "id": channel.id}
    found = {"type": channel.type, "url": channel.target}
    return found | ({"secret": channel.secret} if channel.secret.startswith("env:") else {})


def _price(rule: PriceRule) -> dict[str, Any]:
    def numbers(said: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: numbers(rate) if isinstance(rate, Mapping) else _number(rate) for name, rate in said.items()
        }

    found = {"model": rule.model, **numbers(nested(rule.rates))}
    found |= {"valid_from": iso(rule.since)} if rule.since else {}
    return found | ({"valid_until": iso(rule.until)} if rule.until else {})


def _number(value: Any) -> int | float:
    """A number as people write it."""
    found = float(value)
    return int(found) if found.is_integer() and abs(found) < 10**15 else found


def _without_none(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def written(data: Mapping[str, Any], format: Format = "yaml") -> str:
    """Values as a text of this format. TOML needs tomli-w, YAML PyYAML (extra `cli`)."""
    if format == "json":
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    if format == "yaml":
        return yamltext.dump(dict(data))
    if format != "toml":
        raise ConfigurationError("format", "is one of yaml, toml, json")
    try:
        import tomli_w  # noqa: PLC0415  # of an extra
    except ImportError:
        raise ConfigurationError(
            "format", 'TOML is written by tomli-w: pip install "quotaware[cli]"; JSON needs nothing'
        ) from None
    return str(tomli_w.dumps(dict(data)))
