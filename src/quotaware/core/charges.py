"""What a finished call is charged: exactly what was reported, else what was seen, else an estimate.

Zero means zero: an error answer costs nothing, and so does a call whose provider reports nothing used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .bounds import Call, estimate_input, output_bound
from .prices import Price, Service
from .usage import SUSPECT_FOLD, Quality, Usage, suspect

_FEES = ("web_searches", "file_searches", "rerank_searches", "pages")
BILLED_AS_TOLD = frozenset({"openrouter", "perplexity", "x-ai"})
"""Providers that bill the very cost that their answers tell, discounts and tools included."""


@dataclass(frozen=True, slots=True)
class Charge:
    """usage and its quality; cost in nano-dollars; suspect: the report could not be true, the bound is charged.

    besides: what was used beside the answer, by models (None: the call's own); the cost has it, `usage` does not.
    """

    usage: Usage
    quality: Quality
    cost: int
    suspect: bool = False
    besides: tuple[tuple[str | None, Usage], ...] = ()

    @property
    def tokens(self) -> int:
        """What limits on tokens count."""
        return self.usage.total + sum(used.total for _, used in self.besides)

    @property
    def read(self) -> int:
        """The most input tokens that the call's own model read at once."""
        return max(self.usage.input, *(used.input for used in self._own), 0)

    @property
    def made(self) -> int:
        """The output tokens of the call's own model, all passes together."""
        return self.usage.output + sum(used.output for used in self._own)

    @property
    def _own(self) -> list[Usage]:
        return [used for model, used in self.besides if model is None]


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
    besides what was used beside the answer, by models: those of tools, and None for passes of the call's own
    service how the provider says that it served the call, where that bears on the price
    """

    status: int
    sent: bool = True
    usage: Usage | None = None
    seen: int = 0
    done: bool = True
    later: str = ""
    cost: int | None = None
    service: Service = ()
    besides: tuple[tuple[str | None, Usage], ...] = ()


def charge(call: Call, price: Price | None, most_input: int, most_output: int, outcome: Outcome) -> Charge:
    """The charge for a call whose bound was `most_input` and `most_output` tokens."""
    if not outcome.sent or outcome.status >= 300 or call.free:
        return Charge(outcome.usage if call.free and outcome.usage else Usage(), "exact", 0)
    usage, quality, doubtful = _known(call, most_input, most_output, outcome)
    if call.annotated_pages:  # the answer tells pages, whatever was asked to be done with them
        usage = replace(usage, annotated_pages=usage.pages)
    besides, untrue = _besides(call, most_input, most_output, outcome)
    doubtful = doubtful or untrue
    price = price and price.served(_served(call.service, outcome.service))
    cost = price.cost(usage) + _cost_besides(call, price, besides) if price else 0
    if outcome.cost is not None and quality == "exact" and call.provider in BILLED_AS_TOLD:
        if price and outcome.cost > SUSPECT_FOLD * price.worst(max(most_input, usage.input), most_output):
            return Charge(usage, quality, cost, True, besides)
        cost = outcome.cost
    return Charge(usage, quality, cost, doubtful, besides)


def _besides(
    call: Call, most_input: int, most_output: int, outcome: Outcome
) -> tuple[tuple[tuple[str | None, Usage], ...], bool]:
    """What was used beside the answer, and whether a report of that could not be true: of a tool it is none then, of a
    pass of the call's own model the bound.
    """
    found: list[tuple[str | None, Usage]] = []
    untrue = False
    for model, used in outcome.besides:
        own = model is None
        asked = [other for other in call.besides if (other.model is None) == own]
        again = own or not asked or any(other.rereads for other in asked)
        sent = max(most_input if again else 1, *(other.media for other in asked), 1)
        made = max(most_output if own or not asked else 1, *(output_bound(other, 0) for other in asked), 1)
        if not suspect(used, max(sent, used.input) if again and call.opaque else sent, made):
            found.append((model, used))
        elif own:
            untrue = True
            found.append((None, Usage(input=sent, output=made)))
    return tuple(found), untrue


def _cost_besides(call: Call, price: Price, besides: tuple[tuple[str | None, Usage], ...]) -> int:
    """What that costs; of a model that was not asked for, where none was, as the call's own."""
    priced = ((price.beside(model) or (None if call.besides else price), used) for model, used in besides)
    return sum(other.cost(used) for other, used in priced if other)


def _served(asked: Service, told: Service) -> Service:
    """How a call was served: as the provider tells, else as it was asked to."""
    return tuple(sorted({**dict(asked), **dict(told)}.items())) if told else asked


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
    if suspect(usage, shown, max(most_output, 1)) or _too_many(usage, call):
        return Usage(input=most_input, output=most_output), "estimated", True
    if outcome.done:
        return usage, "exact", False
    return replace(usage, output=max(usage.output, outcome.seen)), "partial", False


def _too_many(usage: Usage, call: Call) -> bool:
    """Whether more was done, of what has a fee of its own, than could be: 100 times what was asked for."""
    return any(getattr(usage, name) > SUSPECT_FOLD * max(1, getattr(call, name)) for name in _FEES)


def _estimated(call: Call, sent: int, made: int) -> Usage:
    """What a call used that told nothing: so many tokens, and what it asked for of all that is billed by count."""
    return Usage(
        input=sent,
        output=made,
        characters=call.characters,
        audio_ms=call.likely_ms,
        images=call.images,
        rerank_searches=call.rerank_searches,
        pages=min(call.pages, 1),
        annotated_pages=min(call.annotated_pages, 1),
    )
