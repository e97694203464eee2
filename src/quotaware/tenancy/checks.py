"""What a field of the tree may hold: each check raises `ConfigurationError` naming the field and the way out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..core import permissions, windows
from ..core.addresses import canonical
from ..core.limits import Limit
from ..core.money import MAX_AMOUNT
from ..errors import ConfigurationError

Check = Callable[[Any, str], None]
"""Takes a value and the name of its field."""

MAX_NAME = 200
MAX_ENTRIES = 1000
"""How many limits, models, permissions or addresses a node may have, each."""
MAX_MS = 253_402_300_799_999
"""The last ms of the year 9999: what RFC 3339 can still write."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def text(longest: int) -> Check:
    """Printable text without spaces around it."""

    def check(value: Any, field: str) -> None:
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise ConfigurationError(field, f"is text of 1 to {longest} characters")
        if not value.isprintable() or value != value.strip():
            raise ConfigurationError(field, "has no control characters, and no spaces around it")

    return check


def maybe(check: Check) -> Check:
    """None, or what the other takes."""
    return lambda value, field: None if value is None else check(value, field)


def each(check: Check) -> Check:
    """A tuple of what the other takes."""

    def check_all(values: Any, field: str) -> None:
        if not isinstance(values, tuple) or len(values) > MAX_ENTRIES:
            raise ConfigurationError(field, f"is a tuple of at most {MAX_ENTRIES}")
        for value in values:
            check(value, field)

    return check_all


def one_of(kind: type, example: str) -> Check:
    """A value of a class."""

    def check(value: Any, field: str) -> None:
        if not isinstance(value, kind):
            raise ConfigurationError(field, f"holds {kind.__name__}s, such as {example}")

    return check


def limits(values: Any, field: str) -> None:
    """Limits, no two of one shape and mode."""
    each(one_of(Limit, "Limit.parse('$50/month')"))(values, field)
    seen: set[tuple[str, str]] = set()
    for limit in values:
        if (limit.shape, limit.mode) in seen:
            raise ConfigurationError(field, f"has two {limit.mode} limits on {limit.shape}; leave one out")
        seen.add((limit.shape, limit.mode))


def permission(value: Any, field: str) -> None:
    """A permission in its canonical form."""
    try:
        canonical = permissions.parse(value)
    except ConfigurationError as error:
        raise ConfigurationError(field, str(error)) from None
    if value != canonical:
        raise ConfigurationError(field, f"{value!r} is written {canonical!r}")


def address(value: Any, field: str) -> None:
    """An IP address or a CIDR block."""
    if not isinstance(value, str):
        raise ConfigurationError(field, f"holds IP addresses and CIDR blocks: {value!r} is no text")
    written_address(value, field)


def written_address(value: str, field: str = "addresses") -> str:
    """An IP address or CIDR block in its one form. Raises ConfigurationError."""
    try:
        return canonical(value)
    except ValueError as error:
        raise ConfigurationError(field, f"holds IP addresses and CIDR blocks: {error}") from None


def email(value: Any, field: str) -> None:
    """An e-mail address that no header or list can be broken with."""
    text(320)(value, field)
    name, at, host = value.rpartition("@")
    if not (name and at and host) or any(char in value for char in ' ,;<>"\\'):
        raise ConfigurationError(field, "is an e-mail address, such as ann@example.com")


def zone(value: Any, field: str) -> None:
    """An IANA time zone."""
    try:
        windows.zone(value)
    except ConfigurationError as error:
        raise ConfigurationError(field, str(error)) from None


def flag(value: Any, field: str) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise ConfigurationError(field, "is True or False")


def number(value: Any, field: str) -> None:
    """A whole number, such as ms since the epoch."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_MS:
        raise ConfigurationError(field, f"is a whole number from 0 to {MAX_MS}")


def amount(value: Any, field: str) -> None:
    """What a limit may be: nano-dollars, requests, tokens or calls."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_AMOUNT:
        raise ConfigurationError(field, f"is a whole number from 0 to {MAX_AMOUNT}")


def digest(value: Any, field: str) -> None:
    """A SHA-256 in hex, or nothing."""
    if value != "" and not (isinstance(value, str) and _DIGEST.fullmatch(value)):
        raise ConfigurationError(field, "is a SHA-256 in lower-case hex")
