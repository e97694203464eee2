"""API keys and ids: how they are made, and what can be told of them without a store.

A key is `qw_live_`, `qw_test_` or `qw_admin_`, 30 random characters of 0-9A-Za-z, and 6 of CRC32 (zlib) over
all before them, so that a mistyped one is refused without a look-up and scanners find a leaked one. Only its
SHA-256 is kept. Who holds a key, and what it may do, is the tree's.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from typing import Literal

from ..errors import ConfigurationError

KeyKind = Literal["live", "test", "admin"]
Kind = Literal["organization", "team", "project", "key"]
"""The four kinds of node in the tree."""
IdKind = Literal[
    "organization", "team", "project", "key", "member", "group", "role", "request", "price", "channel"
]

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM, _CHECK, _ID, _WHEN = 30, 6, 20, 8
_MAX_KEY = len("qw_admin_") + _RANDOM + _CHECK
_KEY = re.compile(rf"qw_(?:live|test|admin)_[0-9A-Za-z]{{{_RANDOM + _CHECK}}}")
_PREFIXES: dict[IdKind, str] = {
    "organization": "org_",
    "team": "team_",
    "project": "proj_",
    "key": "key_",
    "member": "mem_",
    "group": "grp_",
    "role": "role_",
    "request": "req_",
    "price": "price_",
    "channel": "chan_",
}
_IDS = re.compile(rf"(?:{'|'.join(_PREFIXES.values())})[0-9A-Za-z]{{{_ID}}}|[a-z0-9_-]{{1,64}}")


def make(kind: KeyKind) -> str:
    """A new key. It is a secret: show it once, keep its `digest`."""
    text = f"qw_{kind}_{_random(_RANDOM)}"
    return text + _checksum(text)


def is_ours(text: str) -> bool:
    """Whether a credential claims to be a key of quotaware; any other is somebody else's."""
    return text.startswith("qw_")


def well_formed(text: str, kind: KeyKind | None = None) -> bool:
    """Whether it can be a key (of this kind): its form and its checksum, no more."""
    if len(text) > _MAX_KEY or not _KEY.fullmatch(text) or not text.startswith(f"qw_{kind or ''}"):
        return False
    return _checksum(text[:-_CHECK]) == text[-_CHECK:]


def digest(secret: str) -> str:
    """SHA-256 of a key as hex: what is kept of it. Its 178 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_id(kind: IdKind) -> str:
    """A random id: `org_`, `team_`, `proj_`, `key_`, … and 20 characters of 0-9A-Za-z."""
    return _PREFIXES[kind] + _random(_ID)


def newest_first(kind: IdKind, now: int) -> str:
    """A random id that goes before those that were made earlier, to the ms: 8 of its 20 characters tell when."""
    return _PREFIXES[kind] + _base62(62**_WHEN - 1 - now, _WHEN) + _random(_ID - _WHEN)


def id_of(kind: IdKind, text: str) -> str:
    """The id that everyone derives from the same text, in the form of `new_id`: 20 digits of its SHA-256."""
    number = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), "big")
    return _PREFIXES[kind] + _base62(number % 62**_ID, _ID)


def is_id(text: object) -> bool:
    """Whether it has the form of `new_id`, or is 1 to 64 of a-z 0-9 _ -."""
    return isinstance(text, str) and _IDS.fullmatch(text) is not None


def could_be_a_name(text: object) -> bool:
    """Whether anything can be called so; what cannot is not looked for."""
    return isinstance(text, str) and 0 < len(text) <= 1000 and text.isprintable()


def check_id(text: str, field: str) -> str:
    """The id itself; ConfigurationError naming `field` where it is none."""
    if not is_id(text):
        raise ConfigurationError(field, "an id is 1 to 64 characters of a-z, 0-9, _ and -")
    return text


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CHECK)


def _base62(number: int, width: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits.rjust(width, "0")


def _random(length: int) -> str:
    return _base62(secrets.randbelow(62**length), length)
