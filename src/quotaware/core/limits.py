"""Limits: at most AMOUNT of METRIC per WINDOW, their one text form, and which of them bear on a call.

    AMOUNT METRIC/WINDOW [for PATTERN] [per end_user] [carryover] [soft | shadow]

    $50/month                          cost
    600 requests/minute                requests, over any 60 seconds
    200000 tokens/minute soft          only alerts
    1000 requests/day for gpt-4.1*     the models that the pattern takes in
    $1/day per end_user                each end user's own
    $300/month carryover               what was left of a month is added to the next
    8 concurrent                       calls under way at once; it has no window

Whether a call fits is the ledger's to decide; where a limit sits in the tree is the tenancy's.
"""

from __future__ import annotations

import re
import reprlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, get_args

from quotaware.core.models import Model, check_pattern, concerns
from quotaware.core.money import count, format_usd, usd
from quotaware.core.windows import Window
from quotaware.errors import ConfigurationError, LimitSyntaxError

Metric = Literal["requests", "tokens", "cost", "concurrency"]
Mode = Literal["hard", "soft", "shadow"]
Per = Literal["end_user"]

_MAX_TEXT = 1024
_METRICS: dict[str, Metric] = {
    "request": "requests",
    "requests": "requests",
    "token": "tokens",
    "tokens": "tokens",
    "concurrent": "concurrency",
}
_MODES: tuple[str, ...] = get_args(Mode)
_KNOWN = {"metric": get_args(Metric), "per": (None, *get_args(Per)), "mode": _MODES}
_SUFFIXES = ("for", "per", "carryover", *_MODES)


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` of `metric` per `window`. Raises ConfigurationError naming the field that is wrong.

    metric     requests, tokens, cost, or concurrency (calls under way)
    amount     nano-dollars for cost, else a whole number; 0 lets nothing through
    window     None for concurrency, and only there
    models     a pattern of model names (see `models.concerns`), None for all calls
    per        `end_user`: each end user has a counter of their own
    mode       hard refuses; soft only alerts; shadow records what it would have refused
    carryover  what was left of a calendar window is added to the next
    shape      follows from the others: what tells its counter from those of its node's other limits, all but the
               amount and the mode, such as `cost/month`, `requests/minute/for:gpt-4.1*`, `cost/day/per:end_user`,
               `concurrency`. The pattern comes last, since it may hold anything
    """

    metric: Metric
    amount: int
    window: Window | None
    models: str | None = None
    per: Per | None = None
    mode: Mode = "hard"
    carryover: bool = False
    shape: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, known in _KNOWN.items():
            if (value := getattr(self, name)) not in known:
                raise ConfigurationError(name, f"{reprlib.repr(value)} is unknown; give one of {known}")
        if not isinstance(self.amount, int):
            raise ConfigurationError("amount", "must be a whole number (nano-dollars for cost)")
        count(self.amount, "amount")
        if self.metric == "concurrency":
            if self.window is not None:
                raise ConfigurationError("window", "a limit on concurrency has none; leave it out")
        elif not isinstance(self.window, Window):
            raise ConfigurationError("window", "is missing; give a Window, such as Window.parse('month')")
        if self.carryover and (self.window is None or self.window.kind != "calendar"):
            raise ConfigurationError("carryover", "is for calendar windows: day, week, month, quarter, year")
        if self.models is not None:
            check_pattern(self.models, "models")
            if self.models.lower() in _SUFFIXES:
                raise ConfigurationError(
                    "models", f"{self.models!r} is a word of the limit text; write {self.models + '*'!r}"
                )
        object.__setattr__(self, "shape", _shape(self))

    @classmethod
    def parse(cls, text: str) -> Limit:
        """The limit that a text says; the reverse of `str(limit)`.

        Words are read in any case, suffixes in any order, each once. Raises LimitSyntaxError, which names the
        word that cannot be read and says what can.
        """
        if not isinstance(text, str):
            raise LimitSyntaxError(reprlib.repr(text), "", "must be text, such as '$50/month'")
        if len(text) > _MAX_TEXT:
            raise LimitSyntaxError(reprlib.repr(text), "", f"is longer than {_MAX_TEXT} characters")
        if not text.strip():
            raise LimitSyntaxError(text, "", "is empty; write it like '$50/month' or '600 requests/minute'")
        return _read(text)

    def __str__(self) -> str:
        return " ".join(
            word
            for word in (
                _what(self),
                f"for {self.models}" if self.models else "",
                f"per {self.per}" if self.per else "",
                "carryover" if self.carryover else "",
                "" if self.mode == "hard" else self.mode,
            )
            if word
        )


def bearing(limits: Iterable[Limit], models: Sequence[Model], end_user: str | None) -> list[Limit]:
    """The limits that bear on a call which any of `models` may serve: those for a pattern only where it concerns one of
    these, those per end user only where one is named.
    """
    return [
        limit
        for limit in limits
        if (limit.per is None or end_user is not None)
        and (limit.models is None or any(concerns(limit.models, model) for model in models))
    ]


def _what(limit: Limit) -> str:
    if limit.metric == "concurrency":
        return f"{limit.amount} concurrent"
    if limit.metric == "cost":
        return f"{format_usd(limit.amount)}/{limit.window}"
    metric = limit.metric.removesuffix("s") if limit.amount == 1 else limit.metric
    return f"{limit.amount} {metric}/{limit.window}"


def _shape(limit: Limit) -> str:
    parts = (
        limit.metric,
        str(limit.window) if limit.window else "",
        f"per:{limit.per}" if limit.per else "",
        f"for:{limit.models}" if limit.models else "",
    )
    return "/".join(filter(None, parts))


@lru_cache(maxsize=4096)
def _read(text: str) -> Limit:
    """Many nodes of an organization have the same few limits."""
    return _Reader(text).limit()


class _Reader:
    """Reads one limit text from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.last = ""
        self.words: deque[str] = deque()
        for word in text.split():
            if self.words and self.words[-1].lower() == "for":
                self.words.append(word)  # a pattern keeps its slashes
            else:
                self.words.extend(part for part in re.split("(/)", word) if part)

    def limit(self) -> Limit:
        metric, amount = self.amount()
        return Limit(metric, amount, self.window(metric), **self.suffixes())

    def amount(self) -> tuple[Metric, int]:
        figure = self.next()
        if figure == "$":
            figure += self.next()
        try:
            if "$" in figure:
                return "cost", usd(figure, "amount")
            amount = count(figure, "amount")
        except ConfigurationError as error:
            raise self.refusal(figure, f"{error}, such as '$50/month' or '600 requests/minute'") from None
        metric = self.next()
        if metric.lower() not in _METRICS:
            raise self.refusal(
                metric,
                f"after {figure!r} stands requests, tokens or concurrent, and $ before an amount of money,"
                f" not {metric!r}",
            )
        return _METRICS[metric.lower()], amount

    def window(self, metric: Metric) -> Window | None:
        slash = self.words[0] if self.words else ""
        if metric == "concurrency":
            if slash == "/":
                raise self.refusal(
                    slash, "a limit on concurrency has no window; leave out '/' and what follows"
                )
            return None
        if slash != "/":
            raise self.refusal(
                slash, f"a window is missing after {self.last!r}; add one, such as /minute or /month"
            )
        self.next()
        name = self.next()
        if name.lower() == "calendar":
            name = f"{name} {self.next()}".rstrip()
        try:
            return Window.parse(name)
        except ConfigurationError as error:
            raise self.refusal(name, str(error)) from None

    def suffixes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        value: str | bool
        while self.words:
            word = self.next()
            match word.lower():
                case "for":
                    field, value = "models", self.pattern()
                case "per":
                    field, value = "per", self.per()
                case "carryover":
                    field, value = "carryover", True
                case mode if mode in _MODES:
                    field, value = "mode", mode
                case _:
                    raise self.refusal(
                        word, f"unknown word {word!r}; after the window can stand {', '.join(_SUFFIXES)}"
                    )
            if field in found:
                raise self.refusal(word, f"{word!r} gives {field} a second time; leave one out")
            found[field] = value
        return found

    def pattern(self) -> str:
        pattern = self.next()
        if pattern.lower() in ("", *_SUFFIXES):
            raise self.refusal(pattern, "a model pattern is missing after 'for', such as for gpt-4.1*")
        try:
            check_pattern(pattern, "models")
        except ConfigurationError as error:
            raise self.refusal(pattern, str(error)) from None
        return pattern

    def per(self) -> str:
        who = self.next()
        if who.lower() != "end_user":
            raise self.refusal(
                who, f"'per' takes end_user, not {who!r}; a window is written with a slash: /month"
            )
        return "end_user"

    def next(self) -> str:
        """The next word, or "" at the end; `last` is the last one that there was."""
        word = self.words.popleft() if self.words else ""
        self.last = word or self.last
        return word

    def refusal(self, word: str, message: str) -> LimitSyntaxError:
        return LimitSyntaxError(self.text, word or self.last, message)
