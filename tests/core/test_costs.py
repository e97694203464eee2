"""Costs of many calls, to the nano-dollar: as written out part by part, and as genai-prices reckons them."""

from __future__ import annotations

import pytest

from quotaware.core.prices import BATCH, PriceBook, Service, service
from quotaware.core.usage import Usage
from tests.core.costs import COSTS
from tests.core.test_prices import listed_cost
from tests.support import NOVEMBER

BOOK = PriceBook()
SERVED: dict[str, Service] = {
    "": (),
    "batch": BATCH,
    "fast": service(speed="fast"),
    "tier fast": service(service_tier="fast"),
    **{tier: service(service_tier=tier) for tier in ("default", "flex", "priority", "scale")},
}


@pytest.mark.parametrize(("who", "how", "usage", "cost"), COSTS)
def test_it_costs_what_is_written_and_what_the_list_says(
    who: str, how: str, usage: Usage, cost: float
) -> None:
    provider, _, model = who.partition(" ")
    price = BOOK.find(provider, model, NOVEMBER)
    assert price is not None
    assert price.served(SERVED[how]).cost(usage) == cost
    assert listed_cost(provider, model, usage, NOVEMBER, SERVED[how]) == cost


def test_there_are_two_hundred_and_no_two_alike() -> None:
    assert len({(who, how, usage) for who, how, usage, _ in COSTS}) == len(COSTS) >= 200
