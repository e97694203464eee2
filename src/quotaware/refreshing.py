"""Newer prices than those that came with genai-prices, fetched now and then, where the host chose so.

genai-prices fetches them in a thread of its own and keeps one list a process. What cannot be fetched, or is no whole
list, is logged, and the prices that are known go on.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .errors import ConfigurationError
from .logs import logged

if TYPE_CHECKING:
    from genai_prices import UpdatePrices
    from genai_prices.data_snapshot import DataSnapshot

logger = logging.getLogger("quotaware")

LEAST = 0.5
"""A list with a smaller part of the models that came with genai-prices is taken for a broken one."""


class Refresh:
    """Fetches prices every hour from `start` to `stop`: from genai-prices' own address (True), or from another one."""

    def __init__(self, address: bool | str) -> None:
        if not isinstance(address, bool) and (
            not isinstance(address, str) or not address.startswith(("https://", "http://"))
        ):
            raise ConfigurationError(
                "refresh_prices", "is True, or the address of a list of genai-prices' form"
            )
        self._address = address
        self._updates: UpdatePrices | None = None

    def start(self) -> None:
        """Begins, and waits for nothing; begun already, it changes nothing. It never raises."""
        if not self._address or self._updates is not None:
            return
        try:
            self._updates = _updates(self._address)
            self._updates.start()
        except Exception:
            logger.exception(
                "prices cannot be refreshed; those that are known go on", extra=logged("prices_not_refreshed")
            )

    def stop(self) -> None:
        """Ends it; what was fetched stays in use."""
        if self._updates is not None:
            self._updates.stop()  # type: ignore[no-untyped-call]
            self._updates = None


def _updates(address: bool | str) -> UpdatePrices:
    from genai_prices import UpdatePrices  # noqa: PLC0415  # 0.3 s that an import must not cost

    class Whole(UpdatePrices):
        """As it is, but that a list of which much is missing is none."""

        def fetch(self) -> DataSnapshot | None:
            from genai_prices.data import providers  # noqa: PLC0415

            found = super().fetch()
            known = sum(len(provider.models) for provider in providers)
            got = sum(len(provider.models) for provider in found.providers) if found else 0
            if got < LEAST * known:
                raise ValueError(f"the list has {got} models, and there were {known}")
            return found

    return Whole() if isinstance(address, bool) else Whole(url=address)
