"""`python -m tests.sim SEED [STEPS]` replays a world, and prints what it came to."""

from __future__ import annotations

import sys

from .world import run

if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:3])))
