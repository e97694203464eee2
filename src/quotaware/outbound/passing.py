"""What is metered and on its way further in: another library that is to send it lets it pass.

A client of one library may send by another's (httpx over an aiohttp transport, say). There the request is made anew,
so the mark is in the running context. It hides no other call that is made meanwhile: it holds only for the same host,
path and body, and only until the layer above has its answer.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from typing import Any
from urllib.parse import unquote

from ..providers import jsontext


class Passing:
    """The block in which a metered request is sent: `with Passing(host, path, body): …`; `around`: what is
    entered with it.
    """

    __slots__ = ("_around", "_body", "_over", "_place", "_token")

    def __init__(self, host: str, path: str, body: bytes, around: AbstractContextManager[object]) -> None:
        self._around = around
        self._place = _place(host, path)
        self._body = body
        self._over = False
        self._token: Token[Passing | None]

    def __enter__(self) -> None:
        self._around.__enter__()
        self._token = _passing.set(self)

    def __exit__(self, *exc: Any) -> None:
        self._over = True  # tasks that were begun meanwhile keep the context, and live on
        _passing.reset(self._token)
        self._around.__exit__(*exc)

    def covers(self, host: str, path: str, body: bytes) -> bool:
        """Whether this is the request that is being sent."""
        return not self._over and self._place == _place(host, path) and _same(self._body, body)


_passing: ContextVar[Passing | None] = ContextVar("quotaware_passing", default=None)


def passes(host: str, path: str, body: bytes) -> bool:
    """Whether a layer above has metered this very request."""
    found = _passing.get()
    return found is not None and found.covers(host, path, body)


def _place(host: str, path: str) -> tuple[str, str]:
    return host.lower(), unquote(path)


def _same(one: bytes, other: bytes) -> bool:
    """Whether two bodies say the same: a layer may have written the JSON anew."""
    if one == other:
        return True
    try:
        return jsontext.parse(one) == jsontext.parse(other)
    except Exception:
        return False
