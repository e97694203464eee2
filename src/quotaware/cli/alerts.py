"""`quotaware alerts`: where alerts go, whether they arrive, and what was sent."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from .arguments import Anywhere
from .failures import FOUND
from .printing import Column
from .printing import moment as when
from .session import Session, command

app = typer.Typer(name="alerts", help="Alerts: where they go, and whether they arrive.", no_args_is_help=True)

POLL_S = 0.25
"""How often it is looked what became of a message."""
WENT = "delivered"

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
    """Where alerts of a node and of all below it go, besides its members."""
    place = to.api.place(node)
    found = to.api.get(f"{place.path}/alert-channels")["data"]
    to.out.rows(found, CHANNELS, f"There is no channel on {place.kind} '{place.name}'.")


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
