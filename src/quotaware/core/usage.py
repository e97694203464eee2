"""Usage: what a call consumed, in the words of the field, and whether a report of it can be believed.

Counts follow the OpenTelemetry GenAI conventions: `input` is everything sent, cached parts included;
`output` is everything generated, reasoning included. Where a count stands in an answer is left to the
formats, what it costs to the prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Quality = Literal["exact", "partial", "estimated", "unsettled"]
"""How well a charge is known. exact: the provider reported it. partial: the answer was cut, what was seen is
charged. estimated: a good answer that reported nothing. unsettled: its process died, charged by the lease."""

SUSPECT_FOLD = 100
"""A report of more than this many times the bound is no usage."""
SUSPECT_LEAST = 64
"""A bound of fewer input tokens counts as so many here: servers add instructions of their own to a short question."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, and what else is billed by count. All are whole numbers, 0 or more.

    input          tokens sent, cached ones included
    output         tokens generated, reasoning included
    cache_read     part of `input` that came from the provider's cache
    cache_write    part of `input` that was written to it (at every lifetime)
    cache_write_1h part of `cache_write` that was written for an hour (priced apart)
    reasoning      part of `output` that was thinking
    audio_input, audio_output   parts of `input` and `output` that are audio
    image_input, image_output, video_input, video_output   parts of them that are images, and video
    cache_read_audio, cache_read_image   parts of `cache_read` that are audio, and images
    characters     of text that was read out, where that is what is billed
    audio_ms       ms of sound that was listened to, where that is what is billed
    images         that were made, where that is what is billed
    web_searches, file_searches   that the provider made for the answer
    rerank_searches   that documents were put in order by, where that is what is billed
    pages          that were read, where that is what is billed
    annotated_pages   part of `pages` that were annotated too (priced apart)
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    characters: int = 0
    audio_ms: int = 0
    images: int = 0
    cache_read_audio: int = 0
    cache_read_image: int = 0
    video_input: int = 0
    video_output: int = 0
    web_searches: int = 0
    file_searches: int = 0
    rerank_searches: int = 0
    pages: int = 0
    annotated_pages: int = 0

    @property
    def total(self) -> int:
        """Input and output together: what a limit on tokens counts."""
        return self.input + self.output


def count(value: object) -> int | None:
    """A reported JSON number as whole tokens; None for what is no whole number (true, "1e3", NaN, 1.5, null).

    A negative or absurdly large one is answered as it is, so that `suspect` can name it.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def suspect(usage: Usage, input_bound: int, output_bound: int) -> bool:
    """Whether a report is no usage at all: a count below 0, or more than 100 times the bound of the call.

    The bounds are those that the call was reserved with, in tokens; where part of the input was not in the
    body, the model's context window is the bound of the input.
    """
    return (
        min(getattr(usage, name) for name in usage.__slots__) < 0
        or usage.input > SUSPECT_FOLD * max(input_bound, SUSPECT_LEAST)
        or usage.output > SUSPECT_FOLD * output_bound
    )
