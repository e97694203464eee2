"""Who is signed in: sessions in the store, so that they hold in every process and end in all of them at once.

A browser keeps `<organization>.<token>` in a cookie that no script reads; the store keeps the token's SHA-256 and who
signed in, by the digest of the key. The key itself is kept nowhere, and is judged anew with every request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass

from ...stores.protocol import Store
from ...tenancy.keys import is_id

LIFE_MS = 12 * 3_600_000
"""How long one is signed in at most."""
COOKIE = "quotaware_session"
_TOKEN = re.compile(r"[0-9A-Za-z_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that is signed in.

    kind, who  a `key`, by its digest, or a `member` of the host's own login, by id
    csrf       what every form that it sends has to carry
    """

    org: str
    token: str
    kind: str
    who: str
    csrf: str

    @property
    def cookie(self) -> str:
        """What the browser keeps."""
        return f"{self.org}.{self.token}"


class Sessions:
    """The sessions of all organizations of a store. Blocking; raises `StoreError`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def open(self, org: str, kind: str, who: str) -> Session:
        """A new one, under an id that nobody has seen before."""
        session = Session(org, secrets.token_urlsafe(32), kind, who, secrets.token_urlsafe(24))
        value = json.dumps({"kind": kind, "who": who, "csrf": session.csrf})
        self._store.once(org, _name(session.token), value, LIFE_MS)
        return session

    def find(self, cookie: str) -> Session | None:
        """The one that a browser names, None where there is none any more."""
        org, _, token = cookie.rpartition(".")
        if not is_id(org) or not _TOKEN.fullmatch(token):
            return None
        rev, _ = self._store.read(org, ())
        value = self._store.once(org, _name(token), "", 1) if rev else ""
        return Session(org, token, **json.loads(value)) if value else None

    def close(self, session: Session) -> None:
        """Ends it."""
        value = json.dumps({"kind": session.kind, "who": session.who, "csrf": session.csrf})
        self._store.once(session.org, _name(session.token), "", 1, expect=value)


def same(given: str, right: str) -> bool:
    """Whether two tokens are the same, in a time that does not tell how much of them is."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), right.encode())


def _name(token: str) -> str:
    return "dashboard/" + hashlib.sha256(token.encode()).hexdigest()
