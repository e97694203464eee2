"""What a finished call is charged: exactly what was reported, else what was seen, else an estimate.

Zero means zero: an error answer costs nothing, and so does a call whose provider reports nothing used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .bounds import Call, estimate_input
from .prices import Price
from .usage import SUSPECT_FOLD, Quality, Usage, suspect

BILLED_AS_TOLD = frozenset({"openrouter", "perplexity", "x-ai"})
"""Providers that bill the very cost that their answers tell, discounts and tools included."""


@dataclass(frozen=True, slots=True)
class Charge:
    """usage and its quality; cost in nano-dollars; suspect: the report could not be true, the bound is charged."""

    usage: Usage
    quality: Quality
    cost: int
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended.

    status  HTTP status of the answer, 0 where there was none
    sent    whether the request may have reached the provider
    usage   what the provider reported, if it did
    seen    output tokens that were seen go by
    done    whether the answer came whole
    cost    what the provider says that it cost, nano-dollars, if it does
    later   the name under which the provider will tell what was used, where it does so later; else ""
    """

    status: int
    sent: bool = True
    usage: Usage | None = None
    seen: int = 0
    done: bool = True
    later: str = ""
    cost: int | None = None


def charge(call: Call, price: Price | None, most_input: int, most_output: int, outcome: Outcome) -> Charge:
    """The charge for a call whose bound was `most_input` and `most_output` tokens."""
    if not outcome.sent or outcome.status >= 300 or call.free:
        return Charge(outcome.usage if call.free and outcome.usage else Usage(), "exact", 0)
    usage, quality, doubtful = _known(call, most_input, most_output, outcome)
    cost = price.cost(usage) if price else 0
    if outcome.cost is not None and quality == "exact" and call.provider in BILLED_AS_TOLD:
        if price and outcome.cost > SUSPECT_FOLD * price.worst(max(most_input, usage.input), most_output):
            return Charge(usage, quality, cost, suspect=True)
        cost = outcome.cost
    return Charge(usage, quality, cost, doubtful)


def _known(call: Call, most_input: int, most_output: int, outcome: Outcome) -> tuple[Usage, Quality, bool]:
    usage = outcome.usage
    if usage is None:
        made = max(outcome.seen, call.guess) if outcome.done else outcome.seen
        seen = min(made, most_output)
        quality: Quality = "estimated" if outcome.done else "partial"
        return _estimated(call, min(estimate_input(call), most_input), seen), quality, False
    shown = (
        max(most_input, usage.input) if call.opaque else most_input
    )  # what is not in the body has no bound here
    if suspect(usage, shown, max(most_output, 1)):
        return Usage(input=most_input, output=most_output), "estimated", True
    if outcome.done:
        return usage, "exact", False
    return replace(usage, output=max(usage.output, outcome.seen)), "partial", False


def _estimated(call: Call, sent: int, made: int) -> Usage:
    """What a call used that told nothing: so many tokens, and what it asked for of all that is billed by count."""
    return Usage(
        input=sent,
        output=made,
        characters=call.characters,
        audio_ms=call.likely_ms,
        images=call.images,
    )
