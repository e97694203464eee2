"""Slack's incoming webhooks. The URL is the secret. Source: docs.slack.dev, "Sending messages using incoming webhooks"
and "Formatting message text" (`&`, `<` and `>` are escaped, so that no name pings a channel or makes a link).
"""

from __future__ import annotations

import json

from ...errors import ConfigurationError
from ..addresses import Allowed, Target, target_of
from ..notices import Notice
from ..sending import Outcome, post

HOSTS = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})


def check(url: str, allowed: Allowed, field: str = "url") -> Target:
    """The target of an incoming webhook. Raises ConfigurationError."""
    target = target_of(url, allowed, field)
    if target.host not in HOSTS and not allowed.name(target.host):
        raise ConfigurationError(field, "is an incoming webhook of Slack, https://hooks.slack.com/services/…")
    return target


def send(url: str, notice: Notice, key: str, allowed: Allowed) -> Outcome:
    """Posts it. Raises ConfigurationError for a URL that is none of Slack's."""
    body = json.dumps({"text": f"*{escaped(notice.title)}*\n{escaped(notice.text)}"}).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    return post(check(url, allowed), headers, body, allowed)


def escaped(text: str) -> str:
    """Text that Slack shows as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
