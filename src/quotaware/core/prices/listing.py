"""A model as genai-prices lists it: its context window, and its price at any time and in any way of service.

Which of its prices is in force is genai-prices' own word. Not read: what no call reports (cache storage, sessions).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import product
from typing import TYPE_CHECKING

from .price import Price
from .rates import BY_USE, Service, service

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices
    from genai_prices.types import TimeOfDateConstraint as TimeOfDayConstraint

_LISTED_AS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
    "audio_input": "input_audio_mtok",
    "audio_output": "output_audio_mtok",
    "image_input": "input_image_mtok",
    "image_output": "output_image_mtok",
    "cache_read_audio": "cache_audio_read_mtok",
    "cache_read_image": "cache_image_read_mtok",
    "video_input": "input_video_mtok",
    "video_output": "output_video_mtok",
}
_NANO = 1_000_000_000
_COUNTED_AS = {
    "characters": (("input_mchars",), 1_000_000),
    "audio_ms": (("input_audio_hours", "audio_hours"), 3_600_000),
    "web_searches": (("web_searches_kcount",), 1_000),
    "file_searches": (("storage_searches_kcount",), 1_000),
    "rerank_searches": (("rerank_searches_kcount",), 1_000),
    "pages": (("input_document_kpages",), 1_000),
    "annotated_pages": (("input_annotated_document_kpages",), 1_000),
}
"""What is billed by count and not by token, under which names, and how many of it a rate is for."""
_PER_TOKEN = 1_000  # US dollars per million tokens → nano-dollars per token
_PER_REQUEST = 1_000_000  # US dollars per thousand requests → nano-dollars per request
_LEAST_MS = {("groq", "whisper-large-v3"): 10_000, ("groq", "whisper-large-v3-turbo"): 10_000}
"""Sound that is billed at least: a rule that genai-prices has in its code, and not in its data."""
_DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Listing:
    """A model of the list, found at `home`.

    context  tokens that it can take in, None where that is not listed
    """

    def __init__(self, home: Provider, model: ModelInfo) -> None:
        self.context = model.context_window
        self._model = model
        # What others relay is listed without their ways of service, as genai-prices has it.
        self._variants = (model.price_variants or []) if any(model is each for each in home.models) else []
        self._least = _LEAST_MS.get((home.id, model.id), 0)
        constraints = [each.constraint for each in self._variants]
        if isinstance(model.prices, list):
            constraints += [each.constraint for each in model.prices]
        self._days, self._times = _changes(constraints)
        self._known: dict[tuple[int, int], Price | None] = {}

    def price_at(self, at_ms: int) -> Price | None:
        """The price in force at a time; None where it names no rate: not known is not free."""
        day, ms = divmod(at_ms, _DAY_MS)
        when = bisect_right(self._days, day), bisect_right(self._times, ms)
        try:
            return self._known[when]
        except KeyError:
            price = self._known[when] = self._in_force(_EPOCH + timedelta(milliseconds=at_ms))
            return price

    def _in_force(self, moment: datetime) -> Price | None:
        usual = _listed(self._model.get_prices(moment), self._least)
        if usual is None:
            return None
        for conditions in self._services():
            price = _listed(self._model.get_prices(moment, dict(conditions)), self._least)
            if price is not None and price != replace(usual.served(conditions), services=()):
                usual = replace(usual, services=(*usual.services, (conditions, price)))
        return usual

    def _services(self) -> Iterator[Service]:
        """All that may be said of how a call is served, of what bears on the price, little first."""
        values: dict[str, dict[str | None, None]] = {}
        for variant in self._variants:
            for name, value in variant.when.items():
                values.setdefault(name, {None: None})[value] = None
        every = [service(**dict(zip(values, each, strict=True))) for each in product(*values.values())]
        yield from sorted((conditions for conditions in every if conditions), key=len)


def _changes(
    constraints: list[StartDateConstraint | TimeOfDayConstraint | None],
) -> tuple[list[int], list[int]]:
    """When prices may change: the days (since the epoch), and the ms within each day."""
    days: set[int] = set()
    times: set[int] = set()
    for constraint in constraints:
        if constraint is None:
            continue
        start = getattr(constraint, "start_date", None)
        if isinstance(start, date):
            days.add((start - _EPOCH.date()).days)
        else:
            times |= {_of_day(getattr(constraint, name)) for name in ("start_time", "end_time")}
    return sorted(days), sorted(times)


def _of_day(moment: time) -> int:
    """The ms in a day of UTC; a time without a zone is one of UTC."""
    at = datetime.combine(_EPOCH.date(), moment, moment.tzinfo or UTC)
    return (at - _EPOCH) // timedelta(milliseconds=1) % _DAY_MS


def _listed(listed: ModelPrice, least_ms: int) -> Price | None:
    """A listed price as ours, without services."""
    rates = {name: rate for name, key in _LISTED_AS.items() if (rate := getattr(listed, key)) is not None}
    counted = dict(_counted(listed))
    if not rates and not counted.keys() - BY_USE:
        return None
    if "annotated_pages" in counted:
        counted["annotated_pages"] = max(Fraction(0), counted["annotated_pages"] - counted.get("pages", 0))
    starts = {tier.start for rate in rates.values() if not isinstance(rate, Decimal) for tier in rate.tiers}
    request = listed.requests_kcount
    price = Price.exact(
        {
            above: {name: Fraction(_rate_above(rate, above)) * _PER_TOKEN for name, rate in rates.items()}
            for above in (-1, *sorted(starts))
        },
        Fraction(request) * _PER_REQUEST if isinstance(request, Decimal) else Fraction(0),
        counted,
    )
    return replace(price, least_ms=least_ms) if least_ms else price


def _counted(listed: ModelPrice) -> Iterator[tuple[str, Fraction]]:
    """What is listed by count, nano-dollars of one."""
    for name, (keys, number) in _COUNTED_AS.items():
        rate = next((rate for key in keys if (rate := getattr(listed, key)) is not None), None)
        if isinstance(rate, Decimal):
            yield name, Fraction(rate) * _NANO / number


def _rate_above(rate: Decimal | TieredPrices, above: int) -> Decimal:
    if isinstance(rate, Decimal):
        return rate
    return next((tier.price for tier in reversed(rate.tiers) if tier.start <= above), rate.base)
