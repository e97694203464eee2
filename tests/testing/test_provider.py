"""The fake provider as real clients see it: the SDKs over real HTTP, every fault, the ledger, recordings."""

from __future__ import annotations

import builtins
import gzip
import json
import sys
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import anthropic
import anyio
import anyio.to_thread
import httpx
import httpx2
import openai
import pytest

from quotaware.core.usage import Usage
from quotaware.testing import (
    Cut,
    FakeProvider,
    Garbage,
    Hang,
    NoUsage,
    Redirect,
    Reset,
    Status,
    faults,
    fixtures,
)

from ..corpus import CORPUS, exchanges, needs_corpus, wire_body

fake_provider = fixtures.fake_provider

HELLO: list[Any] = [{"role": "user", "content": "Hello, world"}]  # 12 bytes of text and one message: 4 tokens
CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "messages": HELLO}
STREAM = {**CHAT, "stream": True}
MESSAGE: dict[str, Any] = {"model": "claude-sonnet-5", "messages": HELLO, "max_tokens": 100}


@pytest.fixture(scope="module")
def served() -> Iterator[FakeProvider]:
    provider = FakeProvider(corpus=CORPUS)
    with provider.serve():
        yield provider


@pytest.fixture
def provider(served: FakeProvider) -> Iterator[FakeProvider]:
    """One server for the module, as new for each test."""
    fresh = FakeProvider(corpus=CORPUS)
    for name in ("output", "pace", "delay", "seed", "usage", "corpus", "chunk", "encoding"):
        setattr(served, name, getattr(fresh, name))
    served.wait_idle()
    served.reset()
    yield served
    served.wait_idle()


@pytest.fixture(scope="module")
def wire() -> Iterator[httpx.Client]:
    """One client below all SDKs: making one reads the machine's certificates."""
    with httpx.Client(verify=False, timeout=10) as client:
        yield client


@pytest.fixture
def openai_client(provider: FakeProvider, wire: httpx.Client) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{provider.url}/v1", api_key="any", max_retries=0, http_client=wire)


@pytest.fixture(scope="module")
def wire2() -> Iterator[Any]:
    """The same for the SDK that stands on httpx2."""
    with httpx2.Client(verify=False, timeout=10) as client:
        yield client


@pytest.fixture
def anthropic_client(provider: FakeProvider, wire2: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=provider.url, api_key="any", max_retries=0, http_client=wire2)


@pytest.fixture
def http(provider: FakeProvider, wire: httpx.Client) -> httpx.Client:
    wire.base_url = provider.url
    return wire


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def read_broken(http: httpx.Client, path: str, body: Any = None) -> bytes:
    """What arrives of an answer whose connection breaks."""
    got: list[bytes] = []
    with pytest.raises(httpx.RemoteProtocolError), http.stream("POST", path, json=body) as answer:
        got.extend(answer.iter_raw())
    return b"".join(got)


# OpenAI


def test_openai_chat(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    """A chat is answered with as many tokens as were set, and reports them."""
    answer = openai_client.chat.completions.create(**CHAT)
    assert answer.choices[0].message.content == "tok " * 16
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "gpt-4o-mini"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        4,
        16,
        20,
    )
    (seen,) = provider.calls
    assert (seen.method, seen.path, seen.model, seen.stream) == (
        "POST",
        "/v1/chat/completions",
        "gpt-4o-mini",
        False,
    )
    assert (seen.input, seen.output, seen.sent, seen.reported) == (4, 16, 16, Usage(4, 16))
    assert (seen.status, seen.finished, seen.fault) == (200, True, None)
    assert seen.body["messages"] == HELLO
    assert seen.raw.startswith(b"{")
    assert seen.headers["authorization"] == "Bearer any"


@pytest.mark.parametrize("cap", ["max_tokens", "max_completion_tokens"])
def test_openai_cap(provider: FakeProvider, openai_client: openai.OpenAI, cap: str) -> None:
    """No choice is longer than the request's cap, and a shortened one says so."""
    provider.output = 10
    answer = openai_client.chat.completions.create(**CHAT, n=2, **{cap: 3})
    assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 6
    assert openai_client.chat.completions.create(**CHAT, **{cap: 10}).choices[0].finish_reason == "stop"
    first, second = provider.calls
    assert (first.cap, first.choices, first.output) == (3, 2, 6)
    assert (second.cap, second.choices, second.output) == (10, 1, 10)


def test_openai_stream_without_usage(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    """A stream that does not ask for usage gets one token an event and no usage in any."""
    with openai_client.chat.completions.create(**CHAT, stream=True) as stream:
        events = list(stream)
    deltas = [event.choices[0].delta for event in events]
    assert deltas[0].role == "assistant"
    assert [delta.content for delta in deltas if delta.content] == ["tok "] * 16
    assert events[-1].choices[0].finish_reason == "stop"
    assert all(event.usage is None for event in events)
    assert provider.calls[0].sent == provider.calls[0].output == 16
    assert provider.calls[0].reported is None


def test_openai_stream_with_usage(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    """Asked for, usage comes in a last chunk without choices, and is null in the others."""
    stream = openai_client.chat.completions.create(
        **CHAT, stream=True, n=2, stream_options={"include_usage": True}
    )
    *events, last = list(stream)
    assert all("usage" in event.model_fields_set and event.usage is None for event in events)
    assert {event.choices[0].index for event in events} == {0, 1}
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (4, 32)
    assert provider.calls[0].reported == Usage(4, 32)


def test_openai_stream_bytes(http: httpx.Client) -> None:
    """A stream is events of `data:` and ends in `[DONE]`."""
    answer = http.post("/anything/chat/completions", json=STREAM)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, done, rest = answer.text.split("\n\n")
    assert (done, rest, len(events)) == ("data: [DONE]", "", 1 + 16 + 1)
    assert all(event.startswith('data: {"id":"chatcmpl-') for event in events)
    assert "usage" not in answer.text


def test_openai_embeddings(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    """Embeddings come packed, as the SDK asks, or as plain numbers; the same input has the same vector."""
    create = partial(openai_client.embeddings.create, model="text-embedding-3-small")
    packed = create(input=["hello", "world", "hello"], dimensions=4)
    plain = create(input="hello", dimensions=4, encoding_format="float")
    assert [len(item.embedding) for item in packed.data] == [4, 4, 4]
    assert packed.data[0].embedding == packed.data[2].embedding != packed.data[1].embedding
    assert plain.data[0].embedding == pytest.approx(packed.data[0].embedding)
    assert (packed.usage.prompt_tokens, packed.usage.total_tokens) == (6, 6)
    assert create(input=[[1, 2, 3], [4]]).usage.prompt_tokens == 4
    assert create(input=[1, 2, 3]).usage.prompt_tokens == 3
    assert provider.calls[0].reported == Usage(6)


def test_openai_models(openai_client: openai.OpenAI) -> None:
    """The list of models is there and costs nothing."""
    assert "gpt-4o-mini" in [model.id for model in openai_client.models.list()]


@pytest.mark.anyio
async def test_openai_async(provider: FakeProvider) -> None:
    """The async SDK reads the same."""
    async with openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="any") as client:
        whole = await client.chat.completions.create(**CHAT)
        stream = await client.chat.completions.create(**CHAT, stream=True)
        words = [event.choices[0].delta.content or "" async for event in stream]
    assert "".join(words) == whole.choices[0].message.content == "tok " * 16


# Anthropic


def test_anthropic_message(provider: FakeProvider, anthropic_client: anthropic.Anthropic) -> None:
    """A message is answered and reported, and held to its cap; `system` counts as input."""
    answer = anthropic_client.messages.create(**MESSAGE, system="Be so kind")
    assert answer.content[0].to_dict() == {"type": "text", "text": "tok " * 16}
    assert (answer.stop_reason, answer.usage.input_tokens, answer.usage.output_tokens) == ("end_turn", 7, 16)
    capped = anthropic_client.messages.create(**{**MESSAGE, "max_tokens": 5})
    assert (capped.stop_reason, capped.usage.output_tokens) == ("max_tokens", 5)
    assert [(seen.cap, seen.output, seen.reported) for seen in provider.calls] == [
        (100, 16, Usage(7, 16)),
        (5, 5, Usage(4, 5)),
    ]


def test_anthropic_stream(provider: FakeProvider, anthropic_client: anthropic.Anthropic) -> None:
    """A stream reports its input at the start and its whole output at the end."""
    with anthropic_client.messages.create(**MESSAGE, stream=True) as stream:
        kinds = [event.type for event in stream]
    assert [kind for kind in kinds if kind != "content_block_delta"] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert kinds.count("content_block_delta") == 16
    with anthropic_client.messages.stream(**MESSAGE) as accumulated:
        message = accumulated.get_final_message()
    assert (message.usage.input_tokens, message.usage.output_tokens, message.stop_reason) == (
        4,
        16,
        "end_turn",
    )
    assert message.content[0].to_dict()["text"] == "tok " * 16
    assert [(seen.sent, seen.reported) for seen in provider.calls] == [(16, Usage(4, 16))] * 2


def test_anthropic_stream_bytes(http: httpx.Client) -> None:
    """The stream pings, and every event is named."""
    events = http.post("/v1/messages", json={**MESSAGE, "stream": True}).text.split("\n\n")
    assert events[2] == 'event: ping\ndata: {"type":"ping"}'
    assert events[-2:] == ['event: message_stop\ndata: {"type":"message_stop"}', ""]


def test_anthropic_count_tokens(provider: FakeProvider, anthropic_client: anthropic.Anthropic) -> None:
    """Tokens are counted without generating any."""
    answer = anthropic_client.messages.count_tokens(model="claude-sonnet-5", messages=HELLO)
    assert answer.input_tokens == 4
    assert (provider.calls[0].output, provider.calls[0].reported) == (0, None)


@pytest.mark.anyio
async def test_anthropic_async(provider: FakeProvider) -> None:
    """The async SDK reads the same."""
    async with anthropic.AsyncAnthropic(base_url=provider.url, api_key="any") as client:
        whole = await client.messages.create(**MESSAGE)
        async with client.messages.stream(**MESSAGE) as stream:
            text = await stream.get_final_text()
    assert whole.usage.output_tokens == 16
    assert text == "tok " * 16


# Lengths and what is reported


@pytest.mark.parametrize("output", [(5, 50), lambda draw: draw.randint(5, 50)], ids=["range", "function"])
def test_lengths_follow_the_seed(provider: FakeProvider, http: httpx.Client, output: Any) -> None:
    """Lengths are drawn from a range or by a function, for each choice, and the same for the same seed."""

    def lengths(seed: int) -> list[int]:
        provider.output, provider.seed = output, seed
        provider.reset()
        for n in (1, 2, 2):
            http.post("/v1/chat/completions", json={**CHAT, "n": n})
        return [seen.output for seen in provider.calls]

    first = lengths(seed=1)
    assert all(5 * n <= length <= 50 * n for length, n in zip(first, (1, 2, 2), strict=True))
    assert first == lengths(seed=1) != lengths(seed=2)


def test_reported_usage_can_differ(
    provider: FakeProvider, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    """The hook adds cached and reasoning parts, or lies; what was generated stays in the ledger."""
    provider.usage = lambda seen, true: replace(
        true, input=true.input + 100, cache_read=40, cache_write=60, cache_write_1h=20, reasoning=true.output
    )
    chat = openai_client.chat.completions.create(**CHAT).usage
    assert chat is not None
    assert chat.prompt_tokens_details is not None
    assert chat.completion_tokens_details is not None
    assert (chat.prompt_tokens, chat.prompt_tokens_details.cached_tokens) == (104, 40)
    assert chat.completion_tokens_details.reasoning_tokens == 16
    message = anthropic_client.messages.create(**MESSAGE).usage
    assert (message.input_tokens, message.cache_read_input_tokens, message.cache_creation_input_tokens) == (
        4,
        40,
        60,
    )
    assert message.cache_creation is not None
    assert message.cache_creation.ephemeral_5m_input_tokens == 40
    assert message.cache_creation.ephemeral_1h_input_tokens == 20
    assert [(seen.input, seen.reported.input) for seen in provider.calls if seen.reported] == [
        (4, 104),
        (4, 104),
    ]


# Requests that a provider refuses


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v1/chat/completions", {"messages": HELLO}, "'model'"),
        ("/v1/chat/completions", {"model": 7, "messages": HELLO}, "'model'"),
        ("/v1/chat/completions", {"model": "m"}, "'messages'"),
        ("/v1/chat/completions", {**CHAT, "max_tokens": 0}, "'max_tokens': 0"),
        ("/v1/chat/completions", {**CHAT, "n": True}, "'n': True"),
        ("/v1/chat/completions", {**CHAT, "n": 1000}, "'n': 1000"),
        ("/v1/chat/completions", [], "not a JSON object"),
        ("/v1/embeddings", {"model": "m"}, "'input'"),
        ("/v1/embeddings", {"model": "m", "input": [""]}, "'input'"),
        ("/v1/embeddings", {"input": "hello"}, "'model'"),
        ("/v1/messages", {"model": "m", "messages": HELLO}, "max_tokens: Field required"),
        ("/v1/messages", {"model": "m", "max_tokens": 1}, "'messages'"),
        ("/v1/messages/count_tokens", {"model": "m"}, "'messages'"),
    ],
)
def test_bad_requests(provider: FakeProvider, http: httpx.Client, path: str, body: Any, message: str) -> None:
    """A request that cannot be answered gets a 400 that names what is wrong, in the provider's shape."""
    answer = http.post(path, json=body)
    assert answer.status_code == provider.calls[0].status == 400
    assert message in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert ("type" in answer.json()) is ("messages" in path)
    assert (provider.calls[0].output, provider.calls[0].reported) == (0, None)


@pytest.mark.parametrize("raw", [b"", b"not json", b"\xff\xfe", b"[" * 100_000])
def test_unreadable_bodies(provider: FakeProvider, http: httpx.Client, raw: bytes) -> None:
    """A body that is no JSON is a 400, and its bytes are in the ledger."""
    assert http.post("/v1/chat/completions", content=raw).status_code == 400
    assert (provider.calls[0].body, provider.calls[0].raw) == (None, raw)


def test_unknown_places(http: httpx.Client) -> None:
    """Paths and methods that no provider has are told so."""
    assert http.post("/v1/nowhere", json=CHAT).status_code == 404
    assert http.get("/v1/chat/completions").status_code == 405


def test_odd_text_counts(provider: FakeProvider, http: httpx.Client) -> None:
    """Text in parts counts in UTF-8 bytes, lone surrogates and other members do not disturb."""
    parts = [{"type": "text", "text": "ä€"}, {"type": "image_url", "image_url": {"url": "data:…"}}]
    body = {
        **CHAT,
        "messages": [{"role": "user", "content": parts}, {"role": "user", "content": "\ud800"}, None],
    }
    assert http.post("/chat/completions", content=json.dumps(body)).json()["usage"]["prompt_tokens"] == 2 + 3


# Faults


@pytest.mark.parametrize(
    ("code", "openai_error", "anthropic_error"),
    [
        (400, openai.BadRequestError, anthropic.BadRequestError),
        (401, openai.AuthenticationError, anthropic.AuthenticationError),
        (429, openai.RateLimitError, anthropic.RateLimitError),
        (500, openai.InternalServerError, anthropic.InternalServerError),
        (503, openai.InternalServerError, anthropic.InternalServerError),
    ],
)
def test_status(
    provider: FakeProvider,
    openai_client: openai.OpenAI,
    anthropic_client: anthropic.Anthropic,
    code: int,
    openai_error: type[openai.APIStatusError],
    anthropic_error: type[anthropic.APIStatusError],
) -> None:
    """An error status raises each SDK's own error, with `Retry-After` where set, and generates nothing."""
    provider.always(Status(code, retry_after=1.5, message="as told"))
    with pytest.raises(openai_error, match="as told") as first:
        openai_client.chat.completions.create(**CHAT, stream=True)
    with pytest.raises(anthropic_error, match="as told") as second:
        anthropic_client.messages.create(**MESSAGE)
    assert first.value.status_code == second.value.status_code == code
    assert (
        first.value.response.headers["retry-after"] == second.value.response.headers["retry-after"] == "1.5"
    )
    assert [(seen.status, seen.output, seen.finished) for seen in provider.calls] == [(code, 0, True)] * 2


def test_retries_are_requests(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    """Each try of an SDK is a request; orders are used up one a request, None being a good answer."""
    provider.fail(Status(500, retry_after=0.001), "429:0.001", None, Status(500))
    openai_client.with_options(max_retries=2).chat.completions.create(**CHAT)
    assert [seen.status for seen in provider.calls] == [500, 429, 200]
    assert provider.requests == 3


def test_hang(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    """A hanging provider answers nothing until the client gives up, and then knows it."""
    provider.fail(Hang())
    with pytest.raises(openai.APITimeoutError):
        openai_client.chat.completions.create(**CHAT, timeout=0.3)
    provider.wait_idle()
    assert (provider.calls[0].status, provider.calls[0].output, provider.calls[0].sent) == (None, 16, 0)
    assert not provider.calls[0].finished


def test_hang_half_way(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    """A stream can stop after some events; until the client hangs up it stays open."""
    provider.fail(Hang(after_events=5))
    got: list[Any] = []
    with pytest.raises(httpx.ReadTimeout):
        got.extend(openai_client.chat.completions.create(**CHAT, stream=True, timeout=0.3))
    provider.wait_idle()
    assert (len(got), provider.calls[0].sent, provider.calls[0].finished) == (5, 4, False)


def test_cut_stream(
    provider: FakeProvider, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    """A cut stream breaks its connection after exactly so many events."""
    provider.always(Cut(after_events=5))
    chunks: list[Any] = []
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        chunks.extend(openai_client.chat.completions.create(**CHAT, stream=True))
    with pytest.raises(httpx2.RemoteProtocolError, match="incomplete chunked read"):
        chunks.extend(anthropic_client.messages.create(**MESSAGE, stream=True))
    provider.wait_idle()
    chat, message = provider.calls
    assert (chat.sent, chat.output, chat.reported, chat.finished) == (4, 16, None, False)
    assert (message.sent, message.output, message.reported, message.finished) == (2, 16, Usage(4, 1), False)


@pytest.mark.parametrize("count", [0, 1, 40, 500])
def test_cut_bytes(provider: FakeProvider, http: httpx.Client, count: int) -> None:
    """An answer, whole or streamed, is cut at exactly the byte that was ordered."""
    provider.always(Cut(after_bytes=count))
    for body in (CHAT, STREAM):
        assert len(read_broken(http, "/v1/chat/completions", body)) == count
    assert not any(seen.finished for seen in provider.calls)


def test_cut_whole_answer(provider: FakeProvider, http: httpx.Client) -> None:
    """A whole answer that is cut without a place breaks half way, and its tokens were not sent."""
    provider.fail(Cut())
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        http.post("/v1/chat/completions", json=CHAT)
    assert (provider.calls[0].output, provider.calls[0].sent, provider.calls[0].reported) == (16, 0, None)


def test_cut_at_the_end(provider: FakeProvider, http: httpx.Client) -> None:
    """A cut beyond the last event breaks the connection all the same, once all is sent."""
    provider.fail(Cut(after_events=1000))
    with pytest.raises(httpx.RemoteProtocolError):
        http.post("/v1/chat/completions", json=STREAM)
    assert (provider.calls[0].sent, provider.calls[0].finished) == (16, False)


def test_garbage(provider: FakeProvider, http: httpx.Client, openai_client: openai.OpenAI) -> None:
    """Garbage is a 200 that is neither JSON nor UTF-8, and a stream that no reader understands."""
    provider.always(Garbage())
    whole = http.post("/v1/chat/completions", json=CHAT)
    assert (whole.status_code, whole.headers["content-type"]) == (200, "application/json")
    with pytest.raises(ValueError):
        whole.json()
    stream = http.post("/v1/chat/completions", json=STREAM)
    assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream")
    with pytest.raises(ValueError):
        stream.content.decode()
    with pytest.raises(ValueError):
        list(openai_client.chat.completions.create(**CHAT, stream=True))
    assert [(seen.output, seen.reported) for seen in provider.calls] == [(0, None)] * 3


def test_no_usage(provider: FakeProvider, openai_client: openai.OpenAI, http: httpx.Client) -> None:
    """A good answer may report nothing, in every format; what was generated stays in the ledger."""
    provider.always(NoUsage())
    assert openai_client.chat.completions.create(**CHAT).usage is None
    stream = openai_client.chat.completions.create(
        **CHAT, stream=True, stream_options={"include_usage": True}
    )
    assert all(event.usage is None for event in stream)
    for path, body in (
        ("/v1/embeddings", {"model": "m", "input": "hello"}),
        ("/v1/messages", MESSAGE),
        ("/v1/messages", {**MESSAGE, "stream": True}),
    ):
        assert '"usage"' not in http.post(path, json=body).text
    assert [(seen.output, seen.finished) for seen in provider.calls] == [(16, True)] * 2 + [(0, True)] + [
        (16, True)
    ] * 2
    assert all(seen.reported is None for seen in provider.calls)


def test_reset(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    """A reset closes the connection before any answer; the next request is served."""
    provider.fail(Reset())
    with pytest.raises(openai.APIConnectionError) as raised:
        openai_client.chat.completions.create(**CHAT)
    assert isinstance(raised.value.__cause__, httpx.RemoteProtocolError)
    assert openai_client.chat.completions.create(**CHAT).usage is not None
    assert [(seen.status, seen.output) for seen in provider.calls] == [(None, 0), (200, 16)]


def test_redirect(provider: FakeProvider, http: httpx.Client) -> None:
    """A redirect names another place, and a client that follows it asks there."""
    provider.fail(Redirect(f"{provider.url}/elsewhere/chat/completions"))
    answer = http.post("/v1/chat/completions", json=CHAT, follow_redirects=True)
    assert (answer.history[0].status_code, answer.status_code) == (307, 200)
    assert [seen.path for seen in provider.calls] == ["/v1/chat/completions", "/elsewhere/chat/completions"]


def test_fault_by_header(provider: FakeProvider, http: httpx.Client) -> None:
    """A request names its own fault, before any other order; a name that is none is a 400 that lists them."""
    provider.always(Status(500))
    provider.fail(Status(429))

    def status(**headers: str) -> int:
        return http.post("/v1/chat/completions", json=CHAT, headers=headers).status_code

    assert status(**{"x-fake-fault": "503"}) == 503
    assert [status(), status()] == [429, 500]
    wrong = http.post("/v1/chat/completions", json=CHAT, headers={"x-fake-fault": "flood"})
    assert wrong.status_code == 400
    assert "no fault is named 'flood'" in wrong.json()["error"]["message"]
    provider.always(None)
    assert status() == 200


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("429", Status(429)),
        ("503:1.5", Status(503, retry_after=1.5)),
        ("hang", Hang()),
        ("hang:3", Hang(after_events=3)),
        ("cut", Cut()),
        ("cut:3", Cut(after_events=3)),
        ("cut:120b", Cut(after_bytes=120)),
        ("garbage", Garbage()),
        ("no-usage", NoUsage()),
        ("reset", Reset()),
        ("redirect:http://127.0.0.1:9/x", Redirect("http://127.0.0.1:9/x")),
    ],
)
def test_fault_names(name: str, fault: faults.Fault) -> None:
    """Every fault has a name."""
    assert faults.parse(name) == fault


@pytest.mark.parametrize("name", ["", "flood", "99", "429:soon", "hang:x", "cut:b", "reset:1", "redirect"])
def test_fault_names_that_are_none(name: str) -> None:
    """Any other name is an error that lists the known ones."""
    with pytest.raises(ValueError, match="known are: 429"):
        faults.parse(name)


# The wire


def test_hang_up_is_seen(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    """A client that leaves a stream early ends it: what was sent is less than what was generated."""
    provider.output, provider.pace = 1000, 0.002
    stream = openai_client.chat.completions.create(**CHAT, stream=True)
    assert next(iter(stream)).choices[0].delta.role == "assistant"
    stream.close()
    provider.wait_idle()
    assert provider.calls[0].sent < provider.calls[0].output == 1000
    assert not provider.calls[0].finished


def test_stream_arrives_piece_by_piece(provider: FakeProvider, http: httpx.Client) -> None:
    """The first event is there before the last is generated."""
    provider.output, provider.pace = 100_000, 0.001
    with http.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
        pieces = answer.iter_text()
        assert next(pieces).startswith("data: ")
        assert provider.in_flight == 1


def test_delay(provider: FakeProvider, http: httpx.Client) -> None:
    """The answer waits; a client that does not is noticed before anything is sent."""
    provider.delay = 60
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/chat/completions", json=CHAT, timeout=0.3)
    provider.wait_idle()
    assert (provider.requests, provider.calls[0].status) == (1, None)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["json", "stream"])
def test_compressed(provider: FakeProvider, http: httpx.Client, encoding: Any, body: dict[str, Any]) -> None:
    """Answers come compressed in either way, and decoded are what they would have been."""
    provider.encoding = encoding
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == encoding
    text = (gzip.decompress if encoding == "gzip" else zlib.decompress)(raw).decode()
    assert text.count("tok ") == 16
    assert http.post("/v1/chat/completions", json=body).text.count("tok ") == 16


def test_pieces(provider: FakeProvider, http: httpx.Client) -> None:
    """Bodies are written in pieces of no more than so many bytes, through events and characters."""
    provider.chunk = 7
    with http.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
        pieces = list(answer.iter_raw())
    assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
    assert provider.calls[0].sent == 16
    assert len(pieces) > 16


@pytest.mark.anyio
async def test_a_hundred_streams_at_once(provider: FakeProvider) -> None:
    """A hundred streams are served side by side, and the ledger is exact for each."""
    provider.output, provider.pace = (1, 8), 0.005
    got: list[int] = []
    async with (
        httpx.AsyncClient(base_url=provider.url, timeout=30) as client,
        anyio.create_task_group() as group,
    ):

        async def read() -> None:
            answer = await client.post("/v1/chat/completions", json=STREAM)
            got.append(answer.text.count("tok "))

        for _ in range(100):
            group.start_soon(read)
        await anyio.to_thread.run_sync(provider.wait_requests, 100)
    calls = provider.calls
    assert len(calls) == 100
    assert sorted(got) == sorted(seen.output for seen in calls) == sorted(seen.sent for seen in calls)
    assert all(seen.finished for seen in calls)


# Recordings


@needs_corpus
def test_replay_to_openai(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    """A recorded OpenAI exchange reaches the SDK as it was, whatever is asked."""
    provider.chunk = 1000
    for exchange in exchanges("openai", "/chat/completions"):
        client = openai_client.with_options(base_url=f"{provider.url}/replay/{exchange['id']}/v1")
        expected = exchange["expected"]["usage"]
        if exchange["status"] >= 400:
            with pytest.raises(openai.APIStatusError) as raised:
                client.chat.completions.create(**CHAT)
            assert raised.value.status_code == exchange["status"]
        elif isinstance(exchange["body"], str):
            usages = [event.usage for event in client.chat.completions.create(**CHAT, stream=True)]
            reported = next(filter(None, reversed(usages)), None)
            assert (reported and reported.completion_tokens) == (expected and expected["output"])
        else:
            answer = client.chat.completions.create(**CHAT)
            assert answer.model == exchange["expected"]["model"]
            assert (answer.usage and answer.usage.prompt_tokens) == (expected and expected["input"])
        seen = provider.calls[-1]
        assert (seen.status, seen.finished) == (exchange["status"], True)
        assert seen.reported == (expected and Usage(**expected))


@needs_corpus
def test_replay_to_anthropic(provider: FakeProvider, anthropic_client: anthropic.Anthropic) -> None:
    """A recorded Anthropic exchange reaches the SDK as it was."""
    for exchange in exchanges("anthropic", "/messages"):
        client = anthropic_client.with_options(base_url=f"{provider.url}/replay/{exchange['id']}")
        expected = exchange["expected"]["usage"]
        if exchange["status"] >= 400:
            with pytest.raises(anthropic.APIStatusError) as raised:
                client.messages.create(**MESSAGE)
            assert raised.value.status_code == exchange["status"]
        elif isinstance(exchange["body"], str):
            with client.messages.stream(**MESSAGE) as stream:
                assert stream.get_final_message().usage.output_tokens == expected["output"]
        else:
            assert client.messages.create(**MESSAGE).usage.output_tokens == expected["output"]
        assert provider.calls[-1].reported == (expected and Usage(**expected))


@needs_corpus
@pytest.mark.parametrize("chunk", [None, 11])
@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
def test_replay_is_exact(
    provider: FakeProvider, http: httpx.Client, encoding: Any, chunk: int | None
) -> None:
    """A recording is served byte for byte, in any pieces and compressed or not; one may answer everything."""
    provider.encoding, provider.chunk = encoding, chunk
    chats = exchanges("openai", "/chat/completions")
    stream = next(exchange for exchange in chats if isinstance(exchange["body"], str))
    for exchange in (stream, chats[0], *exchanges("openai", "/embeddings")[:1]):
        provider.replay(exchange["id"])
        answer = http.get("/whatever")
        assert answer.content == wire_body(exchange)
        assert answer.headers["content-type"] == exchange["content_type"]
    provider.replay(None)
    assert http.get("/whatever").status_code == 404


@needs_corpus
def test_replay_cut(provider: FakeProvider, http: httpx.Client) -> None:
    """A recorded stream can be cut at any byte."""
    stream = next(one for one in exchanges("anthropic", "/messages") if isinstance(one["body"], str))
    for count in (0, 1, 333, len(wire_body(stream))):
        provider.fail(Cut(after_bytes=count))
        assert read_broken(http, f"/replay/{stream['id']}/x") == wire_body(stream)[:count]


@needs_corpus
def test_replay_of_nothing(provider: FakeProvider, http: httpx.Client) -> None:
    """An id that is not recorded is a 404 on the wire and an error in Python."""
    answer = http.post("/replay/nosuch/v1/chat/completions", json=CHAT)
    assert (answer.status_code, "'nosuch'" in answer.json()["error"]["message"]) == (404, True)
    with pytest.raises(LookupError, match="no recorded exchange 'nosuch'"):
        provider.replay("nosuch")


def test_replay_without_a_corpus(tmp_path: Any) -> None:
    """Without recordings an order to replay says what is missing."""
    with pytest.raises(LookupError, match="corpus=FOLDER"):
        FakeProvider().replay("any")
    with pytest.raises(FileNotFoundError, match="no recorded exchanges"):
        FakeProvider(corpus=tmp_path).replay("any")


# The app and its server


def test_ledger_starts_anew(provider: FakeProvider, http: httpx.Client) -> None:
    """`calls` is a copy, and `reset` forgets calls and orders."""
    provider.always("500")
    http.post("/v1/chat/completions", json=CHAT)
    before = provider.calls
    provider.fail("429")
    provider.reset()
    assert (len(before), provider.calls, provider.requests) == (1, [], 0)
    assert http.post("/v1/chat/completions", json=CHAT).status_code == 200


def test_waiting_ends(provider: FakeProvider) -> None:
    """Waiting for what does not come ends in an error that says how far it came."""
    with pytest.raises(TimeoutError, match="waited for 1 requests; 0 arrived, 0 open"):
        provider.wait_requests(1, timeout=0.01)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_in_process(anyio_backend: str) -> None:
    """It is an ASGI app: an ASGI transport drives it without any server, on any event loop."""
    provider = FakeProvider(output=3)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(provider), base_url="http://fake") as client:
        answer = await client.post("/v1/chat/completions", json=CHAT)
        assert answer.json()["usage"]["completion_tokens"] == 3
        stream = await client.post("/v1/chat/completions", json=STREAM)
        assert stream.text.count("tok ") == 3
        provider.fail(Reset())
        with pytest.raises(ConnectionResetError):
            await client.post("/v1/chat/completions", json=CHAT)
    assert provider.in_flight == 0


@pytest.mark.anyio
async def test_lifespan_and_other_scopes() -> None:
    """It runs a lifespan, refuses WebSockets, and takes no request that never came whole."""
    provider = FakeProvider()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await provider({"type": "lifespan"}, receive, send)
    await provider({"type": "http"}, receive, send)
    with pytest.raises(RuntimeError, match="not websocket"):
        await provider({"type": "websocket"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert provider.requests == 0


def test_its_end_breaks_off_what_is_open(caplog: pytest.LogCaptureFixture) -> None:
    """The server ends at once with requests hanging, and leaves no thread and no log."""
    provider = FakeProvider()
    provider.always(Hang(after_events=1))
    with provider.serve() as url, httpx.Client(base_url=url, verify=False) as client:
        request = client.build_request("POST", "/v1/chat/completions", json=STREAM)
        answers = [client.send(request, stream=True) for _ in range(3)]
        assert provider.in_flight == 3
        name = f"serve:{answers[0].url.port}"
        assert name in [thread.name for thread in threading.enumerate()]
    assert name not in [thread.name for thread in threading.enumerate()]
    assert provider.in_flight == 0
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    with pytest.raises(RuntimeError, match="not served"):
        _ = provider.url


def test_without_uvicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without uvicorn the error says what to install."""
    original = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name == "uvicorn":
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "quotaware.testing.server")
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r"pip install 'quotaware\[testing\]'"), FakeProvider().serve():
        pass


def test_fixture(fake_provider: FakeProvider, wire: httpx.Client) -> None:
    """The plugin's fixture is a provider that is served."""
    fake_provider.output = 2
    client = openai.OpenAI(base_url=f"{fake_provider.url}/v1", api_key="any", http_client=wire)
    assert client.chat.completions.create(**CHAT).choices[0].message.content == "tok tok "
    assert fake_provider.requests == 1
