"""Who is told: the members of a node that have an address, its channels and those of all above it, and the host's own.

Members are those who hold a role, or are in a group, at the node itself; where none of them has an address, those at
the nearest node above it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from ..stores.protocol import Doc, Store
from ..tenancy import checks
from ..tenancy.channels import Channel
from ..tenancy.documents import as_a
from ..tenancy.keys import is_id
from ..tenancy.nodes import Path
from ..tenancy.people import Group, Member
from .addresses import Allowed, target_of
from .channels import callback, email, slack, webhook
from .notices import Notice
from .secrets import Unreadable, Vault, from_environment
from .sending import Outcome
from .settings import Alerts

NO_SERVER = "no server for e-mail is configured: Quota(alerts=Alerts(smtp=Smtp(…)))"
CLOSED = "it answered 410 before, and is told nothing until the app starts anew"
PEOPLE = 100
"""Members that one alert is mailed to at most."""
PAGE = 1000


class Address(NamedTuple):
    """Where one delivery goes: by which channel, and to what: an address, a channel's id, or one of the host's own."""

    channel: str
    to: str


NOBODY = Address("none", "")


class Routes:
    """Knows where alerts go, and sends them there."""

    def __init__(self, alerts: Alerts, store: Store) -> None:
        self.vault = Vault(alerts.secret_key)
        self.allowed = Allowed(alerts.allow)
        self._store = store
        self._smtp = alerts.smtp
        self._own: dict[Address, tuple[str, str]] = {}
        self._closed: set[Address] = set()
        for each in alerts.to:
            checks.email(each, "alerts.to")
            self._own[Address("email", each)] = (each, "")
        for each in [alerts.slack] if isinstance(alerts.slack, str) else alerts.slack:
            url = from_environment(each, "alerts.slack")
            slack.check(url, self.allowed, "alerts.slack")
            self._own[_own("slack", url)] = (url, "")
        for hook in alerts.webhooks:
            url = from_environment(hook.url, "alerts.webhooks")
            secret = from_environment(hook.secret, "alerts.webhooks")
            target_of(url, self.allowed, "alerts.webhooks")
            webhook.key_of(secret, "alerts.webhooks")
            if self._own.setdefault(_own("webhook", url), (url, secret)) != (url, secret):
                raise ConfigurationError("alerts.webhooks", "has one URL with two secrets")
        self._callback = None if alerts.callback is None else callback.Caller(alerts.callback)

    # who

    def of(self, org: str, path: Path | None, action: str) -> list[Address]:
        """Where an alert with this action goes ("" or one that stops: to all)."""
        ids = path.ids if path is not None else (org,)
        found = [address for address in self._own if _takes(address.channel, action)]
        found += [address for address in self._channels(org, ids) if _takes(address.channel, action)]
        if _takes("email", action):
            found += [Address("email", each) for each in self._people(org, ids)]
        found += [Address("callback", "host")] if self._callback is not None else []
        return list(dict.fromkeys(found))

    def _channels(self, org: str, ids: tuple[str, ...]) -> Iterator[Address]:
        for id in ids:
            for doc in self._all(org, "channel", id):
                channel = as_a(Channel, doc)
                if channel.enabled:
                    to = channel.target if channel.type == "email" else channel.id
                    yield Address(channel.type, to)

    def _people(self, org: str, ids: tuple[str, ...]) -> list[str]:
        """Addresses of the members at the nearest node where any has one."""
        places = {doc.id: as_a(Group, doc).parent for doc in self._all(org, "group", "")}
        at: dict[str, list[str]] = {}
        for doc in self._all(org, "member", ""):
            member = as_a(Member, doc)
            if member.email is not None and member.enabled:
                nodes = {held.node for held in member.roles} | {
                    places.get(group, "") for group in member.groups
                }
                for node in nodes:
                    at.setdefault(node, []).append(member.email)
        return next((at[id] for id in ids if id in at), [])[:PEOPLE]

    def _all(self, org: str, kind: str, parent: str) -> Iterator[Doc]:
        after = ""
        while page := self._store.children(org, kind, parent, None, after, PAGE):
            yield from page
            after = page[-1].id
            if len(page) < PAGE:
                return

    # where to

    def send(self, org: str, address: Address, notice: Notice, key: str) -> Outcome:
        """Sends a notice once. Raises nothing but StoreError."""
        try:
            return self._send(org, address, notice, key)
        except (ConfigurationError, Unreadable) as error:
            return Outcome(False, str(error))

    def _send(self, org: str, address: Address, notice: Notice, key: str) -> Outcome:
        if address.channel == "callback":
            gone = Outcome(False, "it is not configured any more", again=False)
            return gone if self._callback is None else self._callback.send(notice)
        if address.channel == "email":
            if self._smtp is None:
                return Outcome(False, NO_SERVER, again=False)
            return email.send(self._smtp, address.to, notice, key)
        channel = None if address in self._own else self._set(org, address.to)
        if channel is not None and not channel.enabled:
            return Outcome(False, "the channel is disabled", again=False)
        if channel is not None:
            url, secret = self.vault.open(channel.target), channel.secret and self.vault.open(channel.secret)
        elif address in self._closed:
            return Outcome(False, CLOSED, again=False)
        elif address in self._own:
            url, secret = self._own[address]
        else:
            return Outcome(False, "the channel is not there any more", again=False)
        if address.channel == "slack":
            outcome = slack.send(url, notice, key, self.allowed)
        else:
            outcome = webhook.send(url, secret, notice, key, self.allowed)
        return outcome if channel is None else outcome._replace(rev=channel.rev)

    def _set(self, org: str, id: str) -> Channel | None:
        """A channel that was set."""
        if not is_id(id):
            return None
        _, (doc,) = self._store.read(org, (id,))
        return as_a(Channel, doc) if doc is not None and doc.kind == "channel" else None

    def close(self, address: Address) -> bool:
        """Nothing goes to one of the host's own any more in this process; whether it is one that was still open."""
        if address not in self._own or address in self._closed:
            return False
        self._closed.add(address)
        return True

    def deaf(self, address: Address) -> str:
        """Why nothing can be sent to an address, "" where it can."""
        if address.channel == "email" and self._smtp is None:
            return NO_SERVER
        return CLOSED if address in self._closed else ""

    def masked(self, org: str, address: Address) -> str:
        """A target as the log shows it. Raises StoreError."""
        if address.channel == "email":
            name, _, host = address.to.rpartition("@")
            return f"{name[:1]}…@{host}"
        if address.channel == "callback":
            return "callback"
        if (own := self._own.get(address)) is not None:
            return hint_of(own[0])
        channel = self._set(org, address.to)
        return (channel.hint if channel is not None else "") or address.to


def hint_of(url: str) -> str:
    """What may be shown of a URL: its host and the last four characters."""
    host = urlsplit(url).netloc
    return f"{host}/…{url[-4:]}" if len(url) > len(host) + 24 else f"{host}/…"


def _own(channel: str, url: str) -> Address:
    return Address(channel, "host:" + hashlib.sha256(url.encode()).hexdigest()[:16])


def _takes(channel: str, action: str) -> bool:
    """Whether an action goes by a channel; what stops a node, and what has none, by all of them."""
    return action not in {"email", "slack", "webhook"} or channel == action
