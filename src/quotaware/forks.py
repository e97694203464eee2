"""What a forked child has of its own: locks that a thread of its parent may hold just then, and what they guard.

A preloading server forks its workers while the parent's threads run. A lock is copied as it is, and the thread that
would let it go is not, so that whoever wants it in the child waits for ever.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """What begins again in a child."""

    def begin_again(self) -> None:
        """Makes locks, and what may have been changed by half under them, anew. Takes no lock, raises nothing."""
        ...


_known: weakref.WeakSet[Forked] = weakref.WeakSet()


def begin(owner: Forked) -> None:
    """Calls `owner.begin_again()`: now, and in every child before anything else runs there."""
    owner.begin_again()
    _known.add(owner)


def _in_child() -> None:
    for owner in list(_known):
        owner.begin_again()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
