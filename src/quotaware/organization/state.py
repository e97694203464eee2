"""An organization as it stands, and when a value of it says the same as another."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, TypeVar

from ..core.terms import PriceRule
from ..tenancy.channels import Channel
from ..tenancy.documents import Thing, kind_of
from ..tenancy.keys import Kind
from ..tenancy.nodes import Node
from ..tenancy.people import Group, Member, Role
from ..tenancy.pricing import price_id

T = TypeVar("T", Group, Role, Member)


class State:
    """An organization as it stands: all its things."""

    def __init__(self, things: Iterable[Thing], revision: int = 0) -> None:
        self.revision = revision
        self.by_id = {thing.id: thing for thing in things}
        self._below: dict[tuple[str, str], list[Thing]] = defaultdict(list)
        for thing in self.by_id.values():
            self._below[kind_of(thing), thing.parent].append(thing)

    def nodes(self, kind: Kind, parent: str) -> list[Node]:
        """Nodes right below another; of keys those that were not revoked."""
        return [
            each
            for each in self._below.get((kind, parent), ())
            if isinstance(each, Node) and not each.revoked
        ]

    def of(self, kind: type[T], parent: str) -> list[T]:
        """People's things below a node."""
        name = {Group: "group", Role: "role", Member: "member"}[kind]
        return [each for each in self._below.get((name, parent), ()) if isinstance(each, kind)]

    def channels(self, parent: str) -> list[Channel]:
        """Channels of a node."""
        return [each for each in self._below.get(("channel", parent), ()) if isinstance(each, Channel)]

    def node(self, id: str) -> Node | None:
        """The node of this id."""
        found = self.by_id.get(id)
        return found if isinstance(found, Node) and not found.revoked else None


def kept(old: Any, new: Any) -> Any:
    """The new value; the old one where it says the same in another order or form."""
    if not isinstance(new, tuple) or not isinstance(old, tuple):
        return new
    if any(isinstance(each, PriceRule) for each in (*old, *new)):
        return _kept_prices(old, new)
    if old == new:
        return old
    same = len(old) == len(new) and Counter(map(str, old)) == Counter(map(str, new))
    return old if same else new


def _kept_prices(old: tuple[PriceRule, ...], new: tuple[PriceRule, ...]) -> tuple[PriceRule, ...]:
    was = {price_id(rule): rule for rule in old}
    kept = tuple(
        old_rule if (old_rule := was.get(price_id(rule))) and _rates(old_rule) == _rates(rule) else rule
        for rule in new
    )
    return old if set(kept) == set(old) else kept


def _rates(rule: PriceRule) -> Any:
    return rule.until, sorted((name, Decimal(rate)) for name, rate in rule.rates)
