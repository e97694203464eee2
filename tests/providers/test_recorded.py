"""The formats over what providers really sent: whole answers, and streams cut at any byte."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pytest

from quotaware.core.bounds import Call
from quotaware.providers import naming
from quotaware.providers.base import Format, Report, Route
from quotaware.providers.jsontext import parse
from quotaware.providers.registry import find
from quotaware.testing.recordings import is_stream
from tests.corpus import exchanges, expected_of, needs_corpus, wire_body

pytestmark = needs_corpus

PROVIDERS = (
    "openai",
    "anthropic",
    "azure",
    "cohere",
    "deepseek",
    "google",
    "google-vertex",
    "groq",
    "huggingface",
    "mistral",
    "openrouter",
    "voyage",
)
EVERY_BYTE = 20
COUNTED = ("input", "output", "cache_read", "cache_write", "reasoning")


@cache
def routed_exchanges() -> list[tuple[Route, dict[str, Any]]]:
    """Every recorded exchange that a format reads, with its route."""
    found = []
    for exchange in (exchange for provider in PROVIDERS for exchange in exchanges(provider)):
        url = urlsplit(exchange["url"])
        route = find(exchange["method"], url.netloc, url.path)
        if route is not None and route.format is not None and not route.lookup:
            found.append((route, exchange))
    return found


@cache
def read_exchanges() -> list[tuple[Format, dict[str, Any]]]:
    """The same, each with the format that reads it."""
    return [(route.format, exchange) for route, exchange in routed_exchanges() if route.format is not None]


@cache
def streams() -> list[tuple[str, Format, bytes]]:
    """Every recorded stream, the shortest first."""
    found = [(e["id"], form, wire_body(e)) for form, e in read_exchanges() if is_stream(e)]
    return sorted(found, key=lambda stream: len(stream[2]))


def said(report: Report) -> dict[str, int] | None:
    usage = report.usage
    return None if usage is None else {name: getattr(usage, name) for name in COUNTED}


def events_of(stream: bytes) -> list[bytes]:
    """The events of a stream, as its own line ends part them."""
    end = b"\r\n\r\n" if b"\r\n\r\n" in stream else b"\n\n"
    return [event + end for event in stream.split(end)[:-1]]


def charged(report: Report) -> int:
    """The output that a cut stream is charged: the true one once it is known, else the most that is known."""
    reported = report.usage.output if report.usage else 0
    return reported if report.usage and report.done else max(reported, report.seen)


def feed_all(form: Format, chunks: list[bytes], hide: bool = False) -> tuple[bytes, Report]:
    reader = form.stream(hide)
    passed = b"".join([*(reader.feed(chunk) for chunk in chunks), reader.flush()])
    return passed, reader.report()


def random_chunks(stream: bytes, seed: int) -> list[bytes]:
    choose = random.Random(seed)
    cuts = sorted(choose.randrange(len(stream)) for _ in range(choose.choice([1, 8, 64])))
    return [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def test_every_recorded_answer_gives_the_expected_model_and_usage() -> None:
    """All that a format reads of the corpus, whole and streamed. A model that no answer names is the one of the URL."""
    wrong = {}
    for route, exchange in routed_exchanges():
        form = route.format
        assert form is not None
        if is_stream(exchange):
            report = feed_all(form, [wire_body(exchange)])[1]
        else:
            report = form.answer(json.loads(wire_body(exchange)))
        model, usage = expected_of(exchange)
        if model not in {None, report.model or route.named} or said(report) != usage or not report.done:
            wrong[exchange["id"]] = (report, model, usage)
    assert wrong == {}
    assert len(read_exchanges()) >= 940


def test_every_recorded_request_is_read() -> None:
    for route, exchange in routed_exchanges():
        body = parse(json.dumps(exchange["request"]).encode())
        assert route.format is not None
        model = route.named or body["model"]
        call = naming.read(route, route.format, body, {model.lower(): model})
        assert isinstance(call, Call)
        assert call.model == model
        assert call.free or call.text > 0 or call.media > 0 or call.opaque
        assert call.stream == is_stream(exchange) or exchange["status"] >= 400


@pytest.mark.parametrize("at", range(EVERY_BYTE))
def test_a_stream_cut_at_every_byte_is_charged_what_was_seen(at: int) -> None:
    """I-22, F8: never a raise; output charged does not fall from byte to byte until the true usage is known."""
    _, form, stream = streams()[at]
    reader, before, whole = form.stream(hide=False), 0, feed_all(form, [stream])[1]
    seen = 0
    for cut in range(len(stream)):
        reader.feed(stream[cut : cut + 1])
        report = reader.report()
        assert report.seen >= seen
        if report.done:
            assert report.usage == whole.usage
        else:
            assert charged(report) >= before
        before, seen = charged(report), report.seen
    assert reader.report() == whole


@pytest.mark.parametrize("hide", [False, True])
def test_a_stream_in_any_chunks_gives_the_same_report_and_bytes(hide: bool) -> None:
    """F8: cut at event borders and at random points; hidden is the usage chunk, exactly, and nothing else."""
    for name, form, stream in streams():
        events = events_of(stream)
        assert b"".join(events) == stream
        ours = [e for e in events if b'"choices":[]' in e and b'"usage":{' in e] if hide else []
        expected = stream.replace(ours[0], b"") if ours else stream
        whole = feed_all(form, [stream], hide)
        assert whole[0] == (expected if hide else stream), name
        for chunks in (events, *(random_chunks(stream, seed) for seed in range(6))):
            passed, report = feed_all(form, chunks, hide)
            assert report == whole[1], name
            assert passed == whole[0], name


def test_a_stream_cut_at_a_random_byte_reports_the_same_in_one_chunk_or_many() -> None:
    """What is known at a cut depends on the bytes before it alone, not on how or how often it was asked."""
    choose = random.Random(8)
    for _, form, stream in streams():
        cut = stream[: choose.randrange(len(stream))]
        if not cut:
            continue
        reader = form.stream(hide=True)
        for chunk in random_chunks(cut, seed=len(cut)):
            reader.feed(chunk)
            reader.report()
        at_cut = reader.report()
        reader.flush()
        assert reader.report() == at_cut == feed_all(form, [cut])[1]


def test_a_stream_with_other_line_ends_says_the_same() -> None:
    for _, form, stream in streams():
        expected = feed_all(form, [stream])[1]
        for end in (b"\r\n", b"\r"):
            other = stream.replace(b"\r\n", b"\n").replace(b"\n", end)
            assert feed_all(form, random_chunks(other, seed=3))[1] == expected


def test_the_first_event_is_not_held_back() -> None:
    """With hiding too, what is whole goes on at once."""
    for _, form, stream in streams():
        first = events_of(stream)[0]
        assert form.stream(hide=True).feed(first) == first
