"""`/quota-requests`: who may not raise a limit asks for more, and somebody else decides."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field

from ..errors import AlreadyExists, PreconditionFailed
from ..tenancy.keys import Kind
from ..tenancy.people import Request, State
from ..tenancy.requests import MAX_PERIODS
from ..words.wire import Body, Listing, Moment, Page, Revised
from .bodies import bad_fields
from .overrides import Amount, AmountAnswer, amount_told
from .pages import listed
from .routes import Ask, Route

_FIELDS: dict[str, Kind] = {
    "organization_id": "organization",
    "team_id": "team",
    "project_id": "project",
    "api_key_id": "key",
}
_ANY: tuple[Kind, ...] = tuple(_FIELDS.values())


class NewRequest(Amount):
    """More of a limit of one node, named by one of the four fields, by id or name."""

    organization_id: str | None = None
    team_id: str | None = None
    project_id: str | None = None
    api_key_id: str | None = None
    periods: int = Field(
        0, ge=0, le=MAX_PERIODS, description="for so many periods from the current one on; 0: for good"
    )
    reason: str | None = None


class Note(Body):
    """A word on a decision."""

    note: str | None = None


class Requests(Page):
    """Which requests."""

    state: State | None = None
    node: str | None = Field(None, description="those of one node, by id or name")


class RequestAnswer(AmountAnswer, Revised):
    """A request for more; nobody decides it after `expires_at`."""

    id: str
    node: str
    periods: int
    reason: str | None
    state: State
    requested_by: str = Field(description="id of the key or member; empty for the host itself")
    decided_by: str | None
    note: str | None
    created_at: Moment
    expires_at: Moment


def list_requests(ask: Ask) -> Listing[RequestAnswer]:
    """Takes quota:read: those of the nodes where the caller has it."""
    query: Requests = ask.query
    ask.require_anywhere("quota:read")
    node = None if query.node is None else ask.tenancy.place(ask.org, query.node, *_ANY)
    return listed(
        query, lambda after, limit: ask.tenancy.requests(ask.org, node, query.state, after, limit), shown
    )


def create_request(ask: Ask) -> RequestAnswer:
    """Takes quota:read at the node. Granted at once where the caller may set the limit so, or where the organization
    has `auto_upgrade` and the parent's budget has room for it; an organization's own has no parent.
    """
    body: NewRequest = ask.body
    named = [(field, name) for field in _FIELDS if (name := getattr(body, field)) is not None]
    if len(named) != 1:
        message = "names the node; give one of " + ", ".join(_FIELDS)
        raise bad_fields([{"field": field, "message": message} for field, _ in named or [("project_id", "")]])
    amount = body.figure()
    ((field, name),) = named
    node = ask.tenancy.place(ask.org, name, _FIELDS[field])
    return shown(ask.tenancy.ask(ask.org, node, body.limit, amount, periods=body.periods, reason=body.reason))


def get_request(ask: Ask) -> RequestAnswer:
    """Takes quota:read at its node."""
    return shown(ask.tenancy.request(ask.org, ask.params["id"]))


def approve_request(ask: Ask) -> RequestAnswer:
    """Takes quota:override above its node (an organization's: on it). What was asked for holds at once. 409 `decided`
    where it is decided already or has expired.
    """
    return _decided("approved", ask)


def reject_request(ask: Ask) -> RequestAnswer:
    """Takes quota:override above its node (an organization's: on it). 409 `decided` where it is decided already or has
    expired.
    """
    return _decided("rejected", ask)


def shown(request: Request) -> RequestAnswer:
    """A request as it is answered."""
    return RequestAnswer(
        **amount_told(request.limit, request.amount),
        id=request.id,
        node=request.parent,
        periods=request.periods,
        reason=request.reason,
        state=request.state,
        requested_by=request.creator,
        decided_by=request.decider or None,
        note=request.note,
        created_at=request.created_at,
        expires_at=request.expires_at,
        revision=request.rev,
    )


def _decided(verdict: Literal["approved", "rejected"], ask: Ask) -> RequestAnswer:
    note: str | None = ask.body.note
    return shown(ask.tenancy.decide(ask.org, ask.params["id"], verdict, note=note, expect=ask.expect))


_ONE = "/quota-requests/{id}"
_route = partial(Route, tag="quota requests")

ROUTES = (
    _route(
        "GET", "/quota-requests", list_requests, "Requests for more, the newest first", takes="quota:read",
        answer=Listing[RequestAnswer], query=Requests, errors=(AlreadyExists,),
    ),
    _route(
        "POST", "/quota-requests", create_request, "Asks for more", takes="quota:read", answer=RequestAnswer,
        body=NewRequest, status=201, errors=(AlreadyExists,),
    ),
    _route("GET", _ONE, get_request, "One request", takes="quota:read", answer=RequestAnswer),
    _route(
        "POST", f"{_ONE}/approve", approve_request, "Grants a request", takes="quota:override",
        answer=RequestAnswer, body=Note, errors=(AlreadyExists, PreconditionFailed),
    ),
    _route(
        "POST", f"{_ONE}/reject", reject_request, "Refuses a request", takes="quota:override",
        answer=RequestAnswer, body=Note, errors=(AlreadyExists, PreconditionFailed),
    ),
)  # fmt: skip
