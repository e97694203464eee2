"""What it costs to judge a request's credentials: CPU time of the running thread, µs a request, medians of rounds.

    python benchmarks/keys.py [--rounds 21]

A bad key is refused by its form alone. A known key costs a host route no trip to the store; under the management mount
its documents are read at every request (here from memory).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from quotaware import AuthenticationError, InvalidKeyFormat, Quota
from quotaware.context import Binding
from quotaware.tenancy import keys

TIMES = 2000


async def timed(judge: Callable[[Any], Awaitable[Any]], scopes: list[Any]) -> float:
    start = time.thread_time()
    for scope in scopes:
        await judge(scope)
    return (time.thread_time() - start) / len(scopes) * 1e6


def scope(key: str) -> dict[str, Any]:
    headers = [(b"host", b"app.test"), (b"authorization", f"Bearer {key}".encode()), (b"accept", b"*/*")]
    return {"type": "http", "method": "GET", "headers": headers, "client": ("127.0.0.1", 1)}


async def main(rounds: int) -> None:
    quota = Quota("memory://")
    tenancy = quota.blocking.tenancy
    org = tenancy.create_organization("Acme").id
    project = tenancy.create_project(org, "p").id
    known = [tenancy.create_key(project, addresses=["127.0.0.0/8"]).secret for _ in range(100)]
    wrong = [secret[:-1] + ("0" if secret[-1] != "0" else "1") for secret in known]

    async def host(scope: Any) -> None:
        await quota.edge.bind(scope, None)

    async def management(scope: Any) -> None:
        with suppress(AuthenticationError, InvalidKeyFormat):
            await quota.edge.authenticate(scope)

    assert isinstance(await quota.edge.bind(scope(known[0]), None), Binding)
    ways: dict[str, tuple[Callable[[Any], Awaitable[Any]], list[str]]] = {
        "host route, no quotaware key": (host, ["eyJhbGciOi.J9.x"]),
        "host route, bad checksum": (host, wrong),
        "host route, 512 bytes of nonsense": (host, ["qw_live_" + "a" * 504]),
        "host route, known key": (host, known),
        "management, bad checksum": (management, wrong),
        "management, known key": (management, known),
        "management, unknown key, once each": (management, []),
    }
    for name, (judge, secrets) in ways.items():
        found = []
        for _ in range(rounds):
            chosen = secrets or [keys.make("live") for _ in range(TIMES)]
            found.append(await timed(judge, [scope(key) for key in chosen] * (TIMES // len(chosen))))
        print(f"{name:<40} {statistics.median(found):9.2f}")
    quota.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=21)
    asyncio.run(main(parser.parse_args().rounds))
