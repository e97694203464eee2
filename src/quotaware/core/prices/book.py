"""The book in which a model's price is found: what the user says first, then genai-prices' list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from ...errors import ConfigurationError
from ..models import check_pattern, matches
from .listing import Listing
from .price import Price
from .said import UsdPerMillion

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import Provider

MAX_NAME = 256
"""Characters of a model's name from which on no list is asked for it: no model is called that, and the cache
keeps names."""
_EXAMPLE = '{"input": 2.0, "output": 8.0}'


class PriceBook:
    """Finds the price in force for a model: what the user says first, then genai-prices' list.

    `overrides` maps a model's name, or a pattern of names as lists of models have them (`*` for any characters), to a
    `Price` or to rates as in `Price.per_million`; a name may be led by its provider (`openai/gpt-4.1`). An exact name
    goes before a pattern, a longer pattern before a shorter; a name without a star is one for the dated snapshots of
    its model too. Upper and lower case are the same. Raises ConfigurationError naming the override and its rate.

    `cache_size` bounds the names that are remembered, known and unknown ones alike: names come from outside.
    Any thread may ask.
    """

    def __init__(
        self,
        overrides: Mapping[str, Price | UsdPerMillion] | None = None,
        cache_size: int = 4096,
    ) -> None:
        self._said = {name.lower(): _override(name, price) for name, price in (overrides or {}).items()}
        self._patterns = sorted(self._said, key=len, reverse=True)
        self._find_said = lru_cache(cache_size)(self._look_up_said)
        self._cache_size = cache_size
        self._list: tuple[DataSnapshot, Callable[[str | None, str], Listing | None]] | None = None

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
        return self._find_said(provider, model) if self._said and len(model) <= MAX_NAME else None

    def _look_up_said(self, provider: str | None, model: str) -> tuple[str, Price] | None:
        model = model.lower()
        names = (model,) if provider is None else (f"{provider.lower()}/{model}", model)
        exact = next((name for name in names if name in self._said), None)
        found = exact or next((each for each in self._patterns if any(matches(each, n) for n in names)), None)
        return None if found is None else (found, self._said[found])

    def _look_up(self, provider: str | None, model: str) -> Listing | None:
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415  # 0.3 s that an import must not cost

        snapshot = get_snapshot()
        held = self._list
        if held is None or held[0] is not snapshot:  # the host may have fetched newer prices
            held = self._list = (snapshot, lru_cache(self._cache_size)(partial(_find, snapshot.providers)))
        return held[1](provider, model)


def _override(name: str, price: Price | UsdPerMillion) -> Price:
    field = f"prices[{name!r}]"
    if not name.strip():
        raise ConfigurationError("prices", "name a model, or a pattern of names such as 'my-model*'")
    check_pattern(name, field)
    if "?" in name or "[" in name:
        raise ConfigurationError(field, "only * stands for other characters in a pattern")
    if isinstance(price, Price):
        return price
    if not isinstance(price, Mapping):
        raise ConfigurationError(field, f"give {_EXAMPLE}, US dollars per million tokens")
    return Price.said(price, f"{field}.")


def _find(providers: list[Provider], provider: str | None, model: str) -> Listing | None:
    # A provider's own search is used, and not the snapshot's: that keeps every name it was ever asked for.
    for home, name in _homes(providers, provider, model):
        if found := home.find_model(name, all_providers=providers):
            return Listing(home, found)
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
