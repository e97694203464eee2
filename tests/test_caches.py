"""A bounded cache that any thread may use."""

from __future__ import annotations

import sys
import threading

from quotaware.caches import SharedCache


def test_the_entries_used_last_stay() -> None:
    cache: SharedCache[int, str] = SharedCache(3)
    for key in (1, 2, 3):
        cache[key] = str(key)
    assert cache.get(1) == "1"
    cache[4] = "4"
    assert [cache.get(key) for key in (1, 2, 3, 4)] == ["1", None, "3", "4"]
    assert len(cache) == 3


def test_many_are_kept_at_once_and_all_forgotten() -> None:
    cache: SharedCache[int, int] = SharedCache(10)
    cache.update({n: n for n in range(100)})
    assert len(cache) == 10
    cache.clear()
    assert len(cache) == 0
    assert cache.get(99) is None


def test_threads_that_push_each_others_entries_out_meet_no_error() -> None:
    cache: SharedCache[int, int] = SharedCache(16)
    errors: list[BaseException] = []
    interval = sys.getswitchinterval()

    def use(offset: int) -> None:
        try:
            for turn in range(3000):
                key = (turn * 7 + offset) % 40
                cache[key] = key
                assert cache.get(key) in (None, key)
                if turn % 500 == 0:
                    cache.update({n: n for n in range(20)})
        except BaseException as error:
            errors.append(error)

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=use, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert errors == []
    assert len(cache) == 16


def test_a_change_is_of_what_is_kept_and_no_other_comes_between() -> None:
    cache: SharedCache[str, int] = SharedCache(3)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def count() -> None:
            for _ in range(2000):
                cache.change("n", lambda kept: (kept or 0) + 1)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert cache.get("n") == 8000
