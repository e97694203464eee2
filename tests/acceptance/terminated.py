"""A host app under uvicorn that tells, when it is terminated, what is recorded and what is still held."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette

from quotaware import Quota
from quotaware.testing import FakeProvider
from tests.acceptance.apps import host
from tests.support import AuditedStore, RunningClock


def main() -> None:
    clock = RunningClock()
    store = AuditedStore(clock)
    quota = Quota(store, limits=["$1/day", "8 concurrent"], clock=clock)
    provider = FakeProvider(output=10_000, pace=0.01)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await quota.aclose()
        rows = [row for state in store._orgs.values() for row in state.rows]
        records = [{**json.loads(row.outcome), "cost": row.real[1]} for _, row in rows]
        print(json.dumps({"held": store.held, "records": records}), flush=True)

    with provider.serve() as url:
        app = host(quota, url)
        app.router.lifespan_context = lifespan
        server = uvicorn.Server(
            uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1, ws="none")
        )
        sockets = [server.config.bind_socket()]
        print(sockets[0].getsockname()[1], flush=True)
        server.run(sockets)


if __name__ == "__main__":
    main()
