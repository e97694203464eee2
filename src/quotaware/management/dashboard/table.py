"""All pages. `MENU` is those that stand in the menu, in its order."""

from __future__ import annotations

from . import keys, members, overview, project, projects, requests
from .view import Page

PAGES: tuple[Page, ...] = (
    *overview.PAGES,
    *projects.PAGES,
    *project.PAGES,
    *keys.PAGES,
    *members.PAGES,
    *requests.PAGES,
)

MENU = tuple(page for page in PAGES if page.nav)
