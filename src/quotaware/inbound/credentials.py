"""The credentials among a request's headers: which are ours, and the one clear answer to what cannot be one.

A host route judges only what begins with `qw_`; a mount of ours judges all. Nothing here reaches the store: form and
checksum tell a malformed key, and a key of the right form has 178 random bits, which nobody finds by trying.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..errors import AmbiguousCredentials, InvalidKeyFormat
from ..tenancy import keys

Headers = Iterable[tuple[bytes, bytes]]

CARRIERS = frozenset({b"authorization", b"x-api-key"})
LONGEST = 512
"""Bytes of a header that are looked at: no key is as long."""
_BEARER = re.compile(r"bearer[ \t]+(.*)", re.IGNORECASE | re.DOTALL)


def our_credential(headers: Headers) -> str | None:
    """The quotaware key among a request's headers, if there is one.

    Credentials that do not begin with `qw_` are the host's own. Raises `InvalidKeyFormat`, `AmbiguousCredentials`.
    """
    ours = [(name, text) for name, text in _credentials(headers) if text is not None and keys.is_ours(text)]
    return _one(ours) if ours else None


def only_credential(headers: Headers) -> str:
    """The quotaware key that a request carries, where every credential is judged.

    Raises `InvalidKeyFormat`, also where there is none, `AmbiguousCredentials`.
    """
    found = [(name, text or "") for name, text in _credentials(headers)]
    if not found:
        raise InvalidKeyFormat(code="missing_api_key")
    return _one(found)


def repeated(headers: Headers) -> bool:
    """Whether a header that carries credentials stands there twice."""
    names = [name for name, _ in _credentials(headers)]
    return len(set(names)) < len(names)


def carried(headers: Headers) -> bool:
    """Whether there is any credential, the host's own included."""
    return any(True for _ in _credentials(headers))


def tokens(headers: Headers) -> bool:
    """Whether there is one that no browser adds by itself, as it does with a cookie or `Basic`."""
    return any(text is not None for _, text in _credentials(headers))


def _one(found: list[tuple[bytes, str]]) -> str:
    credential = found[0][1]
    if any(text != credential for _, text in found) or len({name for name, _ in found}) < len(found):
        raise AmbiguousCredentials
    if not keys.well_formed(credential):
        raise InvalidKeyFormat
    return credential


def _credentials(headers: Headers) -> Iterator[tuple[bytes, str | None]]:
    """(header, credential) pairs; None for what is no bearer token. Spaces and tabs around are no part of it, and of
    one that is longer than any key only the beginning is answered.
    """
    for name, value in headers:
        carrier = name.lower()
        if carrier not in CARRIERS:
            continue
        text: str | None = value.strip(b" \t")[:LONGEST].decode("latin-1")
        if carrier == b"authorization":
            bearer = _BEARER.fullmatch(text or "")
            text = bearer[1] if bearer is not None else None
        yield carrier, text
