"""What prices cost a call after the first look at a model: CPU time of the running thread, µs, medians of rounds.

    python benchmarks/prices.py [--rounds 21]

1. the price in force, from the list, and where an organization says some of its own
2. the same, where prices change within the day
3. what a usage costs, and the most that a call can cost, as asked for in the usual way and in another one
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from quotaware.core.prices import PriceBook
from quotaware.core.usage import Usage

AT = 1_794_225_600_000  # 2026-11-09T12:00:00Z
TIMES = 20_000
USAGE = Usage(input=10_000, output=500, cache_read=8_000, reasoning=300, web_searches=1)
FLEX = (("service_tier", "flex"),)


def timed(work: Callable[[], object]) -> float:
    start = time.thread_time()
    for _ in range(TIMES):
        work()
    return (time.thread_time() - start) / TIMES * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    book = PriceBook()
    own = PriceBook({f"model-{number}*": {"input": 1, "output": 2} for number in range(100)})
    price = book.find("openai", "gpt-5.4", AT)
    assert price is not None
    works: dict[str, Callable[[], object]] = {
        "the price in force": lambda: book.find("openai", "gpt-5.4", AT),
        "with a hundred patterns of one's own": lambda: own.find("openai", "gpt-5.4", AT),
        "one of these": lambda: own.find(None, "model-7-mini", AT),
        "one that changes within the day": lambda: book.find("deepseek", "deepseek-chat", AT),
        "a model that nobody lists": lambda: book.find("openai", "nobody", AT),
        "the price of another service": lambda: price.served(FLEX),
        "what a usage costs": lambda: price.cost(USAGE),
        "the most of a call": lambda: price.worst(10_000, 500, counts=USAGE),
        "the most of a call that asks for flex": lambda: price.worst(10_000, 500, how=FLEX, counts=USAGE),
    }
    for name, work in works.items():
        work()
        print(f"{name:<42} {statistics.median(timed(work) for _ in range(rounds)):6.2f} µs")


if __name__ == "__main__":
    main()
