"""What matching a model's name costs, and that nobody can make it cost much.

    python benchmarks/models.py [--patterns 10000]

1. random patterns of up to 16 stars against names of 2 KB, the hardest kinds among them: mean and worst, in µs
2. a list of ten allowed models, as each call is held against it: names seen before, and new ones
3. a limit for some models: names seen before, and new ones (once for each policy that is compiled)

Times are CPU time of the running thread.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterable

from quotaware.core.models import MAX_STARS, Model, concerns, matches, refused

ALLOWED = (*(f"gpt-4.{n}*" for n in range(6)), "anthropic/*", "o3", "o4-mini", "claude-sonnet-4")


def timed(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return (time.thread_time() - start) * 1e6


def told(name: str, times: Iterable[float]) -> None:
    found = sorted(times)
    mean, most = sum(found) / len(found), found[-1]
    print(f"{name:<58} mean {mean:9.2f}   worst {most:9.2f}")


def hardest(count: int) -> Iterable[float]:
    chance = random.Random(17)
    for number in range(count):
        parts = [
            "a" * chance.randrange(15) + chance.choice(["", "b"])
            for _ in range(chance.randint(2, MAX_STARS + 1))
        ]
        pattern = "*".join(parts)[:256]
        model = "a" * 2048 if number % 2 else ("a" * chance.randrange(15) + "b") * 128
        yield timed(lambda pattern=pattern, model=model: matches(pattern, model))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patterns", type=int, default=10_000)
    count = parser.parse_args().patterns
    new = [(Model("openai", f"claude-sonnet-{n}"),) for n in range(count)]
    known = (Model("anthropic", "claude-sonnet-4-5"),)
    refused(ALLOWED, known)
    concerns("gpt-4.1*", known[0])
    print("µs")
    told("a pattern of up to 16 stars, a name of 2 KB", hardest(count))
    told("ten allowed models, a known name", (timed(lambda: refused(ALLOWED, known)) for _ in range(count)))
    told("ten allowed models, a new name", (timed(lambda name=name: refused(ALLOWED, name)) for name in new))
    told(
        "a limit for some, a known name",
        (timed(lambda: concerns("gpt-4.1*", known[0])) for _ in range(count)),
    )
    told(
        "a limit for some, a new name",
        (timed(lambda name=name: concerns("gpt-4.1*", name[0])) for name in new),
    )


if __name__ == "__main__":
    main()
