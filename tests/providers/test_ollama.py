"""Ollama's own formats. The answers are those of docs/api.md of github.com/ollama/ollama."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.bounds import Call
from quotaware.core.usage import Usage
from quotaware.errors import QuotaExceeded
from quotaware.providers.base import Format, Report, Unreadable
from quotaware.providers.ollama import OllamaChat, OllamaEmbed, OllamaGenerate
from quotaware.providers.registry import check_hosts, find, plausible
from tests.providers.test_recorded import feed_all

FINAL = {
    "total_duration": 4883583458,
    "load_duration": 1334875,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 342546000,
    "eval_count": 282,
    "eval_duration": 4535599000,
}
CHAT_END = {
    "model": "llama3.2",
    "created_at": "2023-08-04T19:22:45.499127Z",
    "message": {"role": "assistant", "content": ""},
    "done": True,
    **FINAL,
}


def piece(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "images": None}
    return {"model": "llama3.2", "created_at": "2023-08-04T08:52:19Z", "message": message, "done": False}


def as_events(*objects: dict[str, Any]) -> bytes:
    """As they reach a reader of events, object for object."""
    return b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in objects)


def streamed(form: Format, *objects: dict[str, Any]) -> Report:
    return feed_all(form, [as_events(*objects)])[1]


def read(form: Format, **body: Any) -> Call:
    return form.read(None, {"model": "llama3.2", **body})


@pytest.mark.parametrize("host", ["localhost:11434", "ollama.com", "gpu.internal"])
@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/api/chat", {"messages": []}, "ollama.chat"),
        ("/api/generate", {"prompt": "Why is the sky blue?"}, "ollama.generate"),
        ("/api/embed", {"input": ["a", "b"]}, "ollama.embed"),
        ("/api/embeddings", {"prompt": "Here is an article about llamas..."}, "ollama.embed"),
        ("/api/embeddings", {"input": "OpenAI's, at such a path"}, "ollama.embed"),
        ("/api/generate", {"keep_alive": 0}, None),
        ("/api/show", {}, None),
        ("/api/pull", {}, None),
    ],
)
def test_its_paths_are_calls_on_any_host(
    host: str, path: str, body: dict[str, Any], name: str | None
) -> None:
    """What loads, shows or fetches a model is none."""
    route = find("POST", host, path)
    called = route is not None and plausible(route, {"model": "llama3.2", **body})
    assert (route.format.name if called and route and route.format else None) == name


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings"])
def test_a_host_may_be_said_to_speak_openais_formats_beside(path: str) -> None:
    """`hosts=` has no provider of its own for it; what else is posted there is free, or unknown."""
    hosts = check_hosts({"gpu.internal": "openai"})
    route = find("POST", "gpu.internal", path, hosts)
    assert route is not None
    assert route.format is not None
    assert route.format.name.startswith("ollama.")
    shown, unknown = (find("POST", "gpu.internal", other, hosts) for other in ("/api/show", "/api/other"))
    assert shown is not None
    assert unknown is not None
    assert (shown.free, unknown.free, unknown.operation) == (True, False, "unknown")


def test_a_chat_is_read() -> None:
    messages = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "what is it?", "images": ["iVBOR", "iVBOR"]},
    ]
    tool = {"type": "function", "function": {"name": "f"}}
    call = read(OllamaChat(), messages=messages, tools=[tool], options={"num_predict": 42}, stream=False)
    assert (call.operation, call.model, call.stream, call.cap) == ("chat", "llama3.2", False, 42)
    assert (call.media, call.tools, call.opaque) == (2 * 16_384, 1, False)
    assert call.text >= len("be kindwhat is it?")
    with_schema = read(OllamaChat(), messages=messages, tools=[tool], format={"type": "object"})
    assert with_schema.text == call.text + len('{"type":"object"}')


@pytest.mark.parametrize(
    ("said", "streams"), [({}, True), ({"stream": True}, True), ({"stream": False}, False)]
)
def test_it_streams_unless_told_not_to(said: dict[str, Any], streams: bool) -> None:
    assert read(OllamaChat(), messages=[], **said).stream is streams
    assert read(OllamaGenerate(), prompt="hi", **said).stream is streams


@pytest.mark.parametrize(
    ("options", "cap", "written"),
    [
        (None, None, {"num_predict": 100}),
        ({"num_predict": 50, "seed": 1}, 50, {"num_predict": 50, "seed": 1}),
        ({"num_predict": 500}, 500, {"num_predict": 100}),
        ({"num_predict": -1}, None, {"num_predict": 100}),
        ({"num_predict": -2}, None, {"num_predict": 100}),
    ],
)
def test_the_cap_stands_among_the_options(options: Any, cap: int | None, written: dict[str, Any]) -> None:
    body = {"model": "m", "messages": [], "options": options}
    assert OllamaChat().read(None, body).cap == cap
    assert OllamaChat().cap(None, body, 100) == {"options": written}


def test_a_generation_is_read() -> None:
    call = read(
        OllamaGenerate(),
        prompt="def f(",
        suffix=")",
        system="s",
        template="t",
        context=[1, 2, 3],
        images=["x"],
    )
    assert (call.operation, call.text, call.media) == ("completions", 9, 3 + 16_384)


@pytest.mark.parametrize("body", [{"options": 7}, {"options": {"num_predict": "all"}}])
def test_options_that_are_none_are_unreadable(body: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read(OllamaChat(), messages=[], **body)
    with pytest.raises(Unreadable, match="messages"):
        read(OllamaChat())


def test_a_whole_answer() -> None:
    assert OllamaChat().answer(CHAT_END) == Report("llama3.2", Usage(input=26, output=282), done=True)
    generated = {"model": "llama3.2", "response": "The sky", "done": True, "context": [1, 2], **FINAL}
    assert OllamaGenerate().answer(generated).usage == Usage(input=26, output=282)


def test_a_streamed_answer() -> None:
    report = streamed(OllamaChat(), piece("The"), piece(" sky is blue"), CHAT_END)
    assert report == Report("llama3.2", Usage(input=26, output=282), 282, True)
    cut = streamed(OllamaChat(), piece("The"), piece(" sky is blue"))
    assert (cut.usage, cut.seen, cut.done) == (None, 4, False)


def test_thinking_and_generated_text_are_seen() -> None:
    thought = {"model": "m", "message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False}
    assert streamed(OllamaChat(), thought).seen == 1
    said = {"model": "m", "response": "a" * 40, "done": False}
    assert streamed(OllamaGenerate(), said).seen == 10


def test_input_that_is_not_told_is_not_taken_for_none() -> None:
    """Older servers leave out what they had read before."""
    told = {name: value for name, value in CHAT_END.items() if name != "prompt_eval_count"}
    assert OllamaChat().answer(told).usage is None
    report = streamed(OllamaChat(), piece("The"), told)
    assert (report.usage, report.seen, report.done) == (None, 282, True)


@pytest.mark.parametrize("reason", ["load", "unload"])
def test_to_load_a_model_uses_nothing(reason: str) -> None:
    """An empty prompt: nothing is asked."""
    told = {"model": "llama3.2", "response": "", "done": True, "done_reason": reason}
    assert OllamaGenerate().answer(told).usage == Usage()
    assert streamed(OllamaGenerate(), told).usage == Usage()


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        ({"model": "all-minilm", "embeddings": [[0.01]], "prompt_eval_count": 8}, Usage(input=8)),
        ({"embedding": [0.56]}, None),
        ({"model": "m", "data": [], "usage": {"prompt_tokens": 5, "total_tokens": 5}}, Usage(input=5)),
    ],
)
def test_embeddings(answer: dict[str, Any], usage: Usage | None) -> None:
    """The second is of the older path, which tells nothing; the third of a server that speaks OpenAI's format there."""
    assert OllamaEmbed().answer(answer).usage == usage


@pytest.mark.parametrize(
    "given",
    [{"input": "abcd"}, {"prompt": "abcd"}, {"input": ["ab", "cd"]}, {"input": "abcd", "prompt": "x"}],
)
def test_what_is_embedded(given: dict[str, Any]) -> None:
    call = read(OllamaEmbed(), **given)
    assert (call.operation, call.text, call.generates) == ("embeddings", 4, False)


def test_a_refusal_is_a_text_with_ours_beside_it() -> None:
    error = QuotaExceeded("The budget is spent", fields={"limit_usd": 1.0})
    for form in (OllamaChat(), OllamaEmbed()):
        told = form.refusal(error)
        assert (told["error"], told["type"], told["limit_usd"]) == ("The budget is spent", error.type, 1.0)
