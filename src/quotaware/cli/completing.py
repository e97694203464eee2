"""What the shell completes besides commands and options: names of nodes and keys, as the caller sees them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import typer

from .session import Common, Session

MOST = 200
"""Names that are offered."""


def nodes(context: typer.Context, incomplete: str) -> list[str]:
    """Projects and teams."""
    return _names(context, incomplete, "/projects", "/teams")


def keys(context: typer.Context, incomplete: str) -> list[str]:
    """Keys that have a name."""
    return _names(context, incomplete, "/api-keys")


def members(context: typer.Context, incomplete: str) -> list[str]:
    """People."""
    return _names(context, incomplete, "/members")


def _names(context: typer.Context, incomplete: str, *paths: str) -> list[str]:
    """Names that begin so; none where they cannot be looked up, since a shell has no room for errors."""
    session = None
    try:
        session = Session(_given(context).over(_given(context.find_root())))
        return list(islice(_found(session, incomplete, paths), MOST))
    except Exception:
        return []
    finally:
        if session is not None:
            session.close()


def _found(session: Session, incomplete: str, paths: tuple[str, ...]) -> Iterator[str]:
    for path in paths:
        for each in session.api.pages(path):
            if each["name"] and each["name"].startswith(incomplete):
                yield each["name"]


def _given(context: Any) -> Common:
    return Common.take(dict(context.params))
