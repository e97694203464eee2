"""A host with the management API, for real servers to run: every path but /v1 tells who calls."""

from __future__ import annotations

import json
import os
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount, Route

from quotaware import Quota, QuotaMiddleware
from quotaware.context import Caller, current

quota = Quota("memory://", trusted_proxies=["127.0.0.1", "unix"])
quota.blocking.tenancy.bootstrap("Wire", admin_key=os.environ["WIRE_KEY"])


async def host(scope: Any, receive: Any, send: Any) -> None:
    binding = current()
    caller = binding.caller if binding is not None else None
    told = {
        "key": isinstance(caller, Caller),
        "address": quota.edge.address(scope),
        "peer": scope["client"] and scope["client"][0],
    }
    body = json.dumps(told).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


class Host:
    """An ASGI app within a route."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await host(scope, receive, send)


app = Starlette(routes=[Mount("/v1", quota.management()), Route("/host", Host())])
app.add_middleware(QuotaMiddleware, quota=quota)
