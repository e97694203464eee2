"""Ordinary use of aiohttp is the same with us and without, whether or not it is an LLM call.

Each scenario is run twice, on a bare session and on an instrumented one, and must tell the same.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from quotaware import Quota
from quotaware.testing.server import serve
from tests.outbound.test_transparency import app
from tests.outbound.wire import OPENAI, chat, records

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(app) as url:
        yield url


@dataclass
class Ask:
    """One kind of traffic: what is asked of a route."""

    url: str
    llm: bool
    session: ClientSession

    def to(self, what: str) -> str:
        return f"{self.url}/{what}{OPENAI if self.llm else '/things'}"

    def __call__(self, what: str, session: ClientSession | None = None, **more: Any) -> Any:
        body = {} if more.keys() & {"data", "json"} else {"json": chat()}
        return (session or self.session).post(self.to(what), **(body | more))


async def told(asked: Any) -> dict[str, Any]:
    """Everything that an app can see of an answer."""
    async with asked as response:
        head = {
            "status": (response.status, response.reason, response.version, response.ok, response.method),
            "headers": list(response.headers.items()),
            "raw": response.raw_headers,
            "url": (response.url, response.real_url, response.host),
            "history": [(hop.status, hop.url, hop.headers["location"]) for hop in response.history],
            "cookies": response.cookies.output(),
            "type": (response.content_type, response.charset, response.content_disposition),
            "links": response.links,
            "request": (response.request_info.method, sorted(response.request_info.headers.items())),
            "repr": repr(response),
        }
        body = await response.read()
        return head | {
            "body": body,
            "again": await response.text(errors="replace"),
            "closed": (response.closed, response.connection is None, response.content.at_eof()),
            "bytes": body
            and (response.content.total_bytes, getattr(response.content, "total_raw_bytes", None)),
        }


async def failure(asked: Awaitable[Any]) -> Any:
    """The error that this raises."""
    try:
        await asked
    except Exception as error:
        return type(error).__name__, getattr(error, "status", None), getattr(error, "message", str(error))
    return "nothing raised"


Scenario = Callable[[Ask], Awaitable[Any]]


async def answers(ask: Ask) -> Any:
    return [
        await told(ask(what))
        for what in ("echo", "gzip", "lines", "cookie", "status/204", "status/418", "status/500")
    ]


async def bodies(ask: Ask) -> Any:
    async def upload() -> AsyncIterator[bytes]:
        for block in (b'{"model":"m",', b'"messages":[', b"]}"):
            yield block

    text = json.dumps(chat(), indent=1)
    given: list[dict[str, Any]] = [
        {"data": text},
        {"data": text.encode(), "headers": {"content-type": "x/y"}},
        {"data": io.BytesIO(text.encode())},
        {"data": io.StringIO(text)},
        {"data": {"a": "1", "b": "2"}},
        {"data": upload()},
        {"data": upload(), "headers": {"content-length": "27"}},
        {"data": text, "compress": True},
        {"data": text, "chunked": True},
        {"data": text, "skip_auto_headers": ["content-type", "user-agent"]},
        {"data": text, "expect100": True},
        {"data": b""},
        {"json": chat(), "params": {"q": "ä b"}, "headers": [("x-two", "1"), ("x-two", "2")]},
    ]
    return [await told(ask("echo", **one)) for one in given]


async def multipart(ask: Ask) -> Any:
    form = aiohttp.FormData({"model": "m"})
    form.add_field("file", b"abc", filename="a.txt", content_type="text/plain")
    writer = form()
    writer._boundary = b"fixed"
    writer.headers["content-type"] = "multipart/form-data; boundary=fixed"
    return await told(ask("echo", data=writer))


async def redirects(ask: Ask) -> Any:
    hops = [await told(ask(f"redirect/{status}")) for status in (301, 302, 303, 307, 308)]
    stays = await told(ask("redirect/307", allow_redirects=False))
    upload = await told(ask("redirect/307", data=io.BytesIO(json.dumps(chat()).encode())))
    return [*hops, stays, upload, await failure(ask("loop", max_redirects=3))]


async def cookies(ask: Ask) -> Any:
    jar = aiohttp.CookieJar(unsafe=True)
    async with ClientSession(connector=TCPConnector(ssl=False), cookie_jar=jar) as session:
        first = await told(ask("cookie", session))
        second = await told(ask("echo", session, cookies={"c": "3"}))
    return first, second, sorted((cookie.key, cookie.value) for cookie in jar)


async def auth(ask: Ask) -> Any:
    given = {"authorization": "Basic " + base64.b64encode(b"user:pass").decode()}
    digest = aiohttp.DigestAuthMiddleware("user", "pass")
    async with ask("digest", middlewares=[digest]) as response:
        answer = response.status, await response.read()
    return await told(ask("echo", headers=given)), answer


async def middlewares(ask: Ask) -> Any:
    said: list[Any] = []

    def noting(name: str) -> Any:
        async def note(request: aiohttp.ClientRequest, handler: Any) -> Any:
            said.append((name, request.method, request.url, type(request.body).__name__))
            request.headers["x-" + name] = "1"
            response = await handler(request)
            said.append((name, response.status, type(request.body).__name__))
            return response

        return note

    async def other(request: aiohttp.ClientRequest, handler: Any) -> Any:
        await request.update_body(json.dumps(chat(max_tokens=5)).encode())
        return await handler(request)

    connector = TCPConnector(ssl=False)
    async with ClientSession(connector=connector, middlewares=(noting("a"), noting("b"))) as session:
        said.append(await told(ask("echo", session)))
        said.append(await told(ask("echo", session, middlewares=[noting("own"), other])))
        said.append(await told(ask("echo", session, middlewares=[])))
    return said


async def traces(ask: Ask) -> Any:
    said: list[Any] = []

    def note(name: str) -> Any:
        async def noted(session: Any, context: Any, params: Any) -> None:
            chunk = getattr(params, "chunk", None)
            said.append((name, params.url, params.method, chunk))

        return noted

    trace = aiohttp.TraceConfig()
    for signal in ("start", "end", "redirect", "exception", "headers_sent", "chunk_sent"):
        getattr(trace, f"on_request_{signal}").append(note(signal))
    trace.on_response_chunk_received.append(note("received"))
    async with ClientSession(connector=TCPConnector(ssl=False), trace_configs=[trace]) as session:
        said.append(await told(ask("echo", session)))
        said.append(await told(ask("redirect/307", session)))
        said.append(await failure(ask("status/500", session, raise_for_status=True)))
    return said


async def sessions(ask: Ask) -> Any:
    """What a session says once for all its requests."""

    class Response(aiohttp.ClientResponse):
        own = True

    async def refuse(response: aiohttp.ClientResponse) -> None:
        raise RuntimeError(f"{response.status} {response.content_type}")

    options: dict[str, Any] = {
        "base_url": f"{ask.url}/echo/",
        "headers": {"x-session": "1"},
        "json_serialize": lambda body: json.dumps(body, indent=2),
        "response_class": Response,
        "timeout": ClientTimeout(total=5),
        "raise_for_status": True,
        "auto_decompress": False,
        "read_bufsize": 64,
    }
    async with ClientSession(connector=TCPConnector(ssl=False), **options) as session:
        path = OPENAI.lstrip("/") if ask.llm else "things"
        one = await told(session.post(path, json=chat()))
        zipped = await told(ask("gzip", session))
        typed = await session.post(path, json=chat())
        own = type(typed).__name__, typed.own, await typed.json()
        refused = await failure(ask("status/404", session, raise_for_status=refuse))
        return one, zipped, own, refused, await failure(ask("status/404", session))


async def errors(ask: Ask) -> Any:
    nowhere = Ask("http://127.0.0.1:9", ask.llm, ask.session)
    async with ask("echo") as response:
        wrong = await failure(response.json(content_type="text/x"))
    closed = ClientSession()
    await closed.close()
    return [
        wrong,
        await failure(ask("hang", timeout=ClientTimeout(total=0.05))),
        await failure(ask("hang", timeout=ClientTimeout(sock_read=0.05))),
        (await failure(nowhere("echo")))[0],
        await failure(Ask("ftp://127.0.0.1", ask.llm, ask.session)("echo")),
        await failure(ask("echo", headers={"x": "a\nb"})),
        await failure(ask("echo", data=b"x", json={})),
        await failure(ask("echo", closed)),
    ]


READS: dict[str, Callable[[aiohttp.StreamReader], Awaitable[bytes]]] = {
    "any": lambda content: joined(content.iter_any()),
    "chunks": lambda content: joined(piece async for piece, _ in content.iter_chunks()),
    "chunked": lambda content: joined(content.iter_chunked(3)),
    "lines": lambda content: joined(content),
    "line": lambda content: content.readline(),
    "until": lambda content: content.readuntil(b"e"),
    "exactly": lambda content: content.readexactly(5),
    "all": lambda content: content.read(),
}


async def joined(pieces: AsyncIterator[bytes] | Any) -> bytes:
    return b"".join([piece async for piece in pieces])


async def streams(ask: Ask) -> Any:
    said: list[Any] = []
    for how, read in READS.items():
        async with ask("lines") as response:
            said.append((how, response.content.at_eof(), response.content.exception()))
            said.append(await read(response.content))
            if how == "all":
                said.append((response.closed, response.content.at_eof(), await response.content.read()))
        said.append((response.closed, await failure(response.read())))
    early = await ask("gzip")
    early.close()
    return [*said, early.closed, await failure(early.read()), await failure(early.content.read())]


async def many(ask: Ask) -> Any:
    """Connections are kept and taken again, as many as are allowed."""
    connector = TCPConnector(ssl=False, limit=2)
    async with ClientSession(connector=connector) as session:
        got = await asyncio.gather(*(told(ask("echo", session)) for _ in range(6)))
        left = len(connector._acquired), sum(map(len, connector._conns.values()))
    return got, left


async def other_methods(ask: Ask) -> Any:
    methods = ("GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
    return [await told(ask.session.request(method, ask.to("echo"))) for method in methods]


async def proxied(ask: Ask) -> Any:
    """The server plays the proxy: it is asked for the whole URL of a host that does not exist."""
    path = OPENAI if ask.llm else "/things"
    asked = ask.session.post(f"http://llm.invalid/echo{path}", json=chat(), proxy=ask.url)
    async with asked as response:
        return response.status, response.url


SCENARIOS: tuple[Scenario, ...] = (
    answers,
    bodies,
    multipart,
    redirects,
    cookies,
    auth,
    middlewares,
    traces,
    sessions,
    errors,
    streams,
    many,
    other_methods,
    proxied,
)


@pytest.mark.parametrize("llm", [False, True], ids=["other", "llm"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_it_is_the_same_with_us_and_without(url: str, scenario: Scenario, llm: bool) -> None:
    quota = Quota(limits=["$1000/month"], unknown_model={"input": 1, "output": 1})
    runs = []
    for instrumented in (False, True):
        if instrumented:
            quota.instrument()
        try:
            async with ClientSession(connector=TCPConnector(ssl=False)) as session:
                runs.append(await scenario(Ask(url, llm, session)))
        finally:
            quota.uninstrument()
    bare, metered = runs
    assert metered == bare
    assert bool(records(quota)) == (llm and scenario not in {multipart, other_methods})
    assert not quota.stats.get("faults")
    quota.close()
