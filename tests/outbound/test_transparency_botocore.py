"""Ordinary use of boto3 is the same with us and without, whether or not it is an LLM call.

Each scenario is run twice, on bare clients and on instrumented ones, and must tell the same.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from quotaware import Quota
from quotaware.testing.server import serve
from tests.outbound import aws
from tests.outbound.aws import MODEL, Bedrock, client, converse, invoke
from tests.outbound.wire import records

LIST = b"""<?xml version="1.0"?><ListBucketResult><IsTruncated>%s</IsTruncated><NextContinuationToken>t
</NextContinuationToken><Contents><Key>%d</Key><Size>1</Size></Contents></ListBucketResult>"""
CHANGING = {"date", "x-amz-date", "amz-sdk-invocation-id", "authorization", "host", "amz-sdk-request"}
"""Headers that differ from call to call."""


class House(Bedrock):
    """Bedrock, and a little of S3 beside it."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/model/"):
            await super().__call__(scope, receive, send)
            return
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.seen.append({"body": body, "headers": headers, "signed": None})
        first = b"continuation" not in scope["query_string"]
        answer = b"line one\nline two" if scope["method"] == "GET" else b""
        if scope["path"] == "/b":
            answer = LIST % (b"true" if first else b"false", first)
        sent = [(b"etag", b'"e"'), (b"content-length", b"%d" % len(answer))]
        status = 404 if scope["path"].endswith("nothing") else 200
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": answer})


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    app = House()
    with serve(app) as url:
        app.url = url
        yield app


Scenario = Callable[[House], Any]


def told(answer: Any) -> Any:
    """An answer without what differs from call to call, its streams read."""
    if isinstance(answer, dict):
        return {name: told(value) for name, value in answer.items() if name.lower() not in CHANGING}
    if isinstance(answer, list):
        return [told(each) for each in answer]
    if hasattr(answer, "_event_generator"):
        return told(list(answer))
    return answer.read() if hasattr(answer, "read") else answer


def failure(work: Callable[[], Any]) -> Any:
    """The error that this raises."""
    try:
        return told(work())
    except Exception as error:
        return type(error).__name__, str(error), told(getattr(error, "response", None))


def models(house: House) -> Any:
    made = client(house.url)
    body = json.dumps(invoke())
    return [
        told(made.converse(**converse())),
        told(made.converse_stream(**converse(inferenceConfig={"maxTokens": 9}))),
        told(made.invoke_model(modelId=MODEL, body=body)),
        told(made.invoke_model_with_response_stream(modelId=MODEL, body=body)),
        told(made.invoke_model(modelId=f"us.{MODEL}", body=io.BytesIO(body.encode()), contentType="x/y")),
    ]


def errors(house: House) -> Any:
    said = []
    for mode in ("legacy", "standard"):
        made = client(
            house.url, read_timeout=0.1, retries={"mode": mode, "total_max_attempts": 2}, tcp_keepalive=True
        )
        for faults in ([500], [429, 429], ["reset"], ["hang", "hang"], [403], ["break"]):
            house.faults = list(faults)
            said.append(failure(lambda made=made: made.converse(**converse())))
            house.faults = list(faults)
            said.append(failure(lambda made=made: made.converse_stream(**converse())))
    house.faults = []
    nowhere = client("http://127.0.0.1:9")
    said.append(failure(lambda: nowhere.converse(**converse())))
    said.append(failure(lambda: made.converse(modelId=MODEL, messages="no")))
    made._request_signer._credentials = None
    said.append(failure(lambda: made.converse(**converse())))
    return said


def handlers(house: House) -> Any:
    """Everything that the app's own handlers are told, in order."""
    said: list[Any] = []
    made = client(house.url, retries={"mode": "standard", "total_max_attempts": 3})

    def note(event_name: str, request: Any = None, **more: Any) -> None:
        seen = None
        if request is not None:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in CHANGING}
            seen = request.method, request.url, request.body, told(headers)
        said.append((event_name, sorted(more), seen, more.get("attempts")))

    for event in ("before-call", "request-created", "before-sign", "before-send", "response-received"):
        made.meta.events.register(event, note)
    made.meta.events.register_first("needs-retry", note)
    house.faults = [500]
    said.append(told(made.converse(**converse())))
    made.meta.events.register("before-sign", lambda request, **_: request.headers.add_header("x-own", "1"))
    said.append(told(made.converse_stream(**converse())))
    return said


def stubbed(house: House) -> Any:
    made = client(house.url)
    with Stubber(made) as stub:
        stub.add_response("converse", {**aws.answer("/converse")})
        stub.add_client_error("converse", "ThrottlingException", "no", 429)
        return told(made.converse(**converse())), failure(lambda: made.converse(**converse()))


def objects(house: House) -> Any:
    made = client(house.url, "s3", s3={"addressing_style": "path"})
    whole = made.get_object(Bucket="b", Key="k")["Body"]
    lines = made.get_object(Bucket="b", Key="k")["Body"]
    with made.get_object(Bucket="b", Key="k")["Body"] as raw:
        first = raw.read(4)
    return [
        told(made.put_object(Bucket="b", Key="k", Body=b"abc")),
        told(made.put_object(Bucket="b", Key="k", Body=io.BytesIO(b"abc"))),
        whole.read(3),
        whole.read(),
        list(lines.iter_lines()),
        first,
        [told(page) for page in made.get_paginator("list_objects_v2").paginate(Bucket="b")],
        failure(lambda: made.get_object(Bucket="b", Key="nothing")),
        made.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"}).partition("?")[0],
        made.upload_fileobj(io.BytesIO(b"x" * 10), "b", "k"),
    ]


def resources(house: House) -> Any:
    bucket = boto3.resource(
        "s3",
        region_name=aws.REGION,
        endpoint_url=house.url,
        aws_access_key_id="a",
        aws_secret_access_key="b",
    ).Bucket("b")
    return [each.key for each in bucket.objects.all().limit(1)]


SCENARIOS: tuple[Scenario, ...] = (models, errors, handlers, stubbed, objects, resources)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.filterwarnings("ignore:(?s).*socket:pytest.PytestUnraisableExceptionWarning")
def test_it_is_the_same_with_us_and_without(
    house: House, monkeypatch: pytest.MonkeyPatch, scenario: Scenario
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    quota = Quota(limits=["$1000/month"], unknown_model={"input": 1, "output": 1}, hosts=aws.HOSTS)
    runs = []
    for instrumented in (False, True):
        house.seen.clear()
        if instrumented:
            quota.instrument()
        try:
            runs.append((scenario(house), [(each["body"], each["signed"]) for each in house.seen]))
        finally:
            quota.uninstrument()
    (bare, sent_bare), (metered, sent_metered) = runs
    for answer, expected in zip(metered, bare, strict=True):
        assert answer == expected
    assert sent_metered == sent_bare
    assert bool(records(quota)) == (scenario in {models, errors, handlers})
    assert not quota.stats.get("faults")
    quota.close()
