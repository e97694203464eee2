"""Prices as people write them: US dollars per million tokens, and of one of what is billed by count."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple, Required, TypedDict, cast

from ...errors import ConfigurationError
from ..money import usd
from .rates import BATCH, Service

Usd = int | float | Decimal | str

_MILLION = 1_000_000
COUNTED_AS = {
    "characters": ("characters", _MILLION),
    "audio_hour": ("audio_ms", 3_600_000),
    "image": ("images", 1),
    "web_search": ("web_searches", 1),
    "file_search": ("file_searches", 1),
    "rerank_search": ("rerank_searches", 1),
    "page": ("pages", 1),
    "annotated_page": ("annotated_pages", 1),
}
"""What is priced by count: as whose count in a usage, and how many of it a rate is for."""
SERVICES: dict[str, tuple[Service, ...]] = {
    "batch": (BATCH,),
    "flex": ((("service_tier", "flex"),),),
    "priority": ((("service_tier", "priority"),),),
    "fast": ((("speed", "fast"),), (("service_tier", "fast"),)),
}
"""The ways of service that have prices of their own, and how they are asked for."""


class UsdRates(TypedDict, total=False):
    """Rates as users write them: US dollars per million tokens, and `request` in US dollars per request.

    What is not named is priced as the whole that it is a part of: `cache_read`, `cache_write`, `audio_input`,
    `image_input` and `video_input` as `input`, `cache_write_1h` as `cache_write`, `cache_read_audio` as `audio_input`,
    `cache_read_image` as `image_input`, `reasoning`, `audio_output`, `image_output` and `video_output` as `output`.
    `characters` is of a million that are read out, `audio_hour` of an hour that is listened to; `image` of one that is
    made, `page` of one that is read, `annotated_page` of one that is annotated too; `web_search`, `file_search` and
    `rerank_search` of one. What is not named of these costs nothing.
    """

    cache_read: Usd
    cache_write: Usd
    cache_write_1h: Usd
    reasoning: Usd
    audio_input: Usd
    audio_output: Usd
    image_input: Usd
    image_output: Usd
    cache_read_audio: Usd
    cache_read_image: Usd
    video_input: Usd
    video_output: Usd
    request: Usd
    characters: Usd
    audio_hour: Usd
    image: Usd
    web_search: Usd
    file_search: Usd
    rerank_search: Usd
    page: Usd
    annotated_page: Usd


class UsdService(UsdRates, total=False):
    """What is priced otherwise where a call is served in another way; the rest is as it is."""

    input: Usd
    output: Usd


class UsdPerMillion(UsdRates, total=False):
    """A price as users write it.

    `batch` is of what stands in a batch; `flex` and `priority` of these service tiers; `fast` of the fast mode.
    """

    input: Required[Usd]
    output: Required[Usd]
    batch: UsdService
    flex: UsdService
    priority: UsdService
    fast: UsdService


RATES = ("input", "output", *UsdRates.__annotations__)
"""All rates that a price may name."""


class Said(NamedTuple):
    """What was said, in nano-dollars of a token, of a request, and of one of what else is counted."""

    rates: dict[str, Fraction]
    request: Fraction
    counted: dict[str, Fraction]


def read(
    rates: Mapping[str, object] | UsdPerMillion, where: str
) -> tuple[Said, tuple[tuple[Service, Said], ...]]:
    """What a price says, and what it says of each way of service; `where` leads the field that an error names.

    Raises ConfigurationError as `Price.per_million`.
    """
    usual = {name: rate for name, rate in rates.items() if name not in SERVICES}
    for name in ("input", "output"):
        if name not in usual:
            raise ConfigurationError(f"{where}{name}", "missing; give 0 for what costs nothing")
    services: list[tuple[Service, Said]] = []
    for name, conditions in SERVICES.items():
        other = rates.get(name)
        if other is None:
            continue
        if not isinstance(other, Mapping):
            raise ConfigurationError(
                f"{where}{name}", 'give its rates, such as {"input": 1.0, "output": 4.0}'
            )
        said = _said({**_nano(usual, where), **_nano(other, f"{where}{name}.")})
        services.extend((each, said) for each in conditions)
    return _said(_nano(usual, where)), tuple(services)


def _nano(rates: Mapping[str, object], where: str) -> dict[str, int]:
    for name in rates:
        if name not in RATES:
            raise ConfigurationError(
                f"{where}{name}", f"no such rate; there are {', '.join((*RATES, *SERVICES))}"
            )
    return {name: usd(cast("Usd", value), f"{where}{name}") for name, value in rates.items()}


def _said(nano: dict[str, int]) -> Said:
    if "annotated_page" in nano:
        nano["annotated_page"] = max(0, nano["annotated_page"] - nano.get("page", 0))
    request = Fraction(nano.pop("request", 0))
    counted = {
        of: Fraction(nano.pop(name), number) for name, (of, number) in COUNTED_AS.items() if name in nano
    }
    return Said({name: Fraction(rate, _MILLION) for name, rate in nano.items()}, request, counted)
