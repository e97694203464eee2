"""Money as whole nano-dollars, and whole counts: read exactly, bounded, written back without loss.

Every amount that a user gives passes here once; inside, everything is `int`. Prices and their
arithmetic are left to others.
"""

from __future__ import annotations

import re
import reprlib
from decimal import Context, Decimal, Inexact, InvalidOperation

from quotaware.errors import ConfigurationError

NANO = 1_000_000_000
"""Nano-dollars a dollar."""

MAX_AMOUNT = 9_000_000_000_000_000
"""The bound of every amount, cap and total, $9 M in nano-dollars: a store may hold numbers as doubles, which
are exact up to 2**53 only."""

_USD = "give US dollars from 0 to $9000000, with at most nine decimals"
_COUNT = f"give a whole number from 0 to {MAX_AMOUNT}"

_DOLLAR = re.compile(r"\A\s*([+-]?)\$\s*")
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}([,_])[0-9]{3}(?:\1[0-9]{3})*(?:\.[0-9]+)?")
_MAX_TEXT = 64
_EXACT = Context(prec=40, traps=[Inexact, InvalidOperation])


def usd(value: str | int | float | Decimal, field: str = "amount") -> int:
    """US dollars as nano-dollars, exactly; a float counts as the number that it prints as.

    Text may have a leading `$` and thousands set apart (`"$1,500.25"`, `"1_000"`). Raises ConfigurationError
    naming `field` for what is no finite number from 0 to $9 M or has more than nine decimals.
    """
    if isinstance(value, str):
        value = _DOLLAR.sub(r"\1", value)
    return _exact(value, field, 9, _USD)


def count(value: str | int | float | Decimal, field: str) -> int:
    """A whole number of requests, tokens or calls; text may have thousands set apart (`"1,000"`).

    Raises ConfigurationError naming `field` for what is no whole number from 0 to MAX_AMOUNT.
    """
    return _exact(value, field, 0, _COUNT)


def format_usd(nano: int) -> str:
    """The shortest exact text of nano-dollars: `$50`, `$0.1`, `$1500.25`; `usd` reads it back."""
    return f"{'-' if nano < 0 else ''}${_dollars(abs(nano))}"


def to_usd(nano: int) -> Decimal:
    """Nano-dollars as exact dollars."""
    dollars = Decimal(_dollars(abs(nano)))
    return dollars.copy_negate() if nano < 0 else dollars


def _dollars(nano: int) -> str:
    whole, rest = divmod(nano, NANO)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def _exact(value: str | int | float | Decimal, field: str, places: int, way_out: str) -> int:
    """`value` times 10**places, refused where that is not a whole number within the bound."""

    if type(value) is int:
        whole: int = value * 10**places
        if 0 <= whole <= MAX_AMOUNT:  # as most are
            return whole

    def refusal(problem: str) -> ConfigurationError:
        return ConfigurationError(field, f"{problem}; {way_out}")

    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise refusal(f"must be a number or its text, not {type(value).__name__}")
    number = _decimal(value)
    if number is None:
        raise refusal(f"{reprlib.repr(value)} is not a number")
    if not number.is_finite():
        raise refusal("must be finite")
    if number < 0:
        raise refusal("must not be negative")
    if number > Decimal(f"{MAX_AMOUNT}e-{places}"):
        raise refusal("is over the bound")
    try:
        exact = number.quantize(Decimal(f"1e-{places}"), context=_EXACT)
    except Inexact:
        raise refusal("has more decimals than can be kept" if places else "must be whole") from None
    return int(exact.scaleb(places, context=_EXACT))


def _decimal(value: str | int | float | Decimal) -> Decimal | None:
    if isinstance(value, int):  # cut first: a million digits are over the bound, whatever they are
        return Decimal(max(-1, min(value, MAX_AMOUNT + 1)))
    if isinstance(value, float):
        return Decimal(float.__repr__(value))
    if isinstance(value, Decimal):
        return value
    text = value.strip()
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "").replace("_", "")
    if len(text) > _MAX_TEXT or not text.isascii() or "_" in text:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
