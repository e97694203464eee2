"""What a fake provider was asked and what became of it: an entry of its ledger, read from an ASGI request."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope

from ..core.usage import Usage
from ..outbound.decoding import whole
from ..outbound.meter import MAX_BODY
from .faults import Fault

_ANTHROPIC = ("/messages", "/messages/count_tokens")


@dataclass(slots=True, eq=False)
class Seen:
    """One request as it arrived, and what became of it. Header names are lower case, tokens whole numbers.

    body      the parsed JSON (gzip and deflate are undone), None where it is none; `raw` the bytes as they came
    model     as the body names it; `served`: the one that answered, which is another where the body or the URL names a
              deployment; None where none did
    cap       output tokens that it allows each choice, as it arrived; None where it names none
    fault     what it was answered with on order, None for a good answer
    input     input tokens as this provider counts them
    output    tokens generated in full, all choices together, whether or not the client waited for them
    sent      of these, those whose event (or whole body) was handed to the connection before a fault or a
              hang-up ended it
    reported  the usage that was written to the client so far; None where none was (of a recording, `sent` and
              `reported` are known only once all of it was written)
    status    of the answer, None before it and where there was none
    finished  whether the answer was written to its end
    """

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes
    body: Any = None
    model: str | None = None
    served: str | None = None
    stream: bool = False
    cap: int | None = None
    choices: int = 1
    fault: Fault | None = None
    input: int = 0
    output: int = 0
    sent: int = 0
    reported: Usage | None = None
    status: int | None = None
    finished: bool = False

    @property
    def anthropic(self) -> bool:
        """Whether the client speaks Anthropic's dialect, OpenAI's otherwise."""
        return self.path.endswith(_ANTHROPIC) or "anthropic-version" in self.headers

    @property
    def replay(self) -> str | None:
        """Id of the recorded exchange that its path asks for."""
        _, found, rest = self.path.partition("/replay/")
        return rest.partition("/")[0] if found else None


async def read(scope: Scope, receive: Receive) -> Seen | None:
    """The request, once all of it has arrived; None where the client hung up before."""
    raw = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        raw += message.get("body", b"")
        more = message.get("more_body", False)
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    seen = Seen(scope["method"], scope["path"], headers, bytes(raw))
    try:
        seen.body = json.loads(whole(headers.get("content-encoding", ""), seen.raw, MAX_BODY))
    except (ValueError, RecursionError, LookupError, OverflowError, zlib.error):
        return seen
    if isinstance(seen.body, dict):
        model = seen.body.get("model")
        seen.model = model if isinstance(model, str) else None
        seen.stream = seen.body.get("stream") is True
    return seen
