"""All pages. `MENU` is those that stand in the menu, in its order."""

from __future__ import annotations

from . import keys, overview, project, projects
from .view import Page

PAGES: tuple[Page, ...] = (
    *overview.PAGES,
    *projects.PAGES,
    *project.PAGES,
    *keys.PAGES,
)

MENU = tuple(page for page in PAGES if page.nav)
