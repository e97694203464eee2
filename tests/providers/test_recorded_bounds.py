"""F20: what calls were bounded by before they were made, held to what their providers counted.

Held to are all recorded calls whose whole input stands in their bodies: no stand-in for what was cut out, nothing that
the server holds or fetches.
"""

from __future__ import annotations

import json
from functools import cache
from statistics import median

import pytest

from quotaware.core.bounds import (
    Call,
    estimate_input,
    input_bound,
    max_output,
    output_bound,
    worst_cost,
)
from quotaware.core.prices import PriceBook
from quotaware.core.usage import Usage, suspect
from quotaware.learned import SEED
from quotaware.providers import naming
from quotaware.providers.jsontext import parse
from tests.corpus import expected_of, needs_corpus
from tests.providers.test_recorded import PROVIDERS, routed_exchanges

pytestmark = needs_corpus

BOOK = PriceBook()
AUGUST_2026 = 1_786_000_000_000
CUT = 212
"""Recorded calls with a stand-in for what was cut out of them."""

each_provider = pytest.mark.parametrize("provider", PROVIDERS)


@cache
def calls() -> list[tuple[str, str, Call, Usage, bool]]:
    """Every recorded call with what its provider reported: whose, its id, as it was read, and whether it is whole."""
    found = []
    for route, exchange in routed_exchanges():
        usage = expected_of(exchange)[1]
        if usage is None or route.format is None:
            continue
        text = json.dumps(exchange["request"])
        body = parse(text.encode())
        model = route.named or body["model"]
        call = naming.read(route, route.format, body, {model.lower(): model})
        whole = not call.opaque and "opaque" not in text
        found.append((exchange["provider"], exchange["id"], call, Usage(**usage), whole))
    return found


def whole(provider: str) -> list[tuple[str, Call, Usage]]:
    found = [
        (id, call, real) for whose, id, call, real, is_whole in calls() if whose == provider and is_whole
    ]
    return [one for one in found if one[2].input]


def longest(call: Call) -> int:
    return max(
        max_output(one.model, BOOK.context_window(one.provider, one.model))
        for one in call.readings
        if one.model
    )


@cache
def cut() -> frozenset[str]:
    """Ids of the calls with a stand-in."""
    return frozenset(e["id"] for _, e in routed_exchanges() if "opaque" in json.dumps(e["request"]))


def test_most_of_the_recorded_calls_are_held_to() -> None:
    assert len(cut()) == CUT
    assert sum(len(whole(provider)) for provider in PROVIDERS) >= 590


@each_provider
def test_a_strict_bound_covers_every_call(provider: str) -> None:
    """F20: one token a byte, and room for what providers add, is never below what they counted."""
    assert [id for id, call, real in whole(provider) if input_bound(call, "strict") < real.input] == []


@each_provider
def test_a_calibrated_bound_covers_nearly_all_and_is_near(provider: str) -> None:
    """F20: at or above the real count of 99 in 100 calls, and in the median at most twice as much."""
    ratios = {id: input_bound(call, "calibrated") / real.input for id, call, real in whole(provider)}
    below = [id for id, ratio in ratios.items() if ratio < 1]
    assert len(below) <= 0.01 * len(ratios), below
    assert median(ratios.values()) <= 2


def test_with_what_is_allowed_for_the_unseen_nearly_all_calls_are_covered() -> None:
    """Those too whose providers searched, ran code, or went on from what they had kept, before anything was learned."""
    brought, covered = [], []
    for _, id, call, real, is_whole in calls():
        if real.input and (is_whole or (call.opaque and id not in cut())):
            allowed = SEED if call.opaque else 0
            shown = input_bound(call, "calibrated")
            covered.append(shown + allowed >= real.input)
            brought += [real.input - shown] if call.opaque else []
    assert len(covered) > 700
    assert sum(covered) >= 0.99 * len(covered)
    assert sum(hidden <= SEED for hidden in brought) >= 0.9 * len(brought)


@each_provider
def test_the_likeliest_count_is_near_the_real_one(provider: str) -> None:
    """A call whose input nobody reported is charged about what it was."""
    assert 0.8 < median(estimate_input(call) / real.input for _, call, real in whole(provider)) < 1.5


@each_provider
def test_no_answer_is_longer_than_what_is_reserved_for_it(provider: str) -> None:
    """F20: within the call's own cap, times its choices, else its model's longest. Input that is not shown included."""
    assert [
        id
        for whose, id, call, real, _ in calls()
        if whose == provider and real.output > output_bound(call, longest(call))
    ] == []


@each_provider
def test_no_call_cost_more_than_the_worst(provider: str) -> None:
    """F20: with a strict bound of the input, and the cap or the longest answer, the real cost always fits."""
    for id, call, real in whole(provider):
        price = BOOK.find(call.provider, call.model, AUGUST_2026)
        if price is not None:
            most = output_bound(call, longest(call))
            assert price.cost(real) <= worst_cost(price, call, input_bound(call, "strict"), most), id


@each_provider
def test_no_usage_is_suspect(provider: str) -> None:
    for id, call, real in whole(provider):
        assert not suspect(real, input_bound(call, "calibrated"), output_bound(call, longest(call)) or 1), id
