"""AWS's event streams as tests make them."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any


def frame(payload: bytes, kind: str = "chunk", event: str = "event") -> bytes:
    """A frame of this payload; `kind` is the name of its event, or of its exception."""
    names = {":message-type": event, f":{event}-type": kind, ":content-type": "application/json"}
    headers = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value)) + value.encode()
        for name, value in names.items()
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


def event(kind: str, **members: Any) -> bytes:
    """A frame of Converse's: members as JSON, with padding as Bedrock adds it."""
    return frame(json.dumps({**members, "p": "abcdef"}).encode(), kind)


def chunk(**members: Any) -> bytes:
    """A frame of InvokeModel's: an event of the model's own, in base64."""
    inside = base64.b64encode(json.dumps(members).encode()).decode()
    return frame(json.dumps({"bytes": inside, "p": "abc"}).encode())
