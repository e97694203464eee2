"""`/prices`: what models cost an organization, over the maintained list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from typing import Any, Literal

from pydantic import Field

from ..core.money import NANO
from ..core.prices import COUNTED_AS, SERVICES, Price, Service
from ..core.terms import PriceRule, prices_of
from ..errors import NotFound, PreconditionFailed
from ..tenancy.nodes import Node
from ..tenancy.plans import book_of
from ..tenancy.pricing import price_id
from ..words.prices import NewPrice
from ..words.wire import Answer, Listing, Moment, Page, Revised, Time
from .pages import listed
from .routes import Again, Ask, Route

_MILLION = 1_000_000


class Prices(Page):
    """All prices of the organization's own, or with `model` the one that is in force for it, whoever says it."""

    model: str | None = Field(None, min_length=1, max_length=256)
    provider: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="of the model, such as openai; without it, by the model's name",
    )
    at: Time | None = Field(None, description="in force then; without it, now")


class RatesAnswer(Answer):
    """US dollars per million tokens; null where it is priced as the whole that it is a part of."""

    input: float
    output: float
    cache_read: float | None
    cache_write: float | None
    cache_write_1h: float | None
    reasoning: float | None
    audio_input: float | None
    audio_output: float | None
    image_input: float | None
    image_output: float | None
    cache_read_audio: float | None
    cache_read_image: float | None
    video_input: float | None
    video_output: float | None


class TierAnswer(RatesAnswer):
    """Rates of the whole of a call with more than so many tokens of input."""

    above_input_tokens: int


class ServiceAnswer(RatesAnswer):
    """Rates, and US dollars of one of what is billed by count; null where that costs nothing.

    tiers     other rates for calls with much input
    """

    request: float | None = Field(description="US dollars for each request on top")
    characters: float | None = Field(description="US dollars for a million characters that are read out")
    audio_hour: float | None
    image: float | None
    web_search: float | None
    file_search: float | None
    rerank_search: float | None
    page: float | None
    annotated_page: float | None
    tiers: list[TierAnswer]


class PriceAnswer(ServiceAnswer, Revised):
    """A price.

    model     the model, or the pattern of models, that it is said of
    source    who says it: the organization, the app's configuration, the maintained list, or the configuration for
              models that nobody lists. Only the organization's has an id, and can be changed
    tiers     other rates for calls with much input
    batch, flex, priority, fast   what it costs so, null where that is what it costs otherwise
    in_force  whether it is now, or at the time asked for; of several for one model the one that began last counts, and
              a model's name goes before a pattern
    revision  of the organization
    """

    id: str | None
    model: str
    source: Literal["organization", "configuration", "list", "unknown_model"]
    batch: ServiceAnswer | None
    flex: ServiceAnswer | None
    priority: ServiceAnswer | None
    fast: ServiceAnswer | None
    valid_from: Moment | None
    valid_until: Moment | None
    in_force: bool


def list_prices(ask: Ask) -> Listing[PriceAnswer]:
    """Takes org:manage. With `model` it answers one price, or none where nobody prices it."""
    query: Prices = ask.query
    organization = ask.tenancy.prices(ask.org)
    if query.model is not None:
        return Listing(data=_in_force(ask, organization, query), next_cursor=None)
    now = ask.parts.engine.now()
    rules = sorted(map(_Known, organization.prices), key=lambda known: known.id)

    def fetch(after: str, limit: int) -> list[_Known]:
        return [known for known in rules if known.id > after][:limit]

    return listed(query, fetch, lambda known: _shown(organization, known.rule, now))


def set_price(ask: Ask) -> PriceAnswer | Again:
    """Takes org:manage. In force for the very next call; one that is under way is charged what it was made at. One for
    the same model that begins at the same time is replaced.
    """
    rule = ask.body.rule()
    known = {price_id(each) for each in ask.tenancy.prices(ask.org).prices}
    answer = _shown(ask.tenancy.set_price(ask.org, rule, expect=ask.expect), rule, ask.parts.engine.now())
    return Again(answer) if price_id(rule) in known else answer


def get_price(ask: Ask) -> PriceAnswer:
    """Takes org:manage."""
    organization = ask.tenancy.prices(ask.org)
    for rule in organization.prices:
        if price_id(rule) == ask.params["id"]:
            return _shown(organization, rule, ask.parts.engine.now())
    raise NotFound(f"There is no price '{ask.params['id'][:100]}' in this organization")


def delete_price(ask: Ask) -> None:
    """Takes org:manage. What the model cost without it holds for the very next call."""
    ask.tenancy.drop_price(ask.org, ask.params["id"], expect=ask.expect)


class _Known:
    """A rule, as lists go by it."""

    def __init__(self, rule: PriceRule) -> None:
        self.rule = rule
        self.id = price_id(rule)


def _in_force(ask: Ask, organization: Node, query: Prices) -> list[PriceAnswer]:
    at = ask.parts.engine.now() if query.at is None else query.at
    rules, _ = prices_of(organization.prices, at)
    found = ask.parts.engine.price_in_force(book_of(rules), query.provider, query.model or "", at)
    if found is None:
        return []
    if found.source == "organization":
        rule = next(rule for rule in reversed(rules) if rule.model.lower() == found.model)
        return [_shown(organization, rule, at)]
    return [
        PriceAnswer(
            **_told(found.price),
            id=None,
            model=found.model,
            source=found.source,
            valid_from=None,
            valid_until=None,
            in_force=True,
            revision=organization.rev,
        )
    ]


def _shown(organization: Node, rule: PriceRule, at: int) -> PriceAnswer:
    return PriceAnswer(
        **_told(rule.price()),
        id=price_id(rule),
        model=rule.model,
        source="organization",
        valid_from=rule.since or None,
        valid_until=rule.until or None,
        in_force=rule.holds(at),
        revision=organization.rev,
    )


def _told(price: Price) -> dict[str, Any]:
    services = {name: _served(price, ways) for name, ways in SERVICES.items()}
    return {**_rates(price), **services}


def _served(price: Price, ways: tuple[Service, ...]) -> ServiceAnswer | None:
    """What a price is in one of these ways of service, if it is another one there."""
    other = next((served for how in ways if (served := price.served(how)) is not price), None)
    return None if other is None else ServiceAnswer(**_rates(other))


def _rates(price: Price) -> dict[str, Any]:
    def dollars(rate: int, number: int = 1) -> float:
        return float(Fraction(rate * number, price.scale * NANO))

    def rates(tier: Mapping[str, int | None]) -> dict[str, Any]:
        return {
            name: None if rate is None else dollars(rate, _MILLION)
            for name, rate in tier.items()
            if name != "above"
        }

    counted = dict(price.counted)
    if "annotated_pages" in counted:
        counted["annotated_pages"] += counted.get("pages", 0)
    units = {
        name: dollars(counted[of], number) if of in counted else None
        for name, (of, number) in COUNTED_AS.items()
    }
    first, *others = map(asdict, price.tiers)
    tiers = [TierAnswer(above_input_tokens=tier["above"], **rates(tier)) for tier in others]
    request = dollars(price.request) if price.request else None
    return {**rates(first), **units, "request": request, "tiers": tiers}


_route = partial(Route, tag="prices", takes="org:manage")

ROUTES = (
    _route(
        "GET", "/prices", list_prices, "The organization's own prices, or the one in force for a model",
        answer=Listing[PriceAnswer], query=Prices,
    ),
    _route(
        "POST", "/prices", set_price, "Says what a model costs", answer=PriceAnswer, body=NewPrice, status=201,
        errors=(PreconditionFailed,), again=True,
    ),
    _route("GET", "/prices/{id}", get_price, "One price of the organization's own", answer=PriceAnswer),
    _route("DELETE", "/prices/{id}", delete_price, "Takes a price away", status=204),
)  # fmt: skip
