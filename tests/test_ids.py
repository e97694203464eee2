"""Reservation ids: unique, ordered by time, in one process by arrival."""

from __future__ import annotations

import os
import threading
import uuid

from quotaware.core.steps import id_time
from quotaware.ids import Ids
from tests.support import NOON


def test_an_id_is_a_uuid_of_version_7_and_carries_its_time() -> None:
    id = Ids().new(NOON)
    assert uuid.UUID(id).version == 7
    assert uuid.UUID(id).variant == uuid.RFC_4122
    assert id_time(id) == NOON
    assert len(id) == 32


def test_ids_of_one_millisecond_are_in_the_order_they_were_made() -> None:
    ids = Ids()
    made = [ids.new(NOON) for _ in range(10_000)]
    assert made == sorted(set(made))
    assert {uuid.UUID(id).version for id in made} == {7}
    assert {id_time(id) for id in made} == {NOON}


def test_a_clock_that_runs_back_makes_no_older_ids() -> None:
    ids = Ids()
    made = [ids.new(now) for now in (NOON, NOON - 3_600_000, NOON + 1, NOON)]
    assert made == sorted(set(made))
    assert id_time(made[-1]) == NOON + 1


def test_threads_never_share_an_id() -> None:
    ids = Ids()
    made: list[list[str]] = [[] for _ in range(8)]

    def make(own: list[str]) -> None:
        own.extend(ids.new(NOON) for _ in range(1000))

    threads = [threading.Thread(target=make, args=(own,)) for own in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(own == sorted(own) for own in made)
    assert len({id for own in made for id in own}) == 8000


def test_a_forked_child_does_not_repeat_its_parent() -> None:
    """I-23: a child that repeats its parent's ids has its calls answered as ended. Also where the parent forked while
    a thread was making one.
    """
    ids = Ids()
    ids.new(NOON)
    read, write = os.pipe()
    with ids._lock:
        child = os.fork()
        if child == 0:
            os.write(write, "".join(ids.new(NOON) for _ in range(100)).encode())
            os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 3200).decode()
    os.close(read)
    os.close(write)
    ours = {ids.new(NOON) for _ in range(100)}
    made = {theirs[at : at + 32] for at in range(0, 3200, 32)}
    assert len(made) == 100
    assert not ours & made
