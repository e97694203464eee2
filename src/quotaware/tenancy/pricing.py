"""What models cost an organization: rules over the maintained list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..core.terms import PriceRule
from .directory import missing
from .keys import id_of
from .nodes import Node
from .tree import Tree
from .writes import Edit


class Pricing(Tree):
    """An organization's own prices."""

    def prices(self, org: str) -> Node:
        """The organization, with its prices. Takes org:manage."""
        path = self._path(org, org)
        self._require("org:manage", path)
        return path.organization

    def set_price(self, org: str, rule: PriceRule, *, expect: int | None = None) -> Node:
        """A price, in place of the one of that model that begins at the same time. Takes org:manage."""
        return self._priced(org, expect, lambda rules: {**rules, price_id(rule): rule})

    def drop_price(self, org: str, id: str, *, expect: int | None = None) -> Node:
        """Takes a price away, by its id (`price_id`). Takes org:manage."""

        def without(rules: dict[str, PriceRule]) -> dict[str, PriceRule]:
            if id not in rules:
                raise missing("price", id)
            return {other: rule for other, rule in rules.items() if other != id}

        return self._priced(org, expect, without)

    def _priced(
        self, org: str, expect: int | None, change: Callable[[dict[str, PriceRule]], dict[str, PriceRule]]
    ) -> Node:
        def draft() -> Edit:
            path = self._path(org, org)
            self._require("org:manage", path)
            old = path.organization
            rules = change({price_id(rule): rule for rule in old.prices})
            new = replace(old, prices=tuple(rules.values()))
            return Edit("organization.prices", path.rev, (old,), (new,))

        return self._made(self._commit(org, "organization.prices", org, draft, expect))


def price_id(rule: PriceRule) -> str:
    """The id of a price: of the model (upper and lower case are the same) and when it begins."""
    return id_of("price", f"{rule.since} {rule.model.lower()}")
