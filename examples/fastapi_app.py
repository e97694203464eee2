"""A chat app whose project may spend so much and no more: `python examples/fastapi_app.py`, then try what it prints.

With OPENAI_API_KEY or ANTHROPIC_API_KEY set the answers are real and cost a cent; without, a fake provider gives them.
"""

import os
from collections.abc import AsyncIterator
from contextlib import nullcontext
from functools import cache

import uvicorn
from anthropic import AsyncAnthropic
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI

from quotaware import Quota, QuotaMiddleware
from quotaware.integrations.fastapi import CurrentCaller
from quotaware.testing import FakeProvider

quota = Quota("memory://")  # forgets all when it ends
app = FastAPI()
app.add_middleware(QuotaMiddleware, quota=quota)
app.mount("/v1", quota.management())

gpt = cache(AsyncOpenAI)  # the clients as their makers ship them
claude = cache(AsyncAnthropic)


async def answer(question: str) -> AsyncIterator[str]:
    """Asks the model that there is a key for, and answers what it says, piece by piece."""
    if "OPENAI_API_KEY" in os.environ:
        chunks = await gpt().chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": question}], max_tokens=100, stream=True
        )
        return (choice.delta.content or "" async for chunk in chunks for choice in chunk.choices)
    events = await claude().messages.create(
        model="claude-haiku-4-5",
        messages=[{"role": "user", "content": question}],
        max_tokens=100,
        stream=True,
    )
    return (
        event.delta.text
        async for event in events
        if event.type == "content_block_delta" and event.delta.type == "text_delta"
    )


@app.get("/ask")
async def ask(question: str, caller: CurrentCaller) -> dict[str, str | None]:
    return {"answer": "".join([piece async for piece in await answer(question)]), "project": caller.project}


@app.get("/stream")
async def stream(question: str) -> StreamingResponse:
    return StreamingResponse(await answer(question), media_type="text/plain")


def set_up() -> tuple[str, str, str]:
    """An organization, a team and a project, each with a budget: the admin's key, the team's id, the project's key."""
    first = quota.bootstrap("StartupAI")
    tenancy = quota.blocking.tenancy
    tenancy.update(first.organization_id, first.organization_id, limits=["$20/month"])
    team = tenancy.create_team(first.organization_id, "engineering", limits=["$10/month"])
    models = ["gpt-4.1*", "claude-haiku-*"]
    two_answers = "$0.002/month" if "OPENAI_API_KEY" in os.environ else "$0.0015/month"
    project = tenancy.create_project(team.id, "chatbot", models=models, limits=["10 concurrent", two_answers])
    return first.key or "", team.id, tenancy.create_key(project.id, name="curl").secret


def show(url: str) -> None:
    admin, team, key = set_up()
    ask = f"curl -H 'Authorization: Bearer {key}' '{url}"
    more = '{"name": "chatbot", "monthly_budget_usd": 1}'
    print(f"The key of project 'chatbot': {key}\nThe admin's key: {admin}\n")
    print(f"An answer:\n  {ask}/ask?question=Tell+me+a+story'\n")
    print(f"A stream:\n  {ask}/stream?question=And+a+longer+one' -N\n")
    print(f"That was the budget; one more:\n  {ask}/ask?question=Just+one+more' -i\n")
    print("The admin gives it a dollar; then try the last one again:")
    curl = f"curl -H 'Authorization: Bearer {admin}'"
    json = f"-H 'Content-Type: application/json' -d '{more}'"
    print(f"  {curl} '{url}/v1/teams/{team}/projects' {json}\n", flush=True)


def main() -> None:
    port = int(os.environ.get("PORT", "8000"))
    real = {"OPENAI_API_KEY", "ANTHROPIC_API_KEY"} & os.environ.keys()
    with nullcontext() if real else FakeProvider(output=100, pace=0.005).serve() as url:
        if url:
            os.environ |= {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": f"{url}/v1"}
        show(f"http://127.0.0.1:{port}")
        uvicorn.run(app, host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()
