"""OpenAI's sound: read out from a text, and written down from sound, as it is or translated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.bounds import Call
from ..core.usage import Usage
from ..errors import ApiError
from . import jsontext
from .base import Report, StreamReader, Unreadable
from .formdata import Upload
from .openai_chat import openai_refusal, tokens_usage
from .reported_cost import reported_cost
from .sse import EventReader, message
from .text import Tally, member, seen_tokens, string_delta_size

# Tokens of sound that are made for a character at the most, and likeliest (a minute takes some 1,250, and has some 900
# letters, or 300 characters of Chinese or Korean), and for what is silence before and after.
_MOST_SPOKEN = 16
_SPOKEN, _SPOKEN_WIDE = 1.4, 4.2
_SILENCE = 256

# Bytes of a second of sound at the least and likeliest, by how the file begins: 8-bit sound at 8 kHz and CD's little
# brother at 16 kHz for WAV, 8 and 128 kbit/s for MP3, and 4 and 64 kbit/s for what may be Opus.
_WAV, _MP3, _OTHER = (8_000, 32_000), (1_000, 16_000), (500, 8_000)
_TOKENS_PER_SECOND = 10
_WRITTEN = 4_096
"""The most tokens that are written down of one file."""


class OpenAISpeech:
    """`openai.speech`: POST …/audio/speech. The answer is sound, which tells nothing of itself."""

    name = "openai.speech"
    operation = "audio"
    binary = True

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        model, said = jsontext.model_name(body), body.get("input")
        if not isinstance(said, str):
            raise Unreadable("input: a text is required")
        tally = Tally()
        tally.parts = 1
        tally.add(said)
        tally.add_strings(body.get("instructions"))
        wide = 0 if said.isascii() else sum(not character.isascii() for character in said)
        return Call(
            provider=provider,
            operation=self.operation,
            model=model,
            stream=body.get("stream_format") == "sse",
            cap=len(said) * _MOST_SPOKEN + _SILENCE,
            sealed=True,
            guess=round((len(said) - wide) * _SPOKEN + wide * _SPOKEN_WIDE),
            characters=len(said),
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            cache_write=False,
            audio=True,
        )

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`: it is as long as the text."""
        return {}

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Format.ask_usage`: a stream of events reports it, one of sound cannot."""
        return {}

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        return Report(None, sound_usage(member(body, "usage")), done=True)

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`."""
        return EventReader(_SoundAnswer(), hide=False)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return openai_refusal(error)


class OpenAITranscription(OpenAISpeech):
    """`openai.transcription`: POST …/audio/transcriptions and …/audio/translations, a form with a file."""

    name = "openai.transcription"
    binary = False
    forms = True

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`. Sound that is named by a URL, as some servers take it, is opaque."""
        model, file = jsontext.model_name(body), body.get("file")
        tally = Tally()
        tally.parts = 1
        tally.add_strings(body.get("prompt"))
        least, likely = _rates(file.head) if isinstance(file, Upload) else _OTHER
        size = file.size if isinstance(file, Upload) else 0
        return Call(
            provider=provider,
            operation=self.operation,
            model=model,
            stream=body.get("stream") in (True, "true"),
            cap=_WRITTEN,
            sealed=True,
            audio_ms=-(-size * 1000 // least),
            likely_ms=-(-size * 1000 // likely),
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            media=-(-size * _TOKENS_PER_SECOND // least),
            opaque=not isinstance(file, Upload),
            cache_write=False,
            audio=True,
        )

    def answer(self, body: object) -> Report:
        """See `Format.answer`: in tokens, or in seconds. What is no JSON (`text`, `srt`) tells nothing."""
        told = member(body, "usage")
        usage = sound_usage(told)
        if usage is None and (lasted := _ms(member(body, "duration"))) is not None:
            usage = Usage(audio_ms=lasted)
        return Report(None, usage, done=True, cost=reported_cost(told))


def sound_usage(usage: object) -> Usage | None:
    """What a `usage` object of sound tells: tokens, or seconds of what was listened to."""
    tokens = tokens_usage(usage, "input", "output")
    if tokens is None and (lasted := _ms(member(usage, "seconds"))) is not None:
        return Usage(audio_ms=lasted)
    return tokens


def _ms(seconds: object) -> int | None:
    """Seconds, some write them as text, as whole ms."""
    try:
        lasted = float(seconds) if isinstance(seconds, int | float | str) else -1.0
    except (ValueError, OverflowError):
        return None
    return round(lasted * 1000) if 0 <= lasted < 1e9 else None


def _rates(head: bytes) -> tuple[int, int]:
    if head.startswith(b"RIFF"):
        return _WAV
    return _MP3 if head.startswith((b"ID3", b"\xff\xf3", b"\xff\xfb", b"\xff\xf2")) else _OTHER


_HEAD = 64
"""Bytes of an event in which its type stands, where it stands first."""


@dataclass(slots=True)
class _SoundAnswer:
    """Sound or text as a stream of events; the last one has the usage."""

    usage: Usage | None = None
    deltas: int = 0
    size: int = 0
    done: bool = False

    def take(self, event: bytes) -> bool:
        """See `sse.Answer.take`; no event is ours."""
        at = event.find(b'"speech.audio.delta"', 0, _HEAD)
        if at >= 0 and event.find(b'"delta"', 0, at) < 0:  # of sound, in which nothing is to be read
            return False
        if b'.done"' in event:
            read = message(event)
            self.usage = sound_usage(read.get("usage")) or self.usage
            self.done = self.done or str(read.get("type")) in ("speech.audio.done", "transcript.text.done")
        if size := string_delta_size(event):
            self.deltas += 1
            self.size += size
        return False

    def report(self) -> Report:
        """See `sse.Answer.report`."""
        return Report(None, self.usage, seen_tokens(self.deltas, self.size), self.done)
