"""OpenAI's sound: read out, and written down."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.usage import Usage
from quotaware.providers.base import Report, Unreadable
from quotaware.providers.formdata import Upload
from quotaware.providers.openai_audio import OpenAISpeech, OpenAITranscription

SPEECH, TRANSCRIPTION = OpenAISpeech(), OpenAITranscription()
USAGE = {
    "type": "tokens",
    "input_tokens": 14,
    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
    "output_tokens": 45,
    "total_tokens": 59,
}
USED = Usage(input=14, output=45, audio_input=10)


def event(kind: str, **more: Any) -> bytes:
    return b"data: " + json.dumps({"type": kind, **more}).encode() + b"\n\n"


def test_what_is_read_out_is_counted_in_characters() -> None:
    call = SPEECH.read("openai", {"model": "tts-1", "input": "Hé 한국", "instructions": "slowly"})
    assert (call.characters, call.text, call.sealed) == (5, 10 + 6, True)
    assert call.guess == round(2 * 1.4 + 3 * 4.2)
    assert call.cap is not None
    assert call.cap > call.guess
    assert SPEECH.cap("openai", {}, 9) == SPEECH.ask_usage({}) == {}


def test_an_event_stream_of_speech_tells_its_usage() -> None:
    reader = SPEECH.stream(hide=False)
    reader.feed(event("speech.audio.delta", audio="A" * 100))
    assert reader.report() == Report()
    reader.feed(event("speech.audio.done", usage=USAGE))
    assert reader.report() == Report(None, USED, done=True)


@pytest.mark.parametrize("given", [None, 7, ["a"]])
def test_speech_needs_a_text(given: object) -> None:
    with pytest.raises(Unreadable, match="input"):
        SPEECH.read("openai", {"model": "tts-1", "input": given})


@pytest.mark.parametrize(
    ("head", "most", "likely"),
    [(b"RIFF", 1_000, 250), (b"ID3", 8_000, 500), (b"\xff\xfb", 8_000, 500), (b"OggS", 16_000, 1_000)],
)
def test_how_long_a_file_lasts_is_bounded_by_its_size(head: bytes, most: int, likely: int) -> None:
    call = TRANSCRIPTION.read("openai", {"model": "whisper-1", "file": Upload(8_000, head), "prompt": "abc"})
    assert (call.audio_ms, call.likely_ms, call.text, call.opaque) == (most, likely, 3, False)
    assert call.audio
    assert call.sealed


def test_a_file_by_url_is_opaque() -> None:
    assert TRANSCRIPTION.read(
        "groq", {"model": "whisper-large-v3", "url": "https://example.com/a.mp3"}
    ).opaque


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        ({"text": "hi", "usage": USAGE}, USED),
        ({"text": "hi", "usage": {"type": "duration", "seconds": 9.2}}, Usage(audio_ms=9_200)),
        ({"text": "hi", "duration": 8.5}, Usage(audio_ms=8_500)),
        ({"text": "hi", "duration": "8.5"}, Usage(audio_ms=8_500)),
        ({"text": "hi", "duration": "long"}, None),
        ({"text": "hi", "duration": -1}, None),
        ({"text": "hi", "duration": float("nan")}, None),
        ({"text": "hi", "duration": True}, Usage(audio_ms=1_000)),
        ({"text": "hi"}, None),
    ],
)
def test_an_answer_tells_tokens_or_how_long_it_lasted(answer: dict[str, Any], usage: Usage | None) -> None:
    assert TRANSCRIPTION.answer(answer) == Report(None, usage, done=True)


def test_a_streamed_transcript_is_counted_until_its_usage_is_told() -> None:
    reader = TRANSCRIPTION.stream(hide=False)
    reader.feed(event("transcript.text.delta", delta="x" * 40))
    assert reader.report() == Report(seen=10)
    reader.feed(event("transcript.text.done", text="x" * 40, usage=USAGE))
    assert reader.report() == Report(None, USED, seen=10, done=True)
