"""The bound of a call before it is made: the most that it can take and cost, and what it is expected to use.

A tokenizer per model would be exact, slow, and wrong for the next model: counts of bytes and parts, which the
formats take from the body, are bounded by ratios instead. What a token costs is left to the prices.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from .counting import Kinds, Reader, reader
from .models import ANY, Model
from .prices import Price, Service

BATCHES = "batches"
"""The operation of calls that ask for many others in a file: their cost has no bound."""
MESSAGE_BATCHES = "message_batches"
"""The operation of calls that hold many others themselves, which are billed as a batch is."""
BoundMode = Literal["calibrated", "strict"]

USUAL_OUTPUT = 1024
"""Tokens that a choice is expected to take where nothing is known of the model's answers yet."""

UNKNOWN_OUTPUT = 128_000
"""The longest answer of a model of which nothing is known, not even its context window."""


@dataclass(frozen=True, slots=True)
class Call:
    """One LLM request as it stands on the wire, read by its format; no text of it is kept.

    provider      id of the provider as genai-prices spells it (`openai`, `anthropic`, …), or None: priced by
                  the model's name alone
    operation     chat, embeddings, count_tokens, …; `unknown` for a POST on a known host that no format reads
    model         as the request names it; None where the operation has none, or nobody can know it
    lines         the calls that a batch holds itself, each bounded by itself; all else is told of all of them together
    also          what else the same request may be served as, each read as if it had asked for that: all are judged
    unknown       why it cannot be known what the upstream will serve, and the way out; "" where it is known
    stream        whether a streamed answer was asked for
    cap           output tokens that the call allows each choice, None where it names no cap
    least_cap     the smallest cap with which its body stays valid, as where it asks for thinking
    choices       answers asked for (`n`), at least 1
    text          UTF-8 bytes of everything in the body that the model reads as text, tools included
    kinds         how many of these bytes are of each of `counting.KINDS`; empty where nobody counted
    parts         messages and other separators that cost a few tokens each
    tools         tools that the call describes: providers add instructions of their own for them
    media         tokens of images, audio and documents, by the sizes that the body shows
    doubt         by how many tokens these may be more where a file is not what it says: strict adds them
    opaque        input that the body does not show at all (ids of files, server-held history, URLs of images,
                  what a tool that the provider runs itself brings in)
    cache_write   whether the provider may bill a write to its cache: False where it writes only when asked,
                  and the body does not ask
    audio         whether audio goes in or is asked for
    generates     whether the operation has output tokens at all
    free          whether the operation costs nothing (listings, token counts)
    sealed        whether no cap can be written into its body: it is signed, or there is no member for one
    guess         likeliest output tokens of an answer that reports nothing and shows nothing
    characters    of text to be read out
    audio_ms      the most ms of sound to be listened to
    likely_ms     likeliest ms of it
    images        to be made
    web_searches, file_searches   the most that the provider may make for the answer
    rerank_searches   to put documents in order by
    pages, annotated_pages   the most of them that a document has, and those to be annotated
    besides       what is asked for beside its answer, each as a call of its own: of other models by its tools, of its
                  own (`model` None) to make its history shorter
    rereads       of such a call: whether each of its choices reads all that the call itself reads, and `media` on top
    service       how it asks to be served, where that bears on the price
    background    whether the provider answers before it is done, and tells later what was used
    """

    provider: str | None
    operation: str
    model: str | None
    stream: bool = False
    cap: int | None = None
    least_cap: int = 1
    choices: int = 1
    text: int = 0
    kinds: Kinds = ()
    parts: int = 0
    tools: int = 0
    media: int = 0
    doubt: int = 0
    opaque: bool = False
    cache_write: bool = True
    audio: bool = False
    generates: bool = True
    free: bool = False
    sealed: bool = False
    background: bool = False
    guess: int = 0
    characters: int = 0
    audio_ms: int = 0
    likely_ms: int = 0
    images: int = 0
    lines: tuple[Call, ...] = ()
    web_searches: int = 0
    file_searches: int = 0
    rerank_searches: int = 0
    pages: int = 0
    annotated_pages: int = 0
    service: Service = ()
    besides: tuple[Call, ...] = ()
    rereads: bool = False
    also: tuple[Call, ...] = ()
    unknown: str = ""

    @property
    def counted(self) -> bool:
        """Whether it asks for what may be billed by count and not by token."""
        return bool(self.characters or self.audio_ms or self.images or self.rerank_searches or self.pages)

    @property
    def readings(self) -> tuple[Call, ...]:
        """The call, and as what else it may be served."""
        return (self, *self.also)

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that may serve it; none where it names none."""
        if self.model is None:
            return (Model(self.provider, ANY),) if self.unknown else ()
        own = Model(self.provider, self.model)
        others = (*self.also, *self.besides)
        return (own, *(model for call in others for model in call.models)) if others else (own,)


# The longest answer, in tokens, as the model pages state it: developers.openai.com/api/docs/models,
# platform.claude.com/docs/en/models, ai.google.dev/gemini-api/docs/models and
# api-docs.deepseek.com/quick_start/pricing. The longest family that leads a name counts; a `*` takes any
# version after it.
_LONGEST = {
    "chatgpt-4o": 16_384,
    "codex-mini": 100_000,
    "gpt-3.5-turbo": 4_096,
    "gpt-3.5-turbo-16k": 16_385,
    "gpt-35-turbo": 4_096,
    "gpt-35-turbo-16k": 16_385,
    "gpt-4": 8_192,
    "gpt-4-32k": 32_768,
    "gpt-4-turbo": 4_096,
    "gpt-4.1": 32_768,
    "gpt-4.5": 16_384,
    "gpt-4o": 16_384,
    "gpt-4o-64k": 65_536,
    "gpt-5*": 128_000,
    "gpt-5-pro": 272_000,
    "gpt-6*": 128_000,
    "gpt-oss": 131_072,
    "o1": 100_000,
    "o1-mini": 65_536,
    "o1-preview": 32_768,
    "o3": 100_000,
    "o4-mini": 100_000,
    "claude*": 128_000,
    "claude-2*": 4_096,
    "claude-3-haiku": 4_096,
    "claude-3-opus": 4_096,
    "claude-3-sonnet": 4_096,
    "claude-3-5": 8_192,
    "claude-3.5": 8_192,
    "claude-haiku-4-5": 64_000,
    "claude-haiku-4.5": 64_000,
    "claude-opus-4-0": 32_000,
    "claude-opus-4-1": 32_000,
    "claude-opus-4-2025*": 32_000,
    "claude-opus-4.1": 32_000,
    "claude-opus-4-5": 64_000,
    "claude-opus-4.5": 64_000,
    "claude-sonnet-4-0": 64_000,
    "claude-sonnet-4-2025*": 64_000,
    "claude-sonnet-4-5": 64_000,
    "claude-sonnet-4.5": 64_000,
    "gemini-1.5*": 8_192,
    "gemini-2.0*": 8_192,
    "gemini-2.0-flash-thinking": 65_536,
    "gemini-2.5*": 65_536,
    "gemini-3*": 65_536,
    "deepseek*": 393_216,
}
_BY_LENGTH = sorted(_LONGEST, key=len, reverse=True)
_FAMILY = re.compile(
    r"(?:^|[/.:])(?:"
    + "|".join(
        f"({re.escape(name.rstrip('*'))}){'' if name.endswith('*') else '(?![a-z0-9.])'}"
        for name in _BY_LENGTH
    )
    + ")"
)


_LIKELY_SHARE = 70
"""How much of its calibrated bound, in hundredths, a text is likely to take."""
_PART, _TOOL, _ROOM = 16, 64, 64
"""Tokens that strict adds for each part, for each tool, and for what a provider may add unasked, beside twice of what
it is known to add.
"""


def _strict(call: Call) -> int:
    added = _reader(call).added
    always = 2 * added.always + _ROOM
    tools = 2 * added.tools + _ROOM + call.tools * (max(0, added.tool) + _TOOL) if call.tools else 0
    return call.text + call.parts * _PART + call.media + call.doubt + always + tools


def _calibrated(call: Call) -> int:
    return min(_counted(call, 100), _strict(call))


def _likely(call: Call) -> int:
    return min(_counted(call, _LIKELY_SHARE), _strict(call))


def _counted(call: Call, share: int) -> int:
    """Tokens by the ratios of whose model reads it; `share`: how much of its text's, in hundredths."""
    read = _reader(call)
    added = read.added
    text = -(-read.text(call.text, call.kinds) * share // 10_000)
    tools = read.tools(call.tools, call.kinds)
    return text + call.media + added.always + call.parts * added.part + tools


def _reader(call: Call) -> Reader:
    return reader(call.provider, call.model, call.generates)


_MODES: dict[BoundMode, Callable[[Call], int]] = {"strict": _strict, "calibrated": _calibrated}


def max_output(model: str | None, context: int | None = None) -> int:
    """The longest answer of a model in tokens, never below the true one.

    A dated name, one led by a provider's and one of a fine-tuned model (`ft:…`) is its family's. A model of
    no known family can answer as long as `context`, its context window, is, or 128,000 tokens.
    """
    longest = _family_output(model[:256].lower()) if model else None
    return longest or context or UNKNOWN_OUTPUT


def input_bound(call: Call, mode: BoundMode) -> int:
    """The most tokens that the input shown in the body can be, whichever of its models reads it.

    strict       one token a byte: never below the real count
    calibrated   at or above the real count of at least 99 of 100 calls; dense text (bare digits, base64) is
                 where it can be below

    What is `opaque` is not in it: whether such a call may go is the caller's to decide.
    """
    bound = _MODES[mode]
    if not (call.also or call.lines):
        return bound(call)
    return max(sum(map(bound, each.lines or (each,))) for each in call.readings)


def estimate_input(call: Call) -> int:
    """The likeliest count of input tokens: what a call is charged whose input nobody reported."""
    return sum(map(_likely, call.lines or (call,)))


def output_bound(call: Call, longest: int) -> int:
    """The most output tokens over all choices, each as long as the call's own cap, else as `longest`.

    `longest` is the cap that is written into the body, or the model's maximum. A cap that the call names
    counts as named, since a newer model may answer longer than is known here.
    """
    return _made(call, longest if call.cap is None else call.cap) if call.generates else 0


def expected_tokens(call: Call, input_expected: int, usual_output: int | None, cap: int | None) -> int:
    """What a limit on tokens reserves: the input as estimated, and the output as usual.

    `usual_output` is what the caller has seen a call of this kind take, all choices together; without it each
    choice is expected to take 1,024. `cap` bounds each choice, None: not at all. What is asked for beside the
    answer is expected once.
    """
    beside = sum(
        other.rereads * input_expected + min(USUAL_OUTPUT, output_bound(other, 0)) for other in call.besides
    )
    if not call.generates:
        return input_expected + beside
    usual = USUAL_OUTPUT * call.choices if usual_output is None else usual_output
    return input_expected + beside + (usual if cap is None else min(usual, cap * call.choices))


def worst_cost(price: Price, call: Call, input_tokens: int, output_tokens: int) -> int:
    """The most that the call can cost within these bounds, in nano-dollars; 0 where it is free."""
    if call.free:
        return 0
    most = price.worst(
        input_tokens,
        output_tokens,
        cache_write=call.cache_write,
        audio=call.audio,
        how=call.service,
        counts=call,
    )
    for other in call.besides:
        used = price.beside(other.model)
        if used and other.rereads:
            how = call.service if other.model is None else ()
            each = used.worst(
                input_tokens + other.media, other.cap or 0, cache_write=call.cache_write, how=how
            )
            most += other.choices * each
        elif used:
            most += worst_cost(used, other, other.media, output_bound(other, 0))
    return most


def affordable_cap(price: Price, call: Call, input_tokens: int, budget: int, longest: int) -> int:
    """The largest cap of each choice, at most `longest`, that `budget` nano-dollars pay for, input included.

    0 where not even its input fits. Exact: one token more would not fit, or be more than `longest`.
    """

    def cost(cap: int) -> int:
        return worst_cost(price, call, input_tokens, _made(call, cap))

    return max(0, bisect_right(range(longest + 1), budget, key=cost) - 1)


def _made(call: Call, most: int) -> int:
    """Tokens of all answers, none longer than `most`."""
    if not call.lines:
        return most * call.choices
    made = (line for line in call.lines if line.generates)
    return sum(line.choices * (most if line.cap is None else min(most, line.cap)) for line in made)


@lru_cache(maxsize=4096)
def _family_output(model: str) -> int | None:
    family = _FAMILY.search(model)
    return _LONGEST[_BY_LENGTH[family.lastindex - 1]] if family and family.lastindex else None
