"""Alerts of a Quota: what becomes due is sent, by a thread of its own, and the face to look at it and to try it.

Any process sends for the organizations that it hears of or comes upon, each while it holds the lease (`sender.py`), so
what a process that died left is sent by the next that looks.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain, islice
from typing import Any, Self

from ..core.steps import Answer, Over
from ..errors import ConfigurationError, StoreError
from ..ids import Ids
from ..logs import logged
from ..stores.protocol import Clock, Store
from ..stores.thread import StoreThread
from ..tenancy.channels import Channel, ChannelType
from ..tenancy.directory import Directory
from ..tenancy.nodes import Path
from ..tenancy.plans import Policy
from ..usage import UsageLog
from .addresses import target_of
from .channels import slack, webhook
from .denials import Denials, Denied
from .due import Due, alert_id
from .log import DeliveryLog, Entry
from .routes import Routes, hint_of
from .sender import Sender
from .settings import Alerts
from .sweeper import SWEEP_S, Sweeper

logger = logging.getLogger("quotaware")

TICK_S = 0.5
"""How often it is looked whether something is due, seconds."""
LOOK_S = 5.0
"""How often an organization's outbox is looked into that nothing was heard of, seconds; LOOKS: how many a tick."""
LOOKS = 50
LATER_S = 5.0
"""When it is tried again where the store did not answer."""
MOST = 1000
"""Entries that one look into the log answers."""


class Alerting:
    """The parts together. `heard` and `denied` are called on calls' own paths, and do nothing there but take note.

    organizations  answers those that this process looks after
    """

    def __init__(
        self,
        alerts: Alerts,
        store: Store,
        directory: Directory,
        tenancy: Any,
        log: UsageLog,
        clock: Clock,
        thread: StoreThread,
        organizations: Callable[[], Iterable[str]],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.routes = Routes(alerts, store)
        self.log = DeliveryLog(store)
        self._store = store
        self._clock = clock
        self._thread = thread
        self._organizations = organizations
        self._timer = timer
        self._sender = Sender(store, directory, tenancy, self.routes, self.log, clock)
        self._sweeper = Sweeper(store, directory, tenancy, log, clock)
        self._denials = Denials(store, clock, self._tell_denied)
        self._stopped = False
        self._due: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._swept: dict[str, float] = {}
        thread.every(TICK_S, self.tick)

    def start(self) -> None:
        """Has the thread running."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Ends it; what is under way is left to the next sender."""
        self._stopped = True
        self._thread.stop(timeout)

    def heard(self, org: str, answer: Answer) -> None:
        """Hears of an answer of the store: thresholds that it crossed are sent at once."""
        if answer.events:
            self.send_soon(org)

    def send_soon(self, org: str) -> None:
        """Has an organization's outbox looked into now."""
        self._thread.later(partial(self.send, org))
        self._thread.start()

    def waiting(self, org: str) -> list[Entry]:
        """What waits to be sent, as the log has it, what is due last first. Raises StoreError."""
        found = self._sender.waiting(org)
        return [self._sender.entry(org, each, "waiting", each.why, each.at) for each in reversed(found)]

    def denied(self, path: Path, policy: Policy, over: Iterable[Over]) -> None:
        """A call was refused by these limits."""
        self._denials.note(path, policy, over)

    def _tell_denied(self, denied: Denied) -> None:
        self._thread.later(partial(self._put_denied, denied))
        self._thread.start()

    def _put_denied(self, denied: Denied) -> None:
        try:
            self._denials.put(denied)
        except StoreError as error:
            self._denials.forget(denied)
            self._put_off("a denial in %s is noted later: %s", denied.org, error)
        else:
            self.send(denied.org)

    def send(self, org: str) -> None:
        """Sends what is due in an organization, if it is this process's turn."""
        now = self._timer()
        self._seen[org] = now
        self._due.pop(org, None)
        try:
            at = self._sender.turn(org)
        except StoreError as error:
            self._put_off("alerts of %s are put off: %s", org, error)
            self._due[org] = now + LATER_S
            return
        if at is not None:
            self._due[org] = self._timer() + max(0.0, (at - self._clock()) / 1000)

    def tick(self) -> None:
        """What is due: organizations where something waits, others that were not looked at for long, sweeps."""
        if self._stopped:
            return
        orgs = list(self._organizations())
        now = self._timer()
        for org in [org for org, at in self._due.items() if at <= now]:
            self.send(org)
        idle = (org for org in orgs if org not in self._due and now - self._seen.get(org, -LOOK_S) >= LOOK_S)
        for org in islice(idle, LOOKS):
            self.send(org)
        for org in islice((org for org in orgs if now - self._swept.get(org, -SWEEP_S) >= SWEEP_S), LOOKS):
            self._swept[org] = now
            self.sweep(org)
        self._forget(orgs)

    def sweep(self, org: str) -> None:
        """Looks for forecasts and keys that end, if it is this process's turn."""
        try:
            self._sweeper.sweep(org)
        except StoreError as error:
            self._put_off("%s is looked through for alerts later: %s", org, error)
            self._swept.pop(org, None)

    def _put_off(self, message: str, org: str, error: StoreError) -> None:
        if not self._stopped:  # else the store is closed, and the next process does it
            logger.warning(message, org, error, extra=logged("alerts_put_off", organization=org, why=error))

    def _forget(self, orgs: Iterable[str]) -> None:
        known = {*orgs, *self._due}
        for seen in (self._seen, self._swept):
            for org in [org for org in seen if org not in known]:
                del seen[org]


class AlertService:
    """The Python face: `quota.blocking.alerts`. Used as it is, it acts for the host; `by` somebody, as that one may."""

    def __init__(self, alerting: Alerting, store: Store, tenancy: Any, clock: Clock) -> None:
        self._alerting = alerting
        self._store = store
        self._tenancy = tenancy
        self._clock = clock
        self._ids = Ids()

    def by(self, tenancy: Any) -> Self:
        """The same, with a tenancy that acts for somebody."""
        other = copy.copy(self)
        other._tenancy = tenancy
        return other

    def test(self, organization: str, node: str | None = None) -> str:
        """Sends a test message wherever alerts of the node (None: the organization) go; answers the id of the alert,
        by which `deliveries` tells how it went. Takes quota:manage at the node.
        """
        id = organization if node is None else node
        self._tenancy.channels(organization, id)
        now = self._clock()
        due = Due("test", "", id)
        event = due.event(f"test|{self._ids.new(now)}", now)
        self._store.outbox(organization, put=(event,))
        self._alerting.send_soon(organization)
        return alert_id(event, due, organization)

    def deliveries(
        self, organization: str, *, node: str | None = None, alert: str | None = None, limit: int = 100
    ) -> list[Entry]:
        """What was sent, newest first: what waits to be tried, then the log. `node`: of alerts there or below; `alert`:
        of this one. Takes quota:read at the node.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
            raise ConfigurationError("limit", f"is from 1 to {MOST}")
        at = organization if node is None else node
        self._tenancy.require(organization, at, "quota:read")
        entries = chain(self._alerting.waiting(organization), self._alerting.log.entries(organization))
        found = (e for e in entries if at in e["above"] or e["node"] == at)
        return list(islice((e for e in found if alert is None or e["alert"] == alert), limit))

    # channels

    def add_channel(
        self,
        organization: str,
        node: str,
        kind: ChannelType,
        *,
        email: str | None = None,
        url: str | None = None,
        secret: str | None = None,
    ) -> tuple[Channel, str | None]:
        """A channel for alerts of the node and of all below it, and the signing secret where one was made.

        email  the address; url: of a webhook (`slack`, `webhook`), itself or `env:QUOTAWARE_ALERT_…`
        secret what signs (`webhook`): `whsec_…`, or `env:QUOTAWARE_ALERT_…`; None: one is made

        URL of Slack and secrets are kept by reference, or encrypted with `Alerts(secret_key=…)`. Takes quota:manage at
        the node. Raises `ConfigurationError` naming the field.
        """
        given = _given(kind, email, url, secret)
        takes = _TAKES[kind]
        if takes[0] not in given:
            raise ConfigurationError(takes[0], f"is missing: a channel of type {kind} has one")
        made = webhook.new_secret() if kind == "webhook" and secret is None else None
        kept = self._kept(kind, given | ({"secret": made} if made is not None else {}))
        return self._tenancy.create_channel(organization, node, kind, kept.pop("target"), **kept), made

    def change_channel(
        self,
        organization: str,
        id: str,
        *,
        email: str | None = None,
        url: str | None = None,
        secret: str | None = None,
        new_secret: bool = False,
        enabled: bool | None = None,
        expect: int | None = None,
    ) -> tuple[Channel, str | None]:
        """A channel with what is given in place of what it had, and the signing secret where one was made.

        email, url, secret   as of `add_channel`; with another target it is enabled, unless `enabled` says otherwise
        new_secret   another signing secret is made, of a webhook
        expect       the revision that is changed, no other

        Takes quota:manage at its node. Raises `ConfigurationError` naming the field.
        """
        kind = self._tenancy.channel(organization, id).type
        if new_secret and (kind != "webhook" or secret is not None):
            raise ConfigurationError("new_secret", "is for a webhook, and in place of a secret of your own")
        made = webhook.new_secret() if new_secret else None
        given = _given(kind, email, url, secret or made)
        changes: dict[str, Any] = self._kept(kind, given)
        if enabled is not None or _TAKES[kind][0] in given:
            changes["enabled"] = enabled is not False
        return self._tenancy.update_channel(organization, id, expect=expect, **changes), made

    def _kept(self, kind: ChannelType, given: Mapping[str, str]) -> dict[str, str]:
        """What is given of target, hint and signing secret, as they are kept."""
        vault, allowed = self._alerting.routes.vault, self._alerting.routes.allowed
        kept: dict[str, str] = {}
        if "email" in given:
            kept = {"target": given["email"], "hint": given["email"]}
        if (url := given.get("url")) is not None and kind == "slack":
            target, _ = vault.seal(url, "url", lambda text: slack.check(text, allowed))
            kept = {"target": target, "hint": url if target == url else hint_of(url)}
        elif url is not None and (url.startswith("env:") or vault.seals):
            target, _ = vault.seal(url, "url", lambda text: target_of(text, allowed))
            kept = {"target": target, "hint": url if url.startswith("env:") else hint_of(url)}
        elif url is not None:
            target_of(url, allowed)
            kept = {"target": url, "hint": hint_of(url)}
        if "secret" in given:
            kept["secret"], _ = vault.seal(given["secret"], "secret", webhook.key_of)
        return kept

    def channels(self, organization: str, node: str) -> tuple[Channel, ...]:
        """Those of the node itself. Takes quota:manage there."""
        found: tuple[Channel, ...] = self._tenancy.channels(organization, node)
        return found

    def drop_channel(self, organization: str, id: str) -> None:
        """What waits to be sent there is sent no more. Takes quota:manage at its node."""
        self._tenancy.delete_channel(organization, id)


def _given(kind: str, email: str | None, url: str | None, secret: str | None) -> dict[str, str]:
    """What is given for a channel of a type. Raises ConfigurationError for what none of it has."""
    if kind not in _TAKES:
        raise ConfigurationError("type", f"is one of {', '.join(_TAKES)}")
    told = (("email", email), ("url", url), ("secret", secret))
    given = {name: value for name, value in told if value is not None}
    if unknown := sorted(given.keys() - {*_TAKES[kind]}):
        raise ConfigurationError(unknown[0], f"is nothing that a channel of type {kind} has")
    return given


_TAKES: dict[str, tuple[str, ...]] = {"email": ("email",), "slack": ("url",), "webhook": ("url", "secret")}
"""What a channel of each type is made from; the first is needed."""
