"""What is kept of an organization: models that nobody prices, budgets that nobody hears of, keys that end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ...core.alerts import Alert
from ...core.limits import Limit
from ..client import Client
from .findings import Evidence, Finding, some

PERIOD = "30d"
"""How far back models are in use."""
MODELS = 200
"""So many models without a price are looked at."""


def unpriced(evidence: Evidence) -> Iterator[Finding]:
    """Models in use that have no price now: their calls are refused where a cost limit bears, and else cost nothing."""
    api = evidence.reached
    path = f"{api.organization().path}/usage"
    asked = {"period": PERIOD, "by": ["provider", "model"]}
    used = [each for each in api.get(path, **asked)["data"] if each["unpriced"]]
    refused = api.get(f"{path}/denied", code="price_unknown", **asked)["data"]
    calls: dict[tuple[str | None, str], list[int]] = {}
    for at, found in enumerate((used, refused)):
        for each in found:
            provider, model = each["by"]["provider"], each["by"]["model"]
            if model is not None:
                calls.setdefault((provider, model), [0, 0])[at] += (
                    each["unpriced"] if at == 0 else each["requests"]
                )
    for (provider, model), (free, kept_out) in list(calls.items())[:MODELS]:
        if not api.get("/prices", model=model[:256], provider=provider)["data"]:
            told = [f"{free:,} calls were counted as costing nothing"] if free else []
            told += [f"{kept_out:,} were refused"] if kept_out else []
            name = model if provider is None else f"{provider}/{model}"
            yield Finding(
                "error" if kept_out else "warning",
                f"{name} has no price: in {PERIOD} {' and '.join(told)}",
                "say it with POST /prices, in the organization's file, or by Quota(prices=…)",
            )


def unheard(evidence: Evidence) -> Iterator[Finding]:
    """Budgets that no alert is on, and alerts that reached nobody."""
    api = evidence.reached
    place = api.organization()
    organization = api.get(place.path)
    if organization["alert_threshold"] is None:
        silent = [told for kind, node in _nodes(api, organization) for told in _silent(kind, node)]
        if silent:
            yield Finding(
                "warning",
                f"budgets without an alert, {len(silent):,} of them, run out without a word: {some(silent)}",
                "give them alerts ('80% email'), or the organization an alert_threshold, which is on all budgets",
            )
    sent = api.get(f"{place.path}/alerts/deliveries", limit=1000)["data"]
    week = datetime.fromtimestamp(evidence.clock() / 1000, UTC) - timedelta(days=7)
    lost = [
        each
        for each in sent
        if each["outcome"] in {"undeliverable", "failed", "dropped"}
        and datetime.fromisoformat(each["at"]) >= week
    ]
    heard = {each["alert_id"] for each in sent if each["outcome"] in {"delivered", "waiting"}}
    if unheard := {each["alert_id"]: each for each in lost if each["alert_id"] not in heard}:
        titles = list(dict.fromkeys(each["title"] for each in unheard.values()))
        yield Finding(
            "warning",
            f"alerts of the last 7 days, {len(unheard):,} of them, reached nobody: {some(titles, 3)}",
            "add channels (quotaware alerts add), give members an address; quotaware alerts deliveries says why",
        )


def _nodes(api: Client, organization: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "organization", organization
    for kind in ("team", "project"):
        for node in api.pages(f"/{kind}s"):
            yield kind, node


def _silent(kind: str, node: Mapping[str, Any]) -> Iterator[str]:
    """The hard budgets of a node that no alert is on."""
    alerts = [Alert.parse(text) for text in node["alerts"]]
    for text in node["limits"]:
        limit = Limit.parse(text)
        plain = limit.metric == "cost" and limit.mode == "hard" and limit.per is None
        if plain and not any(alert.bears_on(limit) for alert in alerts):
            yield f"{kind} '{node['name']}' ({text})"


def ending(evidence: Evidence) -> Iterator[Finding]:
    """Keys that end within some days: an error where it is one."""
    now = datetime.fromtimestamp(evidence.clock() / 1000, UTC)
    for key in evidence.reached.pages("/api-keys", revoked=False):
        if key["expires_at"] is None:
            continue
        left = datetime.fromisoformat(key["expires_at"]) - now
        if timedelta() < left <= timedelta(days=evidence.days):
            used = f"last used {key['last_used_at'][:10]}" if key["last_used_at"] else "never used"
            yield Finding(
                "error" if left <= timedelta(days=1) else "warning",
                f"key '{key['name'] or key['id']}' ({key['id']}, {used}) ends {_within(left)}",
                f"make its life longer, or: quotaware keys rotate {key['id']}",
            )


def _within(left: timedelta) -> str:
    hours = left.total_seconds() / 3600
    return f"in {hours:.0f} hours" if hours < 48 else f"in {left.days} days"
