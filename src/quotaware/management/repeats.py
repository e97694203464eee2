"""Idempotency-Key: a POST that is sent again with the same key is done once, and answered as the first time.

Header and behaviour as in the IETF draft (draft-ietf-httpapi-idempotency-key-header): the same key with another request
is 422, one that is still under way 409. What was refused is not kept: nothing was done. Secrets are not kept either; a
repeat has null in their place.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import AlreadyExists, InvalidRequest, MalformedRequest
from ..stores.protocol import Store

KEPT_MS = 24 * 3_600_000
"""How long an answer is kept."""
UNDER_WAY_MS = 60_000
"""How long a request may be under way; one whose process died can be sent again after that."""
LONGEST = 255
"""Characters of a key."""


class Reply(NamedTuple):
    """What was answered: the status and the JSON value of the body."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Claim:
    """One request under a key: nobody else does it until it is `kept` or `dropped`. Blocking; raises `StoreError`."""

    store: Store
    org: str
    name: str
    mark: str
    request: str

    def keep(self, reply: Reply, hidden: Iterable[str]) -> None:
        """Keeps the answer, without what is secret."""
        body = reply.body
        if isinstance(body, Mapping):
            gone = set(hidden)
            body = {name: None if name in gone else value for name, value in body.items()}
        done = json.dumps({"request": self.request, "status": reply.status, "body": body})
        self.store.once(self.org, self.name, done, KEPT_MS, expect=self.mark)

    def drop(self) -> None:
        """Nothing was done: the key is free again."""
        self.store.once(self.org, self.name, "", 1, expect=self.mark)


def claim(store: Store, org: str, actor: str, key: str, request: bytes) -> Claim | Reply:
    """The right to do this request, or what it was answered. `request` is all that makes two requests the same one.

    Raises `MalformedRequest`, `AlreadyExists` (code `under_way`), `InvalidRequest` (code `idempotency_key_reused`).
    """
    if not 0 < len(key) <= LONGEST or not (key.isascii() and key.isprintable()):
        raise MalformedRequest(
            f"Idempotency-Key is 1 to {LONGEST} characters of ASCII", code="bad_idempotency_key"
        )
    name = "idempotency/" + hashlib.sha256(f"{actor}\n{key}".encode()).hexdigest()
    same = hashlib.sha256(request).hexdigest()
    mark = json.dumps({"request": same, "by": secrets.token_hex(8)})
    standing = store.once(org, name, mark, UNDER_WAY_MS, expect="")  # what was dropped holds nothing
    if standing == mark:
        return Claim(store, org, name, mark, same)
    found = json.loads(standing)
    if found["request"] != same:
        raise InvalidRequest(
            "Idempotency-Key was used for another request; take a new one", code="idempotency_key_reused"
        )
    if "status" not in found:
        raise AlreadyExists(
            "The request with this Idempotency-Key is still under way; repeat later", code="under_way"
        )
    return Reply(found["status"], found["body"])
