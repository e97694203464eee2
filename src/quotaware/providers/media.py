"""What images, sounds and documents in a body are in tokens: by what the makers of models publish, from the sizes that
the files say themselves.

Each is answered twice: what it comes to (the most that can be, where its size cannot be read), and the most that any
such file of the model could be, for a bound that must hold whatever the file says of itself.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple

from ..core.counting import OLD_CLAUDE

Pixels = tuple[int, int]
"""Width and height of an image."""

_SHORT, _LONG = 1_024, 400_000
"""How much of an image in base64 is looked at for its size: of most kinds, and of JPEG, which tells it later."""
_READ_WHOLE = 12_000_000
"""The longest document in base64 whose pages are counted."""


class Tokens(NamedTuple):
    """What a file comes to, and the most that it could."""

    counted: int
    most: int


def decoded_size(encoded: str) -> int:
    """Bytes that a base64 text, with or without a `data:` head, stands for; rounded up."""
    return (len(encoded) - encoded.find(",") - 1) * 3 // 4 + 1


def _decoded(encoded: str, most: int) -> bytes:
    """The first bytes of such a text, of `most` characters of it; none where it is no base64."""
    begin = encoded.find(",") + 1
    head = encoded[begin : begin + most].translate(_URL_SAFE)
    try:
        return base64.b64decode(head[: len(head) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""


_URL_SAFE = str.maketrans("-_", "+/")


# images


def pixels(encoded: str) -> Pixels | None:
    """How large an image in base64 is: PNG, JPEG, GIF or WebP; None where that cannot be read."""
    head = _decoded(encoded, _SHORT)
    found = _jpeg(_decoded(encoded, _LONG)) if head.startswith(b"\xff\xd8") else _size(head)
    return found if found and min(found) > 0 else None


def _size(head: bytes) -> Pixels | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    if head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:
        return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP" and len(head) >= 30:
        return _webp(head)
    return None


def _webp(head: bytes) -> Pixels | None:
    match head[12:16]:
        case b"VP8X":
            return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = (int.from_bytes(head[at : at + 2], "little") for at in (26, 28))
            return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(head: bytes) -> Pixels | None:
    """Its size stands in the first frame (SOF0 to SOF15, but for what is none of them), after any other segments."""
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD9 or marker == 0x01:  # without a length
            at += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(head[at + 7 : at + 9]), int.from_bytes(head[at + 5 : at + 7])
        at += 2 + max(2, int.from_bytes(head[at + 2 : at + 4]))
    return None


def _up(size: float, by: int) -> int:
    return int(-(-size // by))


class _Tiles(NamedTuple):
    """A base, and as much again for each tile of 512 pixels, of an image within 2,048 whose short side is 768."""

    base: int
    tile: int

    def tokens(self, size: Pixels | None) -> int:
        if size is None:
            return self.base + 8 * self.tile
        within = min(1.0, 2_048 / max(size))
        scale = within * min(1.0, 768 / (min(size) * within))
        width, height = (max(1.0, side * scale) for side in size)
        return self.base + min(8, _up(width, 512) * _up(height, 512)) * self.tile


class _Patches(NamedTuple):
    """Hundredths of a token for each patch of 32 pixels, at most so many of them."""

    each: int
    most: int

    @property
    def base(self) -> int:
        return self.tokens(None)

    def tokens(self, size: Pixels | None) -> int:
        patches = self.most if size is None else min(self.most, _up(size[0], 32) * _up(size[1], 32))
        return _up(patches * self.each, 100)


# By the beginning of the model's name. From OpenAI's guide "Images and vision", "Calculating costs"; what it says of
# the newest is not complete: they are taken to see the finest.
_OPENAI: tuple[tuple[str, _Tiles | _Patches], ...] = (
    ("gpt-4o-mini", _Tiles(2_833, 5_667)),
    *((name, _Tiles(85, 170)) for name in ("gpt-4o", "chatgpt-4o", "gpt-4-turbo", "gpt-4-vision", "gpt-4.5")),
    ("gpt-4.1-mini", _Patches(162, 1_536)),
    ("gpt-4.1-nano", _Patches(246, 1_536)),
    ("gpt-4.1", _Tiles(85, 170)),
    *((name, _Patches(162, 1_536)) for name in ("gpt-5-mini", "gpt-5.4-mini")),
    *((name, _Patches(246, 1_536)) for name in ("gpt-5-nano", "gpt-5.4-nano")),
    ("gpt-5.1", _Tiles(70, 140)),
    ("gpt-5.", _Patches(120, 10_000)),
    ("gpt-5", _Tiles(70, 140)),
    ("computer-use", _Tiles(65, 129)),
    ("o4-mini", _Patches(172, 1_536)),
    *((name, _Tiles(75, 150)) for name in ("o1", "o3")),
)
_UNKNOWN_LEAST, _UNKNOWN_MOST = 6_500, 16_384
"""Tokens of one image of a model of which nothing is published: Llama's vision takes 6,404 of any, and none known to us
more than 16,384.
"""


def image(model: str, encoded: str, detail: object = None) -> Tokens:
    """An image that is sent in OpenAI's shape, with its `detail`, to whatever model."""
    name = model.lower().rpartition("/")[2].removeprefix("ft:")
    if "claude" in name:
        return claude_image(model, encoded)
    if "gemini" in name:
        return gemini_image(model, encoded)
    size = pixels(encoded)
    known = next((way for beginning, way in _OPENAI if name.startswith(beginning)), None)
    if known is not None:
        return (
            Tokens(known.base, known.base)
            if detail == "low"
            else Tokens(known.tokens(size), known.tokens(None))
        )
    if size is None:
        return Tokens(_UNKNOWN_MOST, _UNKNOWN_MOST)
    patches = _up(size[0], 16) * _up(size[1], 16)
    return Tokens(min(_UNKNOWN_MOST, max(_UNKNOWN_LEAST, patches)), _UNKNOWN_MOST)


# Anthropic's "Vision": width × height / 750, scaled down before that to 1,568 pixels a side and 1,568 tokens, from
# Opus 4.7 on to 2,576 and 4,784; each with some room for its padding.
_CLAUDES = ((2_576, 4_800), (1_568, 1_600))
_OLD_CLAUDE = re.compile(OLD_CLAUDE)


def claude_image(model: str, encoded: str) -> Tokens:
    """An image that is sent to Claude."""
    edge, most = _CLAUDES[_OLD_CLAUDE.search(model.lower()) is not None]
    size = pixels(encoded)
    if size is None:
        return Tokens(most, most)
    scale = min(1.0, edge / max(size))
    width, height = (max(1.0, side * scale) for side in size)
    return Tokens(min(most, max(_up(width * height, 750), _up(width, 28) * _up(height, 28)) + 8), most)


# "Understand and count tokens" and "Media resolution" (ai.google.dev/gemini-api/docs): an image of up to 384 pixels a
# side takes 258 tokens, a larger one 258 for each tile of it; from Gemini 3 on it is as its resolution says.
_RESOLUTIONS = {"LOW": 280, "MEDIUM": 560, "HIGH": 1_120, "ULTRA_HIGH": 2_240}
_TILE, _TILES = 258, 16
_BY_RESOLUTION = re.compile(r"gemini-(?:[3-9]|[1-9][0-9])")


def by_resolution(model: str) -> bool:
    """Whether what Gemini takes for an image is as its resolution says."""
    return _BY_RESOLUTION.search(model.lower()) is not None


def gemini_image(model: str, encoded: str, resolution: str = "") -> Tokens:
    """An image that is sent to Gemini, with the `MEDIA_RESOLUTION_…` that is asked for."""
    if by_resolution(model):
        asked = resolution.upper().removeprefix("MEDIA_RESOLUTION_")
        return Tokens(_RESOLUTIONS.get(asked, _RESOLUTIONS["HIGH"]) + 16, _TILE * _TILES)
    size = pixels(encoded)
    if size is None:
        return Tokens(_TILE * _TILES, _TILE * _TILES)
    if max(size) <= 384:
        return Tokens(_TILE, _TILE * _TILES)
    unit = min(768, max(256, int(min(size) / 1.5)))
    return Tokens(_TILE * min(_TILES, _up(size[0], unit) * _up(size[1], unit)), _TILE * _TILES)


# sounds

OPENAI_SECOND, GEMINI_SECOND = 10, 32
"""Tokens of a second of sound, as OpenAI and Google count; nobody known to us takes more than Google."""

# Bytes of sound that make a second at the least, by the container: 8-bit sound at 8 kHz, MP3 at 8 kbit/s, and Opus at
# 4 kbit/s for all others. Likely they are 16 kbit/s at least.
_LEAST_SECOND = {"wav": 8_000, "x-wav": 8_000, "mp3": 1_000, "mpeg": 1_000, "pcm16": 16_000, "l16": 16_000}
_OTHER_SECOND, _LIKELY_SECOND = 500, 2_000
_LIKELY_SECONDS = {"pcm16": 48_000, "l16": 32_000}
_KBITS = (  # of MP3's frames: MPEG 1, and 2 and 2.5, layer III
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)


def sound(encoded: str, container: str, second: int = GEMINI_SECOND) -> Tokens:
    """A sound in base64, by what it is stored in, at so many tokens a second."""
    size = decoded_size(encoded)
    most = size * second // _LEAST_SECOND.get(container, _OTHER_SECOND) + second
    if container in _LEAST_SECOND and container not in _LIKELY_SECONDS:
        rate = _rate(_decoded(encoded, _LONG)) or _LEAST_SECOND[container]
    else:
        rate = _LIKELY_SECONDS.get(container, _LIKELY_SECOND)
    return Tokens(min(most, size * second // rate + second), most)


def _rate(head: bytes) -> int:
    """Bytes of a second, as a WAV tells them, or an MP3 of one rate; 0 where neither is there."""
    form = head.find(b"fmt ")
    if head.startswith((b"RIFF", b"RF64")) and 0 < form <= len(head) - 20:
        return int.from_bytes(head[form + 16 : form + 20], "little")
    at = 0
    if head.startswith(b"ID3") and len(head) > 10:  # its length is in sevens of bits
        at = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    frame = head[at : at + 4]
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2 or frame[2] >> 4 == 15:
        return 0
    first = frame[1] & 0x18 == 0x18
    return _KBITS[not first][frame[2] >> 4] * 125


# documents

_PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
_PAGES = re.compile(rb"/Count\s+([0-9]{1,6})|/Linearized\b[^>]{0,200}/N\s+([0-9]{1,6})")


def document(encoded: str, page: int, least: int) -> Tokens:
    """A PDF in base64, of so many tokens a page at the most. One whose pages cannot be told, as where they are packed,
    is bounded by its bytes, and any by `least`.
    """
    most = max(decoded_size(encoded), least)
    counted = pages(encoded) * page
    return Tokens(counted or most, max(counted, most))


def pages(encoded: str) -> int:
    """How many pages a PDF in base64 says that it has; 0 where it does not say."""
    if len(encoded) > _READ_WHOLE:
        return 0
    file = _decoded(encoded, _READ_WHOLE)
    if not file.startswith(b"%PDF"):
        return 0
    told = [int(number) for found in _PAGES.findall(file) for number in found if number]
    return max([len(_PAGE.findall(file)), *told])
