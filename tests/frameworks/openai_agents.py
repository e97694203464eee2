"""OpenAI's Agents SDK, over responses and over chat."""

from __future__ import annotations

from typing import Any

from tests.frameworks.way import GPT, HI, KEY, v1, ways_of

gpt = ways_of("openai-agents", GPT, "openai.RateLimitError")


def agent(url: str, chat: bool = False, tools: Any = ()) -> Any:
    from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, set_tracing_disabled
    from openai import AsyncOpenAI

    set_tracing_disabled(True)  # traces would be sent to OpenAI
    model = OpenAIChatCompletionsModel if chat else OpenAIResponsesModel
    return Agent(name="a", model=model(GPT, AsyncOpenAI(base_url=v1(url), **KEY)), tools=list(tools))


async def streamed(agent: Any) -> str:
    from agents import Runner

    result = Runner.run_streamed(agent, "hi")
    async for _ in result.stream_events():
        pass
    return result.final_output


@gpt()
def run_sync(url: str) -> str:
    from agents import Runner

    return Runner.run_sync(agent(url), "hi").final_output


@gpt()
async def run(url: str) -> str:
    from agents import Runner

    return (await Runner.run(agent(url), "hi")).final_output


@gpt(stream=True)
async def run_streamed(url: str) -> str:
    return await streamed(agent(url))


@gpt()
def chat_run_sync(url: str) -> str:
    from agents import Runner

    return Runner.run_sync(agent(url, chat=True), "hi").final_output


@gpt(stream=True)
async def chat_run_streamed(url: str) -> str:
    return await streamed(agent(url, chat=True))


def tool(url: str) -> Any:
    from agents import function_tool
    from openai import OpenAI

    @function_tool(failure_error_function=None)
    def look_up(question: str) -> str:
        """Looks something up."""
        answer = OpenAI(base_url=v1(url), **KEY).chat.completions.create(model=GPT, messages=HI)
        return str(answer.choices[0].message.content)

    return look_up


@gpt(calls=3)
def tool_run_sync(url: str) -> str:
    from agents import Runner

    return Runner.run_sync(agent(url, tools=[tool(url)]), "hi").final_output


@gpt(calls=3)
async def tool_run(url: str) -> str:
    from agents import Runner

    return (await Runner.run(agent(url, chat=True, tools=[tool(url)]), "hi")).final_output
