"""Alerts: where they go, a message to try it, and what was sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...tenancy.nodes import Node
from ..alert_channels import (
    ChannelChange,
    Deliveries,
    NewChannel,
    add_alert_channel,
    delete_alert_channel,
    get_alert_channel,
    list_alert_channels,
    list_alert_deliveries,
    send_test_alert,
    update_alert_channel,
)
from .forms import WRONG, names, places, shown_again
from .overview import zone_of
from .view import Html, Page, Redirect, View

MOST_DELIVERIES = 100
TYPES = ("email", "slack", "webhook")


def alerts(view: View) -> Html:
    """Those of the node that is chosen, and of all below it."""
    return _list(view)


def deliveries(view: View) -> Html:
    """The log alone, while something waits to be sent."""
    return Html("alerts_live.html", _log(view, _node(view)))


def add(view: View) -> Html | Redirect:
    """Adds a channel; a signing secret that was made is shown this once."""
    node = _node(view)
    try:
        type_ = view.said("type")
        given = {"type": type_, "email" if type_ == "email" else "url": view.said("target")}
        made = view.call(add_alert_channel, node.kind, body=view.body(NewChannel, **given), id=node.id)
    except WRONG as error:
        return _list(view, error)
    if made.secret is None:
        return Redirect(f"/alerts/{node.id}", "told.channel_added")
    values = {"channel": made, "secret": made.secret, "node": node}
    return Html("channel_made.html", values, made=f"/alerts/{node.id}")


def add_rule(view: View) -> Html | Redirect:
    """Adds a threshold."""
    try:
        return _ruled(view, lambda alerts: [*alerts, view.said("rule")], "told.alert_added")
    except WRONG as error:
        return _list(view, error)


def remove_rule(view: View) -> Redirect:
    """Takes a threshold away."""
    gone = view.said("rule")
    return _ruled(view, lambda alerts: [each for each in alerts if each != gone], "told.alert_removed")


def _ruled(view: View, change: Callable[[list[str]], list[str]], told: str) -> Redirect:
    """The alerts of a node as they stand when they are written, changed."""
    node = _node(view)

    def revise(node: Node) -> dict[str, Any]:
        return {"alerts": change([str(each) for each in node.alerts])}

    view.ask.tenancy.update(view.org, node.id, revise=revise)
    return Redirect(f"/alerts/{node.id}", told)


def remove(view: View) -> Redirect:
    """Takes a channel away."""
    channel = view.call(get_alert_channel, id=view.params["id"])
    view.call(delete_alert_channel, id=channel.id)
    return Redirect(f"/alerts/{channel.node}", "told.channel_removed")


def change(view: View) -> Html | Redirect:
    """Has a channel go elsewhere."""
    channel = view.call(get_alert_channel, id=view.params["id"])
    try:
        given = {"email" if channel.type == "email" else "url": view.said("target")}
        view.call(update_alert_channel, body=view.body(ChannelChange, **given), id=channel.id)
    except WRONG as error:
        return _list(view, error, channel.node)
    return Redirect(f"/alerts/{channel.node}", "told.channel_changed")


def enable(view: View) -> Redirect:
    """Alerts go there again."""
    return _enabled(view, yes=True)


def disable(view: View) -> Redirect:
    """No alerts go there for now."""
    return _enabled(view, yes=False)


def _enabled(view: View, *, yes: bool) -> Redirect:
    body = view.body(ChannelChange, enabled=yes)
    channel = view.call(update_alert_channel, body=body, id=view.params["id"])
    return Redirect(f"/alerts/{channel.node}", "told.channel_changed")


def new_secret(view: View) -> Html:
    """Makes another signing secret, shown this once."""
    body = view.body(ChannelChange, new_secret=True)
    made = view.call(update_alert_channel, body=body, id=view.params["id"])
    node = view.ask.tenancy.get(view.org, made.node)
    values = {"channel": made, "secret": made.secret, "node": node}
    return Html("channel_made.html", values, made=f"/alerts/{node.id}")


def test(view: View) -> Redirect:
    """Sends a message to try it."""
    node = _node(view)
    view.call(send_test_alert, node.kind, id=node.id)
    return Redirect(f"/alerts/{node.id}", "told.tested")


def _node(view: View) -> Node:
    """The one in the path, the chosen one, or the highest that the viewer may look at."""
    id = view.params.get("id") or view.query.get("node")
    if not id:
        view.ask.require_anywhere("quota:read")
        id = next((node.id for node in places(view, "quota:read")), view.org)
    node: Node = view.ask.tenancy.get(view.org, id)
    return node


def _list(view: View, error: Exception | None = None, id: str | None = None) -> Html:
    node = _node(view) if id is None else view.ask.tenancy.get(view.org, id)
    channels = view.maybe(list_alert_channels, node.kind, id=node.id)
    values, status = shown_again(view, error)
    values |= _log(view, node)
    values |= {
        "places": places(view, "quota:read"),
        "channels": None if channels is None else channels.data,
        "types": TYPES,
    }
    return Html("alerts.html", values, status)


def _log(view: View, node: Node) -> dict[str, Any]:
    query = Deliveries(alert_id=None, limit=MOST_DELIVERIES)
    found = view.call(list_alert_deliveries, node.kind, query=query, id=node.id).data
    return {
        "node": node,
        "deliveries": found,
        "most": MOST_DELIVERIES if len(found) == MOST_DELIVERIES else 0,
        "waits": any(each.outcome == "waiting" for each in found),
        "names": names(view, {each.node for each in found}),
        "zone": zone_of(view),
    }


PAGES = (
    Page("GET", "/alerts", alerts, "nav.alerts", ("quota:read",)),
    Page("GET", "/alerts/{id}", alerts),
    Page("GET", "/live/alerts/{id}", deliveries),
    Page("POST", "/alerts/{id}/channels", add),
    Page("POST", "/alerts/{id}/rules", add_rule),
    Page("POST", "/alerts/{id}/rules/remove", remove_rule),
    Page("POST", "/alerts/{id}/test", test),
    Page("POST", "/channels/{id}", change),
    Page("POST", "/channels/{id}/enable", enable),
    Page("POST", "/channels/{id}/disable", disable),
    Page("POST", "/channels/{id}/secret", new_secret),
    Page("POST", "/channels/{id}/remove", remove),
)
