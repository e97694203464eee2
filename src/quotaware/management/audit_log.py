"""`GET /audit-log`: who changed what, when, from where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field

from ..core.alerts import SHARE
from ..core.denials import iso
from ..core.terms import nested
from ..tenancy.auditing import Entry, Sought
from ..words.wire import Answer, Body, Listing, Moment, Time
from .overrides import AmountAnswer, amount_told
from .routes import Ask, Route


class AuditQuery(Body):
    """Which rows, and which page of them."""

    who: str | None = Field(None, description="id or name of a key or member, or `host`")
    what: str | None = Field(None, description="such as project.update, or its first words: project")
    node: str | None = Field(None, description="id or name of something that was changed")
    since: Time | None = None
    until: Time | None = None
    order: Literal["newest", "oldest"] = Field("newest", description="which come first")
    limit: int = Field(100, ge=1, le=1000, description="the most that a page holds")
    cursor: int | None = Field(None, ge=1, le=1 << 53, description="`next_cursor` of the page before")


class Who(Answer):
    """Who did it: a key, a member, or the host's own code."""

    kind: str
    id: str
    name: str | None


class Why(Answer):
    """Why an attempt was refused."""

    code: str
    message: str


class AuditAnswer(Answer):
    """One change. `before` and `after` are what was changed, as it stood; what was made stands in `after` only.

    An attempt that was refused ends in `.refused` and changed nothing: `on` names what it was made on, `why` says why.
    """

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    revision: int
    at: Moment
    what: str
    who: Who
    address: str | None = Field(alias="from", description="the address that it came from")
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]
    on: str | None = None
    why: Why | None = None


def read_audit_log(ask: Ask) -> Listing[AuditAnswer]:
    """Takes org:manage. A page may hold fewer rows than `limit`, and still go on."""
    query: AuditQuery = ask.query
    sought = Sought(query.who, query.what, query.node, query.since or 0, query.until)
    found = ask.tenancy.audit_log(
        ask.org, sought, newest=query.order == "newest", cursor=query.cursor, limit=query.limit
    )
    return Listing(
        data=[_row(entry) for entry in found.rows],
        next_cursor=None if found.cursor is None else str(found.cursor),
    )


def _row(entry: Entry) -> AuditAnswer:
    things = {name: [_thing(each) for each in entry[name]] for name in ("before", "after")}
    return AuditAnswer.model_validate({**entry, **things})


def _thing(shown: Mapping[str, Any]) -> dict[str, Any]:
    """A thing of the log in the words of the wire."""
    told: dict[str, Any] = {}
    for field, value in shown.items():
        name, tell = _WORDS.get(field, (field, _same))
        told[name] = None if value is None else tell(value)
    if shown["kind"] == "request":
        told |= _amount(shown["limit"], shown["amount"])
    return told


def _same(value: Any) -> Any:
    return value


def _amount(limit: str, amount: int) -> dict[str, Any]:
    return AmountAnswer(**amount_told(limit, amount)).model_dump(mode="json")


def _held(role: Any) -> Any:
    return {"role": role[0], "node": role[1]} if isinstance(role, list) else role


def _override(said: Any) -> dict[str, Any]:
    limit, amount, since, until = said
    return {**_amount(limit, amount), "since": iso(since), "until": iso(until)}


def _price(said: Any) -> dict[str, Any]:
    model, rates, since, until = said
    told = {name: _rates(rate) for name, rate in nested(rates).items()}
    return {"model": model, **told, "valid_from": _from(since), "valid_until": _from(until)}


def _rates(said: Any) -> Any:
    return {name: float(rate) for name, rate in said.items()} if isinstance(said, dict) else float(said)


def _from(at: int) -> str | None:
    return iso(at) if at else None


def _each(tell: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: list(map(tell, values))


_WORDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "models": ("allowed_models", _same),
    "addresses": ("allowed_ips", _same),
    "zone": ("time_zone", _same),
    "creator": ("created_by", _same),
    "decider": ("decided_by", _same),
    "origin": ("replaces", _same),
    "created_at": ("created_at", iso),
    "expires_at": ("expires_at", iso),
    "alert_threshold": ("alert_threshold", lambda share: share / SHARE),
    "roles": ("roles", _each(_held)),
    "overrides": ("overrides", _each(_override)),
    "prices": ("prices", _each(_price)),
}
"""What the log's fields are called on the wire, and how their values are told there."""

ROUTES = (
    Route(
        "GET", "/audit-log", read_audit_log, "Who changed what, when, from where", "audit log", "org:manage",
        Listing[AuditAnswer], query=AuditQuery,
    ),
)  # fmt: skip
