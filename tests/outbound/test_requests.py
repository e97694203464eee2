"""Sessions of requests are metered as the other libraries' clients are: voyageai's, Together's first ones."""

from __future__ import annotations

import asyncio
import gc
import gzip
import io
import json
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from quotaware import Quota
from quotaware.testing import Cut, FakeProvider, Hang, Redirect, Reset, Status
from tests.outbound.wire import CLAUDE, MODEL, OPENAI, chat, message, records
from tests.support import AuditedStore


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.trust_env = False
        yield made


def denying(**more: Any) -> Quota:
    quota = Quota(limits=["$0.000001/month"], **more)
    quota.instrument()
    return quota


# the hook


def test_sessions_made_before_and_after_are_metered(provider: FakeProvider) -> None:
    quota, before = Quota(limits=["$1000/month"]), requests.Session()
    quota.instrument()
    try:
        for made in (before, requests.Session(), requests):
            made.post(provider.url + OPENAI, json=chat())
            made.post(f"{provider.url}/v1/messages", json=message())
        left = [(record.model, record.usage.output, record.quality) for record in records(quota)]
        assert left == [(MODEL, 16, "exact"), (CLAUDE, 16, "exact")] * 3
        quota.uninstrument()
        before.post(provider.url + OPENAI, json=chat())
        assert (len(records(quota)), provider.requests) == (6, 7)
    finally:
        quota.close()


def test_uninstrument_leaves_the_class_as_it_was() -> None:
    before, path = dict(vars(HTTPAdapter)), list(sys.meta_path)
    quota = Quota(limits=["$1/day"])
    quota.instrument()
    assert dict(vars(HTTPAdapter)) != before
    quota.close()
    assert (dict(vars(HTTPAdapter)), sys.meta_path) == (before, path)


def test_it_is_not_imported_and_patched_when_the_app_imports_it() -> None:
    script = """
import sys
from quotaware import Quota
quota = Quota(limits=["$1/day"])
quota.instrument()
assert "requests" not in sys.modules
import requests
assert requests.adapters.HTTPAdapter.send.__module__ == "quotaware.outbound.requests"
quota.close()
assert requests.adapters.HTTPAdapter.send.__module__ == "requests.adapters"
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_adapter_of_the_apps_own_is_metered_too(
    provider: FakeProvider, quota: Quota, session: requests.Session
) -> None:
    class Own(HTTPAdapter):
        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            request.headers["x-own"] = "yes"
            return super().send(request, *args, **options)

    session.mount("http://", Own())
    session.post(provider.url + OPENAI, json=chat())
    assert provider.calls[0].headers["x-own"] == "yes"
    assert [record.quality for record in records(quota)] == ["exact"]


def test_a_sync_call_on_the_thread_of_a_running_loop_works(
    provider: FakeProvider, quota: Quota, session: requests.Session
) -> None:
    async def main() -> int:
        return session.post(provider.url + OPENAI, json=chat()).status_code

    assert asyncio.run(main()) == 200
    assert [record.quality for record in records(quota)] == ["exact"]


@pytest.mark.parametrize("hooked", [False, True], ids=["alone", "instrumented too"])
def test_one_session_is_metered_and_no_other(
    provider: FakeProvider, session: requests.Session, hooked: bool
) -> None:
    class Own(HTTPAdapter):
        def send(self, *args: Any, **options: Any) -> Any:
            return super().send(*args, **options)

    session.mount("http://", Own())
    quota = Quota(limits=["$1000/month"])
    if hooked:
        quota.instrument()
    try:
        assert quota.metered(session) is session
        for made in (session, session, requests.Session()):
            made.post(provider.url + OPENAI, json=chat())
        assert len(records(quota)) == (3 if hooked else 2)
    finally:
        quota.close()


# denials


@pytest.mark.parametrize("stream", [False, True])
def test_a_denied_call_is_an_ordinary_answer(
    provider: FakeProvider, session: requests.Session, stream: bool
) -> None:
    quota = denying()
    seen: list[Any] = []
    session.hooks["response"].append(lambda answer, **_: seen.append(answer.status_code))
    try:
        answer = session.post(provider.url + OPENAI, json=chat(stream=stream), stream=stream)
        assert (answer.status_code, answer.reason, seen) == (429, "Too Many Requests", [429])
        assert answer.json()["error"]["code"] == "budget_exceeded"
        assert (answer.request.method, answer.url) == ("POST", provider.url + OPENAI)
        assert answer.elapsed.total_seconds() >= 0
        with pytest.raises(requests.HTTPError, match="429"):
            answer.raise_for_status()
        assert (provider.requests, quota.stats["denied"]) == (0, 1)
    finally:
        quota.close()


def test_urllib3s_own_retries_do_not_repeat_a_denial(
    provider: FakeProvider, session: requests.Session
) -> None:
    from urllib3.util import Retry

    quota = denying()
    session.mount("http://", HTTPAdapter(max_retries=Retry(3, status_forcelist=[429], allowed_methods=None)))
    try:
        assert session.post(provider.url + OPENAI, json=chat()).status_code == 429
        assert (provider.requests, quota.stats["denied"]) == (0, 1)
    finally:
        quota.close()


# what goes out


TEXT = json.dumps(chat(), indent=1)
BODIES: dict[str, Callable[[], Any]] = {
    "text": lambda: TEXT,
    "bytes": lambda: TEXT.encode(),
    "file": lambda: io.BytesIO(TEXT.encode()),
    "pipe": lambda: Pipe(TEXT.encode()),
    "generator": lambda: (piece for piece in (TEXT[:9].encode(), TEXT[9:].encode())),
}


class Pipe:
    """A file that can be read once, and says how long it is."""

    def __init__(self, data: bytes) -> None:
        self._file, self.len = io.BytesIO(data), len(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


@pytest.mark.parametrize("redirected", [False, True], ids=["", "redirected"])
@pytest.mark.parametrize("kind", BODIES)
def test_whatever_a_body_is_made_of_it_is_judged_and_goes_out_as_it_came(
    provider: FakeProvider, books: AuditedStore, session: requests.Session, kind: str, redirected: bool
) -> None:
    quota = Quota(books, limits=["$1000/month"], hosts={"127.0.0.1": "openai"}, clock=books.clock)
    quota.instrument()
    if redirected:
        provider.fail(Redirect(provider.url + OPENAI, 307))
    try:
        answer = session.post(provider.url + OPENAI, data=BODIES[kind]())
        assert answer.json()["usage"]["completion_tokens"] == 16
        hops = 2 if redirected else 1
        assert [seen.raw for seen in provider.calls] == [TEXT.encode()] * hops
        lengths = {"content-length" in seen.headers for seen in provider.calls}
        assert lengths == {kind != "generator"}
        assert [record.status for record in records(quota)] == [307, 200][-hops:]
        assert quota.flush()
        books.check()
    finally:
        quota.close()


@pytest.mark.parametrize("kind", ["file", "generator"])
def test_an_upload_that_is_too_long_is_refused_at_a_provider_and_passes_elsewhere(
    provider: FakeProvider, session: requests.Session, kind: str
) -> None:
    size = 33 * 1024 * 1024

    def upload() -> Any:
        return io.BytesIO(bytes(size)) if kind == "file" else (bytes(2**20) for _ in range(33))

    for hosts, status, requests_made in (({"127.0.0.1": "openai"}, 413, 0), ({}, 400, 1)):
        provider.reset()
        quota = Quota(limits=["$1000/month"], hosts=hosts)
        quota.instrument()
        try:
            assert session.post(provider.url + OPENAI, data=upload()).status_code == status
            assert provider.requests == requests_made
            assert [len(seen.raw) for seen in provider.calls] == [size] * requests_made
            assert records(quota) == []
        finally:
            quota.close()


def test_a_cap_is_written_where_money_is_tight(provider: FakeProvider, session: requests.Session) -> None:
    """Into what goes out; the app's own request stays as it was, and the answer names that."""
    quota = Quota(limits=["$0.05/day"])
    quota.instrument()
    try:
        asked = session.prepare_request(requests.Request("POST", provider.url + OPENAI, json=chat()))
        body, length = asked.body, asked.headers["content-length"]
        answer = session.send(asked)
        assert answer.status_code == 200
        assert provider.calls[0].cap is not None
        assert provider.calls[0].headers["content-length"] == str(len(provider.calls[0].raw))
        assert (asked.body, asked.headers["content-length"]) == (body, length)
        assert answer.request is asked
    finally:
        quota.close()


def test_a_compressed_call_is_judged_and_goes_out_as_it_came(
    provider: FakeProvider, quota: Quota, session: requests.Session
) -> None:
    body = gzip.compress(json.dumps(chat(), separators=(",", ":")).encode())
    session.post(provider.url + OPENAI, data=body, headers={"content-encoding": b"gzip"})
    assert provider.calls[0].raw == body
    assert [record.model for record in records(quota)] == [MODEL]


def test_what_is_no_call_is_not_touched(provider: FakeProvider, session: requests.Session) -> None:
    quota = denying()
    upload = io.BytesIO(b"{}")
    try:
        for path, data in (
            ("/elsewhere", b"{}"),
            (OPENAI, b"no json"),
            (OPENAI, b'{"a": 1}'),
            ("/x", upload),
        ):
            assert session.post(provider.url + path, data=data).status_code in {400, 404}
        assert session.get(f"{provider.url}/v1/models").status_code == 200
        assert (provider.requests, quota.stats) == (5, {})
    finally:
        quota.close()


def test_the_app_may_send_a_request_again(
    provider: FakeProvider, quota: Quota, session: requests.Session
) -> None:
    asked = session.prepare_request(requests.Request("POST", provider.url + OPENAI, json=chat(stream=True)))
    for _ in range(2):
        assert b'"choices":[]' not in session.send(asked).content
    assert [record.usage.output for record in records(quota)] == [16, 16]


# answers


READS: dict[str, Callable[[requests.Response], bytes]] = {
    "content": lambda answer: answer.content,
    "chunks": lambda answer: b"".join(answer.iter_content(9)),
    "pieces": lambda answer: b"".join(answer.iter_content(None)),
    "lines": lambda answer: b"\n".join(answer.iter_lines()),
    "raw": lambda answer: answer.raw.read(decode_content=True),
    "raw in parts": lambda answer: b"".join(iter(lambda: answer.raw.read(7, decode_content=True), b"")),
    "raw, at once": lambda answer: b"".join(iter(lambda: answer.raw.read1(7, decode_content=True), b"")),
    "raw stream": lambda answer: b"".join(answer.raw.stream(5, decode_content=True)),
    "undecoded": lambda answer: answer.raw.read(),
    "undecoded in parts": lambda answer: b"".join(iter(lambda: answer.raw.read(7), b"")),
    "undecoded, buffered": lambda answer: io.BufferedReader(answer.raw).read(),
    "raw lines": lambda answer: b"".join(answer.raw),
}
UNDECODED = ("undecoded", "undecoded in parts", "undecoded, buffered")


@pytest.mark.parametrize("encoding", [None, "gzip"])
@pytest.mark.parametrize(
    "asked", [{}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}]
)
@pytest.mark.parametrize("how", READS)
def test_however_it_is_read_it_is_the_same_and_metered(
    provider: FakeProvider, session: requests.Session, how: str, asked: Any, encoding: Any
) -> None:
    """Also where the usage that only we asked for is taken out again: so read, a stream is what it would have been."""
    provider.encoding = encoding
    quota, seen = Quota(limits=["$1000/month"]), []
    for instrumented in (False, True):
        provider.seed = 0
        provider.reset()
        if instrumented:
            quota.instrument()
        with session.post(provider.url + OPENAI, json=chat(**asked), stream=True) as answer:
            seen.append(READS[how](answer))
    assert [(record.usage.output, record.quality) for record in records(quota)] == [(16, "exact")]
    quota.close()
    bare, ours = seen
    if encoding and how in UNDECODED:  # what the wire had, with the chunk that we asked for
        bare, ours = gzip.decompress(bare), gzip.decompress(ours)
        if asked == {"stream": True}:
            ours = re.sub(rb'data: [^\n]*"choices":\[\][^\n]*\n\n', b"", ours)
    assert _same(ours) == _same(bare)


def _same(text: bytes) -> bytes:
    """Without what differs from call to call, and the ends of lines where these are not kept."""
    return re.sub(rb'"created":\d+|,"usage":null|\n', b"", text)


@pytest.mark.parametrize("end", ["broken", "closed", "forgotten"])
def test_a_stream_that_is_not_read_to_its_end_is_charged_what_was_seen(
    provider: FakeProvider, quota: Quota, session: requests.Session, end: str
) -> None:
    provider.fail(Cut(after_events=6) if end == "broken" else Hang(after_events=6))
    answer = session.post(provider.url + OPENAI, json=chat(stream=True), stream=True)
    if end == "broken":
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(answer.iter_lines())
    else:
        pieces = answer.iter_content(None)
        while b"tok" not in next(pieces):
            pass
        if end == "closed":
            answer.close()
        del answer, pieces
        gc.collect()
    (record,) = records(quota)
    assert record.quality == "partial"
    assert record.usage.output >= 1


@pytest.mark.filterwarnings("ignore:(?s).*socket:pytest.PytestUnraisableExceptionWarning")
def test_errors_of_the_network_are_the_apps_and_charged_where_they_can_have_cost(
    provider: FakeProvider, quota: Quota, session: requests.Session
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        with pytest.raises(requests.ConnectionError):
            session.post(f"http://127.0.0.1:{port}{OPENAI}", json=chat())
    for fault, error in ((Reset(), requests.ConnectionError), (Hang(), requests.ReadTimeout)):
        provider.fail(fault)
        with pytest.raises(error):
            session.post(provider.url + OPENAI, json=chat(), timeout=0.2)
    left = [(record.quality, record.usage.input > 0) for record in records(quota)]
    assert left == [("exact", False), ("partial", True), ("partial", True)]


def test_an_error_of_the_providers_costs_nothing(
    provider: FakeProvider, quota: Quota, session: requests.Session
) -> None:
    provider.fail(Status(500), Status(429))
    assert [session.post(provider.url + OPENAI, json=chat()).status_code for _ in range(3)] == [500, 429, 200]
    assert [(record.status, record.cost > 0) for record in records(quota)] == [
        (500, False),
        (429, False),
        (200, True),
    ]


# ordinary use


def hooked(answer: requests.Response, **_: Any) -> None:
    answer.headers["x-hooked"] = str(answer.status_code)


def test_a_session_keeps_its_ways(provider: FakeProvider, session: requests.Session) -> None:
    """Logins, cookies, hooks, the history of redirects, pickling, the answer's file: the same with us and without."""

    def tell(answer: requests.Response) -> Any:
        again = pickle.loads(pickle.dumps(answer))
        return (
            [hop.status_code for hop in answer.history],
            answer.headers.keys(),
            answer.ok,
            answer.raw.status,
            answer.raw.closed,
            answer.raw.readable(),
            answer.raw.tell() > 0,
            again.json()["choices"],
            answer.request.headers["authorization"],
            answer.headers["x-hooked"],
            answer.connection is session.get_adapter(provider.url),
        )

    def use() -> Any:
        provider.fail(Redirect(provider.url + OPENAI, 308))
        session.cookies.set("a", "b")
        answer = session.post(
            provider.url + OPENAI, json=chat(), auth=("me", "secret"), hooks={"response": hooked}
        )
        return tell(answer), [call.headers["cookie"] for call in provider.calls]

    bare = use()
    provider.reset()
    quota = Quota(limits=["$1000/month"])
    quota.instrument()
    try:
        assert use() == bare
        assert [record.status for record in records(quota)] == [308, 200]
    finally:
        quota.close()
