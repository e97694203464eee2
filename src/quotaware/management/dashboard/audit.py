"""The audit log: who changed what, when, from where."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ..audit_log import AuditAnswer, AuditQuery, read_audit_log
from ..bodies import bad_fields, validated
from .forms import WRONG, shown_again
from .overview import zone_of
from .view import Html, Page, View

PAGE = 50
FILTERS = ("who", "what", "node", "since", "until")
LONGEST = 200
"""Characters of a value that are shown."""
_PLAIN = frozenset({"id", "kind", "rev", "created_at"})
"""What every thing has, and tells nothing of a change."""


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that was changed, and what of it: (field, before, after), "" for what was not there."""

    kind: str
    name: str
    fields: list[tuple[str, str, str]]


def audit(view: View) -> Html:
    """A page of the log, filtered."""
    zone = zone_of(view)
    chosen = {name: view.query[name].strip() for name in FILTERS if view.query.get(name, "").strip()}
    error: Exception | None = None
    try:
        found = view.call(read_audit_log, query=_query(chosen, view.query.get("cursor"), zone))
    except WRONG as wrong:
        error = wrong
        found = view.call(read_audit_log, query=_query({}, None, zone))
    values, status = shown_again(view, error)
    values |= {
        "rows": [(row, list(_things(row))) for row in found.data],
        "chosen": chosen,
        "next": found.next_cursor and {**chosen, "cursor": found.next_cursor},
        "zone": zone,
    }
    return Html("audit.html", values, status)


def _query(chosen: dict[str, str], cursor: str | None, zone: str) -> AuditQuery:
    asked: dict[str, Any] = {**chosen, "limit": PAGE}
    if "since" in asked:
        asked["since"] = _midnight("since", asked["since"], zone)
    if "until" in asked:
        asked["until"] = _midnight("until", asked["until"], zone, after=1)
    if cursor:
        asked["cursor"] = cursor
    return validated(AuditQuery, asked, "query", strict=False)


def _midnight(field: str, day: str, zone: str, after: int = 0) -> str:
    """The beginning of a day, or of one so many days after it, as the API takes times."""
    try:
        found = datetime.strptime(day, "%Y-%m-%d") + timedelta(days=after)
        return found.replace(tzinfo=ZoneInfo(zone)).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        raise bad_fields([{"field": field, "message": "is a day such as 2026-01-31"}]) from None


def _things(row: AuditAnswer) -> Iterator[Thing]:
    before = {thing["id"]: thing for thing in row.before}
    after = {thing["id"]: thing for thing in row.after}
    for id in dict.fromkeys([*before, *after]):
        old, new = before.get(id, {}), after.get(id, {})
        either = new or old
        fields = [
            (field, _said(old.get(field)), _said(new.get(field)))
            for field in dict.fromkeys([*old, *new])
            if field not in _PLAIN and old.get(field) != new.get(field)
        ]
        told = [each for each in fields if each[1] or each[2]]
        yield Thing(either["kind"], either.get("name") or id, told)


def _said(value: Any) -> str:
    """A value as it is read; "" for what is empty."""
    if value is None or value in ([], {}, ""):
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


PAGES = (Page("GET", "/audit", audit, "nav.audit", ("org:manage",)),)
