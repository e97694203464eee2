"""Puts the API together."""

from __future__ import annotations

from .app import Management
from .docs import pages
from .examples import EXAMPLES
from .openapi import document
from .parts import Door, Parts
from .table import ROUTES


def management(parts: Parts, door: Door) -> Management:
    """The management API of a Quota."""
    return Management(parts, door, ROUTES, pages(document(ROUTES, EXAMPLES)))
