"""The table of routes: what the API serves, documents and is tested by."""

from __future__ import annotations

from . import me
from .routes import Route

ROUTES: tuple[Route, ...] = (*me.ROUTES,)
