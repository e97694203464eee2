"""`quotaware requests`: who may not raise a limit asks for more, and somebody else decides."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from .arguments import Where
from .client import Client, path_of
from .limits import Shape, figure
from .printing import Column, money, number
from .printing import moment as when
from .session import Session, command

app = typer.Typer(name="requests", help="Requests for more of a limit.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The id of a request.", show_default=False)]
Note = Annotated[str | None, typer.Option(help="A word on the decision.")]
State = Annotated[
    Literal["pending", "approved", "rejected", "expired"] | None, typer.Option(help="Only those.")
]
_FIELDS = {"organization": "organization_id", "team": "team_id", "project": "project_id", "key": "api_key_id"}


def amount(request: dict[str, Any]) -> str:
    """What is asked for."""
    return number(request["amount"]) if request["amount_usd"] is None else money(request["amount_usd"])


def columns(api: Client) -> tuple[Column, ...]:
    """Of a list of requests."""
    return (
        Column("id", lambda request: request["id"]),
        Column("on", lambda request: api.called(request["node"])),
        Column("limit", lambda request: request["limit"]),
        Column("amount", amount, True),
        Column("for", lambda request: f"{request['periods']} periods" if request["periods"] else "good"),
        Column("state", lambda request: request["state"]),
        Column(
            "by",
            lambda request: api.person(request["requested_by"]) if request["requested_by"] else "the host",
        ),
        Column("made", lambda request: when(request["created_at"])),
        Column("reason", lambda request: request["reason"] or ""),
    )


@command(app, "list")
def list_requests(
    to: Session,
    state: State = None,
    node: Annotated[str | None, typer.Option(help="Of this node only, by id or name.")] = None,
) -> None:
    """Requests, of all states or of one."""
    at = None if node is None else to.api.place(node).id
    to.out.rows(
        to.api.pages("/quota-requests", state=state, node=at),
        columns(to.api),
        "There are no requests.",
    )


@command(app, "show")
def show(to: Session, request: Id) -> None:
    """One request."""
    to.out.one(to.api.get(path_of("quota-requests", request)), columns(to.api))


@command(app, "new")
def new(
    to: Session,
    node: Where,
    shape: Shape,
    amount: Annotated[
        float, typer.Argument(help="US dollars of a limit on cost, else a number.", show_default=False)
    ],
    periods: Annotated[int, typer.Option(min=0, help="For so many periods; 0: for good.")] = 0,
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
) -> None:
    """Asks for more of a limit of a node; whoever may set it has it at once."""
    place = to.api.place(node)
    more = {"limit": shape, **figure(shape, amount), "periods": periods, "reason": reason}
    to.out.one(to.api.post("/quota-requests", {_FIELDS[place.kind]: place.id, **more}), columns(to.api))


@command(app, "approve")
def approve(to: Session, request: Id, note: Note = None) -> None:
    """Grants a request: what was asked for holds at once."""
    to.out.one(to.api.post(path_of("quota-requests", request, "approve"), {"note": note}), columns(to.api))


@command(app, "reject")
def reject(to: Session, request: Id, note: Note = None) -> None:
    """Refuses a request."""
    to.out.one(to.api.post(path_of("quota-requests", request, "reject"), {"note": note}), columns(to.api))
