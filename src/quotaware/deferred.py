"""Calls whose provider answers before it is done, and tells only later what was used: background responses, batches.

Such a call is charged at its bound when the first answer is there, as if its lease had ended; the note that is left in
the store lets any process put that right, once, when it sees the usage.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from .caches import SharedCache
from .core.bounds import BATCHES, MESSAGE_BATCHES, Call
from .core.charges import Charge, Outcome, charge
from .core.money import MAX_AMOUNT
from .core.prices import Dearest, Price, service
from .core.steps import REMEMBER_MS, Amounts, Plan, Settle, id_time
from .core.usage import Usage
from .learned import Learned
from .logs import logged
from .observing import Late, Observers, Place, cleaned
from .stores.items import pack_plan, unpack_plan
from .stores.lanes import Lanes

logger = logging.getLogger("quotaware")

KEPT_MS = REMEMBER_MS - 3_600_000
"""How long a note is kept: a little less than the store remembers the call that it is about."""
NOTES = 4096
"""Notes of its own that a process remembers."""
BatchPrice = Callable[[str | None, str, int], Price | None]
"""What a model of a provider costs in a batch that was asked for at a time (ms)."""
_CALL = tuple(
    field.name for field in fields(Call) if field.name not in {"also", "besides", "lines", "unknown"}
)


@dataclass(frozen=True, slots=True)
class Deferred:
    """What it takes to settle a call later: its reservation, what it asked for, and what it was let go with.

    `allowance`: how much of `input` was allowed for what its body does not show, which its `project` is taught.
    """

    id: str
    plan: Plan
    call: Call
    price: Price | None
    input: int
    output: int
    project: str = ""
    allowance: int = 0

    def pack(self) -> str:
        """The note as text."""
        price = self.price
        return json.dumps(
            {
                "id": self.id,
                "plan": pack_plan(self.plan),
                "call": _packed(self.call),
                "price": price and price.version,
                "of": [(name, one.version) for name, one in price.of] if isinstance(price, Dearest) else [],
                "bound": [self.input, self.output, self.project, self.allowance],
            }
        )

    @classmethod
    def unpack(cls, text: str) -> Deferred:
        """What `pack` packed."""
        note: dict[str, Any] = json.loads(text)
        price = Price.load(note["price"]) if note["price"] else None
        if price is not None and note["of"]:
            of = tuple((name, Price.load(version)) for name, version in note["of"])
            price = Dearest(
                price.tiers,
                price.request,
                price.scale,
                price.counted,
                (),
                price.least_ms,
                price.besides,
                of=of,
            )
        return cls(note["id"], unpack_plan(note["plan"]), _unpacked(note["call"]), price, *note["bound"])

    def settle(self, outcome: Outcome, model: str | None, batch_price: BatchPrice) -> tuple[Settle, Charge]:
        """The step that puts its charge right, and that charge."""
        price, most = self.price and self.price.told(model), (self.input, self.output)
        unpriced = None
        if self.call.operation == BATCHES:  # nothing was known of it before
            price = batch_price(self.call.provider, model, id_time(self.id)) if model else None
            most = (outcome.usage.input, outcome.usage.output) if outcome.usage else most
            unpriced = price is None or None
        charged = charge(self.call, price, *most, outcome)
        text = told(outcome, charged, model, unpriced=unpriced)
        return Settle(self.id, self.plan, amounts(charged), text), charged

    def late(self, charged: Charge, model: str | None) -> Late:
        """What observers are told of it."""
        place = Place(self.plan.org, None, self.project or None)
        return Late(place, self.call, cleaned(model or self.call.model), charged.usage, charged.cost)

    def teach(self, learned: Learned, usage: Usage) -> None:
        """Has what it used learned, as that of any other call; what many calls used together teaches nothing of one."""
        if self.call.operation not in (BATCHES, MESSAGE_BATCHES):
            shown = self.input - self.allowance
            learned.take(self.plan.org, self.project, self.call, shown, usage.input, usage.output)


def _packed(call: Call) -> dict[str, Any]:
    said = {name: getattr(call, name) for name in _CALL}
    return {**said, "besides": [_packed(other) for other in call.besides]}


def _unpacked(said: dict[str, Any]) -> Call:
    besides = tuple(map(_unpacked, said.get("besides", ())))
    known = {name: value for name, value in said.items() if name in _CALL}
    return Call(
        **{
            **known,
            "besides": besides,
            "service": service(**dict(said.get("service", ()))),
            "kinds": tuple(said.get("kinds", ())),
        }
    )


class DeferredCalls:
    """The notes of such calls, by the name under which their providers know them. Neither method waits or raises."""

    def __init__(self, lanes: Lanes, batch_price: BatchPrice, learned: Learned, observers: Observers) -> None:
        self._lanes = lanes
        self._learned = learned
        self._batch_price = batch_price
        self._observers = observers
        self._own: SharedCache[str, str] = SharedCache(NOTES)  # "" once it is settled

    def keep(self, answer: str, deferred: Deferred) -> None:
        """Leaves a note of a call that the provider knows as `answer`."""
        org, text = deferred.plan.org, deferred.pack()
        self._own[answer] = text
        self._do(org, lambda: self._lanes.store.once(org, _name(answer), text, KEPT_MS))

    def settle(self, org: str | None, answer: str, outcome: Outcome, model: str | None) -> None:
        """The provider tells of `answer`, which is a call of `org` if it is none of this process's, what it used."""
        text = self._own.get(answer)
        if text:
            org = Deferred.unpack(text).plan.org
        if org is not None and text != "":
            where = org
            self._do(where, lambda: self._settle(where, answer, text, outcome, model))

    def _settle(self, org: str, answer: str, text: str | None, outcome: Outcome, model: str | None) -> None:
        store, name = self._lanes.store, _name(answer)
        text = text or store.once(org, name, "", 1)
        if text:
            deferred = Deferred.unpack(text)
            step, charged = deferred.settle(outcome, model, self._batch_price)
            self._lanes.post(org, step)
            self._own[answer] = ""
            store.once(org, name, "", 1, expect=text)
            if outcome.usage is not None and outcome.status < 300:
                deferred.teach(self._learned, outcome.usage)
            if self._observers:
                self._observers.late(deferred.late(charged, model))

    def _do(self, org: str, work: Any) -> None:
        def quietly() -> None:
            try:
                work()
            except Exception:  # what is charged then is the bound
                logger.exception(
                    "what a call used cannot be settled later", extra=logged("late_charge_failed")
                )

        self._lanes.call(quietly, org)


def amounts(charged: Charge) -> Amounts:
    """What a charge counts on limits."""
    return (min(max(0, charged.tokens), MAX_AMOUNT), min(charged.cost, MAX_AMOUNT), 0)


def told(outcome: Outcome, charged: Charge, model: str | None, **more: Any) -> str:
    """What a record says of how a call ended; of `more` what is not None."""
    said = {
        "status": outcome.status,
        "model": model,
        "usage": _counts(charged.usage),
        "besides": [(name, _counts(used)) for name, used in charged.besides] or None,
        "quality": charged.quality,
        "suspect": charged.suspect or None,
        **more,
    }
    return _json({name: value for name, value in said.items() if value is not None})


def _counts(usage: Usage) -> dict[str, int]:
    return {name: n for name in usage.__slots__ if (n := getattr(usage, name))}


def _name(answer: str) -> str:
    return "later/" + hashlib.sha256(answer.encode("utf-8", "replace")).hexdigest()


_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
