"""pydantic-ai."""

from __future__ import annotations

from typing import Any

from tests.frameworks.way import CLAUDE, GEMINI, GPT, KEY, v1, ways_of

DENIED = "pydantic_ai.exceptions.ModelHTTPError"
gpt = ways_of("pydantic-ai-slim", GPT, DENIED)
claude = ways_of("pydantic-ai-slim", CLAUDE, DENIED)
gemini = ways_of("pydantic-ai-slim", GEMINI, DENIED)


def openai(url: str) -> Any:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return Agent(OpenAIChatModel(GPT, provider=OpenAIProvider(base_url=v1(url), **KEY)))


def responses(url: str) -> Any:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return Agent(OpenAIResponsesModel(GPT, provider=OpenAIProvider(base_url=v1(url), **KEY)))


def anthropic(url: str) -> Any:
    from pydantic_ai import Agent
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    return Agent(AnthropicModel(CLAUDE, provider=AnthropicProvider(base_url=url, **KEY)))


def google(url: str) -> Any:
    from pydantic_ai import Agent
    from pydantic_ai.models.google import GoogleModel
    from pydantic_ai.providers.google import GoogleProvider

    return Agent(GoogleModel(GEMINI, provider=GoogleProvider(base_url=url, **KEY)))


async def streamed(agent: Any) -> str:
    async with agent.run_stream("hi") as result:
        return "".join([part async for part in result.stream_text(delta=True)])


@gpt()
def run_sync(url: str) -> str:
    return openai(url).run_sync("hi").output


@gpt()
async def run(url: str) -> str:
    return (await openai(url).run("hi")).output


@gpt(stream=True)
async def run_stream(url: str) -> str:
    return await streamed(openai(url))


@gpt()
def responses_run_sync(url: str) -> str:
    return responses(url).run_sync("hi").output


@gpt(stream=True)
async def responses_run_stream(url: str) -> str:
    return await streamed(responses(url))


@claude()
def claude_run_sync(url: str) -> str:
    return anthropic(url).run_sync("hi").output


@claude(stream=True)
async def claude_run_stream(url: str) -> str:
    return await streamed(anthropic(url))


@gemini()
def gemini_run_sync(url: str) -> str:
    return google(url).run_sync("hi").output


@gemini(stream=True)
async def gemini_run_stream(url: str) -> str:
    return await streamed(google(url))


def with_tool(url: str) -> Any:
    """It asks the model, which has a tool called, in which another is asked; then it is told the result."""
    agent = openai(url)

    @agent.tool_plain
    def look_up(question: str) -> str:
        """Looks something up."""
        return openai(url).run_sync(question).output

    return agent


@gpt(calls=3)
def tool_run_sync(url: str) -> str:
    return with_tool(url).run_sync("hi").output


@gpt(calls=3)
async def tool_run(url: str) -> str:
    return (await with_tool(url).run("hi")).output
