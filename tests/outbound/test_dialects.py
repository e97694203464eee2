"""Servers of OpenAI's shape that nobody has heard of: other hosts and paths, other ways to stream and to tell usage.

Each dialect is one that some server speaks. Whatever it is, the call is found, the app sees every byte but those that
only we asked for, and what was told is charged, however the wire is cut.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx2
import pytest

from quotaware import Quota
from tests.outbound.wire import EVERY, SYNC, Way, message, records

pytestmark = pytest.mark.anyio

URL = "https://llm.example/v1/chat/completions"
SSE = "text/event-stream"
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
DONE = "data: [DONE]\n\n"
TEXTS = ("Grüße ", "aus ", "東京 🗼")


def chunk(text: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk as most servers send it; with a text, one of that."""
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": None}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "m-1",
        "choices": [choice],
        **more,
    }


def ending(**more: Any) -> dict[str, Any]:
    return chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], **more)


def alone(**more: Any) -> dict[str, Any]:
    """The chunk that has nothing but usage, which goes only to who asked for it."""
    return chunk(**{"choices": [], "usage": USAGE, **more})


def sse(*chunks: dict[str, Any], done: bool = True, **spelling: Any) -> str:
    return "".join(f"data: {json.dumps(c, ensure_ascii=False, **spelling)}\n\n" for c in chunks) + (
        DONE if done else ""
    )


def said(**more: Any) -> list[dict[str, Any]]:
    return [chunk(text, **more) for text in TEXTS]


class Dialect(NamedTuple):
    """What a server answers, and what is to be charged: input, output, how well it is known, and of it cached input and
    reasoning.
    """

    wire: str
    usage: tuple[int, int] = (9, 4)
    quality: str = "exact"
    cached: int = 0
    reasoning: int = 0
    kind: str = SSE
    hidden: str = ""  # what of it is kept from an app that did not ask
    url: str = URL
    model: str = "m-1"


def counted(running: int) -> dict[str, Any]:
    return {"prompt_tokens": 9, "completion_tokens": running, "total_tokens": 9 + running}


ALONE = sse(alone(), done=False)
STREAMS = {
    # how the chunk of usage looks
    "usage at the end, alone": Dialect(sse(*said(), ending(), alone()), hidden=ALONE),
    "null before it": Dialect(sse(*said(usage=None), ending(usage=None), alone()), hidden=ALONE),
    "alone, without choices": Dialect(
        sse(*said(), ending(), done=False)
        + f"data: {json.dumps({'model': 'm-1', 'usage': USAGE})}\n\n"
        + DONE,
        hidden=f"data: {json.dumps({'model': 'm-1', 'usage': USAGE})}\n\n",
    ),
    "alone, its choices null": Dialect(
        sse(*said(), ending(), alone(choices=None)), hidden=sse(alone(choices=None), done=False)
    ),
    "with the last choice": Dialect(sse(*said(), ending(usage=USAGE))),
    "in the last choice": Dialect(
        sse(*said(), chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]))
    ),
    "in every chunk, so far": Dialect(
        sse(*(chunk(text, usage=counted(n)) for n, text in enumerate(TEXTS, 1)), ending(usage=USAGE))
    ),
    "in every chunk, null in the last": Dialect(
        sse(*(chunk(text, usage=counted(n)) for n, text in enumerate(TEXTS, 2)), ending(usage=None))
    ),
    "in every chunk, and alone at the end": Dialect(
        sse(*(chunk(text, usage=counted(n)) for n, text in enumerate(TEXTS, 1)), ending(), alone()),
        hidden=ALONE,
    ),
    "twice, the second is right": Dialect(
        sse(*said(), ending(usage=counted(3)), alone()),
        hidden=ALONE,
    ),
    "in a member of its own": Dialect(sse(*said(), ending(x_groq={"id": "req_1", "usage": USAGE}))),
    "empty until the end": Dialect(sse(*said(usage={}), ending(usage=USAGE))),
    # how numbers are told
    "no input but a total": Dialect(
        sse(*said(), ending(), alone(usage={"completion_tokens": 4, "total_tokens": 13})),
        hidden=sse(alone(usage={"completion_tokens": 4, "total_tokens": 13}), done=False),
    ),
    "numbers with a point": Dialect(
        sse(*said(), ending(usage={"prompt_tokens": 9.0, "completion_tokens": 4.0}))
    ),
    "times and costs beside them": Dialect(
        sse(
            *said(),
            ending(
                usage={
                    "queue_time": 0.03,
                    **USAGE,
                    "prompt_time": 0.001,
                    "cost": {"total_cost": 0.5},
                    "num_search_queries": 1,
                    "citation_tokens": 77,
                },
                time_info={"queue_time": 1e-4},
            ),
        )
    ),
    "cached input by hits and misses": Dialect(
        sse(*said(), ending(usage={**USAGE, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 1})),
        cached=8,
    ),
    "cached input beside the others": Dialect(
        sse(*said(), ending(usage={**USAGE, "cached_tokens": 8})), cached=8
    ),
    "reasoning within the output": Dialect(
        sse(
            chunk(choices=[{"index": 0, "delta": {"reasoning_content": "Hm"}}]),
            *said(),
            ending(usage={**USAGE, "completion_tokens_details": {"reasoning_tokens": 1}}),
        ),
        reasoning=1,
    ),
    "reasoning beside the output": Dialect(
        sse(
            *said(),
            ending(
                usage={
                    "prompt_tokens": 9,
                    "completion_tokens": 4,
                    "total_tokens": 43,
                    "completion_tokens_details": {"reasoning_tokens": 30},
                }
            ),
        ),
        usage=(9, 34),
        reasoning=30,
    ),
    # how events are written
    "CRLF": Dialect(sse(*said(), ending(usage=USAGE)).replace("\n", "\r\n")),
    "CR": Dialect(sse(*said(), ending(usage=USAGE)).replace("\n", "\r")),
    "comments": Dialect(
        ": WORKING ON IT\n\n" * 3 + sse(*said(), done=False) + ": ping - 12\n\n" + sse(ending(usage=USAGE)),
    ),
    "no space after the colon": Dialect(sse(*said(), ending(usage=USAGE)).replace("data: ", "data:")),
    "names, ids and times to wait": Dialect(
        sse(*said(), ending(usage=USAGE)).replace("data: ", "id: 7\nevent: message\nretry: 300\ndata: ")
    ),
    "a mark of byte order": Dialect("\ufeff" + sse(*said(), ending(usage=USAGE))),
    "spread over lines": Dialect(
        sse(*said(), ending(usage=USAGE), indent=1).replace("\n ", "\ndata:  ").replace("\n}", "\ndata: }")
    ),
    "spaces everywhere": Dialect(sse(*said(), ending(usage=USAGE), separators=(" , ", " : "))),
    "no word at the end": Dialect(sse(*said(), ending(usage=USAGE), done=False)),
    "no word at the end, usage alone": Dialect(sse(*said(), ending(), alone(), done=False), hidden=ALONE),
    "no blank line at the end": Dialect(sse(*said(), ending(usage=USAGE)).rstrip("\n")),
    "a word more at the end": Dialect(sse(*said(), ending(usage=USAGE)) + "data: [DONE]\n\n: bye\n\n"),
    "no type": Dialect(sse(*said(), ending(usage=USAGE)), kind=""),
    "a type of plain text": Dialect(sse(*said(), ending(usage=USAGE)), kind="text/plain; charset=utf-8"),
    "the type of one answer": Dialect(sse(*said(), ending(usage=USAGE)), kind="application/json"),
    "lines of JSON": Dialect(
        "".join(json.dumps(c) + "\n" for c in [*said(), ending(usage=USAGE)]), kind="application/x-ndjson"
    ),
    "one answer after all": Dialect(
        json.dumps({"model": "m-1", "choices": [{"message": {"content": "hi"}}], "usage": USAGE}),
        kind="application/json; charset=utf-8",
    ),
    # what else a stream may hold
    "no name of the model": Dialect(
        sse(*({k: v for k, v in c.items() if k != "model"} for c in [*said(), ending(usage=USAGE)])),
        model="asked-for",
    ),
    "members of its own": Dialect(
        sse(
            chunk(choices=[], prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {}}]),
            *said(
                provider="P", native_finish_reason=None, citations=["https://a.example"], obfuscation="x" * 9
            ),
            ending(usage=USAGE, search_results=[{"title": '"usage": {"prompt_tokens": 1}'}]),
        )
    ),
    "text about usage": Dialect(
        sse(chunk('{"usage": {"prompt_tokens": 1, "completion_tokens": 1}}'), ending(usage=USAGE))
    ),
    "tools instead of text": Dialect(
        sse(
            chunk(
                choices=[
                    {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}}
                ]
            ),
            chunk(
                choices=[
                    {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}}
                ]
            ),
            ending(usage=USAGE),
        )
    ),
    # what goes wrong
    "no usage": Dialect(sse(*said(), ending()), usage=(-1, 6), quality="estimated"),
    "no usage, no end": Dialect(sse(*said(), done=False), usage=(-1, 6), quality="estimated"),
    "an error in the middle": Dialect(
        sse(*said(), {"error": {"message": "overloaded", "code": 502}}), usage=(-1, 6), quality="estimated"
    ),
    "an error by name, after usage so far": Dialect(
        sse(*(chunk(text, usage=counted(n)) for n, text in enumerate(TEXTS, 1)), done=False)
        + 'event: error\ndata: {"error": {"message": "overloaded"}}\n\n',
        usage=(9, 6),
        quality="partial",
    ),
    "an error with usage": Dialect(
        sse(*said(), {"error": {"message": "overloaded"}, "usage": USAGE}, done=False), (9, 6), "partial"
    ),
}
ELSEWHERE = {
    "another version": "https://llm.example/api/v3/chat/completions",
    "no version": "https://llm.example/chat/completions",
    "far below": "https://gateway.example/tenants/7/providers/acme/openai/v1/chat/completions",
    "with a query": "https://llm.example/v1/chat/completions?api-version=2024-10-21&trace=1",
    "a slash at the end": "https://llm.example/v1/chat/completions/",
    "slashes twice": "https://llm.example//v1//chat/completions",
    "other letters": "https://LLM.example/V1/Chat/Completions",
    "an address and a port": "http://10.1.2.3:8000/v1/chat/completions",
    "an address of version 6": "http://[fd00::7]:11434/v1/chat/completions",
    "a name within the house": "http://vllm:8000/v1/chat/completions",
    "encoded": "https://llm.example/v1/chat%2Fcompletions",
}
CUTS: dict[str, Callable[[bytes], list[bytes]]] = {
    "by events": lambda wire: (
        [piece + b"\n\n" for piece in wire.split(b"\n\n")[:-1]] + wire.split(b"\n\n")[-1:]
    ),
    "in sevens": lambda wire: [wire[at : at + 7] for at in range(0, len(wire), 7)],
    "at once": lambda wire: [wire],
}


async def told(way: Way, url: str, body: dict[str, Any], pieces: list[bytes], kind: str) -> bytes:
    """What an app reads of this answer."""
    headers = {"content-type": kind} if kind else {}
    client = way.mock(lambda request: way.library.Response(200, headers=headers, stream=way.stream(pieces)))
    response = await way.open(client, url, body)
    return await way.read(response)


def asked(**more: Any) -> dict[str, Any]:
    return {"model": "asked-for", "messages": [{"role": "user", "content": "How far is it?"}], **more}


@pytest.fixture(
    params=[
        pytest.param(
            way, id=str(way), marks=[] if way in (SYNC[0], Way(httpx2, "trio")) else [pytest.mark.slow]
        )
        for way in EVERY
    ]
)
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def quota(books: Any) -> Any:
    """Whatever the models are called, they have a price."""
    made = Quota(books, limits=["$1000/month"], clock=books._clock, unknown_model={"input": 1, "output": 2})
    made.instrument()
    yield made
    assert made.flush()
    books.check()
    assert books.held == {}
    assert not made.stats.get("faults")
    assert not made.stats.get("unreadable")
    made.close()


@pytest.mark.parametrize("asks", [True, False], ids=["asked", "not asked"])
@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_of_any_dialect_is_charged_what_it_tells(
    quota: Quota, way: Way, name: str, asks: bool
) -> None:
    dialect = STREAMS[name]
    wire = dialect.wire.encode()
    body = asked(stream=True) | ({"stream_options": {"include_usage": True}} if asks else {})
    seen = wire if asks else wire.replace(dialect.hidden.encode(), b"")
    for cut in CUTS.values():
        assert await told(way, dialect.url, body, cut(wire), dialect.kind) == seen
    left = records(quota)
    assert len(left) == len(CUTS)
    for record in left:
        sent, made = dialect.usage
        assert (record.usage.output, record.quality, record.model) == (made, dialect.quality, dialect.model)
        assert record.usage.input == sent or (sent < 0 < record.usage.input)
        assert (record.usage.cache_read, record.usage.reasoning) == (dialect.cached, dialect.reasoning)
        assert record.cost == record.usage.input * 1_000 + record.usage.output * 2_000


@pytest.mark.parametrize("place", ELSEWHERE)
async def test_wherever_it_is_served_it_is_a_call(quota: Quota, way: Way, place: str) -> None:
    """Whole and streamed."""
    answer = {"model": "m-1", "choices": [{"message": {"content": "hi"}}], "usage": USAGE}
    await told(way, ELSEWHERE[place], asked(), [json.dumps(answer).encode()], "application/json")
    stream = sse(*said(), ending(), alone()).encode()
    assert ALONE.encode() not in await told(way, ELSEWHERE[place], asked(stream=True), [stream], SSE)
    assert [(r.usage.input, r.usage.output, r.quality) for r in records(quota)] == [(9, 4, "exact")] * 2


WHOLE = {
    "as ever": ({"usage": USAGE}, (9, 4, "exact")),
    "a total and one side": ({"usage": {"prompt_tokens": 9, "total_tokens": 13}}, (9, 4, "exact")),
    "details that are null": (
        {"usage": {**USAGE, "prompt_tokens_details": None, "completion_tokens_details": None}},
        (9, 4, "exact"),
    ),
    "numbers with a point": ({"usage": {"prompt_tokens": 9.0, "completion_tokens": 4.0}}, (9, 4, "exact")),
    "in a member of its own": ({"x_groq": {"usage": USAGE}}, (9, 4, "exact")),
    "in the last choice": (
        {"choices": [{"message": {"content": "hi"}, "usage": USAGE}]},
        (9, 4, "exact"),
    ),
    "no usage": ({}, (-1, -1, "estimated")),
    "a usage that is null": ({"usage": None}, (-1, -1, "estimated")),
    "a usage in words": ({"usage": {"prompt_tokens": "9", "completion_tokens": "4"}}, (-1, -1, "estimated")),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_a_whole_answer_of_any_dialect_is_charged_what_it_tells(
    quota: Quota, way: Way, name: str
) -> None:
    more, (sent, made, quality) = WHOLE[name]
    answer = {"model": "m-1", "choices": [{"message": {"content": "hi"}}], **more}
    await told(way, URL, asked(), [json.dumps(answer).encode()], "application/json")
    (record,) = records(quota)
    assert record.quality == quality
    assert record.cost > 0
    if quality == "exact":
        assert (record.usage.input, record.usage.output) == (sent, made)


OTHERS: dict[str, tuple[str, dict[str, Any], str, str, tuple[int, int]]] = {
    "completions": (
        "/v1/completions",
        {"model": "m", "prompt": "Once", "stream": True},
        sse({"choices": [{"index": 0, "text": "upon"}]}, {"choices": [], "usage": USAGE}),
        SSE,
        (9, 4),
    ),
    "responses": (
        "/v1/responses",
        {"model": "m", "input": "hi", "stream": True},
        sse(
            {"type": "response.output_text.delta", "delta": "hi"},
            {
                "type": "response.completed",
                "response": {
                    "id": "r",
                    "status": "completed",
                    "usage": {"input_tokens": 9, "output_tokens": 4},
                },
            },
        ),
        SSE,
        (9, 4),
    ),
    "responses, in the names of chats": (
        "/v1/responses",
        {"model": "m", "input": "hi"},
        json.dumps({"id": "r", "object": "response", "status": "completed", "output": [], "usage": USAGE}),
        "application/json",
        (9, 4),
    ),
    "embeddings": (
        "/api/embeddings",
        {"model": "m", "input": ["hi"]},
        json.dumps({"data": [], "usage": {"prompt_tokens": 9, "total_tokens": 9}}),
        "application/json",
        (9, 0),
    ),
    "messages": (
        "/anthropic/v1/messages",
        message(stream=True),
        "".join(
            f"event: {e['type']}\ndata: {json.dumps(e)}\n\n"
            for e in (
                {"type": "message_start", "message": {"usage": {"input_tokens": 0, "output_tokens": 0}}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn"},
                    "usage": {"input_tokens": 9, "output_tokens": 4},
                },
                {"type": "message_stop"},
            )
        ),
        SSE,
        (9, 4),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_other_operations_are_found_by_their_shape_too(quota: Quota, way: Way, name: str) -> None:
    path, body, wire, kind, usage = OTHERS[name]
    for cut in CUTS.values():
        await told(way, "https://llm.example" + path, body, cut(wire.encode()), kind)
    assert [(r.usage.input, r.usage.output, r.quality) for r in records(quota)] == [(*usage, "exact")] * 3
