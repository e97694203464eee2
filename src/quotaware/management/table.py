"""The table of routes: what the API serves, documents and is tested by."""

from __future__ import annotations

from . import allocations, groups, me, members, roles
from .routes import Route

ROUTES: tuple[Route, ...] = (*me.ROUTES, *members.ROUTES, *groups.ROUTES, *roles.ROUTES, *allocations.ROUTES)
