"""Usage as text for other programs, line by line: CSV (RFC 4180) and JSON Lines.

Both have the same fields under the same names. Money is there twice: `cost_usd` for people, and `cost_nano_usd`, which
no program rounds. In CSV a text that a spreadsheet would take for a formula begins with an apostrophe.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from .core.totals import Total
from .core.usage import Usage
from .errors import ConfigurationError
from .usage import UsageRecord

Format = Literal["csv", "jsonl"]
MEDIA: Mapping[Format, str] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""How formulas begin (https://owasp.org/www-community/attacks/CSV_Injection), in full width too."""
_KINDS = tuple(field.name for field in fields(Usage))
RECORD_FIELDS = (
    *("id", "at", "organization", "team", "project", "key", "member", "end_user", "tags"),
    *("provider", "operation", "model", "requested_model", "status", "stream", "quality"),
    *("cost_usd", "cost_nano_usd", "reserved_nano_usd", *_KINDS),
    *("duration_ms", "first_token_ms", "flags", "would_deny", "correction", "first", "besides"),
)
"""The fields of a record."""
_COUNTS = (
    *("partial", "estimated", "unsettled", "overrun", "suspect", "unpriced", "degraded"),
    *("would_deny", "corrected"),
)
TOTAL_FIELDS = (
    *("since", "until", "calls", "cost_usd", "cost_nano_usd", "reserved_nano_usd", *_KINDS),
    *("mean_ms", "p50_ms", "p95_ms", "mean_first_token_ms", "p50_first_token_ms", "p95_first_token_ms"),
    *_COUNTS,
)
"""The fields of a total behind `organization`, its dimensions and its `bucket`."""


def records(format: Format, found: Iterable[UsageRecord]) -> Iterator[str]:
    """Usage records as text, line by line. Raises `ConfigurationError` for a format that there is not."""
    return _lines(format, RECORD_FIELDS, found, _record)


def totals(format: Format, by: Sequence[str], found: Iterable[Total]) -> Iterator[str]:
    """Totals by these dimensions as text, line by line. Raises `ConfigurationError`."""
    return _lines(format, ("organization", *by, "bucket", *TOTAL_FIELDS), found, _total)


def _lines(
    format: Format, names: Sequence[str], found: Iterable[Any], row: Callable[[Any], Mapping[str, Any]]
) -> Iterator[str]:
    if format not in MEDIA:
        raise ConfigurationError("format", f"{format!r} is none of {', '.join(MEDIA)}")
    rows = ({name: told[name] for name in names} for told in map(row, found))
    return _csv(names, rows) if format == "csv" else map(_json, rows)


def _csv(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    line = _Line()
    writer = csv.writer(line)
    writer.writerow(names)
    yield line.text
    for row in rows:
        writer.writerow(map(_cell, row.values()))
        yield line.text


class _Line:
    """Where the writer leaves a line."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


def _cell(value: Any) -> Any:
    """A value as a spreadsheet takes it: a number as such, and a text never for more than a text."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Decimal():
            return f"{value:f}"
        case dict() | [dict(), *_]:
            return plain(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
        case list():
            return plain("; ".join(value))
        case str():
            return plain(value)
    return value


def plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula; what is no character becomes `?`."""
    text = text.encode("utf-8", "replace").decode()
    return f"'{text}" if text.startswith(_FORMULA) else text


def _json(row: Mapping[str, Any]) -> str:
    return json.dumps(row, separators=(",", ":"), default=float) + "\n"


def _record(record: UsageRecord) -> Mapping[str, Any]:
    return {
        **{name: getattr(record, name) for name in RECORD_FIELDS if hasattr(record, name)},
        **{kind: getattr(record.usage, kind) for kind in _KINDS},
        "at": _time(record.at),
        "tags": dict(record.tags),
        "cost_nano_usd": record.cost,
        "reserved_nano_usd": record.reserved,
        "flags": sorted(record.flags),
        "would_deny": list(record.would_deny),
        "besides": _besides(record),
    }


def _besides(record: UsageRecord) -> list[dict[str, Any]] | None:
    """What was used beside the answer, by models, without what is 0; null of nothing."""
    return [
        {"model": model} | {kind: n for kind in _KINDS if (n := getattr(used, kind))}
        for model, used in record.besides
    ] or None


def _total(total: Total) -> Mapping[str, Any]:
    return {
        "organization": total.organization,
        **total.by,
        **{kind: getattr(total.usage, kind) for kind in _KINDS},
        **{name: getattr(total, name) for name in ("calls", *_COUNTS)},
        "bucket": total.bucket and _time(total.bucket),
        "since": total.since and _time(total.since),
        "until": total.until and _time(total.until),
        "cost_usd": total.cost_usd,
        "cost_nano_usd": total.cost,
        "reserved_nano_usd": total.reserved,
        "mean_ms": round(total.mean_ms, 3),
        "p50_ms": total.percentile_ms(0.5),
        "p95_ms": total.percentile_ms(0.95),
        "mean_first_token_ms": round(total.mean_first_ms, 3),
        "p50_first_token_ms": total.percentile_first_ms(0.5),
        "p95_first_token_ms": total.percentile_first_ms(0.95),
    }


def _time(moment: datetime) -> str:
    """RFC 3339 in UTC, to the ms."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
