"""huggingface_hub's inference clients, which close their streams when they are closed or forgotten."""

from __future__ import annotations

from typing import Any

from tests.frameworks.way import GPT, HI, KEY, v1, ways_of

gpt = ways_of("huggingface_hub", GPT, "huggingface_hub.errors.HfHubHTTPError")


def client(url: str, kind: str = "InferenceClient") -> Any:
    import huggingface_hub

    return getattr(huggingface_hub, kind)(base_url=v1(url), **KEY)


@gpt()
def chat(url: str) -> str:
    return client(url).chat_completion(HI, model=GPT).choices[0].message.content


@gpt()
async def achat(url: str) -> str:
    answer = await client(url, "AsyncInferenceClient").chat_completion(HI, model=GPT)
    return answer.choices[0].message.content


@gpt(stream=True)
def chat_stream(url: str) -> str:
    with client(url) as made:
        parts = made.chat_completion(HI, model=GPT, stream=True)
        return "".join(part.choices[0].delta.content or "" for part in parts if part.choices)


@gpt(stream=True)
async def achat_stream(url: str) -> str:
    async with client(url, "AsyncInferenceClient") as made:
        parts = await made.chat_completion(HI, model=GPT, stream=True)
        return "".join([part.choices[0].delta.content or "" async for part in parts if part.choices])
