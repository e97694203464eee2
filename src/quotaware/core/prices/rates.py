"""What a price is made of: the rates of tokens by size of the input, what else is billed by count, and how tokens of
several kinds at once are charged once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..usage import Usage

Service = tuple[tuple[str, str], ...]
"""How a call is served, where that bears on its price: (("service_tier", "flex"),), as genai-prices names it."""
BATCH: Service = (("processing", "batch"),)
"""In a batch, whose answer comes within a day."""

WHOLE = {
    "input": "input",
    "output": "output",
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "input",
    "reasoning": "output",
    "audio_input": "input",
    "audio_output": "output",
    "image_input": "input",
    "image_output": "output",
    "cache_read_audio": "input",
    "cache_read_image": "input",
    "video_input": "input",
    "video_output": "output",
}
"""The rates of tokens, and what each of them is a part of, and priced as where it is not priced apart."""

COUNTED = (
    "characters",
    "audio_ms",
    "images",
    "web_searches",
    "file_searches",
    "rerank_searches",
    "pages",
    "annotated_pages",
)
"""What is billed by count, in the words of `Usage`."""
BY_USE = frozenset({"web_searches", "file_searches"})
"""Of it, what a call may do besides what it is billed for otherwise: a price of these alone is none."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of one tier, in the price's unit per token.

    It holds for the whole of a call with more than `above` input tokens. None: not priced apart from the
    whole that it is a part of.
    """

    above: int
    input: int = 0
    output: int = 0
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    cache_read_audio: int | None = None
    cache_read_image: int | None = None
    video_input: int | None = None
    video_output: int | None = None

    def charge(self, usage: Usage) -> int:
        """What its tokens cost, each charged once: where a report's parts are more than the whole, the whole is what
        counts. One that may be of a medium and cached at once, and nobody says which, is charged as audio, else as
        cached.
        """
        heard, seen = usage.cache_read_audio, usage.cache_read_image
        sent = (
            (heard, self._of_cache(self.cache_read_audio, self.audio_input)),
            (seen, self._of_cache(self.cache_read_image, self.image_input)),
            (usage.audio_input - heard, self.audio_input),
            (usage.cache_write_1h, self.cache_write_1h),
            (usage.cache_write - usage.cache_write_1h, self.cache_write),
            (usage.cache_read - heard - seen, self.cache_read),
            (usage.image_input - seen, self.image_input),
            (usage.video_input, self.video_input),
        )
        made = (
            (usage.audio_output, self.audio_output),
            (usage.image_output, self.image_output),
            (usage.video_output, self.video_output),
            (usage.reasoning, self.reasoning),
        )
        return _charge(usage.input, self.input, sent) + _charge(usage.output, self.output, made)

    def _of_cache(self, apart: int | None, medium: int | None) -> int | None:
        """The rate of cached tokens of a medium: their own, else the medium's, else that of all cached ones."""
        return next((rate for rate in (apart, medium, self.cache_read) if rate is not None), None)

    def dearest(self, cache_write: bool, audio: bool) -> tuple[int, int]:
        """The most that one token of input, and one of output, can cost; `audio`: be it of sound or video."""
        writes = (self.cache_write, self.cache_write_1h) if cache_write else ()
        sent = (self.audio_input, self.cache_read_audio, self.video_input) if audio else ()
        made = (self.audio_output, self.video_output) if audio else ()
        return _highest(
            self.input, self.cache_read, self.image_input, self.cache_read_image, *sent, *writes
        ), _highest(self.output, self.reasoning, self.image_output, *made)


def service(**how: str | None) -> Service:
    """Of the ways of service those that are said."""
    return tuple(sorted((name, value) for name, value in how.items() if value is not None))


def _charge(whole: int, rate: int, parts: Iterable[tuple[int, int | None]]) -> int:
    """`whole` tokens at `rate`, but those of a part that is priced apart at its own."""
    charge = 0
    for tokens, apart in parts:
        if apart is not None and tokens:
            taken = max(0, min(tokens, whole))
            whole -= taken
            charge += taken * apart
    return charge + whole * rate


def _highest(*rates: int | None) -> int:
    return max(rate for rate in rates if rate is not None)
