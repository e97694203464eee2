"""A chat app whose project may spend so much and no more: `python examples/litestar_app.py`, then try what it prints.

With OPENAI_API_KEY or ANTHROPIC_API_KEY set the answers are real and cost a cent; without, a fake provider gives them.
"""

import os
from collections.abc import AsyncIterator
from contextlib import nullcontext
from functools import cache

import uvicorn
from anthropic import AsyncAnthropic
from litestar import Litestar, get
from litestar.response import Stream
from openai import AsyncOpenAI

from quotaware import Quota
from quotaware.integrations.litestar import QuotaPlugin
from quotaware.testing import FakeProvider

quota = Quota("memory://")  # forgets all when it ends

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


@get("/ask")
async def ask(question: str) -> dict[str, str]:
    return {"answer": "".join([piece async for piece in await answer(question)])}


@get("/stream")
async def stream(question: str) -> Stream:
    return Stream(await answer(question), media_type="text/plain")


app = Litestar([ask, stream], plugins=[QuotaPlugin(quota)])


def set_up() -> str:
    """An organization, a team and a project, each with a budget; the key of the project."""
    tenancy = quota.blocking.tenancy
    organization = quota.bootstrap("StartupAI").organization_id
    tenancy.update(organization, organization, limits=["$20/month"])
    team = tenancy.create_team(organization, "engineering", limits=["$10/month"])
    project = tenancy.create_project(
        team.id,
        "chatbot",
        models=["gpt-4.1*", "claude-haiku-*"],
        limits=[
            "60 requests/minute",
            "$0.002/month for gpt-4.1*",  # two answers of 100 tokens
            "$0.0015/month for claude-haiku-*",
        ],
    )
    return tenancy.create_key(project.id, name="curl").secret


def main() -> None:
    port = int(os.environ.get("PORT", "8000"))
    key = set_up()
    curl = f"curl -H 'Authorization: Bearer {key}' 'http://127.0.0.1:{port}"
    print(f"The key of project 'chatbot': {key}\n")
    print(f"An answer:\n  {curl}/ask?question=Tell+me+a+story'\n")
    print(f"A stream:\n  {curl}/stream?question=And+a+longer+one' -N\n")
    print(f"That was the budget; one more:\n  {curl}/ask?question=Just+one+more' -i\n", flush=True)

    real = {"OPENAI_API_KEY", "ANTHROPIC_API_KEY"} & os.environ.keys()
    with nullcontext() if real else FakeProvider(output=100, pace=0.005).serve() as url:
        if url:
            os.environ |= {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": f"{url}/v1"}
        uvicorn.run(app, host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()
