"""Images, sounds and documents: their sizes as they say them, and their tokens as the makers of models publish them."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.bounds import Call, input_bound
from quotaware.providers import media
from quotaware.providers.anthropic_messages import AnthropicMessages
from quotaware.providers.bedrock_converse import BedrockConverse
from quotaware.providers.gemini import GeminiGenerate
from quotaware.providers.openai_chat import OpenAIChat
from quotaware.providers.openai_responses import OpenAIResponses

SIDE = st.integers(1, 16_383)


def text(file: bytes) -> str:
    return base64.b64encode(file).decode()


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(64)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(64)


def webp(kind: bytes, width: int, height: int) -> bytes:
    written = {
        b"VP8X": bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"),
        b"VP8L": b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14),
        b"VP8 ": bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", width, height),
    }[kind]
    return b"RIFF\0\0\0\0WEBP" + kind + bytes(4) + written + bytes(64)


def jpeg(width: int, height: int, before: int = 30_000) -> bytes:
    """With a thumbnail's worth of other segments before its frame."""
    exif = b"\xff\xe1" + struct.pack(">H", before + 2) + bytes(before)
    tables = b"\xff\xc4\x00\x04ab\xff\xff\xdb\x00\x03c"
    return (
        b"\xff\xd8" + exif + tables + b"\xff\xc2\x00\x0b\x08" + struct.pack(">HH", height, width) + bytes(64)
    )


WRITERS = (
    png,
    gif,
    jpeg,
    *(lambda w, h, kind=kind: webp(kind, w, h) for kind in (b"VP8X", b"VP8L", b"VP8 ")),
)


@settings(max_examples=100, deadline=None)
@given(
    width=SIDE,
    height=SIDE,
    write=st.sampled_from(WRITERS),
    head=st.sampled_from(["", "data:image/x;base64,"]),
)
def test_an_image_says_how_large_it_is(width: int, height: int, write: Any, head: str) -> None:
    assert media.pixels(head + text(write(width, height))) == (width, height)


@settings(max_examples=200, deadline=None)
@given(
    file=st.binary(max_size=200),
    begin=st.sampled_from([b"", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8 ", b"%PDF", b"ID3", b"RIFFfmt "]),
)
def test_no_file_is_an_error(file: bytes, begin: bytes) -> None:
    encoded = text(begin + file)
    for broken in (encoded, encoded[:-3], encoded.replace("A", "!"), "한글" + encoded, ""):
        media.pixels(broken)
        for model in ("gpt-4o", "gpt-5.4", "claude-opus-5", "gemini-2.5-pro", "gemini-3-pro", "llava"):
            counted, most = media.image(model, broken)
            assert 0 < counted <= most
        for container in ("wav", "mp3", "ogg", "pcm16"):
            counted, most = media.sound(broken, container)
            assert 0 < counted <= most
        counted, most = media.document(broken, 100, 100)
        assert 0 < counted <= most


@pytest.mark.parametrize(
    "file", [b"", b"\x89PNG\r\n\x1a\n", png(0, 9), gif(9, 0), b"\xff\xd8\xff", b"RIFF", b"BM" + bytes(99)]
)
def test_what_says_no_size_is_as_large_as_can_be(file: bytes) -> None:
    assert media.pixels(text(file)) is None
    assert media.image("gpt-4o", text(file)) == (85 + 8 * 170, 85 + 8 * 170)
    assert media.claude_image("claude-sonnet-4-5", text(file)) == (1_600, 1_600)
    assert media.gemini_image("gemini-2.5-flash", text(file)) == (4_128, 4_128)


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        # OpenAI's guide "Images and vision": its own examples
        ("gpt-4o", (1_024, 1_024), "high", 765),
        ("gpt-4o", (2_048, 4_096), "high", 1_105),
        ("gpt-4o", (4_096, 8_192), "low", 85),
        ("gpt-4.1-mini", (1_024, 1_024), None, 1_659),
        ("gpt-4.1-nano", (1_024, 1_024), None, 2_520),
        ("o4-mini", (1_024, 1_024), None, 1_762),
        ("gpt-4.1-mini", (1_800, 2_400), None, 2_489),  # scaled down to 1,452 patches of at most 1,536
        # what others measured: community.openai.com/t/1262691, one tile of 128 by 64 pixels
        ("gpt-4o", (128, 64), "high", 255),
        ("o3", (128, 64), "high", 225),
        ("gpt-4o-mini", (128, 64), "high", 8_500),
        ("gpt-4o-mini", (128, 64), "low", 2_833),
        ("gpt-5", (1_024, 1_024), "auto", 630),
        ("gpt-5.4", (1_024, 1_024), "high", 1_229),
        ("ft:gpt-4o-2024-08-06:acme::id", (1_024, 1_024), "high", 765),
        ("openai/gpt-4o", (1_024, 1_024), "high", 765),
        ("anthropic/claude-sonnet-4.5", (1_000, 1_000), None, 1_342),
        ("google/gemini-2.5-flash", (960, 540), None, 1_548),
        ("qwen/qwen3-vl", (100, 100), None, 6_500),
        ("qwen/qwen3-vl", (1_792, 1_792), None, 12_544),
        ("qwen/qwen3-vl", (9_000, 9_000), None, 16_384),
    ],
)
def test_an_image_in_openais_shape(model: str, size: tuple[int, int], detail: Any, tokens: int) -> None:
    assert media.image(model, text(png(*size)), detail).counted == tokens
    assert media.image(model, text(png(*size[::-1])), detail).counted == tokens


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        # Anthropic's "Vision", "Calculate image costs": about 54, 1,334 and 1,590
        ("claude-sonnet-4-5", (200, 200), 72),
        ("claude-sonnet-4-5", (1_000, 1_000), 1_342),
        ("claude-sonnet-4-5", (1_092, 1_092), 1_598),
        ("claude-sonnet-4-5", (8_000, 8_000), 1_600),
        ("claude-sonnet-4-5", (3_136, 200), 219),  # scaled down to 1,568 by 100
        ("claude-opus-4-7", (1_092, 1_092), 1_598),
        ("claude-opus-4-7", (2_000, 1_500), 4_008),
        ("claude-opus-5", (8_000, 8_000), 4_800),
    ],
)
def test_an_image_for_claude(model: str, size: tuple[int, int], tokens: int) -> None:
    assert media.claude_image(model, text(png(*size))).counted in range(tokens - 30, tokens + 31)
    assert media.claude_image(model, text(png(*size))).counted <= media.claude_image(model, "").counted


@pytest.mark.parametrize(
    ("model", "size", "resolution", "tokens"),
    [
        # "Understand and count tokens": its own example, and "Media resolution"
        ("gemini-2.5-flash", (960, 540), "", 6 * 258),
        ("gemini-2.5-flash", (384, 384), "", 258),
        ("gemini-2.0-flash", (385, 100), "", 2 * 258),
        ("gemini-2.5-pro", (3_000, 3_000), "", 16 * 258),
        ("gemini-3-pro-preview", (3_000, 3_000), "", 1_136),
        ("gemini-3-pro-preview", (10, 10), "MEDIA_RESOLUTION_LOW", 296),
        ("gemini-3.5-flash", (10, 10), "MEDIA_RESOLUTION_ULTRA_HIGH", 2_256),
    ],
)
def test_an_image_for_gemini(model: str, size: tuple[int, int], resolution: str, tokens: int) -> None:
    assert media.gemini_image(model, text(png(*size)), resolution).counted == tokens


@settings(max_examples=200, deadline=None)
@given(
    size=st.tuples(SIDE, SIDE),
    model=st.sampled_from(
        ["gpt-4o", "gpt-4o-mini", "gpt-5", "gpt-5.4", "o3", "o4-mini", "claude-opus-5", "gemini-2.5-pro", "x"]
    ),
    detail=st.sampled_from(["low", "high", "auto", None]),
)
def test_no_image_is_more_than_the_most(size: tuple[int, int], model: str, detail: Any) -> None:
    counted, most = media.image(model, text(png(*size)), detail)
    assert 0 < counted <= most <= 48_169


# sounds


def wav(seconds: float, rate: int, sample: int = 2) -> bytes:
    size = int(seconds * rate * sample)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * sample, sample, 8 * sample)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + size)
        + b"WAVE"
        + form
        + b"data"
        + struct.pack("<I", size)
        + bytes(size)
    )


def mp3(seconds: float, kbits: int, tag: int = 0) -> bytes:
    at = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320).index(kbits)
    head = (
        b"ID3\x04\0\0" + bytes(tag >> shift & 0x7F for shift in (21, 14, 7, 0)) + bytes(tag) if tag else b""
    )
    return head + bytes((0xFF, 0xFB, at << 4, 0)) + bytes(int(seconds * kbits * 125))


@pytest.mark.parametrize(
    "file_and_kind",
    [
        (wav(60, 16_000), "wav"),
        (wav(60, 48_000), "x-wav"),
        (wav(60, 8_000, 1), "wav"),
        (mp3(60, 128), "mp3"),
        (mp3(60, 32, tag=4_000), "mpeg"),
    ],
)
def test_a_minute_of_sound(file_and_kind: tuple[bytes, str]) -> None:
    """600 tokens at OpenAI (10 a second), 1,920 at Google (32): as long as the file says that it is."""
    file, kind = file_and_kind
    for second in (media.OPENAI_SECOND, media.GEMINI_SECOND):
        counted, most = media.sound(text(file), kind, second)
        assert 60 * second <= counted <= 64 * second
        assert counted <= most


def test_a_sound_that_does_not_say_how_long_it_is() -> None:
    """By its bytes, at 16 kbit/s; at the most at 4."""
    assert media.sound(text(bytes(120_000)), "ogg") == (1_952, 7_712)
    assert media.sound(text(bytes(2_880_000)), "pcm16", media.OPENAI_SECOND).counted == 610
    assert media.sound(text(bytes(120_000)), "mp3") == (3_872, 3_872)


# documents


def pdf(pages: int, *, packed: bool = False) -> bytes:
    """`packed`: as newer ones are, whose objects nobody sees without unpacking them."""
    shown = [b"<< /Type /Page /Parent 2 0 R >>"] * pages
    body = [b"%PDF-1.7", b"<< /Type /Pages /Count %d >>" % pages, *shown, b"<< /Type /PageLabel >>"]
    return b"\n".join([*body[:1], b"stream"] if packed else body) + bytes(100_000)


@pytest.mark.parametrize("pages", [1, 12, 600])
def test_a_document_is_its_pages(pages: int) -> None:
    """Anthropic's "PDF support": up to 3,000 tokens of text a page, and its image."""
    counted, most = media.document(text(pdf(pages)), 8_000, 8_000)
    assert (media.pages(text(pdf(pages))), counted) == (pages, 8_000 * pages)
    assert most >= max(counted, 100_000)


def test_a_document_whose_pages_are_not_shown_is_its_bytes() -> None:
    for file in (pdf(12, packed=True), b"no pdf" + bytes(100_000)):
        counted, most = media.document(text(file), 8_000, 8_000)
        assert counted == most >= 100_000
    assert media.pages(text(b"%PDF-1.5\n<< /Linearized 1 /L 9 /N 44 /T 7 >>" + bytes(99))) == 44


# in a body


def bounds(call: Call) -> tuple[int, int, int]:
    assert not call.opaque
    assert input_bound(call, "strict") >= call.media + call.doubt
    return call.media, call.media + call.doubt, input_bound(call, "calibrated")


def test_an_image_in_a_chat_and_in_a_response() -> None:
    url = "data:image/png;base64," + text(png(1_024, 1_024))
    part = {"type": "image_url", "image_url": {"url": url, "detail": "high"}}
    chat = OpenAIChat().read("openai", {"model": "gpt-4o", "messages": [{"role": "user", "content": [part]}]})
    item = {"type": "input_image", "image_url": url, "detail": "high"}
    response = OpenAIResponses().read(
        "openai", {"model": "gpt-4o", "input": [{"role": "user", "content": [item]}]}
    )
    for call in (chat, response):
        media_tokens, most, bound = bounds(call)
        assert (media_tokens, most) == (765, 1_445)
        assert 765 < bound < 765 + 60


def test_an_image_and_a_document_for_claude() -> None:
    blocks = [
        {"type": kind, "source": {"type": "base64", "media_type": "x", "data": text(file)}}
        for kind, file in (("image", png(200, 200)), ("document", pdf(3)))
    ]
    body = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": blocks}]}
    media_tokens, most, _ = bounds(AnthropicMessages().read("anthropic", body))
    assert 24_054 <= media_tokens <= 24_100
    assert most > 100_000
    converse = [
        {"image": {"format": "png", "source": {"bytes": text(png(200, 200))}}},
        {"document": {"format": "pdf", "name": "a", "source": {"bytes": text(pdf(3))}}},
    ]
    body = {
        "model": "us.anthropic.claude-sonnet-4-5-v1:0",
        "messages": [{"role": "user", "content": converse}],
    }
    assert bounds(BedrockConverse().read("aws", body))[:2] == (media_tokens, most)


def test_what_gemini_is_sent() -> None:
    def read(model: str, part: dict[str, Any], **settings: Any) -> Call:
        body = {"model": model, "contents": [{"parts": [part]}], "generationConfig": settings}
        return GeminiGenerate().read("google", body)

    image = {"inlineData": {"mimeType": "image/png", "data": text(png(300, 300))}}
    assert bounds(read("gemini-2.5-flash", image))[0] == 258
    assert bounds(read("gemini-3-flash", image))[0] == 1_136
    assert bounds(read("gemini-3-flash", image, mediaResolution="MEDIA_RESOLUTION_LOW"))[0] == 296
    finest = {**image, "mediaResolution": {"level": "MEDIA_RESOLUTION_ULTRA_HIGH"}}
    assert bounds(read("gemini-3-flash", finest, mediaResolution="MEDIA_RESOLUTION_LOW"))[0] == 2_256
    document = {"inlineData": {"mimeType": "application/pdf", "data": text(pdf(10))}}
    assert bounds(read("gemini-2.5-flash", document))[0] == 3_000
    assert bounds(read("gemini-3-flash", document))[0] == 23_000
    sound = {"inlineData": {"mimeType": "audio/wav", "data": text(wav(60, 16_000))}}
    assert bounds(read("gemini-2.5-flash", sound))[0] in range(1_920, 1_960)
