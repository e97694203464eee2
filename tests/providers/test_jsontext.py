"""Request bodies: read strictly, changed without touching another byte."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.providers.base import Unreadable
from quotaware.providers.jsontext import (
    BEARING,
    MODEL_MAX,
    NAMING,
    edit,
    flag,
    items,
    model_name,
    parse,
    whole,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["model", "max_tokens", "stream_options", "x", "é", 'q"}', "{", ""])
BODIES = st.dictionaries(NAMES, VALUES, max_size=6)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"{} {}",
        b"\xff{}",
        b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": -1e999}',
        b'{"a": ' + b"9" * 5_000 + b"}",
        b"model=gpt-4o&stream=true",
    ],
)
def test_what_is_no_json_object_of_finite_numbers_is_unreadable(body: bytes) -> None:
    """I-20: NaN and 1e999 are refused where the body is read, not later. Where nothing of it can be read, neither can
    the model be (S8).
    """
    with pytest.raises(Unreadable) as caught:
        parse(body)
    is_a_number = re.search(rb"NaN|Infinity|1e999", body)
    assert caught.value.code == ("body_unreadable" if is_a_number else "model_ambiguous")


@pytest.mark.parametrize(
    "bomb", [b"[" * 200_000, b'{"a":' * 200_000, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"]
)
def test_a_depth_bomb_is_unreadable(bomb: bytes) -> None:
    """S6: nesting past the interpreter's bound ends in an answer, not in a crash."""
    with pytest.raises(Unreadable):
        parse(bomb)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "a", "model": "b"}',
        b'{"model": "a", "n": 1, "mod\\u0065l": "a"}',
        b'{"model": "a", "Model": "b"}',
        b'{"MODEL": "b"}',
    ],
)
def test_a_model_that_stands_twice_is_ambiguous(body: bytes) -> None:
    """S8: readers differ in which of two they take, and in whether capitals count."""
    with pytest.raises(Unreadable, match="model") as caught:
        parse(body)
    assert caught.value.code == "model_ambiguous"


@pytest.mark.parametrize("name", sorted(BEARING - NAMING))
def test_other_members_that_bear_may_not_stand_twice_either(name: str) -> None:
    with pytest.raises(Unreadable, match=name) as caught:
        parse(f'{{"{name}": 1, "model": "a", "{name}": 2}}'.encode())
    assert caught.value.code == "body_unreadable"


def test_a_capital_that_folds_to_a_small_letter_is_seen_too() -> None:
    """`ſtream` is `stream` to a reader that folds case as Unicode does."""
    with pytest.raises(Unreadable, match="stream"):
        parse('{"ſtream": true}'.encode())


def test_other_doubles_pass_and_so_do_doubles_further_in() -> None:
    assert parse(b'{"user": 1, "user": 2}') == {"user": 2}
    assert parse(b'{"metadata": {"model": 1, "model": 2}, "model": "a"}') == {
        "metadata": {"model": 2},
        "model": "a",
    }


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_read_or_unreadable(body: bytes) -> None:
    with contextlib.suppress(Unreadable):
        assert isinstance(parse(body), dict)


@given(BODIES, BODIES, st.sampled_from([None, 1, "\t"]), st.booleans(), st.sampled_from(["", " ", "\r\n\t"]))
@settings(deadline=None, max_examples=150)
def test_an_edit_gives_the_body_with_the_changes(
    members: dict[str, Any], changes: dict[str, Any], indent: int | str | None, ascii_: bool, around: str
) -> None:
    """Whatever the spacing and the escapes, the result parses to the old members with the new over them."""
    body = (around + json.dumps(members, indent=indent, ensure_ascii=ascii_) + around).encode()
    parsed = parse(body)
    edited = edit(body, parsed, changes)
    assert parse(edited) == {**parsed, **changes}
    if not changes:
        assert edited == body


def test_a_new_member_leaves_every_other_byte_as_it_was() -> None:
    body = '{ "model":"gpt-4o",\t"messages":[{"content":"caf\\u00e9 é"}], "seed": 1.50 }\n'.encode()
    edited = edit(body, parse(body), {"max_completion_tokens": 7})
    assert edited == body[:-2] + b',"max_completion_tokens":7}\n'


def test_a_member_that_is_there_is_replaced_where_it_stands() -> None:
    body = b'{"max_tokens" : 9000 , "x": "max_tokens\\": 1", "y": {"max_tokens": 5}}'
    edited = edit(body, parse(body), {"max_tokens": 256})
    assert edited == b'{"max_tokens" : 256 , "x": "max_tokens\\": 1", "y": {"max_tokens": 5}}'


def test_a_double_is_replaced_in_both_places() -> None:
    body = b'{"user": 1, "user": 2}'
    assert edit(body, parse(body), {"user": 3}) == b'{"user": 3, "user": 3}'


def test_an_empty_object_gets_its_first_member() -> None:
    assert edit(b" { } ", {}, {"a": 1, "b": 2}) == b' { "a":1,"b":2} '


@pytest.mark.parametrize(
    "model", [None, 1, "", [], "a\nb", "a\x00", "a\u200b", "\ud800", "m" * (MODEL_MAX + 1)]
)
def test_a_model_is_a_printable_name(model: object) -> None:
    with pytest.raises(Unreadable, match="model"):
        model_name({"model": model})


@pytest.mark.parametrize("value", [True, -1, 1.0, "7", [], 2**60, 10**400])
def test_a_whole_number_is_nothing_else(value: object) -> None:
    """I-20: true, negative, broken and absurd numbers are named, not guessed at."""
    with pytest.raises(Unreadable, match="n: "):
        whole({"n": value}, "n")


def test_absent_members_have_their_defaults() -> None:
    assert whole({"n": None}, "n") is whole({}, "n") is None
    assert flag({"stream": None}, "stream") is flag({}, "stream") is False
    assert flag({"stream": True}, "stream")
    assert whole({"n": 3}, "n", least=1) == 3


@pytest.mark.parametrize("value", ["true", 1, 0, []])
def test_a_flag_is_true_or_false(value: object) -> None:
    with pytest.raises(Unreadable, match="stream"):
        flag({"stream": value}, "stream")


@pytest.mark.parametrize("value", [None, "text", {}, 1])
def test_a_list_that_is_required_is_a_list(value: object) -> None:
    with pytest.raises(Unreadable, match="messages"):
        items({"messages": value}, "messages")
