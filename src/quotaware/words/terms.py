"""The contract's words for the limits and alerts of a node, and back.

    monthly_budget_usd: 1500                            a budget of its own, for every period
    rate_limit: {"requests_per_minute": 60}             of all calls
    model_limits: {"gpt-4.1": {"daily_requests": 500}}  of the models that a pattern takes in
    end_user_limits: {"daily_budget_usd": 1}            of each end user
    quota_alerts: [{"threshold": 0.8, "action": "slack"}]  on every budget

Each word looks at some of the limits and leaves the others alone: what is sent replaces these, what is absent stays.
`limits` and `alerts` are all of them, in the texts of `Limit.parse` and `Alert.parse`. Where one shape has a hard and a
soft limit, the words speak of the hard one; limits in shadow stand in `limits` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema, create_model

from ..core.alerts import MAX_SHARE, SHARE, Alert, share_of
from ..core.limits import Limit, Metric
from ..core.money import MAX_AMOUNT, to_usd
from ..core.windows import Window
from ..errors import ConfigurationError
from ..tenancy.checks import MAX_ENTRIES
from ..tenancy.nodes import Node
from ..tenancy.sharing import PERIODS
from .wire import Answer, Body, Dollars, Revised, Usd


class _Slot(NamedTuple):
    """What one word counts."""

    metric: Metric
    window: Window | None


Words = Mapping[str, _Slot]

_ROLLING = ("second", "minute", "hour")
_ADJECTIVES = {"total" if name == "never" else name: Window.parse(unit) for name, unit in PERIODS.items()}
BUDGETS: Words = {f"{name}_budget_usd": _Slot("cost", window) for name, window in _ADJECTIVES.items()}
"""Budgets of a node itself: `monthly_budget_usd`, …; `total_budget_usd` for its whole life."""
RATES: Words = {
    f"{metric}_per_{unit}": _Slot(metric, Window.parse(unit))
    for metric in ("requests", "tokens")
    for unit in (*_ROLLING, "day", "week", "month")
} | {"concurrent": _Slot("concurrency", None)}
"""Entries of `rate_limit`."""
ENTRIES: Words = (
    {
        f"{name}_{metric}": _Slot(metric, window)
        for name, window in _ADJECTIVES.items()
        for metric in ("requests", "tokens")
    }
    | dict(BUDGETS)
    | {name: slot for name, slot in RATES.items() if slot.window is None or slot.window.kind == "rolling"}
    | {f"budget_usd_per_{unit}": _Slot("cost", Window.parse(unit)) for unit in _ROLLING}
)
"""Entries of `model_limits` and `end_user_limits`: every metric in every window, under one name each."""
_RATES, _ENTRIES = frozenset(RATES.values()), frozenset(ENTRIES.values())

_LIMITS = (
    "limits", "rate_limit", "model_limits", "end_user_limits", "limit", "allocations", "carryover", "amount_usd",
    "amount", "mode",
)  # fmt: skip
"""Fields in which bodies say limits; all but budgets."""

# the wire


def _told(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The parser of one field: what it raises names no field of its own."""

    def read(value: Any) -> Any:
        try:
            return parse(value)
        except ConfigurationError as error:
            raise ValueError(str(error).partition(": ")[2]) from None

    return read


def _pattern(text: str) -> str:
    return Limit("requests", 0, Window.parse("day"), models=text).models or text


def _threshold(value: Any) -> int:
    share = share_of(value if not isinstance(value, str) else None)  # type: ignore[arg-type]  # refused with the rest
    if not 0 < share <= MAX_SHARE:
        raise ConfigurationError("threshold", "is a share over 0 and up to 10, such as 0.8 for 80 %")
    return share


Plain = Literal["email", "slack", "webhook", "disable"]
"""What an entry of `quota_alerts` does."""
Count = Annotated[int, Field(ge=0, le=MAX_AMOUNT)]
LimitText = Annotated[
    Any,  # a Limit
    PlainValidator(_told(Limit.parse)),
    WithJsonSchema({"type": "string", "examples": ["$50/month", "600 requests/minute for gpt-4.1*"]}),
]
"""A limit in the words of `Limit.parse`."""
AlertText = Annotated[
    Any,  # an Alert
    PlainValidator(_told(Alert.parse)),
    WithJsonSchema({"type": "string", "examples": ["80% email", "$400 slack on cost/month"]}),
]
"""An alert in the words of `Alert.parse`."""
Pattern = Annotated[str, AfterValidator(_told(_pattern))]
"""A model's name, or a pattern of them."""
Threshold = Annotated[
    int,
    BeforeValidator(_told(_threshold)),
    WithJsonSchema(
        {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_SHARE // SHARE, "examples": [0.8]}
    ),
]
"""A share of a limit; millionths inside."""


def _words(name: str, doc: str, words: Words) -> type[Body]:
    fields: dict[str, Any] = {
        word: ((Usd if slot.metric == "cost" else Count) | None, None) for word, slot in words.items()
    }
    return create_model(name, __base__=Body, __doc__=doc, **fields)


Rates = _words("Rates", "At most so many requests or tokens in a window, or calls under way.", RATES)
Entry = _words("Entry", "At most so many requests, tokens or dollars in a window.", ENTRIES)


class QuotaAlert(Body):
    """Told, or stopped, once this share of a budget is used."""

    threshold: Threshold
    action: Plain


def _once(alerts: list[QuotaAlert]) -> list[QuotaAlert]:
    if len({(alert.threshold, alert.action) for alert in alerts}) < len(alerts):
        raise ValueError("has one twice; leave it out")
    return alerts


class Terms(Body):
    """Limits and alerts as a request says them. null takes away."""

    hourly_budget_usd: Usd | None = None
    daily_budget_usd: Usd | None = None
    weekly_budget_usd: Usd | None = None
    monthly_budget_usd: Usd | None = None
    quarterly_budget_usd: Usd | None = None
    yearly_budget_usd: Usd | None = None
    total_budget_usd: Usd | None = Field(None, description="for its whole life")
    quota_alerts: Annotated[list[QuotaAlert], AfterValidator(_once)] | None = Field(
        None, max_length=MAX_ENTRIES, description="on every budget"
    )
    rate_limit: Rates | None = None  # type: ignore[valid-type]  # made above
    model_limits: dict[Pattern, Entry] | None = Field(  # type: ignore[valid-type]
        None, max_length=MAX_ENTRIES, description="by model, or pattern of models"
    )
    end_user_limits: Entry | None = Field(None, description="each end user's own")  # type: ignore[valid-type]
    limits: list[LimitText] | None = Field(
        None, max_length=MAX_ENTRIES, description="all limits, in place of the words above"
    )
    alerts: list[AlertText] | None = Field(
        None, max_length=MAX_ENTRIES, description="all alerts, in place of `quota_alerts`"
    )


class QuotaAlertAnswer(Answer):
    """Told, or stopped, once this share of a budget is used."""

    threshold: float
    action: Plain


class TermsAnswer(Revised):
    """Limits and alerts as they stand."""

    hourly_budget_usd: Dollars | None
    daily_budget_usd: Dollars | None
    weekly_budget_usd: Dollars | None
    monthly_budget_usd: Dollars | None
    quarterly_budget_usd: Dollars | None
    yearly_budget_usd: Dollars | None
    total_budget_usd: Dollars | None
    quota_alerts: list[QuotaAlertAnswer]
    rate_limit: dict[str, int]
    model_limits: dict[str, dict[str, int | float]]
    end_user_limits: dict[str, int | float]
    limits: list[str] = Field(description="all of them, one text each")
    alerts: list[str] = Field(description="all of them, one text each")


WORDS: Final = frozenset(Terms.model_fields)
"""Fields that are said in `changes`' words."""

# there and back


def changes(
    sent: Mapping[str, Any], limits: Iterable[Limit] = (), alerts: Iterable[Alert] = ()
) -> dict[str, Any]:
    """What the given fields of `Terms` make of a node's limits and alerts; {} where none of them was sent.

    Raises ConfigurationError.
    """
    found: dict[str, Any] = {}
    words = sent.keys() & WORDS
    if "limits" in words:
        if others := sorted(words - {"limits", "alerts", "quota_alerts"}):
            raise ConfigurationError("limits", f"says all limits; send it without {others[0]}")
        found["limits"] = tuple(sent["limits"] or ())
    elif words - {"alerts", "quota_alerts"}:
        found["limits"] = _limits(sent, tuple(limits))
    if "alerts" in words:
        if "quota_alerts" in words:
            raise ConfigurationError("alerts", "says all alerts; send it without quota_alerts")
        found["alerts"] = tuple(sent["alerts"] or ())
    elif "quota_alerts" in words:
        new = tuple(Alert(alert.action, share=alert.threshold) for alert in sent["quota_alerts"] or ())
        found["alerts"] = (*new, *(alert for alert in alerts if not _is_plain(alert)))
    return found


def field_of(body: Body, window: str | None = None) -> str:
    """The field in which a body says limits, or the budget of a window."""
    of_window = (word for word, slot in BUDGETS.items() if str(slot.window) == window)
    return next(
        (field for field in (*of_window, *_LIMITS, *BUDGETS) if field in body.model_fields_set), "limits"
    )


def told(node: Node) -> dict[str, Any]:
    """The fields of `TermsAnswer`."""
    spoken = _spoken(node.limits).values()
    own = [limit for limit in spoken if limit.models is None and limit.per is None]
    by_model: dict[str, list[Limit]] = {}
    for limit in spoken:
        if limit.models is not None and limit.per is None:
            by_model.setdefault(limit.models, []).append(limit)
    users = [limit for limit in spoken if limit.models is None and limit.per is not None]
    amounts = {_Slot(limit.metric, limit.window): limit.amount for limit in own}
    return {
        "revision": node.rev,
        **{word: amounts.get(slot) for word, slot in BUDGETS.items()},
        "quota_alerts": [
            {"threshold": (alert.share or 0) / SHARE, "action": alert.action}
            for alert in node.alerts
            if _is_plain(alert)
        ],
        "rate_limit": _said(own, RATES),
        "model_limits": {pattern: _said(limits, ENTRIES) for pattern, limits in by_model.items()},
        "end_user_limits": _said(users, ENTRIES),
        "limits": list(map(str, node.limits)),
        "alerts": list(map(str, node.alerts)),
    }


def _said(limits: Iterable[Limit], words: Words) -> dict[str, int | float]:
    """The limits that there are words for, in these."""
    word_of = {slot: word for word, slot in words.items()}
    return {
        word: float(to_usd(limit.amount)) if limit.metric == "cost" else limit.amount
        for limit in limits
        if (word := word_of.get(_Slot(limit.metric, limit.window))) is not None
    }


def _limits(sent: Mapping[str, Any], limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
    """The limits with what is sent in place of what it speaks of."""
    for word, slot in BUDGETS.items():
        if word in sent:
            limits = _replaced(limits, _own(frozenset({slot})), _wanted({word: sent[word]}, BUDGETS))
    if "rate_limit" in sent:
        limits = _replaced(limits, _own(_RATES), _wanted(_given(sent["rate_limit"]), RATES))
    if "end_user_limits" in sent:
        wanted = _wanted(_given(sent["end_user_limits"]), ENTRIES, per="end_user")
        limits = _replaced(limits, _own(_ENTRIES, per="end_user"), wanted)
    if "model_limits" in sent:
        wanted = [
            limit
            for pattern, entry in (sent["model_limits"] or {}).items()
            for limit in _wanted(_given(entry), ENTRIES, models=pattern)
        ]
        limits = _replaced(limits, lambda limit: limit.models is not None and limit.per is None, wanted)
    return limits


def _own(known: frozenset[_Slot], per: str | None = None) -> Callable[[Limit], bool]:
    return lambda limit: limit.models is None and limit.per == per and (limit.metric, limit.window) in known


def _given(words: Body | None) -> dict[str, Any]:
    return words.given() if words is not None else {}


def _wanted(given: Mapping[str, int | None], words: Words, **where: Any) -> list[Limit]:
    return [
        Limit(words[word].metric, amount, words[word].window, **where)
        for word, amount in given.items()
        if amount is not None
    ]


def _replaced(
    limits: tuple[Limit, ...], looked_at: Callable[[Limit], bool], wanted: Iterable[Limit]
) -> tuple[Limit, ...]:
    """Of the limits that are looked at, those of a wanted shape get its amount, and the others go; what is wanted and
    not there is added. One that stays keeps its mode, and whether it carries over.
    """
    spoken = _spoken(limits)
    new = {limit.shape: limit for limit in wanted}
    found = []
    for limit in limits:
        if limit.mode == "shadow" or not looked_at(limit):
            found.append(limit)
        elif limit.shape in new:
            speaks = spoken[limit.shape] is limit
            found.append(replace(limit, amount=new[limit.shape].amount) if speaks else limit)
    return (*found, *(limit for shape, limit in new.items() if shape not in spoken))


def _spoken(limits: Iterable[Limit]) -> dict[str, Limit]:
    """The limits that the words speak of, by shape."""
    found: dict[str, Limit] = {}
    for limit in limits:
        if limit.mode == "hard" or (limit.mode == "soft" and limit.shape not in found):
            found[limit.shape] = limit
    return found


def _is_plain(alert: Alert) -> bool:
    plain = alert.kind == "used" and alert.share is not None and alert.limit is None
    return plain and alert.action in get_args(Plain)
