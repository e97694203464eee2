"""The delivery log of an organization: what was sent where, when, and how that ended; its newest entries.

It lies in the store as a ring of pages under names of its own (`Store.once`), so that every store can keep it and it
never grows. Whoever sends writes it, one at a time (`sender.py`); two at once would lose nothing but be told so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..errors import StoreError
from ..stores.protocol import Store
from .notices import to_json

PAGES, ROWS = 20, 50
KEEP_MS = 90 * 86_400_000
TRIES = 5
_HEAD = "alerts.log"

Entry = dict[str, Any]
"""at (ms), alert (id), kind, title, node, above, channel, target (masked), outcome, tries, why."""


class DeliveryLog:
    """Blocking; raises StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, org: str, entry: Entry) -> None:
        """Adds an entry; the oldest page goes where all are full."""
        for _ in range(TRIES):
            head = self._read(org, _HEAD)
            number = int(head or 0)
            text, rows = self._page(org, number)
            if len(rows) >= ROWS:
                number += 1
                text, rows = self._page(org, number)
            new = to_json({"n": number, "rows": [*rows, entry]})
            if self._store.once(org, _name(number), new, KEEP_MS, expect=text) == new:
                if str(number) != head:
                    self._store.once(org, _HEAD, str(number), KEEP_MS, expect=head)
                return
        raise StoreError("others kept writing into the delivery log")

    def entries(self, org: str) -> Iterator[Entry]:
        """All of it, newest first."""
        last = int(self._read(org, _HEAD) or 0)
        for number in range(last, max(-1, last - PAGES), -1):
            yield from reversed(self._page(org, number)[1])

    def _page(self, org: str, number: int) -> tuple[str, list[Entry]]:
        """What stands in a page's place, and its entries; none where that is of an earlier round."""
        text = self._read(org, _name(number))
        page = json.loads(text) if text else {}
        return text, page["rows"] if page.get("n") == number else []

    def _read(self, org: str, name: str) -> str:
        return self._store.once(org, name, "", 1)


def _name(number: int) -> str:
    return f"{_HEAD}.{number % PAGES}"
