"""LiteLLM's SDK: its functions, and its router."""

from __future__ import annotations

from typing import Any

from tests.frameworks.way import CLAUDE, GPT, HI, KEY, v1, ways_of

DENIED = "litellm.exceptions.RateLimitError"
gpt = ways_of("litellm", GPT, DENIED)
claude = ways_of("litellm", CLAUDE, DENIED)


def at(url: str) -> dict[str, Any]:
    return {"model": f"openai/{GPT}", "api_base": v1(url), **KEY}


def asked(url: str) -> dict[str, Any]:
    return {**at(url), "messages": HI}


def asked_claude(url: str) -> dict[str, Any]:
    return {"model": f"anthropic/{CLAUDE}", "messages": HI, "api_base": url, "max_tokens": 100, **KEY}


def text(answer: Any) -> str:
    return str(answer.choices[0].message.content)


@gpt()
def completion(url: str) -> str:
    import litellm

    return text(litellm.completion(**asked(url)))


@gpt()
async def acompletion(url: str) -> str:
    import litellm

    return text(await litellm.acompletion(**asked(url)))


@gpt(stream=True)
def completion_stream(url: str) -> str:
    import litellm

    parts = litellm.completion(**asked(url), stream=True)
    return "".join(part.choices[0].delta.content or "" for part in parts)


@gpt(stream=True)
async def acompletion_stream(url: str) -> str:
    import litellm

    parts = await litellm.acompletion(**asked(url), stream=True)
    return "".join([part.choices[0].delta.content or "" async for part in parts])


@claude()
def claude_completion(url: str) -> str:
    import litellm

    return text(litellm.completion(**asked_claude(url)))


@claude(stream=True)
async def claude_acompletion_stream(url: str) -> str:
    import litellm

    parts = await litellm.acompletion(**asked_claude(url), stream=True)
    return "".join([part.choices[0].delta.content or "" async for part in parts])


@gpt()
async def aresponses(url: str) -> str:
    import litellm

    return (await litellm.aresponses(**at(url), input="hi")).output[0].content[0].text


@gpt(calls=3, at_once=3)
def batch_completion(url: str) -> str:
    """By a pool of threads that knows no context; it answers errors in place of what failed."""
    import litellm

    answers = litellm.batch_completion(**at(url), messages=[HI, HI, HI])
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return "".join(map(text, answers))


@gpt()
async def router(url: str) -> str:
    import litellm

    router = litellm.Router([{"model_name": "mine", "litellm_params": at(url)}], num_retries=0)
    return text(await router.acompletion("mine", HI))
