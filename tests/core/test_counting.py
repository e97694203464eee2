"""Bytes as tokens: what kinds of them a text is made of, and bounds held to what tokenizers really make of scripts and
code that no recorded call has.
"""

from __future__ import annotations

import string
import unicodedata
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.bounds import Call, estimate_input, input_bound
from quotaware.core.counting import KINDS, kinds_of, kinds_of_all, reader, repeated
from quotaware.providers.text import Tally
from tests.core.scripts import TEXTS, TOKENIZERS

WRITTEN = st.lists(st.sampled_from(sorted(TEXTS.keys() - {"base64"})), min_size=1, max_size=12)
"""Base64 among prose is what a calibrated bound can be too low for."""
ANYTHING = st.text(st.characters() | st.sampled_from("한글中カПμ😀é“नא aZ9{\n"), max_size=300)


def call_of(text: str, provider: str | None = None, model: str | None = None) -> Call:
    tally = Tally(parts=1)
    tally.add(text)
    return Call(provider, "chat", model, text=tally.text, kinds=tally.kinds, parts=tally.parts)


def tokens_of_text(text: str, provider: str | None, model: str | None) -> int:
    """The bound of the text alone, with nothing that a provider adds."""
    read = reader(provider, model, True)
    call = call_of(text, provider, model)
    return -(-read.text(call.text, call.kinds) // 100)


@pytest.mark.parametrize("name", TEXTS)
def test_a_bound_covers_what_each_tokenizer_makes_of_a_script(name: str) -> None:
    """F20, beyond the recorded calls: prose in 25 languages, code, JSON, logs, tables, bare numbers, base64."""
    text, counts = TEXTS[name]
    for (tokenizer, whose), real in zip(TOKENIZERS.items(), counts, strict=True):
        assert tokens_of_text(text, *whose) + 4 >= real, tokenizer
        assert input_bound(call_of(text, *whose), "strict") >= real, tokenizer


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_bound_of_a_script_is_near(tokenizer: str) -> None:
    at = list(TOKENIZERS).index(tokenizer)
    whose = TOKENIZERS[tokenizer]
    assert median(tokens_of_text(text, *whose) / counts[at] for text, counts in TEXTS.values()) <= 1.6


@pytest.mark.parametrize(
    "name",
    [
        "korean",
        "simplified chinese",
        "japanese",
        "russian",
        "arabic",
        "python",
        "javascript",
        "json",
        "english",
    ],
)
def test_a_bound_of_what_is_common_is_at_most_twice_the_real_count(name: str) -> None:
    """By the models that such text is most sent to: OpenAI's, Claude, Mistral's, DeepSeek's."""
    text, counts = TEXTS[name]
    for tokenizer in ("o200k", "claude", "claude 4.7", "tekken", "deepseek"):
        real = counts[list(TOKENIZERS).index(tokenizer)]
        assert tokens_of_text(text, *TOKENIZERS[tokenizer]) <= 2 * real, tokenizer


@settings(max_examples=150, deadline=None)
@given(names=WRITTEN, between=st.sampled_from([" ", "\n", "\n\n"]))
def test_a_bound_covers_scripts_mixed_in_any_order(names: list[str], between: str) -> None:
    """A text is never more tokens than its parts, and one for what parts them."""
    text = between.join(TEXTS[name][0] for name in names)
    for at, whose in enumerate(TOKENIZERS.values()):
        real = sum(TEXTS[name][1][at] + 1 for name in names)
        call = call_of(text, *whose)
        assert tokens_of_text(text, *whose) + 5 * len(names) >= real
        assert estimate_input(call) <= input_bound(call, "calibrated") <= input_bound(call, "strict")


@settings(max_examples=150, deadline=None)
@given(names=WRITTEN)
def test_a_model_that_nobody_knows_is_bounded_as_the_hungriest_known(names: list[str]) -> None:
    """Claude's apart, which are known by their name wherever they are served."""
    text = " ".join(TEXTS[name][0] for name in names)
    known = [tokens_of_text(text, *whose) for name, whose in TOKENIZERS.items() if "claude" not in name]
    assert tokens_of_text(text, None, "nameless") >= max(known) - len(TOKENIZERS)


@settings(max_examples=300, deadline=None)
@given(text=ANYTHING)
def test_every_byte_is_of_one_kind(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    kinds = dict(zip(KINDS, kinds_of(data, json=7), strict=True))
    unbroken = kinds.pop("unbroken")
    plain = sum(c.isascii() and (c in string.ascii_lowercase or c in string.whitespace) for c in text)
    assert kinds["json"] == 7
    assert kinds["capitals"] == sum(c in string.ascii_uppercase for c in text)
    assert kinds["digits"] == sum(c in string.digits for c in text)
    assert sum(kinds.values()) - 7 + plain == len(data)
    ascii_only = sum(map(str.isascii, text))
    spaces = sum(c in string.whitespace for c in text)
    assert unbroken == max(0, min(ascii_only - spaces, len(data) - 12 * (spaces + 1)))


@pytest.mark.parametrize(
    ("kind", "letters"),
    [
        ("latin", "éßőñ"),
        ("greek", "αβΩ"),
        ("cyrillic", "жЯї"),
        ("semitic", "אבجدچ"),
        ("southern", "नकখதไტ"),
        ("symbols", "“—→ｆ"),
        ("kana", "かナ。"),
        ("han", "漢字们"),
        ("hangul", "한글말"),
        ("emoji", "😀🚀"),
    ],
)
def test_a_letter_is_of_its_scripts_kind(kind: str, letters: str) -> None:
    counted = dict(zip(KINDS, kinds_of(letters.encode()), strict=True))
    assert {name for name, count in counted.items() if count} == {kind}
    assert counted[kind] == len(letters.encode())


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(ANYTHING, min_size=1, max_size=5))
def test_kinds_add_up(texts: list[str]) -> None:
    each = [kinds_of(text.encode("utf-8", "surrogatepass")) for text in texts]
    assert kinds_of_all(*each) == tuple(map(sum, zip(*each, strict=True)))
    assert kinds_of_all(*each, ()) == ()
    assert repeated(each[0], 3) == kinds_of_all(each[0], each[0], each[0])


def test_a_decomposed_text_is_bounded_too() -> None:
    """The same letters, each in several characters: more bytes, and more tokens."""
    for name in ("korean", "vietnamese", "french"):
        text = TEXTS[name][0]
        parted = unicodedata.normalize("NFD", text)
        assert tokens_of_text(parted, "openai", "gpt-4.1") > tokens_of_text(text, "openai", "gpt-4.1")


@pytest.mark.parametrize(
    ("provider", "model", "like"),
    [
        ("anthropic", "claude-opus-4-1-20250805", "claude-sonnet-4-5"),
        ("aws", "us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4-5"),
        ("google", "claude-opus-4-5@20251101", "claude-sonnet-4-5"),
        ("openrouter", "anthropic/claude-opus-4.6", "claude-sonnet-4-5"),
        ("anthropic", "claude-opus-4-20250514", "claude-sonnet-4-5"),
        ("anthropic", "claude-opus-4-8", "claude-opus-4-7"),
        ("anthropic", "claude-opus-5", "claude-opus-4-7"),
        ("openrouter", "openai/gpt-5.6-sol", "gpt-4.1"),
        ("azure", "o3-mini", "gpt-4.1"),
        ("openai", "ft:gpt-4.1-2025-04-14:acme::id", "gpt-4.1"),
        ("openai", "text-embedding-3-small", "gpt-4-0613"),
        ("openai", "gpt-4-turbo", "gpt-4-0613"),
        ("openai", "gpt-3.5-turbo-0125", "gpt-4-0613"),
    ],
)
def test_a_model_is_read_as_its_family(provider: str, model: str, like: str) -> None:
    assert reader(provider, model, True) == reader(None, like, True)
    assert reader(provider, model.upper(), True) == reader(None, like, True)


@pytest.mark.parametrize("model", ["gemini-3-flash-preview", "gemini-2.5-pro", "gpt-4.1", "claude-opus-5"])
@pytest.mark.parametrize("schema", [{}, {"type": "object", "properties": {"city": {"type": "string"}}}])
def test_every_tool_adds_to_the_bound(model: str, schema: dict[str, object]) -> None:
    """Also where a provider leaves out most of how it is written."""
    before = 0
    for number in (0, 1, 2, 50):
        tally = Tally(parts=1)
        tally.add("What is the weather?")
        tally.add_tools([{"name": "f", **schema}] * number)
        call = Call("google", "chat", model, text=tally.text, kinds=tally.kinds, parts=1, tools=tally.tools)
        assert input_bound(call, "strict") >= input_bound(call, "calibrated") > before
        before = input_bound(call, "calibrated")
