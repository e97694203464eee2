"""Model names: what a pattern takes in, what an allow-list grants, what a limit for some models bears on."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.models import (
    ANY,
    MAX_PATTERN,
    MAX_STARS,
    Model,
    check_pattern,
    chosen_elsewhere,
    concerns,
    grants,
    matches,
    refused,
    within,
)
from quotaware.errors import ConfigurationError


@pytest.mark.parametrize(
    ("pattern", "model", "taken"),
    [
        ("gpt-4.1", "gpt-4.1", True),
        ("gpt-4.1", "gpt-4.1-2025-04-14", True),
        ("claude-sonnet-4", "claude-sonnet-4-20250514", True),
        ("gpt-4", "gpt-4-0613", True),
        ("gpt-4.1", "gpt-4.1-mini", False),
        ("gpt-4.1", "gpt-4.1-mini-2025-04-14", False),
        ("gpt-4", "gpt-4.1", False),
        ("gpt-4.1-2025-04-14", "gpt-4.1", False),
        ("m", "m-2025-13-01", False),
        ("m", "m-2025-01-32", False),
        ("m", "m-202501", False),
        ("m", "m-2025-0101", False),
        ("m", "m-4096", False),
        ("m", "m-0101-preview", False),
        ("m", "m-0101\n", False),
        ("m", "m-٠١٠١", False),
        ("m", "m0101", False),
        ("gpt-4.1", "GPT-4.1", False),
        ("gpt-4?1", "gpt-4.1", False),
        ("gpt-4[.]1", "gpt-4.1", False),
        ("gpt-4.1*", "gpt-4.1", True),
        ("gpt-4.1*", "gpt-4.1-mini", True),
        ("gpt-4.1*", "gpt-4", False),
        ("*", "", True),
        ("*", "anything", True),
        ("**", "x", True),
        ("*-mini", "gpt-4.1-mini", True),
        ("*-mini", "gpt-4.1-mini-2025-04-14", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "acb", False),
        ("*ab*ab*", "abab", True),
        ("*ab*ab*", "aab", False),
        ("*abc", "c", False),
        ("openai/*", "openai/gpt-4.1", True),
    ],
)
def test_a_pattern_takes_in_its_models_and_their_dated_snapshots(pattern, model, taken):
    assert matches(pattern, model) is taken


def table_match(pattern: str, model: str) -> bool:
    """What a glob is, by the table of all prefixes against all prefixes."""
    row = [True] + [False] * len(model)
    for sign in pattern:
        above, row = row, [row[0] and sign == "*"]
        for place, letter in enumerate(model):
            row.append((above[place + 1] or row[place]) if sign == "*" else (above[place] and sign == letter))
    return row[-1]


@given(st.text("ab*", max_size=12).filter(lambda text: "*" in text), st.text("ab", max_size=12))
@settings(deadline=None, max_examples=200)
def test_stars_mean_what_a_full_search_finds(pattern, model):
    assert matches(pattern, model) is table_match(pattern, model)


class Probed(str):
    """A name that notes each search in it: from where on, and where it ended."""

    def __new__(cls, text: str) -> Probed:
        made = super().__new__(cls, text)
        made.searched = []
        return made

    def find(self, part: str, begin: int, end: int) -> int:
        at = super().find(part, begin, end)
        self.searched.append((begin, len(self) if at < 0 else at + len(part)))
        return at


def test_no_pattern_reads_a_name_twice():
    """S17: 10,000 random patterns of up to 16 stars on names of 2 KB, the hardest kinds among them: each part between
    stars is searched for once, from where the one before it ended.
    """
    chance = random.Random(17)
    for number in range(10_000):
        parts = ["a" * chance.randrange(15) + chance.choice(["", "b"]) for _ in range(chance.randint(2, 17))]
        pattern = "*".join(parts)
        check_pattern(pattern, "models")
        model = Probed("a" * 2048 if number % 2 else ("a" * chance.randrange(15) + "b") * 128)
        assert matches(f"{parts[0]}*", parts[0] + model)
        assert matches(pattern, pattern.replace("*", model))
        matches(pattern, model)
        assert len(model.searched) < MAX_STARS
        assert all(end == begin for (_, end), (begin, _) in pairwise(model.searched))


@pytest.mark.parametrize("wrong", ["", "a b", "a\tb", "a\u00a0b", "\ud800", "a" * 257, "*" * 17, None, 5])
def test_a_pattern_that_cannot_be_matched_in_bounds_is_refused(wrong):
    with pytest.raises(ConfigurationError, match=r"allowed_models: a .*pattern") as refused:
        check_pattern(wrong, "allowed_models")
    assert refused.value.field == "allowed_models"


def test_patterns_up_to_the_bounds_are_taken():
    check_pattern("a" * MAX_PATTERN, "models")
    check_pattern("*" * MAX_STARS, "models")


TUNED = "ft:gpt-4.1-2025-04-14:acme:support:Ab3"


@pytest.mark.parametrize(
    ("pattern", "provider", "name", "granted"),
    [
        ("gpt-4.1", "openai", "gpt-4.1", True),
        ("gpt-4.1", "azure", "gpt-4.1", True),
        ("gpt-4.1", None, "gpt-4.1", True),
        ("gpt-4.1", "openai", "gpt-4.1-2025-04-14", True),
        ("claude-sonnet-4", "anthropic", "claude-sonnet-4-20250514", True),
        ("gpt-4.1", "openai", "gpt-4.1-mini", False),
        ("gpt-4.1*", "openai", "gpt-4.1-mini", True),
        ("gpt-4.1", "openai", "GPT-4.1", False),
        ("gpt-4.1", "openai", "gpt-4.1 ", False),
        ("openai/gpt-4.1", "openai", "gpt-4.1", True),
        ("openai/gpt-4.1", "openai", "openai/gpt-4.1", True),
        ("openai/gpt-4.1", "openai", "openai/gpt-4.1-2025-04-14", True),
        ("openai/gpt-4.1", "openrouter", "openai/gpt-4.1", True),
        ("openai/gpt-4.1", "azure", "gpt-4.1", False),
        ("openai/gpt-4.1", None, "gpt-4.1", False),
        ("gpt-4.1", "openai", "openai/gpt-4.1", True),
        ("gpt-4.1", "openrouter", "openai/gpt-4.1", False),
        ("openrouter/openai/*", "openrouter", "openai/gpt-4.1", True),
        ("anthropic/*", "anthropic", "claude-sonnet-4", True),
        ("anthropic/*", "openai", "claude-sonnet-4", False),
        ("anthropic/*", None, "claude-sonnet-4", False),
        ("anthropic/*", None, "anthropic/claude-sonnet-4", True),
        ("gpt-4.1*", "openai", TUNED, False),
        ("*gpt-4.1*", "openai", TUNED, False),
        ("*GPT-4.1*", "openai", TUNED.upper(), False),
        ("f*", "openai", TUNED, False),
        ("ft:gpt-4.1*", "openai", TUNED, True),
        ("openai/ft:gpt-4.1*", "openai", TUNED, True),
        ("ft:gpt-4o*", "openai", TUNED, False),
        (TUNED, "openai", TUNED, True),
        (TUNED, "openai", TUNED + ":ckpt-step-90", False),
        ("*", "openai", TUNED, True),
        ("openai/*", "openai", TUNED, True),
        ("claude-3-5-sonnet", "anthropic", "claude-3-5-sonnet-latest", False),
        ("claude-3-5-sonnet-latest", "anthropic", "claude-3-5-sonnet-latest", True),
        ("openrouter/auto", "openrouter", "openrouter/auto", True),
        ("openai/*", "openrouter", "openrouter/auto", False),
        ("gpt-4.1*", "azure", ANY, False),
        ("*", "azure", ANY, True),
        ("azure/*", "azure", ANY, True),
    ],
)
def test_an_allow_list_grants_what_is_plainly_on_it(pattern, provider, name, granted):
    assert grants(pattern, Model(provider, name)) is granted


def test_all_that_may_serve_a_call_must_be_granted_each_by_any_pattern():
    mini, full = Model("openai", "gpt-4.1-mini"), Model("openai", "gpt-4.1")
    assert refused(("gpt-4.1-mini",), (mini, full)) == full
    assert refused(("gpt-4.1-mini", "gpt-4.1"), (mini, full)) is None
    assert refused(("gpt-4.1",), ()) is None


WRITTEN = (
    "gpt-4.1",
    "GPT-4.1",
    "gpt-4.1-2025-04-14",
    "gpt-4.1-latest",
    "openai/gpt-4.1",
    "OpenAI/GPT-4.1",
    "a/b/c/d/e/f/gpt-4.1",
    " gpt-4.1",
    "gpt-4.1. ",
    "gpt-4.1/",
    "ｇｐｔ-4.1",
    "gpt\u200b-4.1",
    "gpt-4.\u0661",
    "gрt-4.1",
    "gpt-4.1:free",
    "openai/gpt-4.1:online",
    "gpt-4.1@2025-04-14",
    TUNED,
    TUNED.upper(),
    ANY,
    "openrouter/auto",
    "auto",
    "model-router",
    "@preset/cheap",
    "gpt-4.1@preset/cheap",
)


@pytest.mark.parametrize("name", WRITTEN, ids=ascii)
def test_a_limit_bears_however_its_model_is_written(name):
    assert concerns("gpt-4.1", Model("openai", name))


@pytest.mark.parametrize(
    ("pattern", "provider", "name"),
    [
        ("gpt-4.1", "openrouter", "openai/gpt-4.1"),
        ("gpt-4.1", None, "gateway/gpt-4.1"),
        ("GPT-4.1*", "openai", "gpt-4.1-mini"),
        ("openai/gpt-4.1", "openai", "gpt-4.1"),
        ("openai/gpt-4.1", None, "gpt-4.1"),
        ("gpt-4.1-2025-04-14", "openai", "gpt-4.1"),
        ("claude-3-5-sonnet-20241022", "anthropic", "claude-3-5-sonnet-latest"),
        ("claude-sonnet-4-5", "openrouter", "anthropic/claude-sonnet-4.5"),
        ("gpt-3.5-turbo", "azure", "gpt-35-turbo"),
        ("anthropic/*", "anthropic", "claude-sonnet-4"),
        ("anthropic/*", "openrouter", "anthropic/claude-sonnet-4"),
        ("*-mini", "openai", "gpt-4.1-mini-2025-04-14"),
        ("ft:gpt-4.1*", "openai", TUNED),
        ("llama3", None, "llama3:70b"),
    ],
)
def test_and_whoever_serves_it(pattern, provider, name):
    assert concerns(pattern, Model(provider, name))


@pytest.mark.parametrize(
    ("pattern", "provider", "name"),
    [
        ("gpt-4.1", "openai", "gpt-4.1-mini"),
        ("gpt-4.1", "openai", "gpt-4"),
        ("gpt-4", "openai", "gpt-4.1"),
        ("gpt-4.1*", "openai", "gpt-4-1106-preview"),
        ("gpt-4.1-mini", "openai", TUNED),
        ("ft:gpt-4.1*", "openai", "gpt-4.1"),
        ("anthropic/*", "openai", "gpt-4.1"),
        ("anthropic/*", None, "llama-3"),
        ("gpt-4.1-2025-04-14", "openai", "gpt-4.1-2025-08-01"),
        ("gpt-4.1", "openai", "chatgpt-4.1"),
    ],
)
def test_a_limit_leaves_other_models_alone(pattern, provider, name):
    assert not concerns(pattern, Model(provider, name))


names = st.lists(
    st.sampled_from(
        ["gpt-4.1", "-mini", "claude", "openai/", "ft:", "a", "*", ":x", "-2025-04-14", "-latest"]
    ),
    min_size=1,
    max_size=5,
).map("".join)
models = st.builds(Model, st.sampled_from([None, "openai", "openrouter"]), names)


@given(names, models)
@settings(deadline=None, max_examples=400)
def test_what_is_granted_is_borne_on_as_well(pattern, model):
    """A limit for a pattern bears on everything that the same pattern would allow: nothing slips between the two."""
    if grants(pattern, model):
        assert concerns(pattern, model)


DRESSES = (
    str.upper,
    str.title,
    lambda name: f" {name} ",
    lambda name: f"{name}.",
    lambda name: f"openai/{name}",
    lambda name: f"us.{name}",
    lambda name: f"{name}:free",
    lambda name: f"{name}@1",
    lambda name: f"{name}-latest",
    lambda name: f"{name}-2025-04-14",
    lambda name: f"ft:{name}:acme::Ab3",
    lambda name: name.replace("-", "_"),
    lambda name: name.replace("-", "%2D"),
    lambda name: chr(ord(name[0]) + 0xFEE0) + name[1:] if name[0].isascii() and name[0].isalnum() else name,
    lambda name: name[:1] + "\u200b" + name[1:],
)


@given(
    st.sampled_from(["gpt-4.1", "gpt-4.1*", "claude-sonnet-4-5", "o3", "text-embedding-3-*", "*-mini"]),
    st.sampled_from([None, "openai", "openrouter", "azure"]),
    st.lists(st.sampled_from(DRESSES), max_size=3),
)
@settings(deadline=None, max_examples=500)
def test_no_dress_over_another_slips_past_a_limit(pattern, provider, dresses):
    name = pattern.replace("*", "large")
    for dress in dresses:
        name = dress(name)
    assert concerns(pattern, Model(provider, name)), name


@given(names, names, models)
@settings(deadline=None, max_examples=600)
def test_within_is_never_wrong(narrow, wide, model):
    """Nobody hands on more than he has: what the narrower pattern grants, the wider does."""
    if within(narrow, wide) and grants(narrow, model):
        assert grants(wide, model)


@pytest.mark.parametrize(
    ("narrow", "wide", "inside"),
    [
        ("gpt-4.1", "gpt-4.1*", True),
        ("gpt-4.1", "gpt-4.1", True),
        ("gpt-4.1-2025-04-14", "gpt-4.1", True),
        ("anthropic/claude-3*", "anthropic/*", True),
        ("gpt*", "*", True),
        ("*", "gpt*", False),
        ("gpt-4.1", "gpt-4.1-2025-04-14", False),
        ("gpt-4.1", "*.1", False),
        ("ft:gpt-4.1*", "f*", False),
        ("ft:gpt-4.1*", "*gpt*", False),
        ("ft:gpt-4.1*", "*", True),
        ("openai/*", "open*", False),
    ],
)
def test_a_pattern_is_within_another(narrow, wide, inside):
    assert within(narrow, wide) is inside


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("openrouter/auto", True),
        ("OpenRouter/Auto", True),
        ("openrouter/auto:online", True),
        ("auto", True),
        ("model-router", True),
        ("switchpoint/router", True),
        ("openai/gpt-4.1@preset/x", True),
        ("gpt-4.1", False),
        ("org/auto-coder", False),
        ("openrouter/anthropic/claude-sonnet-4", False),
    ],
)
def test_a_router_is_no_model(name, chosen):
    assert chosen_elsewhere(name) is chosen
