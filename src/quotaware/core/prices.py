"""Prices: what a call costs, the most that it can cost, and the book in which a model's price is found.

The list is genai-prices'; what a user says of a model goes before it. All arithmetic is on integers, and a
cost equals genai-prices' own to the nano-dollar. Not priced here: searches and pages.
How many tokens a call may take is left to the bounds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import translate
from fractions import Fraction
from functools import partial
from math import lcm
from typing import TYPE_CHECKING, NamedTuple, Required, TypedDict, Unpack, cast

from cachetools.func import lru_cache

from ..errors import ConfigurationError
from .models import ANY, Model, concerns
from .money import usd
from .usage import Usage

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices
    from genai_prices.types import TimeOfDateConstraint as TimeOfDayConstraint

Usd = int | float | Decimal | str

MAX_NAME = 256
"""Characters of a model's name from which on no list is asked for it: no model is called that, and the cache
keeps names."""

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
}
_UNITS_LISTED_AS = {
    "character": (("input_mchars",), Fraction(1_000)),
    "audio_ms": (("input_audio_hours", "audio_hours"), Fraction(1_000_000_000, 3_600_000)),
}
"""What is billed by count and not by token, under which names, and US dollars of the list → nano-dollars of one."""
_WHOLE = {
    "input": "input",
    "output": "output",
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "input",
    "reasoning": "output",
    "audio_input": "input",
    "audio_output": "output",
    "image_input": "input",
    "image_output": "output",
}
"""What each rate is a part of, and priced as where it is not priced apart."""
_PER_TOKEN = 1_000  # US dollars per million tokens → nano-dollars per token
_PER_REQUEST = 1_000_000  # US dollars per thousand requests → nano-dollars per request
_MILLION = 1_000_000
_MS_PER_HOUR = 3_600_000
_EXAMPLE = '{"input": 2.0, "output": 8.0}'
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UsdPerMillion(TypedDict, total=False):
    """A price as users write it: US dollars per million tokens, and `request` in US dollars per request.

    What is not named is priced as the whole that it is a part of: `cache_read`, `cache_write`, `audio_input` and
    `image_input` as `input`, `cache_write_1h` as `cache_write`, `reasoning`, `audio_output` and `image_output` as
    `output`. `characters` is of a million that are read out, `audio_hour` of an hour that is listened to, `image` of
    one that is made; what is not named costs nothing.
    """

    input: Required[Usd]
    output: Required[Usd]
    cache_read: Usd
    cache_write: Usd
    cache_write_1h: Usd
    reasoning: Usd
    audio_input: Usd
    audio_output: Usd
    image_input: Usd
    image_output: Usd
    request: Usd
    characters: Usd
    audio_hour: Usd
    image: Usd


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of one tier, in the price's unit per token.

    It holds for the whole of a call with more than `above` input tokens. None: not priced apart from the
    whole that it is a part of.
    """

    above: int
    input: int = 0
    output: int = 0
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None

    def dearest(self, cache_write: bool, audio: bool) -> tuple[int, int]:
        """The most that one token of input, and one of output, can cost."""
        writes = (self.cache_write, self.cache_write_1h) if cache_write else ()
        sounds = (self.audio_input, self.audio_output) if audio else (None, None)
        return _highest(self.input, self.cache_read, self.image_input, sounds[0], *writes), _highest(
            self.output, self.reasoning, self.image_output, sounds[1]
        )


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one model at one time; made by `per_million`, `load`, or a `PriceBook`.

    tiers    rates by size of the input, ascending; the first one holds from 0 on (`above` -1)
    request  what each request costs on top, in the price's unit
    character, audio_ms, image   what one costs that is read out, listened to, made
    scale    the unit of all rates is a `scale`-th of a nano-dollar
    version  the price as a short stable text: what a reservation keeps, so that it settles at the price that
             it was made with; `load` reads it back

    Raises ValueError for what is no price.
    """

    tiers: tuple[Rates, ...]
    request: int = 0
    scale: int = 1
    character: int = 0
    audio_ms: int = 0
    image: int = 0
    version: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        starts = [tier.above for tier in self.tiers]
        if starts[:1] != [-1] or starts != sorted(set(starts)):
            raise ValueError(f"tiers must start at -1 and ascend, not {starts}")
        rates = [rate for tier in self.tiers for rate in astuple(tier)[1:] if rate is not None]
        flat = (self.request, self.scale - 1, *self._units().values())
        if any(type(n) is not int or n < 0 for n in (*rates, *flat)):
            raise ValueError("rates must be whole numbers, 0 or more, and the scale 1 or more")
        object.__setattr__(self, "version", self._text())

    def _text(self) -> str:
        tiers = [{k: v for k, v in asdict(tier).items() if v is not None} for tier in self.tiers]
        units = {name: rate for name, rate in self._units().items() if rate}
        whole = {"tiers": tiers, "request": self.request, "scale": self.scale, **units}
        return json.dumps(whole, separators=(",", ":"))

    def _units(self) -> dict[str, int]:
        return {"character": self.character, "audio_ms": self.audio_ms, "image": self.image}

    @classmethod
    def load(cls, version: str) -> Price:
        """The price that a `version` names. Raises ValueError for any other text."""
        try:
            whole = json.loads(version)
            tiers = tuple(Rates(**tier) for tier in whole.pop("tiers"))
            return cls(tiers, whole.pop("request"), whole.pop("scale"), **whole)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not the version of a price: {version[:200]!r}") from error

    @classmethod
    def per_million(cls, **rates: Unpack[UsdPerMillion]) -> Price:
        """A price in US dollars per million tokens: `Price.per_million(input=2.0, output=8.0)`.

        Raises ConfigurationError naming the rate that is missing, unknown, negative, not finite, above
        $9 million or with more than nine decimals. What costs nothing is said: `output=0`.
        """
        return _from_usd(rates, "")

    @property
    def by_count(self) -> bool:
        """Whether it names no rate for tokens or requests, and says nothing of a call that is billed by them."""
        tokens = any(rate for tier in self.tiers for rate in astuple(tier)[1:])
        return not tokens and not self.request and any(self._units().values())

    def told(self, model: str | None) -> Price:
        """The price of what served the call, as its answer names it: this one."""
        return self

    def halved(self) -> Price:
        """Half of it, in everything: what the calls of a batch cost."""
        return replace(self, scale=2 * self.scale)

    def cost(self, usage: Usage, requests: int = 1) -> int:
        """What `usage` costs in nano-dollars; rounded half-even to whole ones once, at the very end.

        A token is charged once: where a report's parts are more than the whole, the whole is what counts. One
        that may be audio and cached at once is charged as audio.
        """
        rates = next((tier for tier in reversed(self.tiers) if usage.input > tier.above), self.tiers[0])
        sent = (
            (usage.audio_input, rates.audio_input),
            (usage.cache_write_1h, rates.cache_write_1h),
            (usage.cache_write - usage.cache_write_1h, rates.cache_write),
            (usage.cache_read, rates.cache_read),
            (usage.image_input, rates.image_input),
        )
        made = (
            (usage.audio_output, rates.audio_output),
            (usage.image_output, rates.image_output),
            (usage.reasoning, rates.reasoning),
        )
        charge = _charge(usage.input, rates.input, sent) + _charge(usage.output, rates.output, made)
        charge += self._counted(usage.characters, usage.audio_ms, usage.images)
        return _rounded(charge + requests * self.request, self.scale)

    def _counted(self, characters: int, audio_ms: int, images: int) -> int:
        return characters * self.character + audio_ms * self.audio_ms + images * self.image

    def worst(
        self,
        input_tokens: int,
        output_tokens: int,
        *,
        cache_write: bool = True,
        audio: bool = False,
        requests: int = 1,
        characters: int = 0,
        audio_ms: int = 0,
        images: int = 0,
    ) -> int:
        """The most, in nano-dollars, that any usage of at most so many input and output tokens can cost.

        It grows with each of its numbers. `cache_write` and `audio` say whether the call can write the
        provider's cache, and can take or make audio; without them a usage that reports such may cost more.
        """
        most = 0
        for tier, following in zip(self.tiers, (*self.tiers[1:], None), strict=True):
            if input_tokens <= tier.above:
                break
            sent, made = tier.dearest(cache_write, audio)
            within = input_tokens if following is None else min(input_tokens, following.above)
            most = max(most, within * sent + output_tokens * made)
        most += self._counted(characters, audio_ms, images)
        return _rounded(most + requests * self.request, self.scale)


@dataclass(frozen=True, slots=True)
class Dearest(Price):
    """The most of several prices, rate by rate: what a call is bounded by that may be served by any of their models.

    of   the prices, by the names of the models
    """

    of: tuple[tuple[str, Price], ...] = ()

    def halved(self) -> Price:
        """Half of each of them."""
        return replace(self, scale=2 * self.scale, of=tuple((name, each.halved()) for name, each in self.of))

    def told(self, model: str | None) -> Price:
        """The price of the model that the answer names, if it is one of these; else the most of them."""
        served = Model(None, model or ANY)
        return next((price for name, price in self.of if model and concerns(name, served)), self)


def dearest(prices: Mapping[str, Price]) -> Price:
    """What is never cheaper than any of these prices, given by model, whatever a call uses."""
    if len(set(prices.values())) == 1:
        return next(iter(prices.values()))
    scale = lcm(*(price.scale for price in prices.values()))
    starts = sorted({tier.above for price in prices.values() for tier in price.tiers})
    tiers = tuple(_most(start, prices.values(), scale) for start in starts)
    request = max(price.request * scale // price.scale for price in prices.values())
    units = {
        name: max(getattr(price, name) * scale // price.scale for price in prices.values())
        for name in ("character", "audio_ms", "image")
    }
    return Dearest(tiers, request, scale, of=tuple(prices.items()), **units)


class PriceBook:
    """Finds the price in force for a model: what the user says first, then genai-prices' list.

    `overrides` maps a model's name, or a pattern of names with `*` and `?`, to a `Price` or to rates as in
    `Price.per_million`; a name may be led by its provider (`openai/gpt-4.1`). An exact name goes before a
    pattern, a longer pattern before a shorter. Upper and lower case are the same.
    Raises ConfigurationError naming the override and its rate.

    `cache_size` bounds the names that are remembered, known and unknown ones alike: names come from outside.
    Any thread may ask.
    """

    def __init__(
        self,
        overrides: Mapping[str, Price | UsdPerMillion] | None = None,
        cache_size: int = 4096,
    ) -> None:
        told = {name.lower(): _override(name, price) for name, price in (overrides or {}).items()}
        self._named = told
        self._patterns = [
            (re.compile(translate(name)), (name, told[name]))
            for name in sorted(told, key=len, reverse=True)
            if "*" in name or "?" in name
        ]
        self._cache_size = cache_size
        self._list: tuple[DataSnapshot, _LookUp] | None = None

    def find(self, provider: str | None, model: str, at_ms: int) -> Price | None:
        """The price in force at `at_ms` (milliseconds since the epoch), or None where nobody lists one.

        `provider` is an id as genai-prices spells it; None: by the model's name alone, which may be led by a
        provider's (`anthropic/claude-…`). The first look takes a few tenths of a second: the list is loaded
        then.
        """
        return self.override_of(provider, model) or self.listed(provider, model, at_ms)

    def listed(self, provider: str | None, model: str, at_ms: int) -> Price | None:
        """The same, as the list alone has it."""
        listing = self._look_up(provider, model) if len(model) <= MAX_NAME else None
        return listing.price_at(at_ms) if listing else None

    def context_window(self, provider: str | None, model: str) -> int | None:
        """Tokens that the model can take in, or None where nobody lists it."""
        listing = self._look_up(provider, model) if len(model) <= MAX_NAME else None
        return listing.context if listing else None

    def override_of(self, provider: str | None, model: str) -> Price | None:
        """What the user says of a model, if anything."""
        told = self.told_of(provider, model)
        return told and told[1]

    def told_of(self, provider: str | None, model: str) -> tuple[str, Price] | None:
        """The same, with the name or pattern, in lower case, that it is said of."""
        if not self._named or len(model) > MAX_NAME:
            return None
        model = model.lower()
        names = (model,) if provider is None else (f"{provider.lower()}/{model}", model)
        for name in names:
            if price := self._named.get(name):
                return name, price
        return next((told for pattern, told in self._patterns for name in names if pattern.match(name)), None)

    def _look_up(self, provider: str | None, model: str) -> _Listing | None:
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415  # 0.3 s that an import must not cost

        snapshot = get_snapshot()
        held = self._list
        if held is None or held[0] is not snapshot:  # the host may have fetched newer prices
            look_up = lru_cache(self._cache_size)(partial(_find, snapshot.providers))
            held = self._list = (snapshot, look_up)
        return held[1](provider, model)


class _Listing(NamedTuple):
    """A model as the list has it: its context window, and its prices, of which the first in force counts."""

    context: int | None
    prices: tuple[tuple[StartDateConstraint | TimeOfDayConstraint | None, Price | None], ...]

    def price_at(self, at_ms: int) -> Price | None:
        if len(self.prices) == 1:
            return self.prices[0][1]
        moment = _EPOCH + timedelta(milliseconds=at_ms)
        return next(price for when, price in self.prices if when is None or when.active(moment))


_LookUp = Callable[[str | None, str], _Listing | None]


def _most(above: int, prices: Iterable[Price], scale: int) -> Rates:
    """The highest rates of several prices from so many input tokens on. A part that one of them prices as the whole
    costs there what the whole does.
    """
    highest: dict[str, int] = {}
    for price in prices:
        tier = next(tier for tier in reversed(price.tiers) if tier.above <= above)
        for name, whole in _WHOLE.items():
            rate = getattr(tier, name)
            rate = getattr(tier, whole) if rate is None else rate
            highest[name] = max(highest.get(name, 0), rate * (scale // price.scale))
    return Rates(above, **highest)


def _find(providers: list[Provider], provider: str | None, model: str) -> _Listing | None:
    # A provider's own search is used, and not the snapshot's: that keeps every name it was ever asked for.
    for home, name in _homes(providers, provider, model):
        if found := home.find_model(name, all_providers=providers):
            return _listing(found)
    return None


def _homes(providers: list[Provider], provider: str | None, model: str) -> Iterable[tuple[Provider, str]]:
    """Where a model may be listed, and under which name, likeliest first."""
    from genai_prices.data_snapshot import find_provider_by_id  # noqa: PLC0415  # loaded by now

    if provider is None:
        named = [home for home in providers if home.model_match and home.model_match.is_match(model)]
        yield from ((home, model) for home in named)
    elif home := find_provider_by_id(providers, provider):
        yield home, model
    prefix, slash, rest = model.partition("/")
    if slash and (home := find_provider_by_id(providers, prefix)):
        yield home, rest
    if provider is None and (home := find_provider_by_id(providers, "openai")):
        yield home, model  # an unknown host speaks OpenAI's format; not all of its models match its pattern


def _listing(model: ModelInfo) -> _Listing:
    if not isinstance(model.prices, list):
        return _Listing(model.context_window, ((None, _listed(model.prices)),))
    prices = [(dated.constraint, _listed(dated.prices)) for dated in model.prices]
    return _Listing(model.context_window, (*reversed(prices), (None, prices[0][1])))


def _listed(listed: ModelPrice) -> Price | None:
    """A listed price as ours; None where it names no rate for tokens: not known is not free."""
    rates = {name: rate for name, key in _LISTED_AS.items() if (rate := getattr(listed, key)) is not None}
    units = {
        name: Fraction(rate) * nano
        for name, (keys, nano) in _UNITS_LISTED_AS.items()
        if isinstance(
            rate := next((r for key in keys if (r := getattr(listed, key)) is not None), None), Decimal
        )
    }
    if not rates and not units:
        return None
    starts = {tier.start for rate in rates.values() if not isinstance(rate, Decimal) for tier in rate.tiers}
    request = listed.requests_kcount
    return _exact(
        {
            above: {name: Fraction(_rate_above(rate, above)) * _PER_TOKEN for name, rate in rates.items()}
            for above in (-1, *sorted(starts))
        },
        Fraction(request) * _PER_REQUEST if isinstance(request, Decimal) else Fraction(0),
        units,
    )


def _rate_above(rate: Decimal | TieredPrices, above: int) -> Decimal:
    if isinstance(rate, Decimal):
        return rate
    return next((tier.price for tier in reversed(rate.tiers) if tier.start <= above), rate.base)


def _override(name: str, price: Price | UsdPerMillion) -> Price:
    if not name.strip():
        raise ConfigurationError("prices", "name a model, or a pattern of names such as 'my-model*'")
    if isinstance(price, Price):
        return price
    if not isinstance(price, Mapping):
        raise ConfigurationError(f"prices[{name!r}]", f"give {_EXAMPLE}, US dollars per million tokens")
    return _from_usd(price, f"prices[{name!r}].")


def _from_usd(rates: Mapping[str, object] | UsdPerMillion, where: str) -> Price:
    """A price from US dollars per million tokens; `where` leads the field that an error names."""
    known = UsdPerMillion.__annotations__
    for name in rates:
        if name not in known:
            raise ConfigurationError(f"{where}{name}", f"no such rate; there are {', '.join(known)}")
    for name in ("input", "output"):
        if name not in rates:
            raise ConfigurationError(f"{where}{name}", "missing; give 0 for what costs nothing")
    nano = {name: usd(cast("Usd", value), f"{where}{name}") for name, value in rates.items()}
    request = Fraction(nano.pop("request", 0))
    units = {
        "character": Fraction(nano.pop("characters", 0), _MILLION),
        "audio_ms": Fraction(nano.pop("audio_hour", 0), _MS_PER_HOUR),
        "image": Fraction(nano.pop("image", 0)),
    }
    return _exact({-1: {name: Fraction(rate, _MILLION) for name, rate in nano.items()}}, request, units)


def _exact(
    tiers: Mapping[int, dict[str, Fraction]], request: Fraction, units: Mapping[str, Fraction]
) -> Price:
    """A price from nano-dollars a token, a request and what else is counted, in the largest unit that keeps all of
    them whole.
    """
    flat = [r.denominator for r in (request, *units.values())]
    scale = lcm(*flat, *(r.denominator for rates in tiers.values() for r in rates.values()))
    for rates in tiers.values():
        if "cache_write" in rates:
            rates.setdefault("cache_write_1h", rates["cache_write"])
    whole = {above: {name: int(r * scale) for name, r in rates.items()} for above, rates in tiers.items()}
    counted = {name: int(rate * scale) for name, rate in units.items()}
    tiers_of = tuple(Rates(above, **rates) for above, rates in whole.items())
    return Price(tiers_of, int(request * scale), scale, **counted)


def _charge(whole: int, rate: int, parts: Iterable[tuple[int, int | None]]) -> int:
    """`whole` tokens at `rate`, but those of a part that is priced apart at its own."""
    charge = 0
    for tokens, apart in parts:
        if apart is not None:
            taken = max(0, min(tokens, whole))
            whole -= taken
            charge += taken * apart
    return charge + whole * rate


def _highest(*rates: int | None) -> int:
    return max(rate for rate in rates if rate is not None)


def _rounded(charge: int, scale: int) -> int:
    """A charge in `scale`-ths of a nano-dollar as whole nano-dollars, half to even."""
    nano, rest = divmod(charge, scale)
    return nano + (2 * rest > scale or (2 * rest == scale and nano % 2))
