"""The host's own word on who calls."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields
from typing import Any

from ..context import Identity
from ..errors import ConfigurationError

Scope = Mapping[str, Any]
Answer = Identity | Mapping[str, Any] | str | None
Identify = Callable[[Any], Answer | Awaitable[Answer]]
"""Takes the ASGI scope, answers an `Identity`, a mapping with its fields, the end user as text, or None where it does
not know. Sync or async; it must not block.
"""

_FIELDS = frozenset(field.name for field in fields(Identity)) - {"key"}


async def asked(identify: Identify | None, scope: Scope) -> Identity | None:
    """What the host says. Raises `ConfigurationError` for what is no answer, and whatever `identify` raises."""
    if identify is None:
        return None
    answer = identify(scope)
    if inspect.isawaitable(answer):
        answer = await answer
    if answer is None or isinstance(answer, Identity):
        return answer
    if isinstance(answer, str):
        return Identity(end_user=answer)
    if isinstance(answer, Mapping) and answer.keys() <= _FIELDS:
        return Identity(**answer)
    raise ConfigurationError(
        "identify",
        f"answered {reprlib.repr(answer)}; it answers an Identity, a mapping of project, end_user, tags, member and "
        "organization, a text or None",
    )
