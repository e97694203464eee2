"""From an exception that a host lets escape back to the denial behind it, and what its caller is then answered."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

from ..context import DENIED_HEADER, Binding, current
from ..errors import ApiError

DEPTH = 50
"""How many exceptions of a chain or group are looked at."""
LONGEST = 500
"""Characters of a message in the log."""
_MARK = "_quotaware_denial"
_FINAL = "_quotaware_final"


def denial_of(error: BaseException, binding: Binding | None = None) -> ApiError | None:
    """The denial that an SDK's exception was raised for, or None: it was raised for something else.

    For a framework's own error handler: `if denial := denial_of(exc): return JSONResponse(denial.body(),
    denial.status, denial.headers())`. Follows explicit causes (`raise … from …`) and exception groups; a framework
    that keeps no more of an error than its text (LiteLLM) is understood by the request id in that.
    """
    binding = binding or current()
    known: dict[str, ApiError] = binding.denials if binding is not None else {}
    waiting: list[BaseException] = [error]
    for _ in range(DEPTH):
        if not waiting:
            break
        exception = waiting.pop()
        if isinstance(exception, ApiError):
            return exception
        found = known.get(_denial_id(exception)) or getattr(exception, _MARK, None) or _told(exception, known)
        if isinstance(found, ApiError):
            return found
        if isinstance(exception, BaseExceptionGroup):
            waiting.extend(exception.exceptions)
        if exception.__cause__ is not None:
            waiting.append(exception.__cause__)
    return None


def mark(error: BaseException, denial: ApiError) -> None:
    """Lets `denial_of` find it where the binding is gone: Starlette calls a handler of Exception outside of every
    middleware.
    """
    with suppress(Exception):  # a class that takes no attributes
        setattr(error, _MARK, denial)


def final(error: ApiError) -> ApiError:
    """For an error that a guard of ours raises: the host asked for it, so that it is the answer also where the host
    has a handler for every exception, and where an app inside the middleware has answered 500 for it.
    """
    binding = current()
    if binding is not None:
        request_id = error.fields.setdefault("request_id", f"req_{uuid.uuid4().hex}")
        binding.denied(request_id, error)
    setattr(error, _FINAL, True)
    return error


def is_final(error: BaseException) -> bool:
    """Whether a guard of ours raised it."""
    return getattr(error, _FINAL, False)


def body_of(error: ApiError) -> dict[str, Any]:
    """The body for the host's caller, with the request id that the call was answered with, or a new one."""
    return error.body(error.fields.get("request_id") or f"req_{uuid.uuid4().hex}")


def one_line(message: str) -> str:
    """A message as a log has it: in one line, whatever names are in it, and of bounded length."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in message[:LONGEST]
    )


def _told(exception: BaseException, known: dict[str, ApiError]) -> ApiError | None:
    try:
        text = str(exception) if known else ""
    except Exception:  # a stranger's class
        return None
    return next((known[id] for id in reversed(known) if id in text), None)


def _denial_id(exception: BaseException) -> str:
    headers: Any = getattr(getattr(exception, "response", None), "headers", None)
    try:
        return str(headers.get(DENIED_HEADER) or "")
    except Exception:  # a stranger's attribute of the same name
        return ""
