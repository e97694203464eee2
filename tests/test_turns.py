"""Taking turns: one at a time, until it lets go or its time is over."""

from __future__ import annotations

import os

import pytest

from quotaware.stores.memory import MemoryStore
from quotaware.testing.store_suite.kit import in_threads
from quotaware.turns import Turn
from tests.support import FakeClock


def test_a_turn_is_ones_until_it_lets_go_or_its_time_is_over() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    mine, yours = Turn(store, "fold", 100), Turn(store, "fold", 100)
    assert mine.take("a")
    assert mine.take("a")
    assert not yours.take("a")
    assert yours.take("b")
    yours.let_go("a")  # it is not theirs to let go
    assert not yours.take("a")
    mine.let_go("a")
    clock.advance(1)
    assert yours.take("a")
    clock.advance(99)
    assert not mine.take("a")
    clock.advance(1)
    assert mine.take("a")


def test_works_of_other_names_do_not_wait_for_each_other() -> None:
    store = MemoryStore(FakeClock())
    assert Turn(store, "fold", 100).take("a")
    assert Turn(store, "prune", 100).take("a")


def test_of_threads_and_forks_one_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = Turn(MemoryStore(FakeClock()), "fold", 100)
    took = [False] * 8

    def take(number: int) -> None:
        took[number] = turn.take("a")

    in_threads(8, take)
    assert took.count(True) == 1
    assert turn.take("b")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert not turn.take("b")
