"""The types of the wire, made of pydantic: what a body may say and what an answer says.

Money is US dollars as a JSON number and nano-dollars inside; times are RFC 3339 in UTC and ms since the epoch inside.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from ..core.denials import iso
from ..core.money import MAX_AMOUNT, NANO, to_usd, usd
from ..errors import ConfigurationError
from ..tenancy.checks import MAX_MS

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
"""A time in RFC 3339."""
_LEAST = Decimal("1e-9")
MOST_USD = MAX_AMOUNT // NANO


class Body(BaseModel):
    """What a request says: nothing but the fields that there are, each of its own type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    def given(self) -> dict[str, Any]:
        """The fields that were sent."""
        sent = self.model_fields_set
        return {name: getattr(self, name) for name in type(self).model_fields if name in sent}


class Answer(BaseModel):
    """What is answered."""

    model_config = ConfigDict(frozen=True)


class Revised(Answer):
    """Something that changes: `revision` moves with every change, and is its ETag."""

    revision: int = Field(description="moves with every change; the ETag is the same in quotes")


class Listing(Answer, Generic[T]):
    """One page of a list, and where the next begins."""

    data: list[T]
    next_cursor: str | None = Field(None, description="give it as `cursor` to go on; null at the end")


class Page(Body):
    """Which page of a list: by id, from the cursor on."""

    limit: int = Field(100, ge=1, le=1000, description="the most that a page holds")
    cursor: str | None = Field(
        None, min_length=1, max_length=100, description="`next_cursor` of the page before"
    )


def _nano(value: Any) -> int:
    """A number that a client came to by reckoning, such as 0.1 + 0.2 or 500 / 3, has more decimals than were meant, or
    can be kept: it is taken at the precision that a double has, and never as more than it says.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("is a number of US dollars")
    try:
        if isinstance(value, float) and math.isfinite(value) and round(value, 9) != value:
            kept = Decimal(f"{value:.15g}").quantize(_LEAST, ROUND_FLOOR)
            return usd(kept or value)
        return usd(value)
    except ConfigurationError as error:
        raise ValueError(str(error).partition(": ")[2]) from None


def _ms(value: Any) -> int:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("is a time in RFC 3339 with a zone, such as 2026-12-23T09:15:00Z")
    try:
        found = (datetime.fromisoformat(value.upper()) - _EPOCH) // _MS
    except (ValueError, OverflowError):
        raise ValueError("is a time that there is, such as 2026-12-23T09:15:00Z") from None
    if not 0 <= found <= MAX_MS:
        raise ValueError("is a time from 1970 to 9999")
    return found


Usd = Annotated[
    int,
    BeforeValidator(_nano),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": MOST_USD, "description": "US dollars"}),
]
"""Dollars of a body; nano-dollars inside."""
Dollars = Annotated[
    int,
    PlainSerializer(lambda nano: float(to_usd(nano)), return_type=float),
    WithJsonSchema({"type": "number", "description": "US dollars"}, mode="serialization"),
]
"""Nano-dollars of an answer; dollars on the wire."""
Time = Annotated[
    int,
    BeforeValidator(_ms),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time of a body; ms inside."""
Moment = Annotated[
    int,
    PlainSerializer(iso, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""ms of an answer; RFC 3339 with a Z on the wire."""
