"""A process of its own that meets bodies and streams without a bound, and says how far its memory grew.

`python -m tests.acceptance.bombs URL`, with the URL of the sink of `test_bad_input`, prints a JSON object: case →
[what was seen, growth in bytes]. Growth is that of the peak, so the case that takes most comes last. It is a process
of its own, since a test's has too much memory to see a few megabytes in.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from quotaware import Quota, QuotaMiddleware
from quotaware.testing.server import serve

MIB = 1 << 20
BODY = 100 * MIB
CALL: dict[str, Any] = {
    "model": "gpt-4.1",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 10,
}


def peak() -> int:
    """The most memory, in bytes, that this process has had (`getrusage` would count its parent's too)."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


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


def stream(client: httpx.Client, path: str, **more: Any) -> int:
    with client.stream("POST", path, json={**CALL, "stream": True, **more}) as answer:
        return sum(map(len, answer.iter_raw()))


def host(provider_url: str) -> Starlette:
    """An app with a route that takes any body and makes no call, and one that makes a call."""

    async def size(request: Request) -> Response:
        taken = 0
        async for piece in request.stream():
            taken += len(piece)
        return JSONResponse(taken)

    async def ask(request: Request) -> Response:
        async with httpx.AsyncClient(base_url=provider_url, verify=False) as client:
            answer = await client.post("/count/v1/chat/completions", json=CALL)
        return JSONResponse(answer.json(), answer.status_code)

    return Starlette(routes=[Route("/size", size, methods=["POST"]), Route("/ask", ask, methods=["POST"])])


def through_host(provider_url: str, size: int) -> tuple[int, int, int]:
    """The app under our middleware gets a body of that size, and then makes a call."""
    quota = Quota(limits=["$1/month"])
    app = host(provider_url)
    app.add_middleware(QuotaMiddleware, quota=quota)
    with closing(quota), serve(app) as url, httpx.Client(base_url=url, verify=False) as client:
        status, taken = whole(client, "/size", size)
        served = client.post("/ask")
    assert float(served.headers["quotaware-cost-usd"]) > 0
    return status, taken, served.status_code


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
                through_host(url, MIB),
            ),
            "known, length told": lambda: whole(to_known, "/count/v1/chat/completions"),
            "stranger, length told": lambda: whole(to_stranger, "/count/v1/chat/completions"),
            "stranger, no length": lambda: whole(
                to_stranger, "/count/v1/chat/completions", 40 * MIB, told=False
            ),
            "endless line": lambda: stream(to_known, "/line/v1/chat/completions"),
            "endless line, usage asked for": lambda: stream(
                to_stranger, "/line/v1/chat/completions", stream_options={"include_usage": True}
            ),
            "bomb": lambda: stream(to_known, "/bomb/v1/chat/completions"),
            "host": lambda: through_host(url, BODY),
            "known, no length": lambda: whole(to_known, "/count/v1/chat/completions", told=False),
            "afterwards": lambda: (serves(to_known), serves(to_stranger)),
        }
        for name, case in cases.items():
            before = peak()
            found = case()
            seen[name] = [found, peak() - before]
        seen["records"] = [record.quality for record in known.blocking.usage.records()]
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1])
