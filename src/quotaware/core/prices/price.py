"""The price of a model at one time, in whole numbers: what a usage costs, and the most that a call can cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, replace
from fractions import Fraction
from math import lcm
from typing import Any, Protocol, Unpack

from ..models import ANY, Model, concerns
from ..usage import Usage
from .rates import BY_USE, COUNTED, WHOLE, Rates, Service, service
from .said import UsdPerMillion, read

_CERTAIN = frozenset({"processing"})
"""What a provider does as it is asked to. Other ways of service it may leave for the usual one."""


class Counts(Protocol):
    """What has the counts of all that is billed by count (`COUNTED`)."""

    @property
    def characters(self) -> int: ...
    @property
    def audio_ms(self) -> int: ...
    @property
    def images(self) -> int: ...
    @property
    def web_searches(self) -> int: ...
    @property
    def file_searches(self) -> int: ...
    @property
    def rerank_searches(self) -> int: ...
    @property
    def pages(self) -> int: ...
    @property
    def annotated_pages(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one model at one time; made by `per_million`, `load`, or a `PriceBook`.

    tiers     rates by size of the input, ascending; the first one holds from 0 on (`above` -1)
    request   what each request costs on top, in the price's unit
    scale     the unit of all rates is a `scale`-th of a nano-dollar
    counted   what one costs of all that is billed by count (`COUNTED`), of annotated pages what they cost on top
    services  the price where it is served in another way than the usual one
    least_ms  ms of sound that are billed at least, of any sound
    besides   the prices of other models that tools of the call use, by their names

    Raises ValueError for what is no price.
    """

    tiers: tuple[Rates, ...]
    request: int = 0
    scale: int = 1
    counted: tuple[tuple[str, int], ...] = ()
    services: tuple[tuple[Service, Price], ...] = ()
    least_ms: int = 0
    besides: tuple[tuple[str, Price], ...] = ()

    def __post_init__(self) -> None:
        starts = [tier.above for tier in self.tiers]
        if starts[:1] != [-1] or starts != sorted(set(starts)):
            raise ValueError(f"tiers must start at -1 and ascend, not {starts}")
        rates = [rate for tier in self.tiers for rate in astuple(tier)[1:] if rate is not None]
        flat = (self.request, self.scale - 1, self.least_ms, *(rate for _, rate in self.counted))
        if any(type(n) is not int or n < 0 for n in (*rates, *flat)):
            raise ValueError("rates must be whole numbers, 0 or more, and the scale 1 or more")
        if not {name for name, _ in self.counted} <= set(COUNTED):
            raise ValueError(f"there are no rates but for {', '.join(COUNTED)}")

    @property
    def version(self) -> str:
        """The price as a short stable text: what a reservation keeps, so that it settles at the price that it was made
        with; `load` reads it back.
        """
        return json.dumps(_text(self), separators=(",", ":"))

    @classmethod
    def load(cls, version: str) -> Price:
        """The price that a `version` names. Raises ValueError for any other text."""
        try:
            return _price(json.loads(version))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not the version of a price: {version[:200]!r}") from error

    @classmethod
    def per_million(cls, **rates: Unpack[UsdPerMillion]) -> Price:
        """A price in US dollars per million tokens: `Price.per_million(input=2.0, output=8.0)`.

        Raises ConfigurationError naming the rate that is missing, unknown, negative, not finite, above
        $9 million or with more than nine decimals. What costs nothing is said: `output=0`.
        """
        return cls.said(rates, "")

    @classmethod
    def said(cls, rates: Mapping[str, object] | UsdPerMillion, where: str) -> Price:
        """The same; `where` leads the field that an error names."""
        usual, services = read(rates, where)
        others = tuple(
            (how, cls.exact({-1: said.rates}, said.request, said.counted)) for how, said in services
        )
        return replace(cls.exact({-1: usual.rates}, usual.request, usual.counted), services=others)

    @classmethod
    def exact(
        cls, tiers: Mapping[int, dict[str, Fraction]], request: Fraction, counted: Mapping[str, Fraction]
    ) -> Price:
        """A price from nano-dollars a token, a request and what else is counted, in the largest unit that keeps all of
        them whole.
        """
        flat = [r.denominator for r in (request, *counted.values())]
        scale = lcm(*flat, *(r.denominator for rates in tiers.values() for r in rates.values()))
        for rates in tiers.values():
            if "cache_write" in rates:
                rates.setdefault("cache_write_1h", rates["cache_write"])
        whole = {above: {name: int(r * scale) for name, r in rates.items()} for above, rates in tiers.items()}
        counts = tuple((name, int(rate * scale)) for name, rate in counted.items() if rate)
        return cls(
            tuple(Rates(above, **rates) for above, rates in whole.items()),
            int(request * scale),
            scale,
            counts,
        )

    @property
    def by_count(self) -> bool:
        """Whether it names no rate for tokens or requests, and says nothing of a call that is billed by them."""
        tokens = any(rate for tier in self.tiers for rate in astuple(tier)[1:])
        return (
            not tokens and not self.request and any(rate for name, rate in self.counted if name not in BY_USE)
        )

    def served(self, how: Service) -> Price:
        """The price where it is served so: that of the services whose every condition is met by most conditions, of
        two the first; else this one.
        """
        if not how or not self.services:
            return self
        met = set(how)
        found, most = self, 0
        for conditions, price in self.services:
            if len(conditions) > most and met.issuperset(conditions):
                found, most = price, len(conditions)
        return self._beside(found)

    def _beside(self, price: Price) -> Price:
        """Another price for the same call."""
        return replace(price, besides=self.besides) if self.besides and price is not self else price

    def beside(self, model: str | None) -> Price | None:
        """The price of what is used beside the answer: of the call's own model (None) this one, of a model that was not
        asked for that of the first that was.
        """
        if model is None:
            return self
        return next((price for name, price in self.besides if name == model), None) or next(
            (price for _, price in self.besides), None
        )

    def told(self, model: str | None) -> Price:
        """The price of what served the call, as its answer names it: this one."""
        return self

    def cost(self, usage: Usage, requests: int = 1) -> int:
        """What `usage` costs in nano-dollars; rounded half-even to whole ones once, at the very end."""
        rates = next((tier for tier in reversed(self.tiers) if usage.input > tier.above), self.tiers[0])
        charge = rates.charge(usage) + requests * self.request
        for name, rate in self.counted:
            charge += self._billed(name, getattr(usage, name)) * rate
        return _rounded(charge, self.scale)

    def _billed(self, name: str, number: int) -> int:
        return max(number, self.least_ms) if number and name == "audio_ms" else number

    def worst(
        self,
        input_tokens: int,
        output_tokens: int,
        *,
        cache_write: bool = True,
        audio: bool = False,
        requests: int = 1,
        how: Service = (),
        counts: Counts | None = None,
    ) -> int:
        """The most, in nano-dollars, that any usage of at most so many input and output tokens can cost.

        It grows with each of its numbers. `cache_write` and `audio` say whether the call can write the
        provider's cache, and can take or make audio or video; without them a usage that reports such may cost more.
        `counts` has what is billed by count, as much as it can be. `how` says in which way it is asked to be served;
        the provider may still serve it in the usual one.
        """
        asked, usual = self.served(how), self.served(tuple(pair for pair in how if pair[0] in _CERTAIN))
        most = asked._worst(input_tokens, output_tokens, cache_write, audio, requests, counts)
        if usual is asked:
            return most
        return max(most, usual._worst(input_tokens, output_tokens, cache_write, audio, requests, counts))

    def _worst(
        self,
        input_tokens: int,
        output_tokens: int,
        cache_write: bool,
        audio: bool,
        requests: int,
        counts: Counts | None,
    ) -> int:
        most = 0
        for tier, following in zip(self.tiers, (*self.tiers[1:], None), strict=True):
            if input_tokens <= tier.above:
                break
            sent, made = tier.dearest(cache_write, audio)
            within = input_tokens if following is None else min(input_tokens, following.above)
            most = max(most, within * sent + output_tokens * made)
        if counts is not None:
            for name, rate in self.counted:
                most += self._billed(name, getattr(counts, name)) * rate
        return _rounded(most + requests * self.request, self.scale)


@dataclass(frozen=True, slots=True)
class Dearest(Price):
    """The most of several prices, rate by rate: what a call is bounded by that may be served by any of their models.

    of   the prices, by the names of the models
    """

    of: tuple[tuple[str, Price], ...] = ()

    def served(self, how: Service) -> Price:
        """The most of what each of them costs where it is served so."""
        found = {name: price.served(how) for name, price in self.of}
        return self if found == dict(self.of) else self._beside(dearest(found))

    def told(self, model: str | None) -> Price:
        """The price of the model that the answer names, if it is one of these; else the most of them."""
        served = Model(None, model or ANY)
        return self._beside(
            next((price for name, price in self.of if model and concerns(name, served)), self)
        )


def dearest(prices: Mapping[str, Price]) -> Price:
    """What is never cheaper than any of these prices, given by model, whatever a call uses."""
    if len(set(prices.values())) == 1:
        return next(iter(prices.values()))
    scale = lcm(*(price.scale for price in prices.values()))
    starts = sorted({tier.above for price in prices.values() for tier in price.tiers})
    tiers = tuple(_most(start, prices.values(), scale) for start in starts)
    request = max(price.request * scale // price.scale for price in prices.values())
    counted: dict[str, int] = {}
    for price in prices.values():
        for name, rate in price.counted:
            counted[name] = max(counted.get(name, 0), rate * scale // price.scale)
    least = max(price.least_ms for price in prices.values())
    return Dearest(tiers, request, scale, tuple(counted.items()), least_ms=least, of=tuple(prices.items()))


def _most(above: int, prices: Iterable[Price], scale: int) -> Rates:
    """The highest rates of several prices from so many input tokens on. A part that one of them prices as the whole
    costs there what the whole does.
    """
    highest: dict[str, int] = {}
    for price in prices:
        tier = next(tier for tier in reversed(price.tiers) if tier.above <= above)
        for name, whole in WHOLE.items():
            rate = getattr(tier, name)
            rate = getattr(tier, whole) if rate is None else rate
            highest[name] = max(highest.get(name, 0), rate * (scale // price.scale))
    return Rates(above, **highest)


def _text(price: Price) -> dict[str, Any]:
    """A price as JSON has it. What is 0 or not said is left out of it."""
    tiers = [{k: v for k, v in asdict(tier).items() if v is not None} for tier in price.tiers]
    whole: dict[str, Any] = {"tiers": tiers, "request": price.request, "scale": price.scale}
    if price.counted:
        whole["counted"] = dict(price.counted)
    if price.least_ms:
        whole["least_ms"] = price.least_ms
    if price.services:
        whole["services"] = [[dict(how), _text(one)] for how, one in price.services]
    if price.besides:
        whole["besides"] = [[name, _text(one)] for name, one in price.besides]
    return whole


def _price(whole: dict[str, Any]) -> Price:
    """Of what `_text` made. Raises ValueError, TypeError, KeyError or AttributeError for anything else."""
    services = tuple((service(**how), _price(one)) for how, one in whole.pop("services", ()))
    besides = tuple((str(name), _price(one)) for name, one in whole.pop("besides", ()))
    tiers = tuple(Rates(**tier) for tier in whole.pop("tiers"))
    counted = tuple(whole.pop("counted", {}).items())
    price = Price(
        tiers, whole.pop("request"), whole.pop("scale"), counted, services, whole.pop("least_ms", 0), besides
    )
    if whole:
        raise ValueError(f"no part of a price: {', '.join(whole)}")
    return price


def _rounded(charge: int, scale: int) -> int:
    """A charge in `scale`-ths of a nano-dollar as whole nano-dollars, half to even."""
    nano, rest = divmod(charge, scale)
    return nano + (2 * rest > scale or (2 * rest == scale and nano % 2))
