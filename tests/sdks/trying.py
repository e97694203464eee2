"""Tries one way of an SDK out, against a provider on this machine."""

from __future__ import annotations

import asyncio
import gc
import inspect
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from quotaware import Quota
from quotaware.core.usage import Usage
from tests.sdks.provider import USAGE, WORD, Provider
from tests.sdks.ways import DEPLOYMENT, At, Way

PATIENCE = 5.0  # seconds until a stream that was left is forgotten by the SDK's own threads too
PRICE = {"input": 1, "output": 1}
SENDERS = {
    ("httpx._client", "_send_single_request"): "httpx",
    ("httpx2._client", "_send_single_request"): "httpx2",
    ("aiohttp.client", "_request"): "aiohttp",
    ("botocore.endpoint", "_send_request"): "botocore",
    ("requests.adapters", "send"): "requests",
    ("urllib.request", "do_open"): "urllib",
}
"""Functions (module, name) of the HTTP libraries through which each of their requests goes."""


@dataclass
class Trial:
    """What became of a way, whole or streamed.

    over      the HTTP libraries that a call went through, outermost first
    denied    the exception over the budget; forbidden: where nobody may call
    tries     how often each of the two was asked for
    wrong     what was not as it should be
    """

    over: list[str] = field(default_factory=list)
    denied: str = ""
    forbidden: str = ""
    tries: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@contextmanager
def nowhere_else() -> Iterator[None]:
    """Every name is this machine: SDKs ask their providers' own hosts, and nothing can leave."""
    real = socket.getaddrinfo

    def getaddrinfo(_: Any, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1", *rest, **more)

    socket.getaddrinfo = getaddrinfo  # type: ignore[assignment]
    try:
        yield
    finally:
        socket.getaddrinfo = real


@dataclass
class Trying:
    """One way against one provider: as often as is asked, with a new client each time."""

    way: Way
    stream: bool
    provider: Provider
    at: At

    def trial(self) -> Trial:
        """Lets it go once; refuses it once over the budget and once because nobody may call; and once more lets it go
        after `uninstrument`.
        """
        trial = Trial()
        self._metered(trial)
        over_budget = self._refused(trial, _quota("$0.000000001/month"), "Monthly budget of $")
        nobody = self._refused(trial, Quota(), "unattributed")
        (trial.denied, first), (trial.forbidden, second) = over_budget, nobody
        trial.tries = [first, second]
        self._after(trial)
        return trial

    def _metered(self, trial: Trial) -> None:
        """One request, one record, and in it what the provider reported."""
        before, quota = self.provider.requests, _quota("$1000/month")
        quota.instrument()
        answer = self._attempt()
        left = _records(quota)
        quota.close()
        sent = self.provider.requests - before
        usage = Usage(USAGE.input) if self.way.embeds else USAGE
        metered = sent == 1 and left == [(usage, "exact", self.stream)]
        if not (self._read(answer) and metered and not self.provider.unsigned):
            trial.wrong.append(f"{sent} sent, {left} recorded, {_told(answer)}")

    def _refused(self, trial: Trial, quota: Quota, message: str) -> tuple[str, int]:
        """The SDK's own exception, which has our message; how often it asked. Nothing is sent."""
        before = self.provider.requests
        quota.instrument()
        answer = self._attempt()
        tries = quota.stats.get("denied", 0)
        quota.close()
        sent = self.provider.requests - before
        told = [getattr(answer, name, "") for name in ("body", "response_error_payload")]
        said = f"{answer} {told}"
        if not isinstance(answer, Exception) or message not in said or sent or not tries:
            trial.wrong.append(f"refused, but {sent} sent, {tries} denied, {_told(answer)}")
        return _name(type(answer)), tries

    def _after(self, trial: Trial) -> None:
        """Nothing of ours runs any more, and the answer is the same."""
        before = self.provider.requests
        gc.collect()  # what was left half read before ends now, not while we look
        with _looking() as (over, ours):
            answer = self._attempt()
        trial.over = over
        if not self._read(answer) or self.provider.requests != before + 1 or ours:
            trial.wrong.append(f"after uninstrument {sorted(ours)} ran, {_told(answer)}")

    def _read(self, answer: str | Exception) -> bool:
        """Whether the app has got it."""
        return isinstance(answer, str) and (self.way.embeds or answer.count(WORD.strip()) >= USAGE.output)

    def _attempt(self) -> str | Exception:
        """One call to the end of its answer, which is given as text. Its error is caught where it is raised: some
        cannot be printed, and asyncio prints them.
        """
        return self._asked() if self.way.sync else asyncio.run(self._asked_async())

    def _asked(self) -> str | Exception:
        try:
            asking = self.way.asking(self.at)
            answer = (asking.streamed if self.stream else asking.whole)()
            said = "".join(map(repr, _parts(answer, self.stream)))
            getattr(asking.client, "close", lambda: None)()
        except Exception as error:
            return error
        return said

    async def _asked_async(self) -> str | Exception:
        try:
            asking = await _result(self.way.asking(self.at))
            try:
                answer = await _result((asking.streamed if self.stream else asking.whole)())
                return "".join([repr(part) async for part in _async_parts(answer, self.stream)])
            finally:
                close = getattr(asking.client, "aclose", None) or getattr(asking.client, "close", None)
                await _result(close() if close is not None else None)
        except Exception as error:
            return error


def _records(quota: Quota) -> list[tuple[Usage, str, bool]]:
    """What the call left; some SDKs stop at the last event, and leave the rest of the stream to the collector."""
    deadline = time.monotonic() + PATIENCE
    while True:
        gc.collect()
        assert quota.flush()
        left = [(one.usage, one.quality, one.stream) for one in quota.blocking.usage.records()]
        if left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _quota(limit: str) -> Quota:
    return Quota(limits=[limit], unknown_model=PRICE, deployments={DEPLOYMENT: "gpt-4.1"})


async def _result(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _inside(answer: Any) -> Any:
    """AWS's clients have the body or the stream inside a mapping."""
    return (answer.get("stream") or answer.get("body") or answer) if isinstance(answer, dict) else answer


def _parts(answer: Any, stream: bool) -> Iterator[Any]:
    answer = _inside(answer)
    if stream:
        yield from answer
    else:
        yield answer.read() if hasattr(answer, "read") else answer


async def _async_parts(answer: Any, stream: bool) -> AsyncIterator[Any]:
    answer = _inside(answer)
    if stream:
        async for part in answer:
            yield part
    else:
        yield await answer.read() if hasattr(answer, "read") else answer


def _told(answer: str | Exception) -> str:
    return answer[:100] if isinstance(answer, str) else f"{type(answer).__name__}: {str(answer)[:300]}"


def _name(kind: type) -> str:
    """A class as users write it: by the shortest path that leads to it."""
    path = kind.__module__.split(".")
    for depth in range(1, len(path)):
        short = ".".join(path[:depth])
        if getattr(sys.modules.get(short), kind.__name__, None) is kind:
            return f"{short}.{kind.__name__}"
    return f"{kind.__module__}.{kind.__name__}"


@contextmanager
def _looking() -> Iterator[tuple[list[str], set[str]]]:
    """The HTTP libraries that send meanwhile, and which of our modules run, on this thread and those that it begins."""
    over: list[str] = []
    ours: set[str] = set()

    def look(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            module = frame.f_globals.get("__name__", "")
            library = SENDERS.get((module, frame.f_code.co_name))
            if library is not None and library not in over:
                over.append(library)
            if module.startswith("quotaware."):
                ours.add(module)

    setters: tuple[Callable[[Any], None], ...] = (sys.setprofile, threading.setprofile)
    for setter in setters:
        setter(look)
    try:
        yield over, ours
    finally:
        for setter in setters:
            setter(None)
