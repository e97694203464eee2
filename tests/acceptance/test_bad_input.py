"""Input that is wrong, or far too large: a clear error or untouched, memory bounded, and the host goes on serving."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from quotaware import ConfigurationError, InvalidKeyFormat, Limit, LimitSyntaxError, Quota
from quotaware.core.windows import Window
from quotaware.outbound.meter import MAX_BODY
from quotaware.testing import FakeProvider
from quotaware.testing.server import serve
from tests.acceptance.apps import serving
from tests.acceptance.bombs import BODY, MIB
from tests.acceptance.conftest import Audited
from tests.support import run_module

LINE = 64 * MIB
ZEROS = 256 * MIB

# What is given at set-up


@pytest.mark.parametrize("url", ["", "quota.db", "mysql://me:secret@localhost/quota", "://", "memory"])
def test_a_store_url_that_nobody_knows_is_refused_with_those_that_are_known(url: str) -> None:
    with pytest.raises(ConfigurationError, match="memory://") as error:
        Quota(url)
    assert error.value.field == "store"
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("store", [None, 7, b"memory://"])
def test_a_store_that_is_none_is_refused(store: Any) -> None:
    with pytest.raises(ConfigurationError) as error:
        Quota(store)
    assert error.value.field == "store"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", ""),
        ("   ", ""),
        ("fifty dollars", "fifty"),
        ("$50", "$50"),
        ("$/month", "$/"),
        ("50/month", "/"),
        ("$50/fortnight", "fortnight"),
        ("$50/", "/"),
        ("$50 per month", "per"),
        ("600 request s/minute", "s"),
        ("600 calls/minute", "calls"),
        ("1.5 requests/minute", "1.5"),
        ("-5 requests/minute", "-5"),
        ("$-5/month", "$-5"),
        ("-$5/month", "-$5"),
        ("$nan/month", "$nan"),
        ("nan requests/minute", "nan"),
        ("$inf/month", "$inf"),
        ("$1e999/month", "$1e999"),
        ("$9000001/month", "$9000001"),
        ("9000000000000001 requests/day", "9000000000000001"),
        ("$0.0000000001/month", "$0.0000000001"),
        ("8 concurrent/minute", "/"),
        ("$1/day per person", "person"),
        ("$1/day per", "per"),
        ("$1/day for", "for"),
        ("$1/day for a for b", "for"),
        ("$1/day hard and fast", "and"),
        ("$1/day soft shadow", "shadow"),
        ("$1/day sometimes", "sometimes"),
        ("$1/day for " + "*" * 17, "*" * 17),
    ],
)
def test_a_limit_text_that_is_wrong_names_its_word(text: str, word: str) -> None:
    with pytest.raises(LimitSyntaxError) as error:
        Quota(limits=[text])
    assert error.value.word == word
    assert repr(text) in str(error.value)


@pytest.mark.parametrize("limits", ["$50/month", [None], [7], [b"$50/month"], [["$50/month"]]])
def test_limits_that_are_no_list_of_texts_are_refused(limits: Any) -> None:
    with pytest.raises(ConfigurationError):
        Quota(limits=limits)


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), 9 * 10**15 + 1, 0.5, True, "1", None])
@pytest.mark.parametrize("metric", ["cost", "requests"])
def test_a_limit_that_is_negative_no_number_or_over_the_maximum_is_refused(metric: Any, amount: Any) -> None:
    with pytest.raises(ConfigurationError) as error:
        Limit(metric, amount, Window.parse("month"))
    assert error.value.field == "amount"


@pytest.mark.parametrize(
    "key", ["", "sk-other", "qw_live_", "qw_live_" + "a" * 36, "qw_live_" + "\u00e9" * 36]
)
def test_a_malformed_key_is_refused_without_the_store(key: str) -> None:
    with pytest.raises(InvalidKeyFormat, match="Invalid API key format"):
        Quota().acting_as(key=key)


# What goes by


BODIES = {
    "not JSON": b"model=gpt-4.1&messages=hello",
    "nothing": b"",
    "half": b'{"model": "gpt-4.1", "messages": [',
    "not UTF-8": b'{"model": "\xff", "messages": []}',
    "a list": b'["gpt-4.1"]',
    "a number": b"1e999",
    "a model that is a number": b'{"model": 41, "messages": []}',
    "a model that is a list": b'{"model": ["gpt-4.1"], "messages": []}',
    "no model": b'{"messages": []}',
    "no messages": b'{"model": "gpt-4.1"}',
    "messages that are text": b'{"model": "gpt-4.1", "messages": "hello"}',
    "nested too deeply": b'{"model": "gpt-4.1", "messages": ' + b"[" * 100_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_call_passes_untouched_to_a_host_that_nobody_knows(
    audited: Audited, fake_provider: FakeProvider, body: bytes
) -> None:
    quota, store = audited("1 request/day")
    with httpx.Client(base_url=fake_provider.url, verify=False) as client:
        quota.metered(client)
        for _ in range(2):
            answer = client.post("/v1/chat/completions", content=body)
            assert "quotaware-denied" not in answer.headers
    assert [seen.raw for seen in fake_provider.calls] == [body, body]
    assert store.used == {}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_cannot_be_judged_is_refused_at_a_provider_with_the_reason(
    audited: Audited, fake_provider: FakeProvider, body: bytes
) -> None:
    """S8, S9: where the model cannot be read nobody can say who may ask for it, and what else cannot be read cannot be
    bounded; the next call is served.
    """
    quota, store = audited("$1/day", hosts={"127.0.0.1": "openai"})
    call = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 10}
    with httpx.Client(base_url=fake_provider.url, verify=False) as client:
        quota.metered(client)
        refused = client.post("/v1/chat/completions", content=body)
        error = refused.json()["error"]
        named = body in (BODIES["a number"], BODIES["no messages"], BODIES["messages that are text"])
        expected = (422, "body_unreadable") if named else (403, "model_ambiguous")
        assert (refused.status_code, error["code"]) == expected
        assert error["message"].startswith("This call cannot be judged: ")
        assert "quotaware-denied" in refused.headers
        assert (fake_provider.requests, store.used) == (0, {})
        assert client.post("/v1/chat/completions", json=call).status_code == 200


def test_a_malformed_key_is_answered_by_the_middleware_and_the_host_goes_on(audited: Audited) -> None:
    quota, store = audited("$1/day")
    provider = FakeProvider()
    asked = {"prompt": "hello", "max_tokens": 10}
    with serving(quota, provider) as url:
        for header in ({"authorization": "Bearer qw_live_nonsense"}, {"x-api-key": "qw_" + "x" * 5000}):
            answer = httpx.post(f"{url}/openai", json=asked, headers=header)
            assert answer.status_code == 401
            assert answer.json()["error"]["message"] == "Invalid API key format"
        twice = [("authorization", "Bearer qw_live_a"), ("authorization", "Bearer qw_live_b")]
        assert httpx.post(f"{url}/openai", json=asked, headers=twice).status_code == 400
        assert (provider.requests, store.used) == (0, {})
        assert httpx.post(f"{url}/openai", json=asked).status_code == 200


# What has no bound


async def _count(request: Request) -> Response:
    size = 0
    async for piece in request.stream():
        size += len(piece)
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return JSONResponse({"model": "gpt-4.1", "choices": [], "usage": usage, "bytes": size})


def _line() -> Iterator[bytes]:
    yield b"data: " + b"x" * (MIB - 6)
    for _ in range(LINE // MIB - 1):
        yield b"x" * MIB


def _bomb() -> Iterator[bytes]:
    squeeze = zlib.compressobj(9, wbits=31)
    for _ in range(ZEROS // MIB):
        if squeezed := squeeze.compress(bytes(MIB)):
            yield squeezed
    yield squeeze.flush()


async def _endless(request: Request) -> Response:
    return StreamingResponse(_line(), media_type="text/event-stream")


async def _bombed(request: Request) -> Response:
    return Response(b"".join(_bomb()), media_type="text/event-stream", headers={"content-encoding": "gzip"})


sink = Starlette(
    routes=[
        Route("/count/v1/chat/completions", _count, methods=["POST"]),
        Route("/line/v1/chat/completions", _endless, methods=["POST"]),
        Route("/bomb/v1/chat/completions", _bombed, methods=["POST"]),
    ]
)


@pytest.mark.skipif(
    sys.platform != "linux", reason="a process's peak of memory is read from /proc/self/status"
)
def test_what_has_no_bound_goes_by_in_bounded_memory() -> None:
    """F16, S6, S7: 100 MiB of a body, a line of 64 MiB, a bomb of 256 MiB: less than 16 MiB on our account, and calls
    are served afterwards. Only a body of no told length at a known provider is kept, up to the bound of a body.
    """
    with serve(sink) as url:
        seen = json.loads(run_module("tests.acceptance.bombs", url))
    grown = {case: growth for case, (_, growth) in list(seen.items())[1:-1]}
    found = {case: result for case, (result, _) in list(seen.items())[:-1]}

    too_large = f"The request body of {BODY} bytes is longer than the {MAX_BODY} that can be metered"
    status, body = found["known, length told"]
    assert (status, body["error"]["code"], body["error"]["message"]) == (413, "body_too_large", too_large)
    assert found["known, no length"][0] == 413
    for case, size in (("stranger, length told", BODY), ("stranger, no length", 40 * MIB)):
        status, body = found[case]
        assert (status, body["bytes"]) == (200, size)
    assert found["endless line"] == found["endless line, usage asked for"] == LINE
    assert found["bomb"] == ZEROS
    assert found["host"] == [200, BODY, 200]
    assert found["afterwards"] == [200, 200]

    bounded = {case: growth for case, growth in grown.items() if case != "known, no length"}
    assert sum(bounded.values()) < 16 * MIB, bounded
    assert grown["known, no length"] < MAX_BODY + 16 * MIB
    assert seen["records"].count("exact") == 2
    assert set(seen["records"]) <= {"exact", "estimated", "partial"}
