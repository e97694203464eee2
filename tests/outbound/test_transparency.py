"""Ordinary use of the two libraries is the same with us and without, whether or not it is an LLM call.

Each scenario is run twice, on a bare client and on an instrumented one, and must tell the same.
"""

from __future__ import annotations

import gzip
import json
import pickle
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from quotaware import Quota
from quotaware.testing.server import serve
from tests.outbound.wire import OPENAI, Way, chat, records

pytestmark = pytest.mark.anyio


async def app(scope: Any, receive: Any, send: Any) -> None:
    """A server whose path begins with what it does: echo, redirect, cookie, digest, status, gzip, lines, hang."""
    if scope["type"] != "http":
        return
    body, chunks, more = b"", 0, True
    while more:
        event = await receive()
        body, chunks, more = body + event.get("body", b""), chunks + 1, event.get("more_body", False)
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    _, what, *rest = scope["path"].split("/")
    query = scope["query_string"].decode()
    told = {"method": scope["method"], "path": scope["path"], "query": query, "body": body.decode("latin-1")}
    told["headers"] = {n: v for n, v in headers.items() if n not in {"host", "user-agent"}}
    status, answered, parts = (
        200,
        [(b"content-type", b"application/json; charset=utf-8")],
        [json.dumps(told).encode()],
    )
    if what == "redirect":
        status, to = int(rest[0]), f"/echo/{'/'.join(rest[1:])}?from={rest[0]}"
        answered.append((b"location", to.encode()))
    elif what == "loop":
        status, answered = 307, [(b"location", scope["path"].encode())]
    elif what == "cookie":
        answered += [(b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2; Path=/")]
    elif what == "digest" and not headers.get("authorization", "").startswith("Digest "):
        status = 401
        answered.append((b"www-authenticate", b'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'))
    elif what == "digest":
        told["headers"]["authorization"] = re.sub(r'(cnonce|response)="\w+"', "", headers["authorization"])
        parts = [json.dumps(told).encode()]
    elif what == "status":
        status, parts = int(rest[0]), [] if rest[0] == "204" else parts
    elif what == "gzip":
        parts = [gzip.compress(parts[0], mtime=0)]
        answered.append((b"content-encoding", b"gzip"))
    elif what == "lines":
        parts = [b"one\ntwo\r", b"\nth", b"ree\xc3", b"\xa4\n\nend"]
    elif what == "hang":
        await receive()
        return
    await send({"type": "http.response.start", "status": status, "headers": answered})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def wsgi(environ: Any, start: Any) -> list[bytes]:
    start("200 OK", [("content-type", "application/json"), ("x-path", environ["PATH_INFO"])])
    return [environ["wsgi.input"].read()]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(app) as url:
        yield url


@dataclass
class Ask:
    """One kind of traffic: what is asked of a route, and how it is told what came."""

    way: Way
    url: str
    llm: bool
    client: Any = None

    def path(self, what: str) -> str:
        return f"/{what}{OPENAI}" if self.llm else f"/{what}/things"

    def request(self, what: str, **more: Any) -> tuple[Any, ...]:
        body = {} if {"content", "data", "files", "json"} & more.keys() else {"json": chat()}
        return ("POST", self.url + self.path(what)), body | more

    async def __call__(self, what: str, client: Any = None, **more: Any) -> Any:
        args, options = self.request(what, **more)
        return await self.way.result((client or self.client).request(*args, **options))

    async def open(self, what: str, **more: Any) -> Any:
        args, options = self.request(what, **more)
        return await self.way.result(
            self.client.send(self.client.build_request(*args, **options), stream=True)
        )


def told(response: Any) -> dict[str, Any]:
    """Everything that an app can see of an answer."""
    request = response.request
    return {
        "status": (response.status_code, response.reason_phrase, response.http_version),
        "headers": response.headers.raw,
        "content": response.content,
        "text": (response.text, response.encoding, response.charset_encoding),
        "url": response.url,
        "history": [(hop.status_code, hop.url, hop.content, hop.is_closed) for hop in response.history],
        "cookies": dict(response.cookies),
        "state": (response.is_closed, response.is_stream_consumed, response.num_bytes_downloaded),
        "extensions": sorted(response.extensions),
        "next": response.next_request and (response.next_request.method, response.next_request.url),
        "links": response.links,
        "elapsed": response.elapsed.total_seconds() > 0,
        "request": (request.method, request.url, request.headers.raw, sorted(request.extensions)),
        "sent": sent(request),
        "repr": repr(response),
    }


def sent(request: Any) -> Any:
    try:
        return request.content
    except Exception as error:  # of either library: the body was never read
        return type(error).__name__


async def failure(way: Way, value: Awaitable[Any] | Callable[[], Any]) -> Any:
    """The error that this raises."""
    try:
        value = value() if callable(value) else value
        await way.result(value)
    except Exception as error:
        request = getattr(error, "_request", None)
        return type(error).__name__, str(error), request and request.url
    return "nothing raised"


Scenario = Callable[[Ask], Awaitable[Any]]


async def answers(ask: Ask) -> Any:
    return [
        told(await ask(what)) for what in ("echo", "gzip", "lines", "status/204", "status/418", "status/500")
    ]


async def bodies(ask: Ask) -> Any:
    return [
        told(await ask("echo", data={"a": "1", "b": ["2", "3"]})),
        told(
            await ask("echo", content=json.dumps(chat(), indent=1).encode(), headers={"content-type": "x/y"})
        ),
        told(await ask("echo", content="äöü")),
        told(await ask("echo", content=b"")),
        told(await ask("echo", params={"q": "ä b"}, headers=[("x-two", "1"), ("x-two", "2")])),
    ]


async def multipart(ask: Ask) -> Any:
    headers = {"content-type": "multipart/form-data; boundary=fixed"}
    answer = await ask(
        "echo", data={"model": "m"}, files={"file": ("a.txt", b"abc", "text/plain")}, headers=headers
    )
    return answer.content, answer.request.headers.raw


async def uploads(ask: Ask) -> Any:
    def blocks() -> Iterator[bytes]:
        yield from (b'{"model":"m",', b'"messages":[', b"]}")

    async def async_blocks() -> Any:
        for block in blocks():
            yield block

    upload = blocks if ask.way.sync else async_blocks
    first = await ask("echo", content=upload())
    second = await ask("echo", content=upload(), headers={"content-length": "27"})
    again = await failure(ask.way, lambda: ask.client.send(first.request))
    return first.content, first.request.headers.raw, second.content, again


async def redirects(ask: Ask) -> Any:
    hops = [
        told(await ask(f"redirect/{status}", follow_redirects=True)) for status in (301, 302, 303, 307, 308)
    ]
    stay = await ask("redirect/307")
    onwards = await ask.way.result(ask.client.send(stay.next_request))
    return [*hops, told(stay), told(onwards), await failure(ask.way, ask("loop", follow_redirects=True))]


async def cookies(ask: Ask) -> Any:
    first = told(await ask("cookie"))
    second = told(await ask("echo"))
    return first, second, dict(ask.client.cookies)


async def auth(ask: Ask) -> Any:
    class Flow(ask.way.library.Auth):
        requires_response_body = True

        def auth_flow(self, request: Any) -> Any:
            response = yield request
            request.headers["x-seen"] = str(len(response.content))
            yield request

    digest = await ask("digest", auth=ask.way.library.DigestAuth("user", "pass"))
    return (
        told(await ask("echo", auth=("user", "pass"))),
        (digest.status_code, digest.content, [hop.status_code for hop in digest.history]),
        told(await ask("echo", auth=Flow())),
    )


async def event_hooks(ask: Ask) -> Any:
    said: list[Any] = []
    way = ask.way

    def note(thing: Any) -> None:
        said.append((type(thing).__name__, thing.url, getattr(thing, "status_code", None)))

    async def note_async(thing: Any) -> None:
        note(thing)
        if hasattr(thing, "status_code"):
            said.append(len(await thing.aread()))

    def note_sync(thing: Any) -> None:
        note(thing)
        if hasattr(thing, "status_code"):
            said.append(len(thing.read()))

    def refuse(response: Any) -> None:
        response.raise_for_status()

    async def refuse_async(response: Any) -> None:
        response.raise_for_status()

    hook, no = (note_sync, refuse) if way.sync else (note_async, refuse_async)
    client = way.client(event_hooks={"request": [hook], "response": [hook, no]})
    said.append(told(await ask("echo", client)))
    said.append(await failure(way, ask("status/429", client)))
    await way.close(client)
    return said


async def errors(ask: Ask) -> Any:
    answer = await ask("status/404")
    way, timeout = ask.way, ask.way.library.Timeout(10, read=0.05)
    nowhere = Ask(way, "http://127.0.0.1:9", ask.llm, ask.client)
    strange = Ask(way, "ftp://127.0.0.1", ask.llm, ask.client)
    return [
        await failure(way, answer.raise_for_status),
        await failure(way, ask("hang", timeout=timeout)),
        (await failure(way, nowhere("echo")))[0],
        await failure(way, strange("echo")),
        await failure(way, ask("echo", headers={"x": "a\x00b"})),
    ]


async def streams(ask: Ask) -> Any:
    way, said = ask.way, []
    for read in ("bytes", "text", "lines", "raw"):
        response = await ask.open("lines")
        said.append(
            (response.is_closed, response.headers.raw, await failure(way, lambda r=response: r.content))
        )
        parts = getattr(response, ("iter_" if way.sync else "aiter_") + read)()
        got = list(parts) if way.sync else [part async for part in parts]
        said.append(b"".join(got) if isinstance(got[0], bytes) else "".join(got))
        said.append((response.is_closed, response.is_stream_consumed, response.num_bytes_downloaded))
        said.append(await failure(way, response.read if way.sync else response.aread))
    response = await ask.open("lines")
    parts = response.iter_bytes(5) if way.sync else response.aiter_bytes(5)
    said.append(list(parts) if way.sync else [part async for part in parts])
    early = await ask.open("gzip")
    await way.close(early)
    said.append((early.is_closed, await failure(way, early.read if way.sync else early.aread)))
    return said


async def traced(ask: Ask) -> Any:
    """What the network layer is told and tells through the request's extensions."""
    said: list[str] = []

    def trace(name: str, info: Any) -> None:
        said.append(name)

    async def trace_async(name: str, info: Any) -> None:
        said.append(name)

    own = {"trace": trace if ask.way.sync else trace_async, "sni_hostname": "x", "app": object()}
    answer = await ask("echo", extensions=own)
    assert answer.request.extensions["app"] is own["app"]
    return [name for name in said if "connect" not in name], sorted(answer.request.extensions)


async def own_requests(ask: Ask) -> Any:
    """Requests made by hand, sent again, and pickled."""
    library, way = ask.way.library, ask.way
    request = library.Request("POST", ask.url + ask.path("echo"), json=chat(), headers={"x-own": "1"})
    first = await way.result(ask.client.send(request))
    second = await way.result(ask.client.send(request))
    assert first.request is second.request is request
    copy = pickle.loads(pickle.dumps(first))
    return told(first), told(second), (copy.status_code, copy.content, copy.request.url, copy.request.content)


async def with_base_url(ask: Ask) -> Any:
    client = ask.way.client(
        base_url=ask.url + "/echo", headers={"x-client": "1"}, params={"v": "1"}, timeout=5
    )
    answer = await ask.way.result(client.post(OPENAI if ask.llm else "/things", json=chat()))
    await ask.way.close(client)
    return told(answer)


async def mocked(ask: Ask) -> Any:
    library = ask.way.library

    def answer(request: Any) -> Any:
        request.headers["x-inner"] = "seen by the app"
        return library.Response(
            200, headers={"x-mock": "1"}, json={"sent": request.content.decode("latin-1")}
        )

    client = ask.way.mock(answer)
    response = await ask("echo", client)
    return (
        response.json(),
        response.headers.raw,
        response.request.headers.raw,
        response.is_closed,
        response.extensions,
    )


async def apps(ask: Ask) -> Any:
    """Apps called directly, without a socket."""
    library = ask.way.library
    transport = library.WSGITransport(app=wsgi) if ask.way.sync else library.ASGITransport(app=app)
    client = ask.way.client(transport=transport)
    response = await ask("echo", client)
    await ask.way.close(client)
    return told(response)


SCENARIOS: tuple[Scenario, ...] = (
    answers,
    bodies,
    multipart,
    uploads,
    redirects,
    cookies,
    auth,
    event_hooks,
    errors,
    streams,
    traced,
    own_requests,
    with_base_url,
    mocked,
    apps,
)


@pytest.mark.parametrize("llm", [False, True], ids=["other", "llm"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_it_is_the_same_with_us_and_without(url: str, way: Way, scenario: Scenario, llm: bool) -> None:
    quota = Quota(limits=["$1000/month"], unknown_model={"input": 1, "output": 1})
    runs = []
    for instrumented in (False, True):
        if instrumented:
            quota.instrument()
        try:
            ask = Ask(way, url, llm, way.client())
            runs.append(await scenario(ask))
            await way.close(ask.client)
        finally:
            quota.uninstrument()
    bare, metered = runs
    assert metered == bare
    assert bool(records(quota)) == (llm and scenario is not multipart)
    assert not quota.stats.get("faults")
    quota.close()
