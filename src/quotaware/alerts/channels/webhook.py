"""Signed webhooks. Source: Standard Webhooks 1.0.0 (standard-webhooks.com): `webhook-id`, the same for every attempt;
`webhook-timestamp`, of the attempt; `webhook-signature`, `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time

from ...errors import ConfigurationError
from ..addresses import Allowed, target_of
from ..notices import Notice, to_json
from ..sending import Outcome, post

PREFIX = "whsec_"


def new_secret() -> str:
    """A new signing secret: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str, field: str = "secret") -> bytes:
    """The bytes that sign. Raises ConfigurationError."""
    try:
        key = (
            base64.b64decode(secret.removeprefix(PREFIX), validate=True) if secret.startswith(PREFIX) else b""
        )
    except (binascii.Error, ValueError):
        key = b""
    if not 24 <= len(key) <= 64:
        raise ConfigurationError(field, "is whsec_ and 24 to 64 bytes in base64")
    return key


def signature(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """What `webhook-signature` says."""
    signed = hmac.new(key_of(secret), f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(signed).decode()


def send(url: str, secret: str, notice: Notice, key: str, allowed: Allowed) -> Outcome:
    """Posts it. Raises ConfigurationError for a URL or secret that cannot be used."""
    target = target_of(url, allowed)
    body = to_json(notice.payload()).encode()
    now = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "webhook-id": key,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(secret, key, now, body),
    }
    return post(target, headers, body, allowed)
