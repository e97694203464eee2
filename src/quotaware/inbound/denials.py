"""From an exception that a host lets escape back to the denial behind it."""

from __future__ import annotations

import logging
from typing import Any

from ..context import DENIED_HEADER, Binding, current
from ..errors import ApiError

DEPTH = 50
logger = logging.getLogger("quotaware")


def denial_of(error: BaseException, binding: Binding | None = None) -> ApiError | None:
    """The denial that an SDK's exception was raised for, or None: it was raised for something else.

    For a framework's own error handler: `if denial := denial_of(exc): return JSONResponse(denial.body(),
    denial.status, denial.headers())`. Follows explicit causes (`raise … from …`) and exception groups.
    """
    binding = binding or current()
    if binding is None:
        return None
    waiting: list[BaseException] = [error]
    for _ in range(DEPTH):
        if not waiting:
            break
        exception = waiting.pop()
        if isinstance(exception, ApiError):
            return exception
        found = binding.denials.get(_denial_id(exception))
        if found is not None:
            return found
        if isinstance(exception, BaseExceptionGroup):
            waiting.extend(exception.exceptions)
        if exception.__cause__ is not None:
            waiting.append(exception.__cause__)
    return None


def _denial_id(exception: BaseException) -> str:
    headers: Any = getattr(getattr(exception, "response", None), "headers", None)
    try:
        return str(headers.get(DENIED_HEADER) or "")
    except Exception:  # a stranger's attribute of the same name
        return ""
