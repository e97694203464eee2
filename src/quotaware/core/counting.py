"""How the bytes of a request become tokens: by the script that they are written in, and by whose model reads them.

No tokenizer runs and none is downloaded. The ratios bound what tokenizers make of ordinary text: measured on prose in
thirty languages, code, JSON, logs and bare numbers with those whose vocabulary is published (o200k, cl100k, Llama 3 and
4, DeepSeek, Mistral's Tekken, Voyage) and with public reconstructions of Claude's; Gemini's is bounded by theirs. What
providers add by themselves was measured on recorded calls, whose providers say what they counted.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache
from operator import mul
from typing import NamedTuple

KINDS = (
    "json",
    "capitals",
    "digits",
    "signs",
    "unbroken",
    "latin",
    "greek",
    "cyrillic",
    "semitic",
    "southern",
    "symbols",
    "kana",
    "han",
    "hangul",
    "emoji",
)
"""Kinds of bytes that are counted apart; all others are small letters and spaces.

json      ASCII of tools and schemas, which no other kind counts
capitals, digits, signs   of ASCII
unbroken  of ASCII, beside its own kind: how much of it is more than words take that white space parts (base64, hex)
latin     letters with accents, and all else up to Greek
semitic   Hebrew and Arabic, with Armenian, Syriac and others between and after
southern  from India's scripts to Georgian: all that UTF-8 begins with E0 or E1
symbols   punctuation, arrows, private and full-width letters
emoji     and all else outside of the basic plane
"""

Kinds = tuple[int, ...]
"""Bytes of each of `KINDS`; empty where nobody counted them."""

_WORD = 12
"""Bytes that a word and the space after it take, hardly ever more."""

_LEADS = {  # the first bytes of a character in UTF-8: of which kind, and how many bytes it has; the likeliest first
    "hangul": (range(0xEA, 0xEE), 3),
    "han": (range(0xE4, 0xEA), 3),
    "kana": ((0xE3,), 3),
    "cyrillic": (range(0xD0, 0xD4), 2),
    "semitic": (range(0xD4, 0xE0), 2),
    "symbols": ((0xE2, 0xEE, 0xEF), 3),
    "latin": (range(0xC2, 0xCE), 2),
    "southern": (range(0xE0, 0xE2), 3),
    "greek": (range(0xCE, 0xD0), 2),
    "emoji": (range(0xF0, 0xF5), 4),
}
_WIDE = tuple((KINDS.index(kind), bytes(leads), size) for kind, (leads, size) in _LEADS.items())
_ASCII, _FOLLOWING = bytes(range(0x80)), bytes(range(0x80, 0xC0))
_PLAIN = string.ascii_lowercase.encode() + bytes(range(0x80, 0x100))
_SPACE, _CAPITALS, _DIGITS = (
    chosen.encode() for chosen in (string.whitespace, string.ascii_uppercase, string.digits)
)


_CAPITAL, _DIGIT, _SIGN, _UNBROKEN = (
    KINDS.index(kind) for kind in ("capitals", "digits", "signs", "unbroken")
)


def kinds_of(text: bytes, json: int = 0) -> Kinds:
    """How many bytes of a text in UTF-8 are of each kind; `json`: ASCII of tools and schemas, which is not in it."""
    counts = [json] + [0] * (len(KINDS) - 1)
    narrow = len(text)
    rest = text.translate(None, _PLAIN)  # each pass is over what the one before has left
    closed = rest.translate(None, _SPACE)
    spaces = len(rest) - len(closed)
    for kind, members in ((_CAPITAL, _CAPITALS), (_DIGIT, _DIGITS)):
        rest, closed = closed, closed.translate(None, members)
        counts[kind] = len(rest) - len(closed)
    counts[_SIGN] = len(closed)
    if not text.isascii():
        leads = text.translate(None, _ASCII)
        narrow -= len(leads)
        leads = leads.translate(None, _FOLLOWING)
        for kind, members, length in _WIDE:
            if not leads:
                break
            before, leads = len(leads), leads.translate(None, members)
            counts[kind] = length * (before - len(leads))
    counts[_UNBROKEN] = max(0, min(narrow - spaces, len(text) - _WORD * (spaces + 1)))
    return tuple(counts)


def kinds_of_all(*kinds: Kinds) -> Kinds:
    """The bytes of several texts; empty where those of one are not known."""
    return tuple(map(sum, zip(*kinds, strict=True))) if all(kinds) else ()


def repeated(kinds: Kinds, times: int) -> Kinds:
    """The bytes of a text that is read so many times."""
    return tuple(count * times for count in kinds)


class Added(NamedTuple):
    """Tokens that a provider adds: to every call, for each message or other part, to a call that describes tools, and
    for each of them.
    """

    always: int
    part: int
    tools: int
    tool: int


class Reader(NamedTuple):
    """Whose model reads: tokens for 100 bytes of small letters and of each kind, and what is added."""

    plain: int
    kinds: tuple[int, ...]
    added: Added

    def text(self, size: int, kinds: Kinds) -> int:
        """Tokens of so many bytes in hundredths; one for each where nobody counted their kinds."""
        if not kinds:
            return 100 * size
        plain = size - sum(kinds) + kinds[_UNBROKEN]
        weighed: int = sum(map(mul, self.kinds, kinds))
        return self.plain * plain + weighed

    def tools(self, tools: int, kinds: Kinds) -> int:
        """Tokens that so many tools take beside their text; below 0 where much of how they are written is left out."""
        if not tools:
            return 0
        added = self.added.tools + tools * self.added.tool
        return added if added >= 0 else max(added, -(self.kinds[0] * kinds[0] // 150) if kinds else 0)


# small letters and spaces, then: json cap dig sig unb lat grk cyr sem sou sym kan han hgl emo
_O200K = (23, (25, 36, 62, 97, 35, 82, 26, 23, 25, 22, 40, 25, 35, 25, 57))
_CL100K = (29, (25, 36, 62, 100, 38, 100, 54, 47, 106, 72, 50, 31, 53, 42, 100))
_CLAUDE = (29, (40, 100, 66, 91, 26, 86, 40, 39, 49, 42, 50, 27, 43, 47, 98))
_NEW_CLAUDE = (51, (50, 100, 70, 100, 30, 86, 40, 40, 49, 42, 56, 30, 44, 47, 98))
_GEMINI = (22, (30, 42, 110, 95, 35, 85, 30, 26, 36, 30, 50, 26, 36, 26, 60))
_TEKKEN = (25, (36, 42, 110, 100, 35, 85, 30, 26, 30, 30, 60, 26, 40, 26, 100))
_LLAMA_3 = (28, (36, 38, 62, 100, 38, 90, 27, 23, 100, 72, 50, 26, 36, 28, 95))
_LLAMA_4 = (23, (36, 46, 66, 90, 35, 76, 24, 23, 54, 28, 40, 20, 29, 22, 62))
_DEEPSEEK = (26, (36, 64, 62, 95, 30, 100, 29, 30, 35, 44, 46, 24, 28, 30, 56))
_VOYAGE = (28, (36, 42, 110, 100, 38, 100, 52, 34, 56, 58, 60, 26, 34, 30, 60))
_OTHERS = (29, (36, 63, 110, 100, 36, 100, 54, 47, 106, 100, 77, 31, 53, 42, 106))
"""Of any other: the most of all whose vocabulary is known, so that no new one is far above it."""

OLD_CLAUDE = (
    r"claude-(?:[23]|v[12]|instant|(?:haiku|sonnet|opus)-4"
    r"(?:[.-](?:[0-6](?![0-9])|20[0-9]{2})|[@:]|-v[0-9]|$))"
)
"""Claude up to 4.6: from 4.7 on it has another vocabulary, and sees finer."""

_EMBEDDED = Added(0, 0, 0, 0)

_READERS: tuple[tuple[str, Reader], ...] = (
    (OLD_CLAUDE, Reader(*_CLAUDE, Added(32, 4, 480, 60))),
    (r"claude", Reader(*_NEW_CLAUDE, Added(12, 4, 320, 60))),
    (r"^google/.*gemini-3", Reader(*_GEMINI, Added(2, 1, 0, -22))),  # leaves out how tools are written
    (r"gemini|gemma", Reader(*_GEMINI, Added(2, 1, 2, 4))),
    (r"llama-?4", Reader(*_LLAMA_4, Added(16, 4, 640, 8))),
    (r"llama", Reader(*_LLAMA_3, Added(44, 4, 200, 8))),
    (r"gpt-oss", Reader(*_O200K, Added(80, 4, 100, 8))),
    (r"gpt-5-mini", Reader(*_O200K, Added(4, 4, 90, 8))),
    (r"gpt-3|gpt-35|gpt-4(?![.o0-9])|text-embedding|davinci|babbage", Reader(*_CL100K, Added(4, 4, 10, 8))),
    (r"gpt|(?:^|/)(?:o[1-9]|codex|chatgpt)", Reader(*_O200K, Added(4, 4, 16, 8))),
    (r"grok", Reader(*_OTHERS, Added(700, 4, 60, 8))),
    (r"command-a-reasoning", Reader(*_OTHERS, Added(1_300, 4, 940, 60))),
    (r"command", Reader(*_OTHERS, Added(540, 4, 940, 60))),
    (r"deepseek-v4", Reader(*_DEEPSEEK, Added(84, 4, 230, 8))),
    (r"deepseek", Reader(*_DEEPSEEK, Added(4, 2, 24, 8))),
    (r"voyage", Reader(*_VOYAGE, Added(4, 4, 24, 8))),
    (
        r"^mistral/|mistral|mixtral|pixtral|codestral|devstral|magistral",
        Reader(*_TEKKEN, Added(16, 4, 10, 8)),
    ),
)
_ANY = Reader(*_OTHERS, Added(8, 4, 24, 8))
_COMPILED = [(re.compile(pattern), reader) for pattern, reader in _READERS]


@lru_cache(maxsize=4096)
def reader(provider: str | None, model: str | None, generates: bool) -> Reader:
    """Who reads a call of a model; what only embeds has nothing added."""
    name = f"{provider}/{(model or '')[:256].lower()}"
    found = next((known for pattern, known in _COMPILED if pattern.search(name)), _ANY)
    return found if generates else found._replace(added=_EMBEDDED)
