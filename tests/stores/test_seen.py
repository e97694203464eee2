"""What a process expects of an organization, and for how long."""

from __future__ import annotations

import os

import pytest

from quotaware.errors import Lost
from quotaware.stores import seen as module
from quotaware.stores.seen import IDLE_S, NEVER, Seen

EPOCH = "e" * 16


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The process's own clock."""
    now = [1e6]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def seen(seconds: list[float]) -> Seen:
    known = Seen()
    known.note("org", EPOCH, 7, 3)
    return known


@pytest.mark.parametrize(
    ("met", "says"),
    [
        (("", 0, 0), "gone"),
        (("f" * 16, 9, 3), "went on"),
        ((EPOCH, 6, 3), "older"),
        ((EPOCH, 9, 2), "without this process"),
    ],
)
def test_what_is_older_or_other_than_known_is_a_loss_until_it_is_adopted(seen, met, says):
    """I-11. Others, who saw less, may write on meanwhile."""
    assert says in str(seen.check("org", *met))
    assert seen.of("org").seq == NEVER
    assert isinstance(seen.check("org", EPOCH, 1 << 40, 99), Lost)
    seen.take("org", *met[:2])
    assert seen.check("org", met[0] or EPOCH, met[1], 0) is None


def test_what_is_as_new_or_newer_is_none(seen):
    assert seen.check("org", EPOCH, 7, 3) is None
    assert seen.check("org", EPOCH, 8, 4) is None
    assert seen.check("org", EPOCH, 7) is None, "a store that keeps no number of writes"
    assert seen.check("other", "", 0, 0) is None


def test_of_two_answers_the_newer_stands(seen):
    seen.note("org", EPOCH, 6, 2)
    assert seen.of("org")[:3] == (EPOCH, 7, 3)


def test_a_process_that_did_not_write_for_long_expects_nothing_of_its_writes(seen, seconds):
    """The store may have forgotten them. The next write counts again."""
    seconds[0] += IDLE_S - 1
    seen.note("org", EPOCH, 8, 3)
    assert seen.of("org").writes == 3
    seconds[0] += 1
    assert seen.check("org", EPOCH, 8, 0) is None
    seen.note("org", EPOCH, 9, 1)
    assert seen.check("org", EPOCH, 9, 0) is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_counts_its_own_writes(seen):
    parent = seen.writer
    seen.begin_again()
    assert seen.writer != parent
    assert seen.of("org")[:3] == (EPOCH, 7, 0)
