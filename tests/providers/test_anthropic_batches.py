"""Message batches: what they may take, whose models they ask for, what their results say that they used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.bounds import Call, input_bound
from quotaware.core.usage import Usage
from quotaware.errors import QuotaExceeded
from quotaware.providers import naming
from quotaware.providers.anthropic_batches import AnthropicBatches, AnthropicBatchResults
from quotaware.providers.anthropic_messages import AnthropicMessages
from quotaware.providers.base import Report, Unreadable
from quotaware.providers.jsontext import edit, parse
from quotaware.providers.registry import find

PATH = "/v1/messages/batches"
ID = "msgbatch_013Zva2CMHLNnXjNJJKqJ2EF"


def params(**more: Any) -> dict[str, Any]:
    return {
        "model": "claude-sonnet-5",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "hello"}],
        **more,
    }


def batch(*each: dict[str, Any]) -> dict[str, Any]:
    return {"requests": [{"custom_id": str(n), "params": one} for n, one in enumerate(each)]}


def read(body: dict[str, Any]) -> Call:
    route = find("POST", "api.anthropic.com", PATH)
    assert route is not None
    assert route.format is not None
    assert route.operation == "message_batches"
    return naming.read(route, route.format, parse(json.dumps(body).encode()))


def test_a_batch_is_all_of_its_messages() -> None:
    each = [
        params(),
        params(max_tokens=80, system="be kind"),
        params(tools=[{"name": "f", "input_schema": {}}]),
    ]
    call = read(batch(*each))
    singles = [AnthropicMessages().read("anthropic", one) for one in each]
    assert (call.choices, call.cap, call.tools, call.background, call.cache_write) == (3, 80, 1, True, False)
    assert call.text == sum(one.text for one in singles)
    for mode in ("strict", "calibrated"):
        assert input_bound(call, mode) >= sum(input_bound(one, mode) for one in singles[:2])


def test_each_of_its_models_is_judged() -> None:
    """S8, S9."""
    call = read(batch(params(), params(model="claude-opus-5"), params()))
    assert [model.name for model in call.models] == ["claude-sonnet-5", "claude-opus-5"]


@pytest.mark.parametrize(
    "body", [{"requests": []}, {"requests": [{"custom_id": "1"}]}, {"requests": [7]}, {"requests": "all"}, {}]
)
def test_what_is_no_batch_is_unreadable(body: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        AnthropicBatches().read("anthropic", {"model": "m", **body})


def test_one_without_a_cap_leaves_the_batch_without() -> None:
    assert (
        AnthropicBatches().read("anthropic", {"model": "m", **batch(params(), params(max_tokens=None))}).cap
        is None
    )


def test_a_cap_is_written_into_every_message() -> None:
    text = json.dumps(batch(params(), params(max_tokens=5))).encode()
    parsed = parse(text)
    changed = json.loads(edit(text, parsed, AnthropicBatches().cap("anthropic", parsed, 9)))
    assert [request["params"]["max_tokens"] for request in changed["requests"]] == [9, 5]
    assert changed["requests"][1]["custom_id"] == "1"


def test_it_is_known_by_its_name_until_its_results_are_read() -> None:
    assert AnthropicBatches().answer({"id": ID, "processing_status": "in_progress"}) == Report(
        done=True, later=ID
    )
    assert AnthropicBatches().answer({}).later == ""


def test_a_refusal_is_anthropics() -> None:
    error = QuotaExceeded("The budget is spent")
    assert AnthropicBatches().refusal(error) == AnthropicMessages().refusal(error)


# results


def result(sent: int, made: int, model: str = "claude-sonnet-5", **usage: int) -> dict[str, Any]:
    told = {"model": model, "usage": {"input_tokens": sent, "output_tokens": made, **usage}}
    return {"custom_id": "1", "result": {"type": "succeeded", "message": told}}


def report(*lines: object) -> Report:
    reader = AnthropicBatchResults().stream(hide=False)
    reader.feed(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    return reader.report()


FAILED = {"custom_id": "2", "result": {"type": "errored", "error": {"type": "error"}}}


@pytest.mark.parametrize(
    ("lines", "model", "usage"),
    [
        (
            (result(5, 2), FAILED, result(7, 3, cache_read_input_tokens=4)),
            "claude-sonnet-5",
            Usage(16, 5, cache_read=4),
        ),
        ((result(5, 2), result(7, 3, "claude-opus-5")), None, Usage(12, 5)),
        ((FAILED,), None, Usage()),
        ((result(5, 2), {"result": {"type": "succeeded", "message": {}}}), "claude-sonnet-5", None),
        ((result(5, 2), [1]), "claude-sonnet-5", Usage(5, 2)),
        ((result(5, 2), {"what": 1}), "claude-sonnet-5", None),
        ((), None, None),
    ],
)
def test_results_are_added_up(lines: tuple[object, ...], model: str | None, usage: Usage | None) -> None:
    """One that cannot be read leaves the sum unknown: then what is charged stays the bound."""
    assert report(*lines) == Report(model, usage)


def test_one_result_may_come_as_a_whole_answer() -> None:
    assert AnthropicBatchResults().answer(result(5, 2)) == Report("claude-sonnet-5", Usage(5, 2), done=True)


@pytest.mark.parametrize(
    ("path", "format"),
    [(f"{PATH}/{ID}/results", "anthropic.batch_results"), (f"{PATH}/{ID}", None), (PATH, None)],
)
def test_only_its_results_tell_what_it_used(path: str, format: str | None) -> None:
    route = find("GET", "api.anthropic.com", path)
    assert route is not None
    assert (route.lookup, route.free, route.format and route.format.name) == (True, True, format)
    assert route.answer == (ID if ID in path else "")
