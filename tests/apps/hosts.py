"""The same app under each framework: every route makes one LLM call, of the model that the query names, in its own
way, and says how the provider answered it.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio.to_thread
import httpx
from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket
from fastapi.responses import StreamingResponse as FastStream
from litestar import Litestar, get
from litestar import websocket as litestar_websocket
from litestar.background_tasks import BackgroundTask as LitestarTask
from litestar.connection import WebSocket as LitestarSocket
from litestar.response import Response as LitestarResponse
from litestar.response import Stream
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from quotaware import Quota, QuotaMiddleware
from quotaware.integrations.litestar import QuotaPlugin

CALL = "/v1/chat/completions"
WAYS = ("async", "sync", "stream", "stream-sync", "background", "task", "thread")


class Provider:
    """An LLM provider as an app reaches it: clients that the whole app shares, over `wire`."""

    def __init__(self, wire: Callable[[httpx.Request], httpx.Response], url: str = "http://llm.test") -> None:
        self.client = httpx.AsyncClient(base_url=url, transport=httpx.MockTransport(wire))
        self.sync = httpx.Client(base_url=url, transport=httpx.MockTransport(wire))

    async def ask(self, model: str) -> str:
        return str((await self.client.post(CALL, json=self._body(model))).status_code)

    def ask_sync(self, model: str) -> str:
        return str(self.sync.post(CALL, json=self._body(model)).status_code)

    def ask_on_a_bare_thread(self, model: str) -> str:
        """From a thread that nobody gave the context to."""
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(self.ask_sync(model)))
        thread.start()
        thread.join()
        return found[0]

    async def ask_late(self, model: str) -> AsyncIterator[str]:
        yield ""
        await asyncio.sleep(0)
        yield await self.ask(model)

    def ask_late_sync(self, model: str) -> Iterator[str]:
        yield ""
        yield self.ask_sync(model)

    async def ask_in_task(self, model: str) -> str:
        return await asyncio.create_task(self.ask(model))

    async def ask_in_thread(self, model: str) -> str:
        return await anyio.to_thread.run_sync(self.ask_sync, model)

    @staticmethod
    def _body(model: str) -> dict[str, Any]:
        return {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}


def answers(request: httpx.Request) -> httpx.Response:
    """A provider's good answer: ten tokens in, five out."""
    body = json.loads(request.content)
    return httpx.Response(
        200,
        json={
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        },
    )


def bare(provider: Provider) -> Any:
    """No framework at all."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        model = scope["query_string"].decode().partition("model=")[2]
        way = scope["path"].strip("/")
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            text = (await receive())["text"]
            await send({"type": "websocket.send", "text": await provider.ask(text)})
            await send({"type": "websocket.close", "code": 1000})
            return
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        )
        if way == "background":
            await send({"type": "http.response.body", "body": b"later"})
            await provider.ask(model)
            return
        ways: dict[str, Callable[[str], Awaitable[str]]] = {
            "async": provider.ask,
            "sync": provider.ask_in_thread,
            "stream": provider.ask,
            "stream-sync": provider.ask_in_thread,
            "task": provider.ask_in_task,
            "thread": provider.ask_in_thread,
        }
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": (await ways[way](model)).encode()})

    return app


def with_bare(quota: Quota, provider: Provider, **options: Any) -> Any:
    return QuotaMiddleware(bare(provider), quota, **options)


def with_starlette(quota: Quota, provider: Provider, **options: Any) -> Starlette:
    def route(way: str, ask: Callable[[str], Awaitable[str]]) -> Route:
        async def endpoint(request: Request) -> PlainTextResponse:
            return PlainTextResponse(await ask(request.query_params["model"]))

        return Route(f"/{way}", endpoint)

    def sync(request: Request) -> PlainTextResponse:
        return PlainTextResponse(provider.ask_sync(request.query_params["model"]))

    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(provider.ask_late(request.query_params["model"]))

    async def stream_sync(request: Request) -> StreamingResponse:
        return StreamingResponse(provider.ask_late_sync(request.query_params["model"]))

    async def background(request: Request) -> PlainTextResponse:
        return PlainTextResponse(
            "later", background=BackgroundTask(provider.ask, request.query_params["model"])
        )

    async def socket(ws: Any) -> None:
        await ws.accept()
        await ws.send_text(await provider.ask(await ws.receive_text()))
        await ws.close()

    app = Starlette(
        routes=[
            route("async", provider.ask),
            route("task", provider.ask_in_task),
            route("thread", provider.ask_in_thread),
            Route("/sync", sync),
            Route("/stream", stream),
            Route("/stream-sync", stream_sync),
            Route("/background", background),
            WebSocketRoute("/ws", socket),
        ]
    )
    app.add_middleware(QuotaMiddleware, quota=quota, **options)
    return app


def with_fastapi(quota: Quota, provider: Provider, **options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(QuotaMiddleware, quota=quota, **options)

    @app.get("/async")
    async def plain(model: str) -> Any:
        return await provider.ask(model)

    @app.get("/sync")
    def sync(model: str) -> Any:
        return provider.ask_sync(model)

    @app.get("/stream")
    async def stream(model: str) -> FastStream:
        return FastStream(provider.ask_late(model))

    @app.get("/stream-sync")
    def stream_sync(model: str) -> FastStream:
        return FastStream(provider.ask_late_sync(model))

    @app.get("/background")
    async def background(model: str, tasks: BackgroundTasks) -> str:
        tasks.add_task(provider.ask_sync, model)
        return "later"

    @app.get("/task")
    async def task(model: str) -> str:
        return await provider.ask_in_task(model)

    @app.get("/thread")
    async def thread(model: str) -> str:
        return await provider.ask_in_thread(model)

    @app.get("/bare-thread")
    def bare_thread(model: str) -> str:
        return provider.ask_on_a_bare_thread(model)

    @app.get("/on-the-loop")
    async def on_the_loop(model: str) -> str:
        return provider.ask_sync(model)

    _add_dependencies(app, provider)

    @app.websocket("/ws")
    async def socket(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_text(await provider.ask(await ws.receive_text()))
        await ws.close()

    return app


def _add_dependencies(app: FastAPI, provider: Provider) -> None:
    async def asked(model: str) -> str:
        return await provider.ask(model)

    def asked_sync(model: str) -> str:
        return provider.ask_sync(model)

    async def asked_around(model: str) -> AsyncIterator[str]:
        yield await provider.ask(model)
        await provider.ask(model)

    def asked_around_sync(model: str) -> Iterator[str]:
        yield provider.ask_sync(model)
        provider.ask_sync(model)

    @app.get("/depends")
    async def depends(
        one: str = Depends(asked),
        two: str = Depends(asked_sync),
        three: str = Depends(asked_around),
        four: str = Depends(asked_around_sync),
    ) -> list[str]:
        return [one, two, three, four]


def with_litestar(quota: Quota, provider: Provider, **options: Any) -> Litestar:
    @get("/async", media_type="text/plain")
    async def plain(model: str) -> str:
        return await provider.ask(model)

    @get("/sync", media_type="text/plain", sync_to_thread=True)
    def sync(model: str) -> str:
        return provider.ask_sync(model)

    @get("/stream")
    async def stream(model: str) -> Stream:
        return Stream(provider.ask_late(model))

    @get("/stream-sync")
    async def stream_sync(model: str) -> Stream:
        return Stream(provider.ask_late_sync(model))

    @get("/background", media_type="text/plain")
    async def background(model: str) -> LitestarResponse[str]:
        return LitestarResponse("later", background=LitestarTask(provider.ask, model))

    @get("/task", media_type="text/plain")
    async def task(model: str) -> str:
        return await provider.ask_in_task(model)

    @get("/thread", media_type="text/plain")
    async def thread(model: str) -> str:
        return await provider.ask_in_thread(model)

    @litestar_websocket("/ws")
    async def socket(socket: LitestarSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.send_text(await provider.ask(await socket.receive_text()))
        await socket.close()

    return Litestar(
        [plain, sync, stream, stream_sync, background, task, thread, socket],
        plugins=[QuotaPlugin(quota, **options)],
        openapi_config=None,
        logging_config=None,
    )


FRAMEWORKS: dict[str, Callable[..., Any]] = {
    "starlette": with_starlette,
    "fastapi": with_fastapi,
    "litestar": with_litestar,
    "bare": with_bare,
}
