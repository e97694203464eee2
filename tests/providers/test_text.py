"""Counting text in requests and in what streams by."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.providers.media import decoded_size
from quotaware.providers.text import Tally, delta_size, member, seen_tokens, total


def tally_of(value: object) -> Tally:
    tally = Tally()
    tally.add_strings(value)
    return tally


@pytest.mark.parametrize(
    ("text", "size", "wide"),
    [("", 0, 0), ("plain", 5, 0), ("naïve", 6, 2), ("日本", 6, 6), ("a😀", 5, 4), ("\ud800", 3, 3)],
)
def test_text_is_counted_in_utf8_bytes_with_the_wide_ones_apart(text: str, size: int, wide: int) -> None:
    """Lone surrogates, which JSON can spell, are counted and raise nothing."""
    assert (tally_of(text).text, sum(tally_of(text).kinds[5:])) == (size, wide)


def test_every_string_and_number_in_a_value_counts_whatever_its_shape() -> None:
    tally = tally_of({"a": ["xy", {"b": "z", "cache_control": {"type": "t"}}], "c": 7, "d": None})
    assert tally.text == len("xyzt7")
    assert tally.cache_write


def test_a_very_deep_value_is_walked_without_recursion() -> None:
    value: object = "x"
    for _ in range(100_000):
        value = [value]
    assert tally_of(value).text == 1


def test_a_schema_counts_as_it_is_written() -> None:
    tally = Tally()
    tally.add_tools([{"name": "é", "input_schema": {"type": "object"}}])
    assert tally.text == len('[{"name":"é","input_schema":{"type":"object"}}]'.encode())
    assert (tally.tools, tally.parts, sum(tally.kinds[5:])) == (1, 1, 2)


@pytest.mark.parametrize(("encoded", "least"), [("AAAA", 3), ("data:x;base64,AAAAAAAA", 6), ("", 0)])
def test_a_base64_text_stands_for_three_bytes_in_four(encoded: str, least: int) -> None:
    assert least <= decoded_size(encoded) <= least + 1


def test_the_members_of_a_delta_that_carry_text_are_found_without_parsing() -> None:
    assert delta_size(b'data: {"delta": {"content" : "four"}}\n\n') == 4
    assert delta_size(b'data: {"delta":{"content":""}}\n\n') == 0
    assert delta_size(b'data: {"content":"outside"}\n\n') == 0
    assert delta_size('data: {"delta":{"content":"日"}}\n\n'.encode()) == 3


def test_an_escape_is_one_character_and_a_quoted_name_inside_a_text_is_text() -> None:
    arguments = json.dumps('{"content": "x"}')
    assert delta_size(b'{"delta":{"arguments":' + arguments.encode() + b"}}") == len('{"content": "x"}')
    assert delta_size(rb'{"delta":{"content":"\n\u00e9\\"}}') == 3


def test_text_that_is_said_twice_under_two_names_counts_once() -> None:
    event = b'{"delta":{"reasoning":"abcd","reasoning_details":[{"text":"abcd"}],"content":""}}'
    assert delta_size(event) == 4


@given(st.text(max_size=40), st.booleans())
@settings(deadline=None, max_examples=200)
def test_of_the_beginnings_of_an_event_a_longer_one_never_counts_less(text: str, ascii_: bool) -> None:
    event = json.dumps({"delta": {"content": text}}, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
    sizes = [delta_size(event[:cut]) for cut in range(len(event) + 1)]
    assert sizes == sorted(sizes)
    assert sizes[-1] <= len(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(("deltas", "size", "tokens"), [(0, 0, 0), (3, 3, 3), (1, 9, 3), (1, 8, 2)])
def test_seen_tokens_are_one_a_delta_or_one_in_four_bytes(deltas: int, size: int, tokens: int) -> None:
    assert seen_tokens(deltas, size) == tokens


def test_a_member_of_what_is_no_object_is_none() -> None:
    assert [member(value, "a") for value in (None, [], "a", 1, {}, {"a": 2})] == [None] * 5 + [2]


@pytest.mark.parametrize(("counts", "sum_"), [((), 0), ((1, 2, 3), 6), ((5, -1, 3), -1), ((-2, -7), -7)])
def test_no_sum_hides_a_count_below_zero(counts: tuple[int, ...], sum_: int) -> None:
    """So that it is found that no such report can be true."""
    assert total(*counts) == sum_
