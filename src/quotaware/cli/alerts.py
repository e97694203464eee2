"""`quotaware alerts`: where alerts go and are to go, whether they arrive, and what was sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..tenancy.channels import ChannelType
from .arguments import Anywhere, Where, Yes, changes
from .client import path_of
from .failures import FOUND
from .printing import Column
from .printing import moment as when
from .secret_files import SecretTo, hand_over, kept
from .session import Session, command

app = typer.Typer(name="alerts", help="Alerts: where they go, and whether they arrive.", no_args_is_help=True)

POLL_S = 0.25
"""How often it is looked what became of a message."""
WENT = "delivered"

Id = Annotated[str, typer.Argument(help="The id of a channel.", show_default=False)]
Secret = Annotated[
    str | None,
    typer.Option(help="What signs a webhook, said as a URL is; without it one is made, and shown once."),
]

CHANNELS = (
    Column("id", lambda channel: channel["id"]),
    Column("type", lambda channel: channel["type"]),
    Column("target", lambda channel: channel["target"]),
    Column("enabled", lambda channel: channel["enabled"]),
    Column("why", lambda channel: channel["why"] or ""),
    Column("made", lambda channel: when(channel["created_at"])),
)
DELIVERIES = (
    Column("at", lambda delivery: when(delivery["at"])),
    Column("alert", lambda delivery: delivery["title"]),
    Column("channel", lambda delivery: delivery["channel"]),
    Column("target", lambda delivery: delivery["target"]),
    Column("outcome", lambda delivery: delivery["outcome"]),
    Column("tries", lambda delivery: delivery["tries"], True),
    Column("why", lambda delivery: delivery["why"]),
)


@command(app, "channels")
def channels(to: Session, node: Anywhere = None) -> None:
    """The channels on a node, to which alerts of it and of all below it go."""
    place = to.api.place(node)
    found = to.api.get(f"{place.path}/alert-channels")["data"]
    to.out.rows(found, CHANNELS, f"There is no channel on {place.kind} '{place.name}' itself.")


@command(app, "add")
def add(
    to: Session,
    node: Where,
    kind: Annotated[ChannelType, typer.Argument(help="What kind of channel it is.", show_default=False)],
    target: Annotated[
        str,
        typer.Argument(
            help="An address, or a URL: env:QUOTAWARE_ALERT_… names a variable of the app; - reads it, unseen.",
            show_default=False,
        ),
    ],
    secret: Secret = None,
    secret_to: SecretTo = None,
) -> None:
    """Adds a channel: alerts of a node and of all below it go there, too."""
    place = to.api.place(node)
    body = {"type": kind, **_given(to, kind, target, secret)}
    with kept(secret_to) as keep:
        _show(to, to.api.post(f"{place.path}/alert-channels", body), keep, secret_to)


@command(app, "change")
def change(
    to: Session,
    channel: Id,
    target: Annotated[
        str | None, typer.Option("--target", help="Another address or URL, said as where it is added.")
    ] = None,
    secret: Secret = None,
    new_secret: Annotated[
        bool, typer.Option("--new-secret", help="Have another one made, which is shown once.")
    ] = False,
    secret_to: SecretTo = None,
) -> None:
    """Changes a channel: what is said replaces, what is not said stays."""
    found = to.api.get(path_of("alert-channels", channel))
    body = changes({**_given(to, found["type"], target, secret), "new_secret": new_secret})
    with kept(secret_to) as keep:
        _show(to, to.api.patch(path_of("alert-channels", channel), body), keep, secret_to)


@command(app, "enable")
def enable(to: Session, channel: Id) -> None:
    """Has alerts go there again."""
    to.out.one(to.api.patch(path_of("alert-channels", channel), {"enabled": True}), CHANNELS)


@command(app, "disable")
def disable(to: Session, channel: Id) -> None:
    """Has nothing go there until enabled."""
    to.out.one(to.api.patch(path_of("alert-channels", channel), {"enabled": False}), CHANNELS)


@command(app, "remove")
def remove(to: Session, channel: Id, yes: Yes = False) -> None:
    """Takes a channel away: what waits to be sent there is sent no more."""
    found = to.api.get(path_of("alert-channels", channel))
    to.confirm(f"Alerts go to {found['target']} no more, nor what waits to be sent there. Remove it?", yes)
    to.api.delete(path_of("alert-channels", channel))
    to.out.done(f"Removed {channel}.", {"id": channel, "removed": True})


@command(app, "deliveries")
def deliveries(
    to: Session,
    node: Anywhere = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most that are shown.")] = 100,
) -> None:
    """What was sent of a node and all below it, the newest first."""
    found = to.api.get(f"{to.api.place(node).path}/alerts/deliveries", limit=limit)["data"]
    to.out.rows(found, DELIVERIES, "Nothing was sent yet.")


@command(app, "test")
def send_test(
    to: Session,
    node: Anywhere = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for what becomes of it.")] = 10,
) -> int:
    """Sends a test message wherever alerts of a node go. The app sends it, also where a store is named here.

    Exit code 1 where it did not arrive everywhere in time.
    """
    place = to.api.place(node)
    alert = to.api.post(f"{place.path}/alerts/test")["alert_id"]
    found: list[dict[str, Any]] = []
    end = time.monotonic() + wait
    with to.out.progress("Waiting for the app to send it"):
        while not _settled(found) and time.monotonic() < end:
            time.sleep(POLL_S)
            found = to.api.get(f"{place.path}/alerts/deliveries", alert_id=alert)["data"]
    to.out.rows(
        found, DELIVERIES, f"No process of the app has sent it in {wait:g} s; it is sent when one runs."
    )
    return 0 if found and all(each["outcome"] == WENT for each in found) else FOUND


def _settled(found: list[dict[str, Any]]) -> bool:
    return bool(found) and all(each["outcome"] != "waiting" for each in found)


def _given(to: Session, kind: str, target: str | None, secret: str | None) -> dict[str, Any]:
    """Where a channel goes and what signs, in the fields of the API. Whoever has a URL of Slack may post there."""
    if target is not None and (kind == "slack" or target == "-"):
        target = to.secret(target, "The address" if kind == "email" else "The URL")
    if secret is not None:
        secret = to.secret(secret, "The secret")
    return {"email" if kind == "email" else "url": target, "secret": secret}


def _show(to: Session, channel: dict[str, Any], keep: Callable[[str], bool], path: Path | None) -> None:
    """A channel, or where a secret was made that one."""
    if channel["secret"] is None:
        to.out.one(channel, CHANNELS)
    else:
        hand_over(to.out, channel, "secret", channel["id"], keep, path)
