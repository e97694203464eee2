"""The customers of the demo: each project calls the app with its key, now and then, as its users would."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import httpx

from ... import ApiError
from .company import END_USERS, SERVICES, Company, Service

QUESTIONS = (
    "Which of these documents answers the question?",
    "Summarize the thread in three sentences.",
    "What is the customer asking for?",
    "Is this ticket urgent?",
)
PATIENCE_S = 60.0
"""So long a team waits before it asks for more again, seconds."""


@dataclass(slots=True)
class Tally:
    """What became of the calls."""

    answered: int = 0
    refused: int = 0


@dataclass(slots=True)
class Traffic:
    """Runs until it is cancelled."""

    company: Company
    app: Any
    tally: Tally = field(default_factory=Tally)
    _asked: dict[str, float] = field(default_factory=dict)

    async def run(self) -> None:
        """All customers at once."""
        transport = httpx.ASGITransport(self.app)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://demo") as client,
            anyio.create_task_group() as group,
        ):
            for service in SERVICES:
                group.start_soon(self._customer, client, service)

    async def _customer(self, client: httpx.AsyncClient, service: Service) -> None:
        chance = random.Random(service.name)  # noqa: S311  # no secret hangs on it
        headers = {"authorization": f"Bearer {self.company.keys[service.name]}"}
        async with anyio.create_task_group() as group:
            while True:
                user = {"x-user": f"user-{chance.randrange(END_USERS)}"} if service.name == "chatbot" else {}
                asked = {"question": chance.choice(QUESTIONS), "model": chance.choice(service.models)}
                group.start_soon(self._one, client, service, asked, headers | user)
                await anyio.sleep(min(chance.expovariate(1 / service.every), 3 * service.every))

    async def _one(
        self, client: httpx.AsyncClient, service: Service, asked: dict[str, str], headers: dict[str, str]
    ) -> None:
        answer = await client.get("/ask", params=asked, headers=headers)
        if answer.is_success:
            self.tally.answered += 1
            return
        self.tally.refused += 1
        error = answer.json().get("error", {})
        if error.get("code") == "budget_exceeded":
            await anyio.to_thread.run_sync(partial(self._ask_for_more, service, error["limit_usd"]))

    def _ask_for_more(self, service: Service, limit_usd: float) -> None:
        """The project's lead asks for twice its budget, where nothing of that waits."""
        if time.monotonic() - self._asked.get(service.name, -PATIENCE_S) < PATIENCE_S:
            return
        self._asked[service.name] = time.monotonic()
        org, tenancy = self.company.org, self.company.quota.blocking.tenancy
        lead = tenancy.by(tenancy.acting(org, f"{service.name}-lead"))
        project = self.company.projects[service.name]
        shape = service.limits[0].partition("/")[2]
        with suppress(ApiError):  # one waits already
            lead.ask(org, project, f"cost/{shape}", round(2 * limit_usd * 10**9), reason="a busy day")
