"""boto3's clients are metered as httpx's are: before they sign, each try, however their answers are read."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import botocore.exceptions
import pytest
from botocore.awsrequest import AWSResponse
from botocore.endpoint import Endpoint

from quotaware import Quota
from quotaware.testing.server import serve
from tests.outbound import aws
from tests.outbound.aws import HOSTS, MODEL, Bedrock, client, converse, invoke, text_of
from tests.outbound.wire import records
from tests.support import AuditedStore


@pytest.fixture
def bedrock() -> Iterator[Bedrock]:
    app = Bedrock()
    with serve(app) as url:
        app.url = url
        yield app


@pytest.fixture
def quota(books: AuditedStore) -> Iterator[Quota]:
    """Instrumented, and never in the way; afterwards nothing is held and the books agree."""
    made = Quota(books, limits=["$1000/month", "1000000 requests/day"], clock=books.clock, hosts=HOSTS)
    made.instrument()
    yield made
    assert made.flush()
    books.check()
    assert books.held == {}
    assert not made.stats.get("faults")
    made.close()


def outputs(quota: Quota) -> list[int]:
    return [record.usage.output for record in records(quota)]


# the hook


def test_clients_made_before_and_after_are_metered(bedrock: Bedrock) -> None:
    quota, before = Quota(limits=["$1000/month"], hosts=HOSTS), client(bedrock.url)
    quota.instrument()
    try:
        for made in (before, client(bedrock.url)):
            stream = made.invoke_model_with_response_stream(modelId=MODEL, body=json.dumps(invoke()))["body"]
            assert len(list(stream)) == len(aws.chunks())
            assert made.converse(**converse())["usage"] == aws.USAGE
            assert text_of(made.converse_stream(**converse())["stream"]) == "tok " * 5
        quota.uninstrument()
        before.converse(**converse())
        assert [(record.model, record.usage.output, record.quality) for record in records(quota)] == [
            (MODEL, 5, "exact")
        ] * 6
        assert all(seen["signed"] for seen in bedrock.seen)
    finally:
        quota.close()


def test_uninstrument_leaves_the_class_as_it_was() -> None:
    before, path = dict(vars(Endpoint)), list(sys.meta_path)
    quota = Quota(limits=["$1/day"], hosts=HOSTS)
    quota.instrument()
    assert dict(vars(Endpoint)) != before
    quota.close()
    assert (dict(vars(Endpoint)), sys.meta_path) == (before, path)


def test_nothing_is_imported_and_whatever_is_imported_later_is_patched() -> None:
    script = """
import sys
from quotaware import Quota
quota = Quota(limits=["$1/day"])
quota.instrument()
assert "botocore" not in sys.modules
import boto3, botocore.endpoint
assert botocore.endpoint.Endpoint._send.__module__ == "quotaware.outbound.botocore"
quota.close()
assert botocore.endpoint.Endpoint._send.__module__ == "botocore.endpoint"
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_other_services_are_not_touched(bedrock: Bedrock) -> None:
    quota = Quota(limits=["1 requests/day"])
    quota.instrument()
    tables = client(bedrock.url, "dynamodb")
    tables.list_tables()
    tables._request_signer._credentials = None
    with pytest.raises(botocore.exceptions.NoCredentialsError):
        tables.list_tables()
    assert (records(quota), quota.stats) == ([], {})
    quota.close()


def test_a_sync_call_on_the_thread_of_a_running_loop_works(bedrock: Bedrock, quota: Quota) -> None:
    async def main() -> str:
        return text_of(client(bedrock.url).converse_stream(**converse())["stream"])

    assert asyncio.run(main()) == "tok " * 5
    assert outputs(quota) == [5]


# denials


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
def test_a_denied_call_is_boto3s_own_error_after_one_try(bedrock: Bedrock, mode: str) -> None:
    quota = Quota(limits=["1 requests/day"], hosts=HOSTS)
    quota.instrument()
    made = client(bedrock.url, retries={"mode": mode, "total_max_attempts": 4})
    try:
        made.converse(**converse())
        for ask in (made.converse, made.converse_stream):
            with pytest.raises(
                made.exceptions.ThrottlingException, match="Rate limit of 1 req/day exceeded"
            ) as raised:
                ask(**converse())
            told = raised.value.response["ResponseMetadata"]
            assert (told["HTTPStatusCode"], told["RetryAttempts"]) == (429, 0)
            assert told["HTTPHeaders"]["quotaware-denied"].startswith("req_")
        assert (len(bedrock.seen), len(records(quota))) == (1, 1)
        assert quota.stats["denied"] == 2
    finally:
        quota.close()


def test_a_body_that_cannot_be_judged_is_refused(bedrock: Bedrock, quota: Quota) -> None:
    made = client(bedrock.url)
    for body in (b"{", b" " * 33 * 1024 * 1024, io.BytesIO(b" " * 33 * 1024 * 1024)):
        with pytest.raises(botocore.exceptions.ClientError):
            made.invoke_model(modelId=MODEL, body=body)
    assert bedrock.seen == []


# what goes out


def test_a_cap_is_written_before_it_is_signed(bedrock: Bedrock) -> None:
    quota = Quota(limits=["$0.1/day"], hosts=HOSTS)
    quota.instrument()
    try:
        client(bedrock.url).converse(**converse())
        (seen,) = bedrock.seen
        assert json.loads(seen["body"])["inferenceConfig"]["maxTokens"] >= 256
        assert seen["signed"]
    finally:
        quota.close()


@pytest.mark.parametrize(
    "body",
    [lambda text: text, lambda text: text.encode(), lambda text: io.BytesIO(text.encode())],
    ids=["text", "bytes", "file"],
)
def test_whatever_a_body_is_made_of_it_is_judged_and_goes_out_as_it_came(
    bedrock: Bedrock, quota: Quota, body: Callable[[str], Any]
) -> None:
    """And at the next try too."""
    bedrock.faults = [503]
    text = json.dumps(invoke(), indent=1)
    made = client(bedrock.url, retries={"total_max_attempts": 2})
    assert (
        json.loads(made.invoke_model(modelId=MODEL, body=body(text))["body"].read())["usage"]["output_tokens"]
        == 5
    )
    assert [(seen["body"], seen["signed"]) for seen in bedrock.seen] == [(text.encode(), True)] * 2
    assert [(record.status, record.usage.output) for record in records(quota)] == [(503, 0), (200, 5)]


def test_what_the_apps_own_handlers_change_is_judged_anew(bedrock: Bedrock) -> None:
    """They come after us and before the signature: what is signed counts, and is not changed any more."""
    quota = Quota(limits=["$1000/day", "$0.000001/day for *haiku*"], hosts=HOSTS)
    quota.instrument()
    made = client(bedrock.url)

    def other(request: Any, **_: Any) -> None:
        request.url = request.url.replace("sonnet-4-5-20250929", "haiku-4-5-20251001")

    made.meta.events.register_last("before-sign.bedrock-runtime.Converse", other)
    try:
        with pytest.raises(botocore.exceptions.ClientError):
            made.converse(**converse())
        assert bedrock.seen == []
    finally:
        quota.close()


def test_a_handler_that_answers_itself_costs_nothing(bedrock: Bedrock, quota: Quota) -> None:
    made = client(bedrock.url)
    raw = io.BytesIO(json.dumps(aws.answer("/converse")).encode())
    raw.stream = lambda: [raw.read()]
    made.meta.events.register(
        "before-send.bedrock-runtime.Converse", lambda request, **_: AWSResponse(request.url, 200, {}, raw)
    )
    assert made.converse(**converse())["usage"] == aws.USAGE
    assert [(record.cost, record.usage.output) for record in records(quota)] == [(0, 0)]


# answers


READS: dict[str, Callable[[Any], bytes]] = {
    "read": lambda body: body.read(),
    "pieces": lambda body: b"".join(iter(lambda: body.read(7), b"")),
    "chunks": lambda body: b"".join(body.iter_chunks(9)),
    "lines": lambda body: b"".join(body.iter_lines()),
    "readlines": lambda body: b"".join(body.readlines()),
    "next": lambda body: b"".join(iter(body)),
    "into": lambda body: io.BufferedReader(body).read(),
    "raw": lambda body: b"".join(body._raw_stream.stream(5)),
    "read1": lambda body: b"".join(iter(lambda: body._raw_stream.read1(5), b"")),
}


@pytest.mark.parametrize("how", READS)
def test_however_it_is_read_it_is_the_same_and_metered(bedrock: Bedrock, how: str) -> None:
    quota, body = Quota(limits=["$1000/month"], hosts=HOSTS), json.dumps(invoke())
    seen = []
    for instrumented in (False, True):
        if instrumented:
            quota.instrument()
        answer = client(bedrock.url).invoke_model(modelId=MODEL, body=body)["body"]
        seen.append((READS[how](answer), answer._raw_stream.closed, answer._raw_stream.tell()))
    assert outputs(quota) == [5]
    quota.close()
    assert seen[0] == seen[1]


def test_a_stream_that_is_not_read_to_its_end_is_charged_what_was_seen(
    bedrock: Bedrock, quota: Quota
) -> None:
    bedrock.faults = ["break"] * 2
    made = client(bedrock.url)
    stream = made.converse_stream(**converse())["stream"]
    with pytest.raises(Exception, match="ended prematurely"):
        text_of(stream)
    closed = made.converse_stream(**converse())["stream"]
    next(iter(closed))
    closed.close()
    assert [record.quality for record in records(quota)] == ["partial"] * 2


@pytest.mark.filterwarnings("ignore:(?s).*socket:pytest.PytestUnraisableExceptionWarning")
def test_a_forgotten_stream_is_settled_when_it_is_collected(bedrock: Bedrock, quota: Quota) -> None:
    bedrock.faults = ["break"]
    forgotten = client(bedrock.url).converse_stream(**converse())["stream"]
    next(iter(forgotten))
    del forgotten
    gc.collect()
    (record,) = records(quota)
    assert record.quality == "partial"


def test_timeouts_and_broken_connections_are_the_apps_errors(bedrock: Bedrock, quota: Quota) -> None:
    made = client(bedrock.url, read_timeout=0.1)
    for fault, error in (
        ("hang", botocore.exceptions.ReadTimeoutError),
        ("reset", botocore.exceptions.ConnectionClosedError),
    ):
        bedrock.faults = [fault]
        with pytest.raises(error):
            made.converse(**converse())
    with pytest.raises(botocore.exceptions.EndpointConnectionError):
        client("http://127.0.0.1:9").converse(**converse())
    assert [(record.quality, record.usage.input > 0) for record in records(quota)] == [
        ("partial", True),
        ("partial", True),
        ("exact", False),
    ]


def test_each_try_is_a_call(bedrock: Bedrock, quota: Quota) -> None:
    bedrock.faults = [429, 500]
    made = client(bedrock.url, retries={"mode": "standard", "total_max_attempts": 3})
    assert made.converse(**converse())["ResponseMetadata"]["RetryAttempts"] == 2
    assert [record.status for record in records(quota)] == [429, 500, 200]


def test_a_request_that_cannot_be_signed_holds_nothing(bedrock: Bedrock, quota: Quota) -> None:
    made = client(bedrock.url)
    made._request_signer._credentials = None
    with pytest.raises(botocore.exceptions.NoCredentialsError):
        made.converse(**converse())
    assert [(record.cost, record.usage.input) for record in records(quota)] == [(0, 0)]
