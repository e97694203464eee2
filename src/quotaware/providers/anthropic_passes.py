"""Passes of a model that Anthropic makes beside an answer: one that makes its history shorter, those of an advisor.

What they use is in `usage.iterations` and not in the counts of `usage` (Anthropic's SDK, `BetaIterationsUsage`).
Sources: Anthropic's "Compaction" and "Advisor tool"; the trigger stands in the types of its SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.bounds import Call
from ..core.usage import count
from .text import member

_TRIGGER = 150_000
"""Input tokens from which on a history is made shorter, where the body names none."""
_SUMMARY = 8_192
"""The most tokens that a shorter history is taken to be. The guide's example has 3,500."""
_TOLD = 2_048
"""What a model is told at most to make such a pass; recorded advisors read 1,400 tokens more than who asked."""
_ADVICE, _USES = 16_384, 2
"""The most tokens of one advice, and how often an advisor is taken to be asked, where the body does not say."""


def asked_besides(provider: str | None, body: Mapping[str, Any], most: int | None) -> tuple[Call, ...]:
    """What a body asks for beside its answer; `most`: tokens that its input cannot exceed, None where nobody knows."""
    tools = body.get("tools")
    advisors = [tool for tool in tools if _is_advisor(tool)] if isinstance(tools, list) else []
    asked = [_advice(provider, tool) for tool in advisors]
    if _may_compact(body, most):
        asked.append(_pass(provider, None, _SUMMARY))
    return tuple(asked)


def _is_advisor(tool: object) -> bool:
    return str(member(tool, "type")).startswith("advisor_")


def _advice(provider: str | None, tool: Mapping[str, Any]) -> Call:
    """What an advisor is asked for; one whose model is not named is of the call's own."""
    model = tool.get("model")
    named = model if isinstance(model, str) and model else None
    return _pass(
        provider, named, _named(tool.get("max_tokens")) or _ADVICE, _named(tool.get("max_uses")) or _USES
    )


def _pass(provider: str | None, model: str | None, cap: int, uses: int = 1) -> Call:
    return Call(
        provider=provider,
        operation="chat",
        model=model,
        cap=cap,
        choices=uses,
        media=_TOLD,
        sealed=True,
        rereads=True,
    )


def _named(value: object) -> int | None:
    number = count(value)
    return number if number and number > 0 else None


def _may_compact(body: Mapping[str, Any], most: int | None) -> bool:
    """Whether the history may be made shorter: it is asked for, or its size may reach what triggers that."""
    if isinstance(body.get("compaction"), dict):
        return True
    edits = member(body.get("context_management"), "edits")
    triggers = [
        _named(member(member(edit, "trigger"), "value")) or _TRIGGER
        for edit in (edits if isinstance(edits, list) else ())
        if str(member(edit, "type")).startswith("compact_")
    ]
    return bool(triggers) and (most is None or most >= min(triggers))
