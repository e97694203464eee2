"""Puts the API together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec

from .app import Asgi, Management, Page
from .docs import absent, pages
from .examples import EXAMPLES
from .openapi import document
from .parts import Door, Parts
from .table import ROUTES


def management(parts: Parts, door: Door) -> Management:
    """The management API of a Quota."""
    return Management(parts, door, ROUTES, _pages(), _dashboard(parts, door))


@cache
def _pages() -> Mapping[str, Page]:
    """What is told of the API; the same for every Quota."""
    return pages(document(ROUTES, EXAMPLES))


def _dashboard(parts: Parts, door: Door) -> Asgi:
    """The dashboard, where its template engine is installed."""
    if find_spec("jinja2") is None:
        return absent
    from .dashboard.app import Dashboard  # noqa: PLC0415  # an extra

    return Dashboard(parts, door)
