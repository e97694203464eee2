"""What a model costs, as requests and files say it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..core.money import to_usd
from ..core.prices import RATES, SERVICES
from ..core.terms import PriceRule
from ..errors import ConfigurationError
from .wire import Body, Time, Usd


class NewRates(Body):
    """US dollars per million tokens, and of one of what is billed by count."""

    cache_read: Usd | None = None
    cache_write: Usd | None = None
    cache_write_1h: Usd | None = None
    reasoning: Usd | None = None
    audio_input: Usd | None = None
    audio_output: Usd | None = None
    image_input: Usd | None = None
    image_output: Usd | None = None
    cache_read_audio: Usd | None = None
    cache_read_image: Usd | None = None
    video_input: Usd | None = None
    video_output: Usd | None = None
    request: Usd | None = Field(None, description="US dollars for each request on top")
    characters: Usd | None = Field(None, description="US dollars for a million characters that are read out")
    audio_hour: Usd | None = Field(None, description="US dollars for an hour of sound that is listened to")
    image: Usd | None = Field(None, description="US dollars for an image that is made")
    web_search: Usd | None = Field(None, description="US dollars for a search of the web")
    file_search: Usd | None = Field(None, description="US dollars for a search of files")
    rerank_search: Usd | None = Field(
        None, description="US dollars for a search that documents are ordered by"
    )
    page: Usd | None = Field(None, description="US dollars for a page that is read")
    annotated_page: Usd | None = Field(None, description="US dollars for a page that is annotated too")


class NewService(NewRates):
    """What is priced otherwise where a call is served in another way; the rest costs what it costs otherwise."""

    input: Usd | None = None
    output: Usd | None = None


class NewPrice(NewRates):
    """What a model costs, in US dollars per million tokens.

    What is absent is priced as the whole that it is a part of: `cache_read`, `cache_write`, `audio_input`,
    `image_input` and `video_input` as `input`, `cache_write_1h` as `cache_write`, `cache_read_audio` as `audio_input`,
    `cache_read_image` as `image_input`, `reasoning`, `audio_output`, `image_output` and `video_output` as `output`.
    What is billed by count costs nothing where it is absent.
    """

    model: str = Field(
        description="a model, or a pattern of models with `*`; its provider may lead it: `openai/gpt-4.1`"
    )
    input: Usd
    output: Usd
    batch: NewService | None = Field(None, description="of what stands in a batch")
    flex: NewService | None = Field(None, description="of the service tier `flex`")
    priority: NewService | None = Field(None, description="of the service tier `priority`")
    fast: NewService | None = Field(None, description="of the fast mode")
    valid_from: Time | None = Field(None, description="absent: it was always so")
    valid_until: Time | None = Field(None, description="absent: until another takes its place")

    def rule(self) -> PriceRule:
        """The price as the tree has it. Raises ConfigurationError naming the field."""
        since, until = self.valid_from or 0, self.valid_until
        if until is not None and until <= since:
            raise ConfigurationError("valid_until", "comes after valid_from")
        rates: dict[str, Any] = _said(self)
        for name in SERVICES:
            if (other := getattr(self, name)) is not None:
                rates[name] = _said(other)
        return PriceRule.of(self.model, rates, since, until or 0)


def _said(body: NewPrice | NewService) -> dict[str, Any]:
    return {name: to_usd(nano) for name in RATES if (nano := getattr(body, name)) is not None}
