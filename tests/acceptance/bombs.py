"""A process of its own that meets bodies and streams without a bound, and says how far its memory grew.

`python bombs.py URL`, with the URL of `sink`: prints a JSON object, case → [what was seen, growth in bytes]. Growth is
that of the peak, so the cases that take most come last. It is a script, since a test's process has too much memory of
its own to see a few megabytes in.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from quotaware import Quota
from quotaware.testing import FakeProvider
from tests.acceptance.apps import serving

MIB = 1 << 20
BODY = 100 * MIB
CALL: dict[str, Any] = {
    "model": "gpt-4.1",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 10,
}


def pieces(size: int) -> Iterator[bytes]:
    """The beginning of a call whose JSON is so many bytes long."""
    begin = b'{"model":"gpt-4.1","messages":[{"role":"user","content":"'
    yield begin + b"x" * (MIB - len(begin))
    piece = b"x" * MIB
    for _ in range(size // MIB - 1):
        yield piece


def whole(client: httpx.Client, path: str, size: int = BODY, *, told: bool = True) -> tuple[int, Any]:
    headers = {"content-type": "application/json", **({"content-length": str(size)} if told else {})}
    answer = client.post(path, content=pieces(size), headers=headers)
    return answer.status_code, answer.json()


def stream(client: httpx.Client, path: str, raw: bool = False) -> int:
    with client.stream("POST", path, json={**CALL, "stream": True}) as answer:
        return sum(map(len, answer.iter_raw() if raw else answer.iter_bytes()))


def through_host(size: int) -> tuple[int, Any, int]:
    """A host that gets a body on a route that makes no call, and then serves one that does."""
    quota = Quota(limits=["$1/month"])
    with serving(quota, FakeProvider()) as url, httpx.Client(base_url=url, verify=False) as client:
        status, taken = whole(client, "/size", size)
        served = client.post("/openai", json={"prompt": "hello", "max_tokens": 10})
    return status, taken["bytes"], served.status_code


def main(url: str) -> None:
    known = Quota(limits=["$100/month"], hosts={"127.0.0.1": "openai"})
    stranger = Quota(limits=["$100/month"])
    seen: dict[str, Any] = {}
    with (
        httpx.Client(base_url=url, verify=False, timeout=60) as to_known,
        httpx.Client(base_url=url, verify=False, timeout=60) as to_stranger,
    ):
        known.metered(to_known)
        stranger.metered(to_stranger)

        def serves(client: httpx.Client) -> int:
            return client.post("/count/v1/chat/completions", json=CALL).status_code

        cases: dict[str, Callable[[], Any]] = {
            "warm up": lambda: (
                serves(to_known),
                serves(to_stranger),
                through_host(MIB),
            ),
            "known, length told": lambda: whole(to_known, "/count/v1/chat/completions"),
            "stranger, length told": lambda: whole(to_stranger, "/count/v1/chat/completions"),
            "stranger, no length": lambda: whole(to_stranger, "/count/v1/chat/completions", told=False),
            "endless line": lambda: stream(to_known, "/line/v1/chat/completions"),
            "endless line, raw": lambda: stream(to_known, "/line/v1/chat/completions", raw=True),
            "endless line of nobody known": lambda: stream(to_stranger, "/line/v1/chat/completions"),
            "bomb": lambda: stream(to_known, "/bomb/v1/chat/completions", raw=True),
            "host": lambda: through_host(BODY),
            "known, no length": lambda: whole(to_known, "/count/v1/chat/completions", told=False),
            "afterwards": lambda: (serves(to_known), serves(to_stranger)),
        }
        for name, case in cases.items():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            found = case()
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            seen[name] = [found, grown * (1024 if sys.platform != "darwin" else 1)]
        seen["records"] = [record.quality for record in known.blocking.usage.records()]
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1])
