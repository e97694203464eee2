"""Sends what waits in the outbox, one sender an organization at a time.

An event of the outbox is first routed: in one step it goes, and a delivery for each address comes in its place. A
delivery goes once it was taken, or has its place taken by its next attempt. So each address has its own progress, in
the store, whatever process sends and whichever dies; what was taken just before a sender died is sent once more, with
the same key. Deliveries of one limit to one address keep their order: a later threshold waits until the earlier one
has arrived, or was given up.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from ..core.ledger import armed_of
from ..core.steps import Event
from ..errors import AlreadyExists, Conflict, NotFound, StoreError
from ..logs import logged
from ..stores.protocol import Clock, Store
from ..tenancy.directory import Directory
from ..tenancy.nodes import Path
from ..turns import Turn
from .due import Due, notice_of, window_of
from .log import DeliveryLog, Entry
from .notices import Notice, to_json
from .once import Once
from .routes import NOBODY, Address, Routes
from .sending import Outcome

logger = logging.getLogger("quotaware")

LEASE_S = 10.0
LEASES_S = {"email": 20.0, "callback": 40.0}
"""How long an organization is one sender's own, by channel where that needs more: longer than one attempt takes, before
each of which it is taken anew. Another takes over that much after a sender died.
"""
BUSY_MS = 500
"""When it is looked again where another sends just now, ms."""
TURN_S = 20.0
"""After so long no further attempt is begun in one turn: other organizations want theirs."""
FIRST_S, LONGEST_S = 5.0, 3600.0
"""The wait after the first attempt that failed, each next one is three times as long, and the longest."""
TRIES = 30
GIVE_UP_MS = 24 * 3_600_000
"""A delivery is given up after so many attempts, or so long after it became due."""
WHOLE_MS = 400 * 86_400_000
"""How long it is remembered that a budget was told to be used up."""
WAITING = 2000
"""Deliveries of an organization that may wait; what becomes due beyond is only logged."""
_DELIVERY = "d|"
_random = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notice on its way to one address.

    key    the same for every attempt; limit, order: what it waits its turn among
    tries  attempts that failed, the next not before `next` ms; why: what became of the last
    """

    key: str
    at: int
    limit: str
    order: int
    address: Address
    notice: Notice
    tries: int = 0
    next: int = 0
    why: str = ""

    @property
    def id(self) -> str:
        """Its id in the outbox: of this attempt, since an event there is never changed."""
        return f"{_DELIVERY}{self.key}|{self.tries}"

    def event(self) -> Event:
        """It as the outbox has it."""
        told = [
            self.key,
            self.limit,
            self.order,
            self.address,
            self.notice.packed(),
            self.tries,
            self.next,
            self.why,
        ]
        return Event(self.id, self.at, to_json(told))

    @classmethod
    def read(cls, event: Event) -> Delivery:
        """What `event` made. Raises ValueError, TypeError, LookupError."""
        key, limit, order, address, notice, *rest = json.loads(event.body)
        return cls(key, event.at, limit, order, Address(*address), Notice.unpacked(notice), *rest)

    def after(self, outcome: Outcome, now: int, wait: Callable[[int], float]) -> Delivery:
        """Its next attempt."""
        seconds = max(wait(self.tries + 1), min(outcome.after, LONGEST_S))
        return replace(self, tries=self.tries + 1, next=now + int(seconds * 1000), why=outcome.why)


def wait_s(tries: int) -> float:
    """How long to wait after so many attempts that failed, seconds: at random, so that senders draw apart."""
    return min(LONGEST_S, FIRST_S * 3.0 ** min(tries - 1, 12)) * (0.5 + _random.random() / 2)


def lease_s(channel: str) -> float:
    """How long the lease for an attempt by a channel is, seconds."""
    return LEASES_S.get(channel, LEASE_S)


class Sender:
    """Blocking; for one thread at a time. Raises StoreError."""

    def __init__(
        self, store: Store, directory: Directory, tenancy: Any, routes: Routes, log: DeliveryLog, clock: Clock
    ) -> None:
        self._store = store
        self._directory = directory
        self._tenancy = tenancy
        self._routes = routes
        self._log = log
        self._clock = clock
        self._once = Once(store)
        self._turn = Turn(store, "alerts", int(LEASE_S * 1000))

    def turn(self, org: str) -> int | None:
        """Sends what is due; answers the ms at which there is more to do, None where nothing waits."""
        events = self._store.outbox(org)
        if not events:
            return None
        if not self._turn.take(org):
            return self._clock() + BUSY_MS
        try:
            fresh = [event for event in events if not event.id.startswith(_DELIVERY)]
            if fresh:
                events = self._route(org, fresh, len(events) - len(fresh))
            return self._send(org, [event for event in events if event.id.startswith(_DELIVERY)])
        finally:
            self._turn.let_go(org)

    def waiting(self, org: str) -> list[Delivery]:
        """The deliveries that wait, those that were due first first."""
        return _in_order([event for event in self._store.outbox(org) if event.id.startswith(_DELIVERY)])

    # from events to deliveries

    def _route(self, org: str, fresh: Sequence[Event], waiting: int) -> list[Event]:
        known = [(event, Due.read(event)) for event in fresh]
        known.sort(
            key=lambda pair: (pair[0].at, pair[1].limit if pair[1] else "", pair[1].order if pair[1] else 0)
        )
        left: list[Event] | None = None
        for event, due in known:
            deliveries = self._understood(org, event, due)
            if deliveries is None:
                continue
            if deliveries and waiting + len(deliveries) > WAITING:
                self._tell(org, deliveries[0], "dropped", f"{WAITING} deliveries wait already")
                deliveries = []
            waiting += len(deliveries)
            left = self._store.outbox(org, put=[each.event() for each in deliveries], done=[event.id])
        return self._store.outbox(org) if left is None else left

    def _understood(self, org: str, event: Event, due: Due | None) -> list[Delivery] | None:
        """What is to be sent of an event; None where it is left for who knows it better: a newer version."""
        fresh = self._clock() - event.at < GIVE_UP_MS
        if due is None:
            return None if fresh else []
        try:
            return self._deliveries(org, event, due)
        except StoreError:
            raise
        except Exception:  # it keeps no other from being sent
            logger.exception(
                "an alert of %s cannot be told: %s",
                org,
                event.id,
                extra=logged("alert_not_told", organization=org, alert=event.id),
            )
            return None if fresh else []

    def _deliveries(self, org: str, event: Event, due: Due) -> list[Delivery]:
        """What is to be sent of an event; what cannot be is logged."""
        path = self._path(org, due.node)
        if due.kind == "stopped" and path is not None and path.nodes[0].id == due.node:
            self._audit(org, due.node, event)
        if not self._is_first(org, due, event):
            return []
        notice = notice_of(event, due, org, path, path.zone if path is not None else "UTC")
        found: list[Delivery] = []
        deaf: list[Delivery] = []
        for address in self._routes.of(org, path, due.action):
            delivery = Delivery(_key(notice, address), event.at, due.limit, due.order, address, notice)
            (deaf if self._routes.deaf(address) else found).append(delivery)
        for each in deaf:
            self._tell(org, each, "undeliverable", self._routes.deaf(each.address))
        if not found and not deaf:
            nobody = Delivery(_key(notice, NOBODY), event.at, due.limit, due.order, NOBODY, notice)
            self._tell(org, nobody, "undeliverable", "nobody is there to be told")
        return found

    def _audit(self, org: str, node: str, event: Event) -> None:
        """The row of a stop, which the store made in the step that crossed the threshold."""
        mark = json.loads(event.body)["mark"]
        self._once.do(
            org,
            f"alerts.stop|{event.id}|{event.at}",
            GIVE_UP_MS,
            lambda: self._tenancy.add_stop(org, node, mark, event.at),
        )

    def _is_first(self, org: str, due: Due, event: Event) -> bool:
        """Of "all of it is used" and "it keeps calls out" of one budget and period only the first is told."""
        if not due.level or due.order < due.cap or due.kind not in {"used", "denied"} or "/per:" in due.shape:
            return True
        window = window_of(due.shape)
        ttl = (window.length_ms if window is not None else 0) or WHOLE_MS
        name = f"alerts.whole|{due.limit}|{due.since}|{due.cap}|{due.action}"
        what, _ = armed_of(event.id)  # armed again it is told again; an older version notes the arming, too
        first, _ = armed_of(self._store.once(org, name, what, ttl, expect=what))
        return first == what

    def _path(self, org: str, id: str) -> Path | None:
        """The path of a node; of one that is gone the organization's, if that is there."""
        for each in (id or org, org):
            try:
                return self._directory.load(org, each)
            except NotFound:
                continue
        return None

    # sending

    def _send(self, org: str, events: Sequence[Event]) -> int | None:
        """Goes around the addresses, so that none waits behind another that does not answer."""
        until = time.monotonic() + TURN_S
        deliveries = _in_order(events)
        left = {each.key: each for each in deliveries}
        by_address = sorted(deliveries, key=lambda each: each.address)  # stable: in order for each
        around = deque(
            (address.channel, self._serve(org, list(own), left))
            for address, own in groupby(by_address, key=lambda each: each.address)
        )
        while around:
            channel, one = around.popleft()
            if time.monotonic() >= until or not self._turn.take(org, int(lease_s(channel) * 1000)):
                return self._clock()
            if next(one, None) is not None:
                around.append((channel, one))
        return _next(left.values())

    def _serve(self, org: str, deliveries: Sequence[Delivery], left: dict[str, Delivery]) -> Iterator[bool]:
        """Makes one attempt after the other to one address, until one fails; `left` is what there is to do later."""
        behind: set[str] = set()  # limits of which an earlier one waits
        for each in deliveries:
            if each.limit in behind or each.next > self._clock():
                behind.add(each.limit)
                continue
            outcome = self._routes.send(org, each.address, each.notice, each.key)
            later = self._settle(org, each, outcome)
            if later is None:
                del left[each.key]
            else:
                left[each.key] = later
                return
            yield True

    def _settle(self, org: str, delivery: Delivery, outcome: Outcome) -> Delivery | None:
        """Writes down what became of an attempt; answers the next, if there is one."""
        now = self._clock()
        if outcome.gone:
            outcome = self._closed(org, delivery, outcome)
        if outcome.ok:
            self._tell(org, delivery, "delivered", "")
        elif not outcome.again or delivery.tries + 1 >= TRIES or now - delivery.at >= GIVE_UP_MS:
            self._tell(org, replace(delivery, tries=delivery.tries + 1), "failed", outcome.why)
            logger.error(
                "an alert of %s could not be delivered by %s: %s",
                org,
                delivery.address.channel,
                outcome.why,
                extra=logged(
                    "alert_failed", organization=org, channel=delivery.address.channel, why=outcome.why
                ),
            )
        else:
            later = delivery.after(outcome, now, wait_s)
            self._store.outbox(org, put=[later.event()], done=[delivery.id])
            logger.warning(
                "an alert of %s is tried again by %s: %s",
                org,
                delivery.address.channel,
                outcome.why,
                extra=logged(
                    "alert_retried", organization=org, channel=delivery.address.channel, why=outcome.why
                ),
            )
            return later
        self._store.outbox(org, done=[delivery.id])
        return None

    def _closed(self, org: str, delivery: Delivery, outcome: Outcome) -> Outcome:
        """The channel wants nothing any more, and gets nothing, unless somebody changed it since. One of the host's
        own, which is not in the store, gets nothing from this process.
        """
        if not outcome.rev:
            if not self._routes.close(delivery.address):
                return outcome
            target = self._routes.masked(org, delivery.address)
            logger.warning(
                "the app's own %s %s %s, and is told nothing until the app starts anew",
                delivery.address.channel,
                target,
                outcome.why,
                extra=logged("channel_disabled", organization=org, channel=target, why=outcome.why),
            )
            return outcome._replace(why=f"{outcome.why}; it is told nothing until the app starts anew")
        try:
            self._tenancy.update_channel(
                org, delivery.address.to, expect=outcome.rev, enabled=False, why=outcome.why
            )
        except (NotFound, AlreadyExists, Conflict):  # it is gone, or was changed meanwhile
            return outcome
        logger.warning(
            "channel %s of %s %s, and is disabled",
            delivery.address.to,
            org,
            outcome.why,
            extra=logged("channel_disabled", organization=org, channel=delivery.address.to, why=outcome.why),
        )
        return outcome._replace(why=f"{outcome.why}; the channel is disabled")

    def _tell(self, org: str, delivery: Delivery, outcome: str, why: str) -> None:
        self._log.add(org, self.entry(org, delivery, outcome, why, self._clock()))

    def entry(self, org: str, delivery: Delivery, outcome: str, why: str, at: int) -> Entry:
        """A delivery as the log has it. Raises StoreError."""
        notice = delivery.notice
        return {
            "at": at,
            "alert": notice.id,
            "key": delivery.key,
            "kind": notice.kind,
            "title": notice.title,
            "node": notice.node,
            "above": list(notice.above),
            "channel": delivery.address.channel,
            "target": self._routes.masked(org, delivery.address),
            "outcome": outcome,
            "tries": delivery.tries + (outcome == "delivered"),
            "why": why,
        }


def _in_order(events: Sequence[Event]) -> list[Delivery]:
    found = []
    for event in events:
        try:
            found.append(Delivery.read(event))
        except (ValueError, TypeError, LookupError):  # of a newer version: its own sender knows it
            logger.warning(
                "a delivery cannot be read here, and is left: %s",
                event.id,
                extra=logged("delivery_unreadable", alert=event.id),
            )
    return sorted(found, key=lambda each: (each.at, each.limit, each.order, each.key))


def _next(waiting: Iterable[Delivery]) -> int | None:
    """When the first of those is due that wait for no earlier one."""
    heads: dict[tuple[Address, str], int] = {}
    for each in waiting:
        heads.setdefault((each.address, each.limit), each.next)
    return min(heads.values(), default=None)


def _key(notice: Notice, address: Address) -> str:
    text = "|".join((notice.id, *address))
    return "msg_" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
