"""Arguments that several commands take, and how their words are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from . import completing
from .failures import USAGE, Failure

NODE = (
    "A project, team, organization or key by name or id; team/NAME says which. Without it, the organization."
)

Where = Annotated[
    str,
    typer.Argument(help=NODE.partition(" Without")[0], show_default=False, autocompletion=completing.nodes),
]
Anywhere = Annotated[
    str | None, typer.Argument(help=NODE, show_default=False, autocompletion=completing.nodes)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Period = Annotated[str | None, typer.Option(help="The last days or hours, such as 7d or 24h.")]
Since = Annotated[str | None, typer.Option("--from", help="Instead of a period: a day or a time (UTC).")]
Until = Annotated[str | None, typer.Option("--to", help="The end, which is not in it; now without it.")]

Empty = Mapping[str, tuple[str, Any]]
"""The words of a `--clear`: of each the field that it is about, and how that is empty."""
_NONE: Empty = {}
Called = Callable[[str], str]
"""Answers the name of a node by its id."""
_SPAN = re.compile(r"([1-9]\d{0,4})([dh])")


def moment(text: str | None) -> str | None:
    """A time as the API takes it: of a day, a time (UTC where no zone is said), or a span from now such as 30d."""
    if text is None:
        return None
    if span := _SPAN.fullmatch(text):
        length = timedelta(**{"days" if span[2] == "d" else "hours": int(span[1])})
        return _told(datetime.now(UTC) + length)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Failure(
            f"'{text}' is no time: give 2026-12-23, 2026-12-23T09:15:00Z, or 30d from now", USAGE
        ) from None
    return _told(found if found.tzinfo else found.replace(tzinfo=UTC))


def span(period: str | None, since: str | None, until: str | None) -> dict[str, Any]:
    """A period as the API takes it."""
    return {"period": period, "from": moment(since), "to": moment(until)}


def pairs(words: Iterable[str], what: str) -> dict[str, str]:
    """`name=value`, several."""
    found = dict(word.partition("=")[::2] for word in words)
    if any("=" not in word for word in words):
        raise Failure(f"{what} is NAME=VALUE", USAGE)
    return found


def clearing(empty: Empty) -> Any:
    """The option that empties what a change leaves."""
    return typer.Option("--clear", help=f"{', '.join(empty)}: to be empty; repeat it.")


def said(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that something is said of."""
    return {field: value for field, value in given.items() if value}


def changes(given: Mapping[str, Any], clear: Iterable[str] = (), empty: Empty = _NONE) -> dict[str, Any]:
    """What a change sends: the fields that something is said of, and those that are to be empty. Raises Failure where
    there are none.
    """
    found = said(given)
    for word in clear:
        if word not in empty:
            raise Failure(f"--clear takes {', '.join(empty)}, and not '{word}'", USAGE)
        field, nothing = empty[word]
        if field in found:
            raise Failure(f"{word} is said, and cleared: one of the two", USAGE)
        found[field] = nothing
    if not found:
        raise Failure("Say what is to change; --help lists what can be", USAGE)
    return found


def _told(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
