"""`quotaware explain`: may this call go now, and if not, why and until when. Nothing is reserved or counted."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .arguments import pairs
from .failures import FOUND, USAGE, Failure
from .printing import Column, bar, money, number
from .printing import moment as when
from .session import Session

LIMITS = (
    Column("limit", lambda limit: limit["rule"]),
    Column("on", lambda limit: f"{limit['kind']} {limit['name']}"),
    Column("used", lambda limit: _figure(limit, "used"), True),
    Column("held", lambda limit: _figure(limit, "held"), True),
    Column("left", lambda limit: _figure(limit, "remaining"), True),
    Column("", lambda limit: bar(limit["used"] + limit["held"], limit["limit"])),
    Column("mode", lambda limit: limit["mode"]),
    Column("resets", lambda limit: when(limit["resets_at"])),
)


def explain(
    to: Session,
    model: Annotated[str, typer.Argument(help="The model that is called.", show_default=False)],
    project: Annotated[str | None, typer.Option("--project", "-p", help="Whose call: a project.")] = None,
    as_key: Annotated[str | None, typer.Option("--as-key", help="Whose call: a key, by id or name.")] = None,
    member: Annotated[str | None, typer.Option(help="Whose call: a member.")] = None,
    end_user: Annotated[str | None, typer.Option(help="For whom the app makes it.")] = None,
    provider: Annotated[str | None, typer.Option(help="openai, anthropic, …")] = None,
    operation: Annotated[str, typer.Option(help="chat, responses, embeddings, …")] = "chat",
    input: Annotated[int | None, typer.Option(min=0, help="The most tokens in.")] = None,
    max_output: Annotated[int | None, typer.Option(min=0, help="The most tokens out.")] = None,
    address: Annotated[str | None, typer.Option(help="From where a key is used.")] = None,
    tag: Annotated[list[str], typer.Option("--tag", help="NAME=VALUE; repeat it.")] = [],  # noqa: B006
) -> int:
    """May this call go now, and if not, why and until when. Exit code 1 where it may not."""
    if project is None and as_key is None and member is None and to.api.get("/me")["kind"] == "host":
        raise Failure("Say whose call: --project, --as-key or --member", USAGE)
    asked = {
        "model": model,
        "project": project,
        "key": as_key,
        "member": member,
        "end_user": end_user,
        "provider": provider,
        "operation": operation,
        "input": input,
        "max_output": max_output,
        "address": address,
        "tags": pairs(tag, "--tag"),
    }
    found = to.api.post("/explain", {name: value for name, value in asked.items() if value not in (None, {})})
    if to.out.json:
        to.out.data(found)
    else:
        _show(to, found)
    return 0 if found["allowed"] else FOUND


def _show(to: Session, found: dict[str, Any]) -> None:
    if found["allowed"]:
        to.out.line("It may go.", style="green")
    else:
        to.out.line(f"It may not go: {found['error']['message']}", style="red")
        to.out.line(f"  {found['error']['type']}, {found['error']['code']}")
    to.out.facts(
        {
            "until": found["until"] and when(found["until"]),
            "reserves": (found["reserved_usd"] is not None and money(found["reserved_usd"])) or None,
            "expected": (found["estimated_usd"] is not None and money(found["estimated_usd"])) or None,
            "output cap": found["output_cap"] and f"{number(found['output_cap'])} tokens",
            "would deny": found["would_deny"],
            "caller": [f"{name} {to.api.called(value)}" for name, value in found["caller"].items()],
        }
    )
    if found["limits"]:
        to.out.tabulate(found["limits"], LIMITS)


def _figure(limit: dict[str, Any], field: str) -> str:
    return money(limit[field]) if limit["metric"] == "cost" else number(limit[field])
