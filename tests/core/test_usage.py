from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaware.core.usage import Usage, count, suspect


@pytest.mark.parametrize(
    ("reported", "tokens"),
    [
        ("0", 0),
        ("12", 12),
        ("12.0", 12),
        ("1e3", 1000),
        ("-1", -1),
        (str(2**63), 2**63),
        (str(2**64), 2**64),
        ("true", None),
        ("null", None),
        ('"1e3"', None),
        ('"12"', None),
        ("1e999", None),
        ("-1e999", None),
        ("NaN", None),
        ("1.5", None),
        ("0.30000000000000004", None),
        ("[1]", None),
        ("{}", None),
    ],
)
def test_only_whole_numbers_are_counts(reported, tokens):
    """I-20: no bool, text, NaN, infinity or fraction becomes tokens; a negative count stays one."""
    counted = count(json.loads(reported))
    assert counted == tokens
    assert type(counted) in (int, type(None))


def test_total_is_input_and_output_without_their_parts():
    usage = Usage(
        input=10, output=5, cache_read=8, cache_write=2, cache_write_1h=1, reasoning=3, audio_input=1
    )
    assert usage.total == 15


@pytest.mark.parametrize("name", [field.name for field in fields(Usage)])
def test_any_count_below_zero_is_no_usage(name):
    """I-20: a negative report is suspect, wherever it stands."""
    assert suspect(Usage(**{name: -1}), 10**6, 10**6)


@given(bound=st.integers(1, 10**9))
def test_more_than_a_hundred_times_the_bound_is_no_usage(bound):
    """I-20: up to 100 times the bound a report is taken at its word, above it is suspect. Of the input a bound of a few
    tokens counts as 64: servers add instructions of their own to a short question.
    """
    at, of_input = 100 * bound, 100 * max(bound, 64)
    assert not suspect(Usage(input=of_input, output=at), bound, bound)
    assert suspect(Usage(input=of_input + 1), bound, bound)
    assert suspect(Usage(output=at + 1), bound, bound)


def test_output_of_a_call_that_generates_nothing_is_no_usage():
    assert suspect(Usage(input=5, output=1), 10, 0)
    assert not suspect(Usage(input=5), 10, 0)
