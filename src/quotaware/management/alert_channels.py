"""Where alerts go besides a node's members, a message to try it, and what was sent.

Channels hang on organizations, teams and projects, and are told what happens there and below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from pydantic import Field

from ..errors import AlreadyExists
from ..tenancy.channels import Channel
from ..tenancy.keys import Kind
from ..words.wire import Answer, Body, Listing, Moment, Revised
from .nodes import found
from .routes import Ask, Route

A = TypeVar("A")
_SECRETS = "; `env:QUOTAWARE_ALERT_…` names an environment variable of the app"


class NewChannel(Body):
    """`email` has an address; `slack` the URL of an incoming webhook; `webhook` a URL, and what its requests are signed
    with (Standard Webhooks).

    What is secret (a signing secret, a URL of Slack) is named in the environment, or encrypted if the app has a key
    for that.
    """

    type: Literal["email", "slack", "webhook"]
    email: str | None = Field(None, max_length=320)
    url: str | None = Field(None, max_length=2000, description=f"https, and public{_SECRETS}")
    secret: str | None = Field(
        None, max_length=200, description=f"`whsec_` and base64; without it one is made{_SECRETS}"
    )


class ChannelChange(Body):
    """What is sent replaces, what is absent stays. With another address or URL it is enabled, unless `enabled` says
    otherwise.
    """

    email: str | None = Field(None, max_length=320)
    url: str | None = Field(None, max_length=2000, description=f"https, and public{_SECRETS}")
    secret: str | None = Field(None, max_length=200, description=f"`whsec_` and base64{_SECRETS}")
    new_secret: bool = Field(False, description="makes another signing secret, which is shown this once")
    enabled: bool | None = Field(None, description="whether alerts go there")


class ChannelAnswer(Revised):
    """A channel.

    target   the address, or of a URL its host and last four characters
    enabled  whether alerts go there; one that answered 410 is disabled by itself, and `why` says so
    secret   what signs, shown once and only where it was made here
    """

    id: str
    node: str
    type: str
    target: str
    created_at: Moment
    enabled: bool
    why: str | None
    secret: str | None = None


class TestAnswer(Answer):
    """By this id the deliveries tell where the message went."""

    alert_id: str


class Deliveries(Body):
    """Which of them, the newest first."""

    alert_id: str | None = Field(None, max_length=64)
    limit: int = Field(100, ge=1, le=1000, description="the most that are answered")


class DeliveryAnswer(Answer):
    """What was sent to one address, or waits to be.

    kind     used, stopped, forecast, denied, expires, store, test
    outcome  delivered, waiting (it is tried again), failed (given up), undeliverable (nobody is there to be told),
             dropped (too many waited)
    why      what became of the last attempt that failed
    """

    at: Moment
    alert_id: str
    kind: str
    title: str
    node: str
    channel: str
    target: str
    outcome: str
    tries: int
    why: str


def list_alert_channels(ask: Ask, kind: Kind) -> Listing[ChannelAnswer]:
    """Those of the node itself."""
    channels = ask.parts.alerts.by(ask.tenancy).channels(ask.org, found(ask, kind))
    return Listing(data=list(map(shown, channels)), next_cursor=None)


def add_alert_channel(ask: Ask, kind: Kind) -> ChannelAnswer:
    """At most 20 a node. A signing secret that is made here is shown this once."""
    body: NewChannel = ask.body
    channel, secret = ask.parts.alerts.by(ask.tenancy).add_channel(
        ask.org, found(ask, kind), body.type, email=body.email, url=body.url, secret=body.secret
    )
    return shown(channel, secret)


def get_alert_channel(ask: Ask) -> ChannelAnswer:
    """Takes quota:manage at its node."""
    return shown(ask.tenancy.channel(ask.org, ask.params["id"]))


def update_alert_channel(ask: Ask) -> ChannelAnswer:
    """Takes quota:manage at its node. A signing secret that is made here is shown this once."""
    alerts = ask.parts.alerts.by(ask.tenancy)
    return shown(*alerts.change_channel(ask.org, ask.params["id"], expect=ask.expect, **ask.body.given()))


def delete_alert_channel(ask: Ask) -> None:
    """Takes quota:manage at its node. What waits to be sent there is sent no more."""
    ask.tenancy.delete_channel(ask.org, ask.params["id"], expect=ask.expect)


def send_test_alert(ask: Ask, kind: Kind) -> TestAnswer:
    """A message to all members and channels that alerts of the node go to. It is sent beside; `alerts/deliveries` with
    its `alert_id` tells how that went.
    """
    return TestAnswer(alert_id=ask.parts.alerts.by(ask.tenancy).test(ask.org, found(ask, kind)))


def list_alert_deliveries(ask: Ask, kind: Kind) -> Listing[DeliveryAnswer]:
    """Of alerts of the node and of all below it: what waits, then what was sent, newest first. The newest thousand of
    an organization are kept, for 90 days.
    """
    query: Deliveries = ask.query
    entries = ask.parts.alerts.by(ask.tenancy).deliveries(
        ask.org, node=found(ask, kind), alert=query.alert_id, limit=query.limit
    )
    return Listing(data=[_delivery(entry) for entry in entries], next_cursor=None)


def shown(channel: Channel, secret: str | None = None) -> ChannelAnswer:
    """A channel as it is answered."""
    return ChannelAnswer(
        id=channel.id,
        node=channel.parent,
        type=channel.type,
        target=channel.hint,
        created_at=channel.created_at,
        enabled=channel.enabled,
        why=channel.why or None,
        secret=secret,
        revision=channel.rev,
    )


def _delivery(entry: dict[str, Any]) -> DeliveryAnswer:
    told = {name: entry[name] for name in DeliveryAnswer.model_fields if name != "alert_id"}
    return DeliveryAnswer(alert_id=entry["alert"], **told)


def _routes(kind: Kind, plural: str) -> tuple[Route, ...]:
    """The operations on nodes of a kind."""
    channels, alerts = f"/{plural}/{{id}}/alert-channels", f"/{plural}/{{id}}/alerts"

    def run(work: Callable[[Ask, Kind], A]) -> Callable[[Ask], A]:
        def operation(ask: Ask) -> A:
            return work(ask, kind)

        operation.__name__ = f"{work.__name__}_of_{kind}"
        operation.__doc__ = work.__doc__
        return operation

    return (
        Route(
            "GET", channels, run(list_alert_channels), "Where its alerts go", _TAG, _TAKES, Listing[ChannelAnswer]
        ),
        Route(
            "POST", channels, run(add_alert_channel), "Adds a channel", _TAG, _TAKES, ChannelAnswer, NewChannel,
            status=201, errors=(AlreadyExists,), secrets=("secret",),
        ),
        Route(
            "POST", f"{alerts}/test", run(send_test_alert), "Sends a message to try it", _TAG, _TAKES, TestAnswer,
        ),
        Route(
            "GET", f"{alerts}/deliveries", run(list_alert_deliveries), "What was sent", _TAG, "quota:read",
            Listing[DeliveryAnswer], query=Deliveries,
        ),
    )  # fmt: skip


_TAG, _TAKES = "alerts", "quota:manage"
_ONE = "/alert-channels/{id}"

ROUTES = (
    *_routes("organization", "organizations"),
    *_routes("team", "teams"),
    *_routes("project", "projects"),
    Route("GET", _ONE, get_alert_channel, "One channel", _TAG, _TAKES, ChannelAnswer),
    Route(
        "PATCH",
        _ONE,
        update_alert_channel,
        "Changes a channel",
        _TAG,
        _TAKES,
        ChannelAnswer,
        ChannelChange,
        secrets=("secret",),
    ),
    Route("DELETE", _ONE, delete_alert_channel, "Takes a channel away", _TAG, _TAKES, status=204),
)
