"""Questions: what they reach over, and what they need."""

from __future__ import annotations

import pytest

from quotaware.core.rollups import CUBES, Bucket
from quotaware.core.totals import LAST_MS, ask

DAY = Bucket(CUBES[0], "day", "UTC", 100, 200)


@pytest.mark.parametrize(
    ("begin", "end", "covers", "touches"),
    [
        (None, None, True, True),
        (100, 200, True, True),
        (101, 200, False, True),
        (100, 199, False, True),
        (199, None, False, True),
        (200, None, False, False),
        (None, 101, False, True),
        (None, 100, False, False),
    ],
)
def test_what_a_question_has_of_a_bucket(begin, end, covers, touches) -> None:
    asked = ask("org", begin, end, (), None, {})
    assert (asked.covers(DAY), asked.touches(DAY)) == (covers, touches)


def test_a_question_is_widened_on_the_sides_that_it_has() -> None:
    assert ask("org", 150, 170, (), None, {}).widened(DAY)[1:3] == (100, 200)
    assert ask("org", 50, 170, (), None, {}).widened(DAY)[1:3] == (50, 200)
    assert ask("org", None, None, (), None, {}).widened(DAY)[1:3] == (None, None)


def test_it_needs_the_dimensions_that_it_names_in_their_order() -> None:
    asked = ask("org", None, None, ("tag", "model"), None, {"project": "p", "key": None})
    assert asked.dims == ("project", "model", "tag")
    assert asked.where == {"project": "p"}


def test_moments_beyond_the_calendar_are_its_ends() -> None:
    assert ask("org", -5, 1 << 60, (), None, {})[1:3] == (0, LAST_MS)
