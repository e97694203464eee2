"""A Bedrock for the tests of botocore's edge: a server that checks signatures, and a format that reads its answers."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from quotaware.core.bounds import Call
from quotaware.core.usage import Usage
from quotaware.errors import ApiError
from quotaware.providers.base import Report, Route
from quotaware.testing.faults import CLOSE

REGION = "us-east-1"
MODEL = "claude-sonnet-5"
CREDENTIALS = Credentials("AKIDEXAMPLE", "secret")
USAGE = {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12}


def frame(kind: str, payload: Any) -> bytes:
    """One event as AWS frames it (docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html)."""
    told = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in told.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


def events(tokens: int = 5) -> list[bytes]:
    """A streamed answer of so many tokens."""
    return [
        frame("messageStart", {"role": "assistant"}),
        *(
            frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "tok "}})
            for _ in range(tokens)
        ),
        frame("messageStop", {"stopReason": "end_turn"}),
        frame("metadata", {"usage": USAGE | {"outputTokens": tokens}, "metrics": {"latencyMs": 1}}),
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
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
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
        pieces: Iterable[bytes] = events() if streams else [json.dumps(answer(scope["path"])).encode()]
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
        return {"content": [{"type": "text", "text": "hi"}], "usage": USAGE}
    message = {"role": "assistant", "content": [{"text": "hi"}]}
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


class Format:
    """Reads `converse`, whole and streamed, until a stream's last event."""

    name = "tests.bedrock"
    operation = "chat"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        text = len(json.dumps(body.get("messages", "")))
        cap = body.get("inferenceConfig", {}).get("maxTokens")
        return Call(provider, "chat", body["model"], text=text, cap=cap, stream=True)

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        return {"inferenceConfig": {**body.get("inferenceConfig", {}), "maxTokens": tokens}}

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def answer(self, body: Any) -> Report:
        usage = body.get("usage")
        return Report(usage=Usage(usage["inputTokens"], usage["outputTokens"]) if usage else None, done=True)

    def stream(self, hide: bool) -> Reader:
        return Reader()

    def refusal(self, error: ApiError) -> dict[str, Any]:
        return {"__type": "ThrottlingException", "message": error.message}


class Reader:
    """What is fed to it, searched for its usage."""

    def __init__(self) -> None:
        self._fed = b""

    def feed(self, data: bytes) -> bytes:
        self._fed += data
        return data

    def flush(self) -> bytes:
        return b""

    def report(self) -> Report:
        found = re.search(rb'"usage": ({[^}]+})', self._fed)
        usage = json.loads(found[1]) if found else None
        seen = self._fed.count(b"tok ")
        return Report(
            usage=Usage(usage["inputTokens"], usage["outputTokens"]) if usage else None,
            seen=seen,
            done=usage is not None,
        )


def find(method: str, host: str, path: str, hosts: Any = None) -> Route | None:
    """The registry of these tests: what is posted to a model."""
    named = re.fullmatch(r"/model/(.+)/(converse|converse-stream|invoke|invoke-with-response-stream)", path)
    return (
        Route("anthropic", Format(), "chat", named=unquote(named[1])) if named and method == "POST" else None
    )


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


def text_of(stream: Iterator[Mapping[str, Any]]) -> str:
    """What a streamed answer says."""
    return "".join(event.get("contentBlockDelta", {}).get("delta", {}).get("text", "") for event in stream)
