"""instructor, which has the model fill in a form by way of a tool."""

from __future__ import annotations

from typing import Any

from tests.frameworks.way import CLAUDE, GPT, HI, KEY, v1, ways_of

DENIED = "instructor.v2.core.errors.InstructorRetryException"
gpt = ways_of("instructor", GPT, DENIED)
claude = ways_of("instructor", CLAUDE, DENIED)


def asked(model: str) -> dict[str, Any]:
    from pydantic import BaseModel

    class Said(BaseModel):
        said: str

    return {"model": model, "messages": HI, "response_model": Said, "max_tokens": 100}


def openai(url: str, kind: str = "OpenAI") -> Any:
    import instructor
    import openai

    return instructor.from_openai(getattr(openai, kind)(base_url=v1(url), **KEY))


def anthropic(url: str, kind: str = "Anthropic") -> Any:
    import anthropic
    import instructor

    return instructor.from_anthropic(getattr(anthropic, kind)(base_url=url, **KEY))


@gpt()
def create(url: str) -> str:
    return openai(url).create(**asked(GPT)).said


@gpt()
async def acreate(url: str) -> str:
    return (await openai(url, "AsyncOpenAI").create(**asked(GPT))).said


@gpt(stream=True)
def create_partial(url: str) -> str:
    *_, last = openai(url).create_partial(**asked(GPT))
    return last.said


@gpt(stream=True)
async def acreate_partial(url: str) -> str:
    *_, last = [part async for part in openai(url, "AsyncOpenAI").create_partial(**asked(GPT))]
    return last.said


@claude()
def claude_create(url: str) -> str:
    return anthropic(url).create(**asked(CLAUDE)).said


@claude()
async def claude_acreate(url: str) -> str:
    return (await anthropic(url, "AsyncAnthropic").create(**asked(CLAUDE))).said
