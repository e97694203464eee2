"""Calls that are billed in ways that are not counted here, by the second of video for one: only the model is read.

What they cost is what the user says that a request to the model costs; where nobody says it, nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core.bounds import Call
from ..errors import ApiError
from . import jsontext
from .base import Report
from .openai_chat import openai_refusal
from .plain import Plain
from .text import name_in


class ByRequest(Plain):
    """One such operation; `refusal` writes an error as the provider does."""

    forms = True
    chosen = "its provider chooses the model: name one"
    """See `naming.read`."""

    def __init__(
        self, operation: str, refusal: Callable[[ApiError], dict[str, Any]] = openai_refusal
    ) -> None:
        self.name = operation
        self.operation = operation
        self._refusal = refusal

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        model = jsontext.model_name(body)
        return Call(
            provider=provider,
            operation=self.operation,
            model=model,
            cache_write=False,
            generates=False,
            unknown=(
                "it is billed in a way that is not counted here; say what a request costs: "
                f"prices={{{model[:64]!r}: {{'input': 0, 'output': 0, 'request': <USD>}}}}"
            ),
        )

    def answer(self, body: object) -> Report:
        """See `Format.answer`: it tells nothing that is counted."""
        return Report(name_in(body), done=True)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return self._refusal(error)
