"""What is asked of usage over the wire, and what is answered."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, WithJsonSchema

from ..core.totals import Unit
from ..exporting import Format
from ..usage import MOST, Order
from ..words.wire import Answer, Body, Dollars, Moment
from .analytics import Span
from .sight import View

ROWS = 10_000
"""The most totals of one answer."""
Dimension = Literal[
    "team", "project", "key", "member", "provider", "model", "operation", "status", "end_user", "tag"
]
DeniedDimension = Literal["team", "project", "key", "provider", "model", "operation", "code"]
LENGTHS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_BUCKET = f"^({'|'.join(get_args(Unit))}|[1-9][0-9]{{0,3}}[mhd])$"


def _bucket(text: str) -> str:
    if text not in get_args(Unit) and not (
        text[-1:] in LENGTHS and text[:-1].isascii() and text[:-1].isdecimal() and 0 < int(text[:-1]) < 10_000
    ):
        raise ValueError(f"is one of {', '.join(get_args(Unit))}, or a length such as 15m, 6h or 2d")
    return text


Bucket = Annotated[str, AfterValidator(_bucket), WithJsonSchema({"type": "string", "pattern": _BUCKET})]
Zone = Annotated[str, Field(min_length=1, max_length=64, description="IANA; the organization's by default")]
Id = Annotated[str | None, Field(min_length=1, max_length=200)]
Text = Annotated[str | None, Field(min_length=1, max_length=1000)]


class Narrow(Span):
    """Which calls, by their values in the dimensions; ids of teams, projects, keys and members."""

    team: Id = None
    project: Id = None
    key: Id = None
    provider: Text = None
    model: Text = None
    operation: Text = None


class Calls(Narrow):
    """The same of calls that were made."""

    member: Id = None
    status: int | None = Field(None, ge=0, le=999, description="of the answer; 0: there was none")
    end_user: Text = None
    tag: Text = Field(None, description="`name=value`")


class Buckets(Body):
    """In which buckets of time."""

    bucket: Bucket | None = Field(
        None, description="`hour` to `year`, or a length; without it the whole period"
    )
    time_zone: Zone | None = None


class AskedTotals(Calls, Buckets):
    """Totals by dimensions."""

    by: list[Dimension] = Field(["model"], max_length=6)
    order: Order = "cost"
    limit: int = Field(
        1000, ge=1, le=ROWS, description="the most totals; the largest of each bucket come first"
    )


class AskedDenied(Narrow, Buckets):
    """Denied calls by dimensions."""

    by: list[DeniedDimension] = Field(["code"], max_length=6)
    code: Text = None
    limit: int = Field(1000, ge=1, le=ROWS)


class AskedRecords(Calls):
    """A page of records."""

    limit: int = Field(100, ge=1, le=MOST)
    cursor: str | None = Field(None, min_length=1, max_length=100)


class AskedFile(Calls, Buckets):
    """A file of records, or of totals."""

    of: Literal["records", "totals"] = "records"
    format: Format = "csv"
    by: list[Dimension] = Field(["model"], max_length=6, description="of totals")


class AskedForecast(Body):
    """Of which calendar period, and by what."""

    period: Unit = "month"
    by: list[Dimension] = Field([], max_length=6)
    environment: str | None = Field(None, min_length=1, max_length=64)
    time_zone: Zone | None = None


class Tokens(Answer):
    """Tokens by kind, and what else is billed by count: `cache_…` is part of `input`, `reasoning` of `output`."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    reasoning: int
    audio_input: int
    audio_output: int
    image_input: int
    image_output: int
    characters: int
    audio_ms: int
    images: int
    cache_read_audio: int
    cache_read_image: int
    video_input: int
    video_output: int
    web_searches: int
    file_searches: int
    rerank_searches: int
    pages: int
    annotated_pages: int


class Took(Answer):
    """Durations in ms: the mean (0.0 of none), and percentiles within 5 % (null of none)."""

    calls: int
    mean: float
    p50: float | None
    p95: float | None


class TotalAnswer(Answer):
    """What some calls came to. `since` and `until` are what it covers of its bucket."""

    by: dict[str, str | int | None]
    bucket: Moment | None
    since: Moment | None
    until: Moment | None
    requests: int
    cost: Dollars
    tokens: Tokens
    latency_ms: Took
    first_token_ms: Took
    partial: int
    estimated: int
    unsettled: int
    overrun: int
    unpriced: int


class Told(Answer):
    """How much the caller may see, and the names of the teams, projects and keys that are told of by id."""

    view: View
    names: dict[str, str | None]


class Totals(Told):
    """Totals; `left_out`: how many more there are."""

    data: list[TotalAnswer]
    left_out: int


class DeniedAnswer(Answer):
    """How many calls were refused."""

    by: dict[str, str | int | None]
    bucket: Moment | None
    since: Moment | None
    until: Moment | None
    requests: int


class DeniedTotals(Told):
    """Denied calls, the most first; `left_out`: how many more rows there are."""

    data: list[DeniedAnswer]
    left_out: int


class Beside(Answer):
    """What a call used beside its answer. It is in its `cost` and not in its `tokens`; `model` null: the call's own."""

    model: str | None
    tokens: Tokens


class RecordAnswer(Answer):
    """One finished call, or (`correction`) the difference to an earlier charge of the same id."""

    id: str
    at: Moment
    team: str | None
    project: str | None
    key: str | None
    member: str | None
    end_user: str | None
    tags: dict[str, str]
    provider: str | None
    operation: str
    model: str | None
    requested_model: str | None
    status: int
    stream: bool
    cost: Dollars
    tokens: Tokens
    quality: Literal["exact", "partial", "estimated", "unsettled"]
    latency_ms: int
    first_token_ms: int | None
    flags: list[str]
    would_deny: list[str]
    correction: bool
    besides: list[Beside]


class Records(Told):
    """Records in the order in which they were booked. A page may hold fewer than asked for though there are more."""

    data: list[RecordAnswer]
    next_cursor: str | None


class ForecastAnswer(Answer):
    """What a period has come to, and what it will at the pace of late (of a month, that of the last seven days)."""

    by: dict[str, str | int | None]
    requests: int
    spent: Dollars
    pace_per_day: Dollars
    expected: Dollars


class Forecasts(Told):
    """`total` is of all together. `budget`: the node's own limit on cost for such a period, and `runs_out_at`: when it
    is used up at that pace, if that is before `ends_at`; null where there is none, or the caller may not see it.
    """

    begins_at: Moment
    ends_at: Moment
    total: ForecastAnswer
    data: list[ForecastAnswer]
    budget: Dollars | None
    runs_out_at: Moment | None
