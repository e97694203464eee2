"""Pages as HTML: templates with autoescape, and how figures are written."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from zoneinfo import ZoneInfo

import jinja2

from ...core.money import to_usd
from .assets import asset
from .table import MENU
from .texts import LANGUAGES, Language, Texts, text
from .view import Html, View

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Shell:
    """What stands around every page; `view` is None where nobody is signed in. `mark`: how things stood when
    it was made (`Pulse`); `once`: what its forms carry, so that each is done once (`once.py`).
    """

    root: str
    path: str
    language: Language
    theme: str
    csrf: str
    query: Mapping[str, str]
    view: View | None = None
    mark: str = ""
    once: str = field(default_factory=lambda: secrets.token_urlsafe(12))


def rendered(shell: Shell, html: Html) -> str:
    """The page as text."""
    t = Texts(shell.language)

    def url(path: str) -> str:
        return f"{shell.root}{path}"

    def static(name: str) -> str:
        found = asset(name)
        return f"{shell.root}/static/{name}?v={found.tag if found else ''}"

    told = shell.query.get("told", "")
    values = {
        "t": t,
        "url": url,
        "static": static,
        "shell": shell,
        "languages": LANGUAGES,
        "menu": [] if shell.view is None else _menu(shell.view),
        "greeting": t(told) if told.startswith("told.") and known(told) else "",
        "viewer": None if shell.view is None else shell.view.ask.actor,
        **html.values,
    }
    return _templates().get_template(html.template).render(values)


def known(key: str) -> bool:
    """Whether there is a text of this key."""
    try:
        text("en", key)
    except KeyError:
        return False
    return True


def _menu(view: View) -> list[tuple[str, str, bool]]:
    """(path, key of the name, whether it is this page or above it) of what the viewer can use."""
    found = []
    for page in MENU:
        if page.takes and not any(view.may(permission) for permission in page.takes):
            continue
        inside = view.path == page.path or (page.path != "/" and view.path.startswith(f"{page.path}/"))
        found.append((page.path, page.nav, inside))
    return found


def money(nano: int | None) -> str:
    """Dollars: two decimals, or as many as a small amount needs to be seen (at most 6)."""
    if nano is None:
        return "–"
    usd = to_usd(nano)
    if usd and abs(usd) < Decimal("0.01"):
        return "$" + f"{usd:.6f}".rstrip("0") if abs(usd) >= Decimal("0.000001") else "< $0.000001"
    return f"${usd:,.2f}"


def count(number: int | float | None) -> str:
    """A whole number, its thousands apart."""
    return "–" if number is None else f"{number:,.0f}"


def amount(number: int | None, metric: str) -> str:
    """An amount of a limit: dollars or a number."""
    return money(number) if metric == "cost" else count(number)


def when(moment: int | datetime | None, zone: str = "UTC") -> str:
    """A time to the minute, in a zone. Of ms since the epoch, or a datetime."""
    if moment is None:
        return "–"
    if not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(moment / 1000, UTC)
    return moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def share(part: int | None, whole: int | None) -> float:
    """Hundredths, from 0 to 100."""
    if not part or part < 0:
        return 0.0
    return min(100.0, round(100 * part / whole, 2)) if whole else 100.0


@cache
def _templates() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters |= {"money": money, "count": count, "amount": amount, "when": when}
    found.globals |= {"share": share}
    found.policies["json.dumps_kwargs"] = {"sort_keys": False}
    return found
