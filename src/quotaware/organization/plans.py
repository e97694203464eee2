"""A plan as a value: the steps from an organization as it stands to what the file says, and how they are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ..core.alerts import SHARE
from ..core.denials import iso
from ..core.money import format_usd, to_usd
from ..core.terms import Override, PriceRule
from ..tenancy.budgets import budgets
from ..tenancy.channels import Channel
from ..tenancy.documents import Thing
from ..tenancy.nodes import Node
from ..tenancy.people import Group, Member, Role
from .entries import WORDS, Path, dotted
from .model import ChannelEntry, Common

Action = Literal["create", "change", "move", "remove"]
_SIGNS: Mapping[Action, str] = {"create": "+", "change": "~", "move": ">", "remove": "-"}
_DONE: Mapping[Action, str] = {
    "create": "to create",
    "change": "to change",
    "move": "to move",
    "remove": "to remove",
}
_FIELDS: Mapping[type, tuple[str, ...]] = {
    Node: (
        "name", "limits", "alerts", "overrides", "models", "enabled", "environment", "permissions", "addresses",
        "expires_at", "zone", "prices", "alert_threshold", "auto_upgrade", "carryover_allowed",
    ),
    Role: ("permissions", "description"),
    Group: ("roles",),
    Member: ("email", "roles", "groups", "enabled"),
    Channel: (),
}  # fmt: skip
"""What is looked at of a thing."""
_WORDS = {inside: word for word, inside in WORDS.items()}


class Difference(NamedTuple):
    """One value that becomes another; None where there is none."""

    field: str
    before: Any
    after: Any


class Money(NamedTuple):
    """A budget of a node that becomes another one: nano-dollars a window, None where there is none."""

    where: str
    window: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is made, changed, moved or taken away.

    where  the node that it is at (of a node: itself), as the file calls it
    path   where the file says it; () for what is not in it
    said   by which entry, of a node
    names  what ids in it are called
    """

    action: Action
    kind: str
    before: Thing | None
    after: Thing | None
    where: str
    path: Path = ()
    channel: ChannelEntry | None = None
    said: Common | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def thing(self) -> Thing:
        """As it will be, or as it was."""
        found = self.after if self.after is not None else self.before
        assert found is not None  # noqa: S101  # one of the two is there
        return found

    @property
    def name(self) -> str:
        """As people call it."""
        if isinstance(self.thing, Channel):
            return f"{self.thing.type} {self.thing.hint}".strip()
        return self.thing.name or self.thing.id

    @property
    def destroys(self) -> bool:
        """Whether something is gone afterwards that cannot be had back."""
        return self.action == "remove"

    def differences(self) -> Iterator[Difference]:
        """What becomes another."""
        if self.action == "remove":
            return
        if self.action == "move" and self.before is not None:
            yield Difference("place", self.names[self.before.parent], self.names[self.thing.parent])
        for name in _FIELDS[type(self.thing)]:
            before = getattr(self.before, name) if self.before is not None else _nothing(self.thing, name)
            after = getattr(self.thing, name)
            if before != after and not (name == "name" and self.before is None):
                yield from _differ(_WORDS.get(name, name), before, after, self.names)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "action": self.action,
            "kind": self.kind,
            "id": self.thing.id if self.before is not None else None,
            "name": self.name,
            "where": self.where,
            "path": dotted(self.path) or None,
            "destroys": self.destroys,
            "changes": [each._asdict() for each in self.differences()],
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What would change, in the order in which it is done.

    organization  as it will be
    unchanged     how many things of the file are as it says
    revision      of the organization, that the plan was made from
    paths         where the file says what of a node, by its id
    """

    organization: Node
    steps: tuple[Step, ...]
    unchanged: int
    revision: int
    paths: Mapping[str, Path]

    @property
    def empty(self) -> bool:
        """Whether nothing would change."""
        return not self.steps

    @property
    def destroys(self) -> tuple[Step, ...]:
        """What would be gone."""
        return tuple(step for step in self.steps if step.destroys)

    def money(self) -> Iterator[Money]:
        """The budgets that become others."""
        for step in self.steps:
            if isinstance(step.thing, Node) and step.kind != "key":
                before = budgets(step.before) if isinstance(step.before, Node) else {}
                after = budgets(step.after) if isinstance(step.after, Node) else {}
                for window in dict.fromkeys((*before, *after)):
                    was, now = (side[window].amount if window in side else None for side in (before, after))
                    if was != now:
                        yield Money(step.where, window, was, now)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        counts = {action: sum(step.action == action for step in self.steps) for action in _SIGNS}
        return {
            "organization": self.organization.name,
            "revision": self.revision,
            "steps": [step.told() for step in self.steps],
            "money": [
                {
                    "where": each.where,
                    "window": each.window,
                    "before_usd": None if each.before is None else float(to_usd(each.before)),
                    "after_usd": None if each.after is None else float(to_usd(each.after)),
                }
                for each in self.money()
            ],
            "counts": {**counts, "unchanged": self.unchanged},
        }

    def __str__(self) -> str:
        return "\n".join(text(self.told()))


def text(told: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a plan as people read it, from what `Plan.told` says."""
    if not told["steps"]:
        yield f"{told['organization']} is as the file says."
        return
    for step in told["steps"]:
        sign = _SIGNS[step["action"]]
        yield f"{sign} {step['kind']} {_titled(step['name'], step['where'])}"
        for each in step["changes"]:
            yield "    " + _line(each["field"], each["before"], each["after"])
    if told["money"]:
        yield ""
        yield "Budgets"
        for each in told["money"]:
            yield "    " + _moved(each)
    counts = told["counts"]
    yield ""
    said = [f"{counts[action]} {words}" for action, words in _DONE.items() if counts[action]]
    yield f"{', '.join(said)}; {counts['unchanged']} unchanged."


def _titled(name: str, where: str) -> str:
    """A node as the file calls it, anything else with the node that it is at."""
    if not where or where == name:
        return name
    return where if where.endswith(f"/{name}") else f"{name} at {where}"


def _line(field: str, before: Any, after: Any) -> str:
    if before is None:
        return f"+ {field}: {after}"
    if after is None:
        return f"- {field}: {before}"
    return f"~ {field}: {before} -> {after}"


def _moved(each: Mapping[str, Any]) -> str:
    before, after = each["before_usd"], each["after_usd"]
    was = "none" if before is None else _usd(before)
    if after is None:
        return f"{each['where']}: {was} a {each['window']} -> none"
    said = f"{each['where']}: {was} -> {_usd(after)} a {each['window']}"
    if before is None:
        return said
    return f"{said} ({'+' if after > before else '-'}{_usd(abs(after - before))})"


def _usd(dollars: float) -> str:
    return format_usd(round(dollars * 10**9))


def _nothing(thing: Thing, name: str) -> Any:
    """What a thing that is not there yet has of a field."""
    default = type(thing).__dataclass_fields__[name].default
    return default if isinstance(default, bool | int | str | tuple) else None


def _differ(field: str, before: Any, after: Any, names: Mapping[str, str]) -> Iterator[Difference]:
    """The difference of two values, one by one where they hold several."""
    if not isinstance(after, tuple) or not isinstance(before, tuple):
        yield Difference(field, _shown(field, before, names), _shown(field, after, names))
        return
    gone = {_key(each): each for each in before if each not in after}
    come = {_key(each): each for each in after if each not in before}
    for key in dict.fromkeys((*gone, *come)):
        was, now = (
            None if each is None else _shown(field, each, names) for each in (gone.get(key), come.get(key))
        )
        yield Difference(field, was, now)


def _key(value: Any) -> Any:
    """What tells one of several from the others, though it changes."""
    if hasattr(value, "shape"):
        return (value.shape, value.mode)
    if isinstance(value, Override):
        return (value.limit, value.since)
    if isinstance(value, PriceRule):
        return (value.model.lower(), value.since)
    return value


def _shown(field: str, value: Any, names: Mapping[str, str]) -> Any:
    match value:
        case None | bool():
            return value
        case Override():
            is_cost = value.limit.split("/")[0] == "cost"
            amount = format_usd(value.amount) if is_cost else str(value.amount)
            return f"{value.limit} {amount} from {iso(value.since)} until {iso(value.until)}"
        case PriceRule():
            rates = ", ".join(f"{name} ${rate}" for name, rate in value.rates)
            return f"{value.model}: {rates}"
        case (role, node) if isinstance(value, tuple):
            return f"{names.get(role, role)} at {names.get(node, node)}"
        case int() if field == "expires_at":
            return iso(value)
        case int() if field == "alert_threshold":
            return value / SHARE
    return names.get(str(value), str(value))


def named(steps: Iterable[Step]) -> str:
    """What is taken away, for an error."""
    found = [f"{step.kind} '{step.name}'" for step in steps]
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
