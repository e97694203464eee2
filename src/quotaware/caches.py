"""A bounded cache that any thread may use: cachetools' own are not safe, not even to look into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Generic, TypeVar

from cachetools import LRUCache

from . import forks

K = TypeVar("K")
V = TypeVar("V")


class SharedCache(Generic[K, V]):
    """The `size` entries that were used last, under one lock."""

    def __init__(self, size: int) -> None:
        self._size = size
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: empty."""
        self._lock = Lock()
        self._entries: LRUCache[K, V] = LRUCache(self._size)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """What is kept under the key, or None."""
        with self._lock:
            return self._entries.get(key)

    def __setitem__(self, key: K, value: V) -> None:
        with self._lock:
            self._entries[key] = value

    def change(self, key: K, change: Callable[[V | None], V]) -> None:
        """Keeps what `change` makes of what is kept under the key (None: nothing); no other thread comes between."""
        with self._lock:
            self._entries[key] = change(self._entries.get(key))

    def update(self, entries: Mapping[K, V]) -> None:
        """Keeps all of them."""
        with self._lock:
            for key, value in entries.items():
                self._entries[key] = value

    def clear(self) -> None:
        """Forgets all."""
        with self._lock:
            self._entries.clear()
