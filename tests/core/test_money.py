from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.money import MAX_AMOUNT, NANO, count, format_usd, to_usd, usd
from quotaware.errors import ConfigurationError

amounts = st.integers(0, MAX_AMOUNT)


@pytest.mark.parametrize(
    ("given_as", "nano"),
    [
        (50, 50 * NANO),
        ("$50", 50 * NANO),
        (" $ 50 ", 50 * NANO),
        ("+$50", 50 * NANO),
        ("0.000000001", 1),
        ("1,500.25", 1_500_250_000_000),
        ("$1_000_000", 1_000_000 * NANO),
        ("1e3", 1000 * NANO),
        (0.1, 100_000_000),
        (1e-09, 1),
        (1500.0, 1500 * NANO),
        (-0.0, 0),
        (0, 0),
        (Decimal("1E+3"), 1000 * NANO),
        (Decimal("0.10000000000000"), 100_000_000),
        (9_000_000, MAX_AMOUNT),
    ],
)
def test_dollars_are_read_exactly(given_as, nano):
    assert usd(given_as) == nano


@pytest.mark.parametrize(
    "wrong",
    [
        *("", " ", "$", "fifty", "50$", "$$5", "1,0", "1_0", "1_000,000", "0,50", "5 0", "٣", "0" * 100),
        *("nan", "sNaN", "inf", "-Infinity", float("nan"), float("inf"), float("-inf"), Decimal("NaN")),
        *(-1, "-1", "-$1", -0.01, Decimal(-1), -(10**9000)),
        *("1e999", "1e999999999", 10**9000, 9_000_001, 1e300, "9000000.000000001", Decimal("1e99")),
        *("0.0000000001", "1e-999999999", 0.1 + 0.2, Decimal("1.0000000001")),
        *(True, False, None, b"1", [1], 1j),
    ],
    ids=lambda wrong: type(wrong).__name__,  # an int of 9,000 digits has no text
)
def test_what_is_no_amount_is_refused_with_field_and_bound(wrong):
    with pytest.raises(ConfigurationError, match=r"monthly_budget_usd: .*from 0 to \$9000000") as refused:
        usd(wrong, "monthly_budget_usd")
    assert refused.value.field == "monthly_budget_usd"
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("given_as", "whole"),
    [(600, 600), ("1,000", 1000), ("1_000", 1000), ("1e3", 1000), (5.0, 5), (MAX_AMOUNT, MAX_AMOUNT)],
)
def test_counts_are_read_exactly(given_as, whole):
    assert count(given_as, "requests") == whole


@pytest.mark.parametrize(
    "wrong", [0.5, "1.5", "$5", "", "many", -1, "-1", MAX_AMOUNT + 1, "1e16", "nan", True, None, "10,00"]
)
def test_what_is_no_count_is_refused_with_field_and_bound(wrong):
    with pytest.raises(ConfigurationError, match=r"requests_per_day: .*from 0 to 9000000000000000"):
        count(wrong, "requests_per_day")


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (50 * NANO, "$50"),
        (100_000_000, "$0.1"),
        (1_500_250_000_000, "$1500.25"),
        (1, "$0.000000001"),
        (0, "$0"),
        (100 * NANO, "$100"),
        (-1_500_000_000, "-$1.5"),
    ],
)
def test_an_amount_is_written_as_its_shortest_exact_text(nano, text):
    assert format_usd(nano) == text
    assert to_usd(nano) == Decimal(text.replace("$", ""))


@given(amounts)
@settings(deadline=None)
def test_every_amount_round_trips(nano):
    assert usd(format_usd(nano)) == usd(to_usd(nano)) == usd(str(to_usd(nano))) == nano


@given(amounts, st.integers(1, 6))
@settings(deadline=None)
def test_the_hosts_decimal_context_changes_nothing(nano, precision):
    with localcontext(prec=precision):
        assert usd(to_usd(nano)) == nano
        assert usd(format_usd(nano)) == nano


def test_a_float_that_shows_itself_otherwise_is_still_its_number():
    class Shown(float):
        def __repr__(self) -> str:
            return f"Shown({float(self)})"

        __str__ = __repr__

    assert usd(Shown(0.1)) == 100_000_000


@given(st.integers(0, 9_000_000_000))
@settings(deadline=None)
def test_floats_of_up_to_three_decimals_are_what_they_print_as(mills):
    assert usd(mills / 1000) == mills * NANO // 1000


@given(amounts, amounts)
@settings(deadline=None)
def test_arithmetic_in_nano_dollars_is_arithmetic_in_dollars(a, b):
    assert to_usd(a) + to_usd(b) == to_usd(a + b)
    assert to_usd(a) - to_usd(b) == to_usd(a - b)
    assert (to_usd(a) < to_usd(b)) == (a < b)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.decimals(), st.booleans(), st.none()))
@settings(deadline=None, max_examples=150)
def test_anything_at_all_is_an_amount_in_bounds_or_refused(value):
    for read in (usd, count):
        try:
            amount = read(value, "amount")
        except ConfigurationError:
            continue
        assert type(amount) is int
        assert 0 <= amount <= MAX_AMOUNT
