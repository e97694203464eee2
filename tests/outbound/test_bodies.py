"""Which requests are calls: by host, path and body; and what becomes of bodies that cannot be judged."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from quotaware import Quota
from quotaware.errors import ConfigurationError
from quotaware.outbound.meter import LARGE, MAX_BODY
from tests.outbound.wire import (
    ANTHROPIC,
    MODEL,
    ON_ASYNCIO,
    OPENAI,
    Way,
    chat,
    completion,
    message,
    records,
)

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("way", ON_ASYNCIO, ids=str)]
KNOWN, STRANGER = "https://api.openai.com", "https://llm.example:8443"
EMBEDDINGS = "/v1/embeddings"


class Wire:
    """A client that answers every request well and keeps what arrived."""

    def __init__(self, way: Way) -> None:
        self.arrived: list[bytes] = []
        self._way = way
        self.client = way.mock(self._answer)

    def _answer(self, request: Any) -> Any:
        self.arrived.append(request.content)
        return self._way.library.Response(200, json=completion())

    async def send(self, url: str, content: Any, **headers: str) -> Any:
        headers = {"content-type": "application/json", **headers}
        return await self._way.post(self.client, url, content=content, headers=headers)


def raw(body: Any) -> bytes:
    return json.dumps(body).encode()


CALLS = {
    "openai chat": (KNOWN + OPENAI, chat(), "openai"),
    "anthropic messages": ("https://api.anthropic.com" + ANTHROPIC, message(), "anthropic"),
    "a compatible provider": ("https://api.deepseek.com" + OPENAI, chat(model="deepseek-chat"), "deepseek"),
    "azure": (
        "https://me.openai.azure.com/openai/deployments/d/chat/completions?api-version=1",
        chat(),
        "azure",
    ),
    "a stranger": (STRANGER + OPENAI, chat(), None),
    "a stranger below a prefix": (STRANGER + "/proxy/x/v1/chat/completions/", chat(), None),
    "a stranger's messages": (STRANGER + ANTHROPIC, message(), None),
    "a stranger's embeddings": (
        STRANGER + EMBEDDINGS,
        {"model": "text-embedding-3-small", "input": "a"},
        None,
    ),
}


@pytest.mark.parametrize("call", CALLS)
async def test_calls_are_known_by_host_or_by_path_and_body(quota: Quota, way: Way, call: str) -> None:
    """On a host that nobody knows: a known suffix, a string `model` and that format's required field."""
    url, body, provider = CALLS[call]
    wire = Wire(way)
    await wire.send(url, raw(body))
    (record,) = records(quota)
    assert (record.provider, record.requested_model) == (provider, body["model"])
    assert wire.arrived == [raw(body)]


NO_CALLS = {
    "another path": (STRANGER + "/v1/things", raw(chat())),
    "no model": (STRANGER + OPENAI, raw({"messages": []})),
    "a model that is no string": (STRANGER + OPENAI, raw(chat(model=5))),
    "an empty model": (STRANGER + OPENAI, raw(chat(model=""))),
    "no messages": (STRANGER + ANTHROPIC, raw({"model": "m", "text": "hello"})),
    "messages that are no list": (STRANGER + ANTHROPIC, raw({"model": "m", "messages": "hello"})),
    "no input": (STRANGER + EMBEDDINGS, raw({"model": "m"})),
    "a list": (STRANGER + OPENAI, raw([chat()])),
    "no JSON": (STRANGER + OPENAI, b"model=gpt-4.1&messages=hi"),
    "half a JSON object": (STRANGER + OPENAI, raw(chat())[:-1]),
    "not even UTF-8": (STRANGER + OPENAI, b"\xff\xfe{}"),
    "nothing": (STRANGER + OPENAI, b""),
    "NaN where nothing else is a call": (STRANGER + ANTHROPIC, b'{"to": "bob", "score": NaN}'),
    "doubles where nothing else is a call": (STRANGER + ANTHROPIC, b'{"input": 1, "input": 2}'),
    "nested too deeply to be read": (STRANGER + OPENAI, b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "gzip": (STRANGER + OPENAI, gzip.compress(raw(chat()))),
    "a host that is never a call": ("https://chat.example" + OPENAI, raw(chat())),
}


@pytest.mark.parametrize("case", NO_CALLS)
async def test_anything_else_passes_untouched(way: Way, case: str) -> None:
    """No record, no check, no byte changed; not even where nobody may make a call."""
    url, body = NO_CALLS[case]
    quota, wire = Quota(unattributed="deny", hosts={"chat.example": None}), Wire(way)
    quota.instrument()
    try:
        assert (await wire.send(url, body)).status_code == 200
        assert wire.arrived == [body]
        assert records(quota) == []
        assert not quota.stats.get("faults")
    finally:
        quota.close()


async def test_only_a_post_is_a_call(quota: Quota, way: Way) -> None:
    wire = Wire(way)
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
        for host in (KNOWN, STRANGER):
            await way.result(wire.client.request(method, host + OPENAI, json=chat()))
    assert records(quota) == []
    await way.result(wire.client.request("post", KNOWN + OPENAI, json=chat()))
    assert len(records(quota)) == 1


async def test_hosts_says_what_a_host_speaks(way: Way) -> None:
    """Whatever its port and the letters it is written in; every POST there is a call then, as at a provider."""
    quota = Quota(limits=["$1/day"], hosts={"LLM.Internal": "openai", "api.openai.com": None})
    wire = Wire(way)
    quota.instrument()
    try:
        await wire.send("http://llm.internal:8080" + OPENAI, raw(chat()))
        await wire.send(KNOWN + OPENAI, raw(chat()))
        denied = await wire.send("http://llm.internal:8080/v1/else", raw({}))
        assert [(record.provider, record.model) for record in records(quota)] == [("openai", MODEL)]
        assert (denied.status_code, denied.json()["error"]["code"]) == (403, "price_unknown")
    finally:
        quota.close()


async def test_hosts_names_what_it_does_not_know(way: Way) -> None:
    with pytest.raises(
        ConfigurationError, match=r"'llm\.internal' is given to 'opnai'; known are None, anthropic"
    ):
        Quota(hosts={"llm.internal": "opnai"})


UNREADABLE = {
    "no JSON": (b"hello", 403, "model_ambiguous"),
    "half of it": (raw(chat())[:-1], 403, "model_ambiguous"),
    "nothing": (b"", 403, "model_ambiguous"),
    "a list": (b"[]", 403, "model_ambiguous"),
    "gzip": (gzip.compress(raw(chat())), 403, "model_ambiguous"),
    "no model": (raw({"messages": []}), 403, "model_ambiguous"),
    "a model that is a number": (raw(chat(model=4.1)), 403, "model_ambiguous"),
    "a list of models": (raw(chat(model=["a", "b"])), 403, "model_ambiguous"),
    "two models": (b'{"model":"gpt-4.1","messages":[],"model":"o3"}', 403, "model_ambiguous"),
    "another Model": (b'{"model":"gpt-4.1","messages":[],"Model":"o3"}', 403, "model_ambiguous"),
    "two caps": (b'{"model":"gpt-4.1","messages":[],"max_tokens":1,"max_tokens":9}', 422, "body_unreadable"),
    "NaN": (b'{"model":"gpt-4.1","messages":[],"temperature":NaN}', 422, "body_unreadable"),
    "depth": (
        b'{"model":"gpt-4.1","messages":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        403,
        "model_ambiguous",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
async def test_a_body_that_cannot_be_judged_is_refused_at_a_provider(way: Way, case: str) -> None:
    """S8: two readers must not come to different answers. It never reaches the wire; the error says what is wrong."""
    body, status, code = UNREADABLE[case]
    quota, wire = Quota(limits=["$1/day"]), Wire(way)
    quota.instrument()
    try:
        refused = await wire.send(KNOWN + OPENAI, body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
        assert refused.json()["error"]["message"].startswith("This call cannot be judged: ")
        assert refused.headers["x-should-retry"] == "false"
        assert (wire.arrived, records(quota)) == ([], [])
        (denied,) = quota.blocking.usage.denied(organization="org_app", by=("code", "provider", "model"))
        assert denied.by == {"code": code, "provider": "openai", "model": None}
        assert denied.calls == quota.stats["denied"] == 1
    finally:
        quota.close()


@pytest.mark.parametrize("case", ["two models", "NaN", "two caps"])
async def test_so_is_one_at_a_stranger_that_would_take_it_for_a_call(way: Way, case: str) -> None:
    body, status, code = UNREADABLE[case]
    quota, wire = Quota(limits=["$1/day"]), Wire(way)
    quota.instrument()
    try:
        refused = await wire.send(STRANGER + OPENAI, body)
        assert (refused.status_code, refused.json()["error"]["code"], wire.arrived) == (status, code, [])
    finally:
        quota.close()


async def test_in_shadow_such_bodies_pass(way: Way) -> None:
    quota, wire = Quota(limits=["$1/day"], shadow=True), Wire(way)
    quota.instrument()
    try:
        for body, _, _ in UNREADABLE.values():
            assert (await wire.send(KNOWN + OPENAI, body)).status_code == 200
        assert wire.arrived == [body for body, _, _ in UNREADABLE.values()]
        assert (await wire.send(KNOWN + OPENAI, b" " * (MAX_BODY + 1))).status_code == 200
    finally:
        quota.close()


async def test_an_unknown_path_at_a_provider_has_no_price(way: Way) -> None:
    """S10: under a cost limit what may be billed is denied; without one it passes and is recorded; what is known to be
    free passes in any case.
    """
    limited, free, wire = Quota(limits=["$1/day"]), Quota(limits=["9 requests/day"]), Wire(way)
    url, client = KNOWN + "/v1/fine_tuning/jobs", wire.client
    limited.instrument()
    try:
        refused = await wire.send(url, b'{"model":"gpt-4.1"}')
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "price_unknown")
        assert "Quota(hosts=" in refused.json()["error"]["message"]
        counted = await wire.send(KNOWN + "/v1/responses/input_tokens", b'{"model":"gpt-4.1","input":"a"}')
        assert (counted.status_code, len(wire.arrived)) == (200, 1)
        with free.acting_as(end_user="u"):
            assert (await wire.send(url, b'{"model":"gpt-4.1"}')).status_code == 200
            files = {"file": ("a.jsonl", b"{}", "application/json")}
            uploaded = await way.result(client.post(KNOWN + "/v1/files", files=files))
            assert uploaded.status_code == 200
        left = [(r.operation, r.cost, r.flags) for r in records(free)]
        assert left == [("unknown", 0, {"unpriced"}), ("files", 0, set())]
    finally:
        limited.close()
        free.close()


# size


def blocks(size: int) -> Iterator[bytes]:
    yield raw(chat())[:-1]
    for _ in range(size >> 16):
        yield b" " * 65_536
    yield b"}"


async def async_blocks(size: int) -> AsyncIterator[bytes]:
    for block in blocks(size):
        yield block


def upload(way: Way, size: int) -> Any:
    return blocks(size) if way.sync else async_blocks(size)


async def test_a_body_of_100_mb_is_refused_at_a_provider_and_passes_elsewhere(quota: Quota, way: Way) -> None:
    """A clear error where it would have to be judged; nothing of it is copied."""
    body, seen = b" " * 100_000_000, []

    def answer(request: Any) -> Any:
        seen.append(len(request.content))
        return way.library.Response(200, json=completion())

    client = way.mock(answer)
    tracemalloc.start()
    try:
        refused = await way.post(client, KNOWN + OPENAI, content=body)
        passed = await way.post(client, STRANGER + OPENAI, content=body)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused.status_code == 413
    error = refused.json()["error"]
    assert (error["code"], error["message"]) == (
        "body_too_large",
        "The request body of 100000000 bytes is longer than the 33554432 that can be metered",
    )
    assert (passed.status_code, seen) == (200, [100_000_000])
    assert most < 16 << 20
    assert quota.stats["unread"] == 1
    assert records(quota) == []


async def test_an_upload_that_does_not_say_its_size_is_read_no_further_than_that(
    quota: Quota, way: Way
) -> None:
    wire = Wire(way)
    tracemalloc.start()
    try:
        refused = await wire.send(KNOWN + OPENAI, upload(way, 100_000_000))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (refused.status_code, wire.arrived) == (413, [])
    assert most < 2 * MAX_BODY


async def test_an_upload_from_a_generator_is_a_call_at_a_provider(quota: Quota, way: Way) -> None:
    """What arrives is what the generator gave. A stranger's is not looked at: that would change how it is sent."""
    wire = Wire(way)
    assert (await wire.send(KNOWN + OPENAI, upload(way, 0))).status_code == 200
    assert (await wire.send(STRANGER + OPENAI, upload(way, 0))).status_code == 200
    assert wire.arrived == [raw(chat())] * 2
    assert [record.provider for record in records(quota)] == ["openai"]


async def test_a_large_body_is_judged_all_the_same(quota: Quota, way: Way) -> None:
    """Above what a loop should wait for it is read in a thread."""
    wire = Wire(way)
    body = chat(messages=[{"role": "user", "content": "word " * LARGE}])
    assert (await wire.send(KNOWN + OPENAI, raw(body))).status_code == 200
    broken = await wire.send(KNOWN + OPENAI, raw(body)[:-1])
    assert (broken.status_code, len(wire.arrived)) == (403, 1)
    assert len(records(quota)) == 1


# what goes out


async def test_the_bytes_of_a_call_go_out_as_they_came(quota: Quota, way: Way) -> None:
    """Spaces, escapes, order, numbers: whatever a JSON writer would write otherwise."""
    said = b'[{"role":"user","content":"\\u00fc \\ud83d\\ude00 \xc3\xbc"}]'
    body = b'{ "messages" : %s,\n\t"model":"gpt-4.1", "temperature":1.0e0 , "max_tokens":7}' % said
    wire = Wire(way)
    await wire.send(KNOWN + OPENAI, body)
    assert wire.arrived == [body]


async def test_asking_for_usage_changes_that_member_alone(quota: Quota, way: Way) -> None:
    wire = Wire(way)
    body = b'{ "model":"gpt-4.1", "messages":[ ], "max_tokens":7,"stream" : true , "x":"\\u00fc" }'
    await wire.send(KNOWN + OPENAI, body)
    assert wire.arrived == [body[:-1] + b',"stream_options":{"include_usage":true}}']


@pytest.mark.parametrize("host", [KNOWN, STRANGER])
async def test_a_compressed_call_is_judged_and_goes_out_as_it_came(quota: Quota, way: Way, host: str) -> None:
    """Unless something is written into it: then it goes out as it reads, and its head says so."""
    wire = Wire(way)
    body, stream = gzip.compress(raw(chat(max_tokens=7))), gzip.compress(raw(chat(stream=True)))
    await wire.send(host + OPENAI, body, **{"content-encoding": "gzip"})
    heads: list[Any] = []

    def answer(request: Any) -> Any:
        heads.append((request.headers.get("content-encoding"), json.loads(request.content)))
        return way.library.Response(200, json=completion())

    await way.post(way.mock(answer), host + OPENAI, content=stream, headers={"content-encoding": "gzip"})
    assert wire.arrived == [body]
    assert heads == [(None, chat(stream=True, stream_options={"include_usage": True}))]
    assert [record.requested_model for record in records(quota)] == [MODEL, MODEL]


async def test_a_cap_is_written_where_money_is_tight(way: Way) -> None:
    """A call that names its own goes out unchanged. The head says how long the body is now."""
    quota, lengths = Quota(limits=["$0.1/day"]), []

    def answer(request: Any) -> Any:
        lengths.append(
            (request.headers["content-length"], str(len(request.content)), json.loads(request.content))
        )
        return way.library.Response(200, json=completion())

    client = way.mock(answer)
    quota.instrument()
    try:
        await way.post(client, KNOWN + OPENAI, chat())
        await way.post(client, KNOWN + OPENAI, chat(max_tokens=50))
        (told, true, capped), (_, _, named) = lengths
        assert told == true
        assert capped == chat() | {"max_completion_tokens": capped["max_completion_tokens"]}
        assert 256 <= capped["max_completion_tokens"] < 4096
        assert named == chat(max_tokens=50)
    finally:
        quota.close()


async def test_a_signed_body_goes_out_as_it_was_signed(way: Way) -> None:
    """Neither a cap nor the wish for usage can be written into it any more."""
    quota, bodies = Quota(limits=["$1/day"]), []

    def answer(request: Any) -> Any:
        bodies.append(request.content)
        return way.library.Response(200, json=completion())

    client = way.mock(answer)
    quota.instrument()
    try:
        for scheme in ("AWS4-HMAC-SHA256 Credential=a", "AWS4-ECDSA-P256-SHA256 Credential=a", "Bearer a"):
            headers = {"authorization": scheme}
            await way.post(client, KNOWN + OPENAI, chat(True), headers=headers)
        signed, other, changed = (json.loads(body) for body in bodies)
        assert signed == other == chat(True)
        assert changed.keys() > chat(True).keys()
    finally:
        quota.close()
