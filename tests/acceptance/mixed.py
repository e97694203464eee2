"""A process that calls from threads and from event loops at once: `python -m tests.acceptance.mixed URL`.

Prints a JSON object: how many calls were answered and denied, what the ledger says, what is held.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Any

import anthropic
import openai

from quotaware import Quota
from tests.acceptance.apps import MODELS, Clients
from tests.support import AuditedStore, RunningClock

THREADS, LOOPS, TASKS, CALLS = 4, 2, 8, 4
MESSAGES: Any = [{"role": "user", "content": "hello"}]


def main(url: str) -> None:
    clock = RunningClock()
    store = AuditedStore(clock)
    quota = Quota(store, limits=["$0.01/month"], clock=clock, settle_wait=30)
    quota.instrument()
    answered: list[str] = []
    denied: list[str] = []
    together = threading.Barrier(THREADS + LOOPS)

    def in_thread() -> None:
        http = openai.DefaultHttpxClient(verify=False)
        with openai.OpenAI(api_key="none", base_url=f"{url}/v1", http_client=http) as client:
            together.wait()
            for _ in range(CALLS):
                try:
                    client.chat.completions.create(model=MODELS["openai"], messages=MESSAGES, max_tokens=40)
                    answered.append("thread")
                except openai.RateLimitError:
                    denied.append("thread")

    async def task(clients: Clients) -> None:
        for _ in range(CALLS):
            try:
                await clients.anthropic.messages.create(
                    model=MODELS["anthropic"], messages=MESSAGES, max_tokens=40
                )
                answered.append("loop")
            except anthropic.RateLimitError:
                denied.append("loop")

    async def on_loop() -> None:
        clients = Clients(url)
        together.wait()
        await asyncio.gather(*(task(clients) for _ in range(TASKS)))
        await clients.aclose()

    workers = [threading.Thread(target=in_thread) for _ in range(THREADS)]
    workers += [threading.Thread(target=lambda: asyncio.run(on_loop())) for _ in range(LOOPS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    records = list(quota.blocking.usage.records())
    flushed = quota.close()
    store.check()
    told = {
        "answered": {place: answered.count(place) for place in ("thread", "loop")},
        "denied": len(denied),
        "spent": sum(record.cost for record in records),
        "records": len(records),
        "ids": len({record.id for record in records}),
        "peak": max(store.peaks.values()),
        "held": store.held,
        "flushed": flushed,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
