"""All pages. `MENU` is those that stand in the menu, in its order."""

from __future__ import annotations

from . import alerts, audit, explain, groups, keys, members, overview, project, projects, requests, settings
from .view import Page

PAGES: tuple[Page, ...] = (
    *overview.PAGES,
    *projects.PAGES,
    *project.PAGES,
    *keys.PAGES,
    *members.PAGES,
    *groups.PAGES,
    *requests.PAGES,
    *alerts.PAGES,
    *explain.PAGES,
    *audit.PAGES,
    *settings.PAGES,
)

MENU = tuple(page for page in PAGES if page.nav)
