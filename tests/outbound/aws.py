"""A Bedrock for the tests of botocore's edge: a server that checks signatures, and clients that sign."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from quotaware.testing.faults import CLOSE
from tests.providers.frames import chunk, event

REGION = "us-east-1"
MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
HOSTS = {"127.0.0.1": "aws"}
CREDENTIALS = Credentials("AKIDEXAMPLE", "secret")
USAGE = {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12}


def events() -> list[bytes]:
    """A streamed answer of Converse's."""
    return [
        event("messageStart", role="assistant"),
        *(event("contentBlockDelta", contentBlockIndex=0, delta={"text": "tok "}) for _ in range(5)),
        event("messageStop", stopReason="end_turn"),
        event("metadata", usage=USAGE, metrics={"latencyMs": 1}),
    ]


def chunks() -> list[bytes]:
    """The same as the model itself gives it."""
    start = {"model": MODEL, "usage": {"input_tokens": 7, "output_tokens": 1}}
    return [
        chunk(type="message_start", message=start),
        *(
            chunk(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "tok "})
            for _ in range(5)
        ),
        chunk(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5}),
        chunk(type="message_stop"),
    ]


@dataclass
class Bedrock:
    """An ASGI app; `faults` are taken in turn: a status, "break" (after two events), "reset", "hang"."""

    faults: list[Any] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.seen.append({"body": body, "headers": headers, "signed": _signed(scope, headers, body)})
        fault = self.faults.pop(0) if self.faults else None
        if fault == "hang":
            await receive()
            return
        if fault == "reset":
            scope["extensions"][CLOSE]()
            return
        streams = scope["path"].endswith("stream")
        kind = "application/vnd.amazon.eventstream" if streams else "application/json"
        status, told = 200, [(b"content-type", kind.encode()), (b"x-amzn-requestid", b"r-1")]
        streamed = events() if "converse" in scope["path"] else chunks()
        pieces: Iterable[bytes] = streamed if streams else [json.dumps(answer(scope["path"])).encode()]
        if isinstance(fault, int):
            status, pieces = fault, [json.dumps({"message": "no"}).encode()]
            told = [(b"content-type", b"application/json"), (b"x-amzn-errortype", b"ThrottlingException")]
        await send({"type": "http.response.start", "status": status, "headers": told})
        for count, piece in enumerate(pieces):
            if fault == "break" and count == 2:
                scope["extensions"][CLOSE]()
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def answer(path: str) -> dict[str, Any]:
    """A whole answer, as `converse` or as the model itself gives it."""
    if path.endswith("/invoke"):
        return {
            "content": [{"type": "text", "text": "tok " * 5}],
            "usage": {"input_tokens": 7, "output_tokens": 5},
        }
    message = {"role": "assistant", "content": [{"text": "tok " * 5}]}
    return {
        "output": {"message": message},
        "stopReason": "end_turn",
        "usage": USAGE,
        "metrics": {"latencyMs": 1},
    }


def _signed(scope: Any, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the signature is one over what arrived."""
    given = headers.get("authorization", "")
    names = re.search(r"SignedHeaders=([^,]+)", given)
    if names is None:
        return False
    url = f"http://{headers['host']}{scope['raw_path'].decode()}"
    request = AWSRequest(scope["method"], url, {name: headers[name] for name in names[1].split(";")}, body)
    request.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(CREDENTIALS, "bedrock", REGION)
    canonical = auth.canonical_request(request)
    return auth.signature(auth.string_to_sign(request, canonical), request) in given


def client(url: str, service: str = "bedrock-runtime", **options: Any) -> Any:
    """A client of boto3."""
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=CREDENTIALS.access_key,
        aws_secret_access_key=CREDENTIALS.secret_key,
        config=Config(**{"retries": {"total_max_attempts": 1}, "proxies": {}, **options}),
    )


def converse(text: str = "hi", **more: Any) -> dict[str, Any]:
    """What `client.converse` and `client.converse_stream` take."""
    return {"modelId": MODEL, "messages": [{"role": "user", "content": [{"text": text}]}], **more}


def invoke(**more: Any) -> dict[str, Any]:
    """What the model itself is asked, through `client.invoke_model` and `client.invoke_model_with_response_stream`."""
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5}
    return {**body, "messages": [{"role": "user", "content": "hi"}], **more}


def text_of(stream: Iterator[Mapping[str, Any]]) -> str:
    """What a streamed answer says."""
    return "".join(event.get("contentBlockDelta", {}).get("delta", {}).get("text", "") for event in stream)
