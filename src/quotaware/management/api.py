"""Puts the API together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from .app import Management, Page
from .docs import pages
from .examples import EXAMPLES
from .openapi import document
from .parts import Door, Parts
from .table import ROUTES


def management(parts: Parts, door: Door) -> Management:
    """The management API of a Quota."""
    return Management(parts, door, ROUTES, _pages())


@cache
def _pages() -> Mapping[str, Page]:
    """What is told of the API; the same for every Quota."""
    return pages(document(ROUTES, EXAMPLES))
