"""What has become due: an event of the outbox read, and told in words.

Thresholds are put into the outbox by the store itself, in the step that crossed them (`core/ledger.py`); the other
kinds by whoever sees them, as `Due.event` has it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from ..core.alerts import SHARE, STOPS
from ..core.denials import ADJECTIVE, iso
from ..core.ledger import armed_of
from ..core.money import format_usd, to_usd
from ..core.steps import Event
from ..core.windows import Window
from ..errors import ConfigurationError, without_keys
from ..tenancy.nodes import Path
from .notices import Notice, amount_text, to_json

_SHAPE = re.compile(
    r"(?P<metric>cost|requests|tokens|concurrency)(?:/(?P<window>[a-z ]+))?"
    r"(?P<per>/per:end_user)?(?:/for:(?P<models>.*))?",
    re.DOTALL,
)
_USER = re.compile(r"/[0-9a-f]{32}$")
_SINCE = re.compile(r"@([0-9]+)$")


@dataclass(frozen=True, slots=True)
class Due:
    """Something that people are to be told, or one of them.

    kind     as of a `Notice`
    action   of the alert; "" for all channels
    node     what it is about; shape: of the limit, "" for none
    level    when it was due: millionths of the cap, or `=` and an amount
    cap, used, asked   figures of the limit, in its metric; of a forecast `used` is what will be
    since    ms at which its calendar window began, 0 for none; until: of other kinds when the period, or the key, ends
    more     what else is told
    """

    kind: str
    action: str
    node: str
    shape: str = ""
    level: str = ""
    cap: int = 0
    used: int = 0
    asked: int = 0
    since: int = 0
    until: int = 0
    more: str = ""

    def event(self, id: str, at: int) -> Event:
        """It as an event that is told once under this id."""
        return Event(id, at, to_json({"due": asdict(self)}))

    @classmethod
    def read(cls, event: Event) -> Due | None:
        """What an event of the outbox says; None where nobody here knows its form."""
        try:
            body = json.loads(event.body)
            if "due" in body:
                return cls(**body["due"])
            if "counter" in body:
                return _crossed(body["counter"], body["mark"], body["cap"], body["used"])
            if "adopted" in body:
                return cls("store", "", body["adopted"], more="The store went on from an older state.")
            if "degraded" in body:
                cost = format_usd(int(body["degraded"]["cost"]))
                return cls(
                    "store", "", "", more=f"Calls of {cost} were let through while the store was away."
                )
        except (ValueError, TypeError, LookupError):
            pass
        return None

    @property
    def order(self) -> int:
        """Which of several of one limit comes first."""
        return int(self.level[1:]) if self.level.startswith("=") else self.cap * int(self.level or 0) // SHARE

    @property
    def limit(self) -> str:
        """What its order is kept among."""
        return f"{self.node}/{self.shape}"


def _crossed(counter: str, mark: str, cap: int, used: int) -> Due:
    """A threshold: what the keys of counters (`tenancy/plans.py`) and the ids of marks (`core/alerts.py`) say."""
    action, level = mark.split(":", 3)[:2]
    node, _, shape = counter.partition("/")
    since = 0
    if (
        (window := window_of(shape)) is not None
        and window.kind == "calendar"
        and (found := _SINCE.search(shape))
    ):
        shape, since = shape[: found.start()], int(found[1])
    if "/per:end_user" in shape:
        shape = _USER.sub("", shape)
    return Due("stopped" if action in STOPS else "used", action, node, shape, level, cap, used, since=since)


def window_of(shape: str) -> Window | None:
    """The window of a limit's shape."""
    found = _SHAPE.match(shape.partition("@")[0])
    try:
        return Window.parse(found["window"]) if found and found["window"] else None
    except ConfigurationError:
        return None


def metric_of(shape: str) -> str:
    """The metric of a limit's shape."""
    return shape.partition("/")[0]


def limit_name(shape: str) -> str:
    """A limit for people: `monthly budget`, `limit on requests per minute for gpt-4.1*`."""
    found = _SHAPE.fullmatch(shape)
    if found is None:
        return f"limit {shape}"
    metric, window = found["metric"], window_of(shape)
    unit = window.unit if window is not None else "life"
    if metric == "cost":
        name = f"{ADJECTIVE[unit].lower()} budget"
    elif metric == "concurrency":
        name = "limit on concurrent calls"
    else:
        name = f"limit on {metric} " + ("in all" if unit == "life" else f"per {unit}")
    models = f" for {found['models']}" if found["models"] else ""
    return name + models + (" of an end user" if found["per"] else "")


def notice_of(event: Event, due: Due, org: str, path: Path | None, zone: str) -> Notice:
    """The notice of an event; `path`: of its node, None where that is gone."""
    node = path.nodes[0] if path is not None else None
    kind, name = (node.kind, node.name or node.id) if node is not None else ("organization", due.node or org)
    name = without_keys(name)
    whose = f"{'API key' if kind == 'key' else kind} '{name}'"
    ends = _ends(due, zone)
    title, text = WORDS[due.kind](due, whose, limit_name(due.shape))
    lines = [text, f"The period ends at {iso(ends)}." if ends and due.shape else "", due.more]
    return Notice(
        id=alert_id(event, due, org, path),
        kind=due.kind,
        at=event.at,
        org=org,
        node=due.node or org,
        node_kind=kind,
        name=name,
        above=path.ids if path is not None else (org,),
        title=title,
        text="\n".join(filter(None, lines)),
        figures=_figures(due, ends),
    )


def alert_id(event: Event, due: Due, org: str, path: Path | None = None) -> str:
    """The id of its notice, the same whenever it is read, and when a store that lost a crossing is told it again. Of a
    threshold in an organization that begins anew under the same ids it is another.
    """
    again = ""
    if due.kind in {"used", "stopped"}:
        _, armed = armed_of(event.id)
        began = path.organization.created_at if path is not None else 0
        again = f"|{began if armed else event.at}"
    text = f"{org}|{event.id}{again}"
    return "alert_" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _ends(due: Due, zone: str) -> int:
    window = window_of(due.shape)
    if due.since and window is not None:
        return window.bounds(due.since, zone)[1]
    return due.until


def _figures(due: Due, ends: int) -> dict[str, Any]:
    told: dict[str, Any] = {"action": due.action} if due.action else {}
    if due.shape:
        metric = metric_of(due.shape)
        amounts: dict[str, Any] = {"limit": due.cap, "used": due.used, "asked": due.asked}
        if metric == "cost":
            amounts = {f"{name}_usd": float(to_usd(amount)) for name, amount in amounts.items()}
        told |= {"rule": due.shape, "metric": metric, **amounts}
        if due.kind == "forecast":
            told["forecast"] = told.pop("used", None) if metric != "cost" else told.pop("used_usd")
    if ends:
        told["expires_at" if due.kind == "expires" else "resets_at"] = iso(ends)
    return told


def _level(due: Due) -> str:
    """When it was due, for people."""
    if due.level.startswith("="):
        return amount_text(metric_of(due.shape), int(due.level[1:]))
    return f"{int(due.level) * 100 / SHARE:.10g} %"


def _amounts(due: Due) -> str:
    metric = metric_of(due.shape)
    return f"{amount_text(metric, due.used)} of {amount_text(metric, due.cap)}"


def _used(due: Due, whose: str, limit: str) -> tuple[str, str]:
    return f"{_level(due)} of the {limit} of {whose} is used", f"{_amounts(due)} used."


def _stopped(due: Due, whose: str, limit: str) -> tuple[str, str]:
    until = (
        "until somebody enables it" if due.action == "close" else "until it is raised or a new period begins"
    )
    title = f"{whose[0].upper()}{whose[1:]} is stopped: {_level(due)} of its {limit} is used"
    return title, f"{_amounts(due)} used. Its calls are refused {until}."


def _forecast(due: Due, whose: str, limit: str) -> tuple[str, str]:
    title = f"{whose[0].upper()}{whose[1:]} is going to use {_level(due)} of its {limit}"
    amount = amount_text(metric_of(due.shape), due.used)
    return (
        title,
        f"At the pace of late {amount} of {amount_text(metric_of(due.shape), due.cap)} will be used.",
    )


def _denied(due: Due, whose: str, limit: str) -> tuple[str, str]:
    asked = (
        f"; a call of up to {amount_text(metric_of(due.shape), due.asked)} did not fit" if due.asked else ""
    )
    return f"The {limit} of {whose} keeps calls out", f"{_amounts(due)} used{asked}."


def _expires(due: Due, whose: str, limit: str) -> tuple[str, str]:
    return f"{whose[0].upper()}{whose[1:]} expires at {iso(due.until)}", "Rotate it, or let it live longer."


def _store(due: Due, whose: str, limit: str) -> tuple[str, str]:
    return "The store of the quotas was away, or lost something", ""


def _test(due: Due, whose: str, limit: str) -> tuple[str, str]:
    return f"Test: alerts of {whose} arrive here", "Somebody sent this message to try it."


WORDS = {
    "used": _used,
    "stopped": _stopped,
    "forecast": _forecast,
    "denied": _denied,
    "expires": _expires,
    "store": _store,
    "test": _test,
}
"""Of each kind of alert its title and text."""
