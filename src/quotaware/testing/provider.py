"""A fake provider: an ASGI app that answers like OpenAI and Anthropic, counts, and fails on order.

    provider = FakeProvider(output=(1, 500), pace=0.01)
    with provider.serve() as url:  # a real server on loopback; or pass it to an ASGI transport
        client = OpenAI(base_url=f"{url}/v1", api_key="any")
        ...
    assert provider.calls[0].output == ...

Under any prefix it answers `/chat/completions`, `/embeddings`, `/models` (OpenAI), `/messages` and
`/messages/count_tokens` (Anthropic). Under `/replay/<id>/` the recorded exchange of that id answers whatever
is asked, so an SDK reads it whose base URL ends in `/replay/<id>/v1` (OpenAI) or `/replay/<id>` (Anthropic).

A generated token is the word `"tok "`, and a streamed event carries one, so that what was generated, sent and
reported is known exactly. Shapes are in `answers`, faults in `faults`, the server in `server`.
"""

from __future__ import annotations

import random
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import anyio
from starlette.types import Receive, Scope, Send

from ..core.usage import Usage
from . import answers
from .answers import Answer, Completion, Frame, Refused
from .faults import CLOSE, Cut, Fault, Garbage, Hang, NoUsage, Redirect, Reset, Status, parse
from .recordings import is_stream, recorded_body, recorded_usage, recordings
from .seen import Seen, read

Output: TypeAlias = int | tuple[int, int] | Callable[[random.Random], int]
"""Length of an answer in tokens: fixed, from a range (both ends included), or drawn by a function."""

MODELS = ("gpt-4o-mini", "gpt-4.1", "text-embedding-3-small")


class FakeProvider:
    """An ASGI app; every argument is also an attribute that may be changed between requests.

    output    length of each answer in tokens, 0 or more; the request's own cap holds all the same (the finish
              is then "length" or "max_tokens"), and each of `n` choices is drawn for itself
    pace      seconds between the events of a stream
    delay     seconds before an answer
    seed      of the lengths and of the pieces
    usage     hook: gets the request and the true usage, gives what to report in its place (cached and
              reasoning parts, a lie)
    corpus    folder of recorded exchanges, for `replay` and `/replay/<id>/`
    chunk     the most bytes that are written at once: bodies and events are cut at random, a recorded stream
              (one event then) through events and characters alike. None: a body or an event is written whole
    encoding  compress every body so, whatever the client accepts
    deployments
              which model each deployment is: it is then asked as Azure is, by the name of one in the URL
              (`/deployments/<name>/…`, and what the body names counts for nothing) or else in the body; 404 for others

    One instance may serve several loops and threads at once. Its ledger grows with each one until `reset`.
    """

    def __init__(
        self,
        *,
        output: Output = 16,
        pace: float = 0.0,
        delay: float = 0.0,
        seed: int = 0,
        usage: Callable[[Seen, Usage], Usage] | None = None,
        corpus: str | Path | None = None,
        chunk: int | None = None,
        encoding: Literal["gzip", "deflate"] | None = None,
        deployments: Mapping[str, str] | None = None,
    ) -> None:
        self.output = output
        self.pace = pace
        self.delay = delay
        self.seed = seed
        self.usage = usage
        self.corpus = corpus
        self.chunk = chunk
        self.encoding = encoding
        self.deployments = deployments
        self._changed = threading.Condition()
        self._url: str | None = None
        self._open = 0
        self.reset()

    # The ledger

    @property
    def calls(self) -> list[Seen]:
        """Every request since the last `reset`, in order of arrival; a copy of the list."""
        with self._changed:
            return list(self._calls)

    @property
    def requests(self) -> int:
        """How many requests arrived since the last `reset`."""
        return len(self._calls)

    @property
    def in_flight(self) -> int:
        """How many requests are being answered now."""
        return self._open

    def wait_requests(self, count: int, timeout: float = 10.0) -> None:
        """Blocks until `count` requests have arrived since the last `reset`. Raises `TimeoutError`.

        Async code calls it, as `wait_idle`, in a worker thread, so that its own loop goes on.
        """
        self._wait(lambda: len(self._calls) >= count, f"{count} requests", timeout)

    def wait_idle(self, timeout: float = 10.0) -> None:
        """Blocks until no request is being answered, so that the ledger is final. Raises `TimeoutError`."""
        self._wait(lambda: self._open == 0, "an end of all requests", timeout)

    def _wait(self, state: Callable[[], bool], what: str, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(state, timeout):
                raise TimeoutError(f"waited for {what}; {len(self._calls)} arrived, {self._open} open")

    def reset(self) -> None:
        """Forgets all calls, orders and the recording that is served, and starts the seed anew."""
        with self._changed:
            self._calls: list[Seen] = []
            self._orders: deque[Fault | None] = deque()
            self._always: Fault | None = None
            self._replay: str | None = None
            self._random = random.Random(self.seed)  # noqa: S311 - no secret hangs on it

    # Orders

    def fail(self, *faults: Fault | str | None) -> None:
        """The next requests fail so, one a request; None is a good answer. A fault may be given by name."""
        orders = [_fault(fault) for fault in faults]
        with self._changed:
            self._orders.extend(orders)

    def always(self, fault: Fault | str | None) -> None:
        """Every request fails so, until None ends it; the header `x-fake-fault` and `fail` go before."""
        self._always = _fault(fault)

    def replay(self, id: str | None) -> None:
        """Every request is answered with this recorded exchange, until None ends it. Raises `LookupError`."""
        if id is not None:
            self._recording(id)
        self._replay = id

    def _recording(self, name: str) -> Mapping[str, Any]:
        if self.corpus is None:
            raise LookupError("no recorded exchanges: give FakeProvider(corpus=FOLDER)")
        try:
            return recordings(Path(self.corpus))[name]
        except KeyError:
            raise LookupError(f"no recorded exchange {name!r} in {self.corpus}") from None

    # The server

    @property
    def url(self) -> str:
        """Where it is served. Raises `RuntimeError` outside `serve`."""
        if self._url is None:
            raise RuntimeError("the fake provider is not served: use `with provider.serve() as url:`")
        return self._url

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serves it on a free port of loopback until the block ends; gives `"http://127.0.0.1:PORT"`.

        Raises `ImportError` where uvicorn is missing.
        """
        from .server import serve  # noqa: PLC0415 - uvicorn is needed only here

        with serve(self) as url:
            self._url = url
            try:
                yield url
            finally:
                self._url = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI; HTTP and lifespan."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the fake provider speaks HTTP only, not {scope['type']}")
        seen = await read(scope, receive)
        if seen is None:
            return
        with self._changed:
            self._calls.append(seen)
            self._open += 1
            self._changed.notify_all()
        broken = False
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_cancel_when_gone, receive, group.cancel_scope)
                broken = await self._answer(seen, send)
                group.cancel_scope.cancel()
            if broken:
                await _break(scope, receive)
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    # One request

    async def _answer(self, seen: Seen, send: Send) -> bool:
        """Answers; True where the connection has to break now."""
        answer = self._plan(seen)
        if self.delay:
            await anyio.sleep(self.delay)
        match seen.fault:
            case Reset():
                return True
            case Hang(after_events=None):
                return await _broken_off(seen.fault)
        return await self._write(seen, answer, send)

    def _plan(self, seen: Seen) -> Answer:
        anthropic = seen.anthropic
        try:
            seen.fault = self._ordered(seen)
            match seen.fault:
                case Status(code, retry_after, message):
                    text = message or f"Failing with {code} on order."
                    headers = () if retry_after is None else (("retry-after", f"{retry_after:g}"),)
                    return answers.error(code, text, anthropic, headers)
                case Redirect(url, status):
                    return answers.redirect(url, status)
                case Garbage():
                    return answers.garbage(seen.stream)
                case Reset():
                    return Answer(())
            name = seen.replay or self._replay
            return self._generated(seen) if name is None else self._replayed(seen, name)
        except Refused as refused:
            return answers.error(refused.status, refused.message, anthropic)

    def _ordered(self, seen: Seen) -> Fault | None:
        named = seen.headers.get("x-fake-fault")
        if named is not None:
            try:
                return parse(named)
            except ValueError as error:
                raise Refused(400, str(error)) from None
        with self._changed:
            return self._orders.popleft() if self._orders else self._always

    def _replayed(self, seen: Seen, name: str) -> Answer:
        try:
            exchange = self._recording(name)
        except LookupError as error:
            raise Refused(404, str(error)) from None
        usage = recorded_usage(exchange)
        if usage is not None:
            seen.input, seen.output = usage.input, usage.output
        data, stream = recorded_body(exchange), is_stream(exchange)
        events = _EVENT_END.split(data) if stream and self.chunk is None else [data]
        *first, last = [event for event in events if event] or [b""]
        frames = [*map(Frame, first), Frame(last, seen.output, usage)]
        return Answer(
            frames, exchange["status"], exchange["content_type"] or "application/json", stream=stream
        )

    def _generated(self, seen: Seen) -> Answer:
        for (method, suffix), answer in _ROUTES.items():
            if seen.path.endswith(suffix):
                if seen.method != method:
                    raise Refused(405, f"Not allowed: {seen.method} {seen.path}")
                if method == "POST" and not isinstance(seen.body, dict):
                    raise Refused(400, "The body is not a JSON object.")
                return answer(self, seen)
        raise Refused(404, f"Unknown request URL: {seen.method} {seen.path}")

    def _chat(self, seen: Seen) -> Answer:
        answers.required(seen.body, "messages", list)
        caps = [answers.whole(seen.body, name) for name in ("max_completion_tokens", "max_tokens")]
        seen.cap = min((cap for cap in caps if cap is not None), default=None)
        seen.choices = answers.whole(seen.body, "n", answers.MAX_CHOICES) or 1
        done = self._completion(seen)
        options = seen.body.get("stream_options")
        include = isinstance(options, dict) and options.get("include_usage") is True
        return answers.chat_stream(done, include) if seen.stream else answers.chat(done)

    def _embeddings(self, seen: Seen) -> Answer:
        model = self._serves(seen)
        items = answers.embedding_inputs(seen.body)
        seen.input = answers.embedding_input(items)
        dimensions = answers.whole(seen.body, "dimensions", 4096) or 8
        packed = seen.body.get("encoding_format") == "base64"
        return answers.embeddings(model, items, dimensions, packed, self._report(seen))

    def _messages(self, seen: Seen) -> Answer:
        answers.required(seen.body, "messages", list)
        seen.cap = answers.whole(seen.body, "max_tokens")
        if seen.cap is None:
            raise Refused(400, "max_tokens: Field required")
        answers.check_thinking(seen.body, seen.cap)
        done = self._completion(seen)
        return answers.message_stream(done) if seen.stream else answers.message(done)

    def _count_tokens(self, seen: Seen) -> Answer:
        answers.required(seen.body, "messages", list)
        return answers.plain({"input_tokens": answers.chat_input(seen.body)})

    def _models(self, seen: Seen) -> Answer:
        return answers.models(MODELS)

    def _completion(self, seen: Seen) -> Completion:
        model = self._serves(seen)
        drawn = [self._length() for _ in range(seen.choices)]
        lengths = [length if seen.cap is None else min(length, seen.cap) for length in drawn]
        seen.input, seen.output = answers.chat_input(seen.body), sum(lengths)
        capped = [length < wanted for length, wanted in zip(lengths, drawn, strict=True)]
        with self._changed:
            number = f"{self._random.getrandbits(64):016x}"
        return Completion(number, model, lengths, capped, self._report(seen))

    def _serves(self, seen: Seen) -> str:
        """The model that answers."""
        if self.deployments is None:
            seen.served = answers.required(seen.body, "model", str)
            return seen.served
        _, named, rest = seen.path.partition("/deployments/")
        name = rest.partition("/")[0] if named else answers.required(seen.body, "model", str)
        seen.served = self.deployments.get(name)
        if seen.served is None:
            raise Refused(404, f"The API deployment {name!r} does not exist.")
        return seen.served

    def _length(self) -> int:
        with self._changed:
            match self.output:
                case int(length):
                    return length
                case (low, high):
                    return self._random.randint(low, high)
                case draw:
                    return draw(self._random)

    def _report(self, seen: Seen) -> Usage | None:
        if isinstance(seen.fault, NoUsage):
            return None
        usage = Usage(input=seen.input, output=seen.output)
        return usage if self.usage is None else self.usage(seen, usage)

    # The wire

    async def _write(self, seen: Seen, answer: Answer, send: Send) -> bool:
        """Writes the answer, and into the ledger how far it came; True where a fault breaks it off."""
        frames = answers.encoded(answer.frames, self.encoding)
        headers = [("content-type", answer.content_type), *answer.headers]
        if self.encoding is not None:
            headers.append(("content-encoding", self.encoding))
        size = 0
        if not answer.stream:
            body = answers.joined(frames)
            size, frames = len(body.data), iter([body])
            headers.append(("content-length", str(size)))
        last_event, last_byte = _breaking_point(seen.fault, answer.stream, size)
        breaks = isinstance(seen.fault, Cut | Hang)

        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        seen.status = answer.status
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        for count, (frame, last) in enumerate(answers.marked(frames)):
            if count == last_event:
                break
            if count:
                await anyio.sleep(self.pace)
            data = frame.data[:last_byte]
            *pieces, tail = self._pieces(data)
            for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            # Entered before it is written: a client that has read it finds it in the ledger.
            if len(data) == len(frame.data):
                seen.sent += frame.tokens
                seen.reported = frame.usage or seen.reported
                seen.finished = last and not breaks
            await send({"type": "http.response.body", "body": tail, "more_body": not seen.finished})
            if len(data) < len(frame.data):
                break
            if last_byte is not None:
                last_byte -= len(data)
        return breaks and await _broken_off(seen.fault)

    def _pieces(self, data: bytes) -> list[bytes]:
        if self.chunk is None or not data:
            return [data]
        pieces, start = [], 0
        while start < len(data):
            with self._changed:
                end = start + self._random.randint(1, self.chunk)
            pieces.append(data[start:end])
            start = end
        return pieces


_ROUTES: dict[tuple[str, str], Callable[[FakeProvider, Seen], Answer]] = {
    ("POST", "/chat/completions"): FakeProvider._chat,
    ("POST", "/embeddings"): FakeProvider._embeddings,
    ("POST", "/messages"): FakeProvider._messages,
    ("POST", "/messages/count_tokens"): FakeProvider._count_tokens,
    ("GET", "/models"): FakeProvider._models,
}


def _fault(fault: Fault | str | None) -> Fault | None:
    return parse(fault) if isinstance(fault, str) else fault


def _breaking_point(fault: Fault | None, stream: bool, size: int) -> tuple[int | None, int | None]:
    """After how many events, or bytes, the answer ends early; None for never. `size`: of a whole answer."""
    match fault:
        case Hang():
            return fault.after_events, None
        case Cut(after_bytes=None):
            return (fault.after_events, None) if stream else (None, size // 2)
        case Cut():
            return None, fault.after_bytes
    return None, None


async def _broken_off(fault: Fault | None) -> bool:
    if isinstance(fault, Hang):
        await anyio.sleep_forever()
    return True


_EVENT_END = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel_when_gone(receive: Receive, answering: anyio.CancelScope) -> None:
    await _until_gone(receive)
    answering.cancel()


async def _break(scope: Scope, receive: Receive) -> None:
    """Closes the connection. Raises `ConnectionResetError` under a server that does not offer it."""
    close = scope.get("extensions", {}).get(CLOSE)
    if close is None:
        raise ConnectionResetError("the fake provider broke the connection off on order")
    close()
    await _until_gone(receive)


async def _lifespan(receive: Receive, send: Send) -> None:
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})
