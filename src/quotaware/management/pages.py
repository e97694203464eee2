"""Lists of what the tenancy has, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from ..words.wire import Listing, Page


class HasId(Protocol):
    """What lists go by."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=HasId)
A = TypeVar("A")


def listed(page: Page, fetch: Callable[[str, int], Sequence[T]], shown: Callable[[T], A]) -> Listing[A]:
    """The page of what `fetch` answers by id: it takes the id to begin after and how many; `shown` makes the answer."""
    found = fetch(page.cursor or "", page.limit)
    more = len(found) == page.limit and fetch(found[-1].id, 1)
    return Listing(data=list(map(shown, found)), next_cursor=found[-1].id if more else None)
