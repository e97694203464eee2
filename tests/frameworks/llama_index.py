"""LlamaIndex. It repeats what it is refused, three times or ten, unless it is told not to: `max_retries=1`."""

from __future__ import annotations

from typing import Any

from tests.frameworks.way import CLAUDE, EMBEDDED, EMBEDS, GPT, KEY, v1, ways_of

gpt = ways_of("llama-index-llms-openai", GPT, "openai.RateLimitError")
claude = ways_of("llama-index-llms-anthropic", CLAUDE, "anthropic.RateLimitError")
embeds = ways_of("llama-index-embeddings-openai", EMBEDS, "openai.RateLimitError", usage=EMBEDDED)


def openai(url: str) -> Any:
    from llama_index.llms.openai import OpenAI

    return OpenAI(model=GPT, api_base=v1(url), max_retries=1, **KEY)


def responses(url: str) -> Any:
    from llama_index.llms.openai import OpenAIResponses

    return OpenAIResponses(model=GPT, api_base=v1(url), max_retries=1, **KEY)


def anthropic(url: str) -> Any:
    from llama_index.llms.anthropic import Anthropic

    return Anthropic(model=CLAUDE, base_url=url, **KEY)


def embedding(url: str) -> Any:
    from llama_index.embeddings.openai import OpenAIEmbedding

    return OpenAIEmbedding(model=EMBEDS, api_base=v1(url), max_retries=1, embed_batch_size=1, **KEY)


async def astreamed(model: Any) -> str:
    return "".join([part.delta or "" async for part in await model.astream_complete("hi")])


@gpt()
def complete(url: str) -> str:
    return str(openai(url).complete("hi"))


@gpt()
async def acomplete(url: str) -> str:
    return str(await openai(url).acomplete("hi"))


@gpt(stream=True)
def stream_complete(url: str) -> str:
    return "".join(part.delta or "" for part in openai(url).stream_complete("hi"))


@gpt(stream=True)
async def astream_complete(url: str) -> str:
    return await astreamed(openai(url))


@gpt()
def responses_complete(url: str) -> str:
    return str(responses(url).complete("hi"))


@gpt(stream=True)
async def responses_astream(url: str) -> str:
    return await astreamed(responses(url))


@claude()
def claude_complete(url: str) -> str:
    return str(anthropic(url).complete("hi"))


@claude(stream=True)
async def claude_astream(url: str) -> str:
    return await astreamed(anthropic(url))


@embeds()
def embed(url: str) -> str:
    return repr(embedding(url).get_text_embedding("hi"))


@embeds(calls=3, at_once=3)
async def aembed_batch(url: str) -> str:
    return repr(await embedding(url).aget_text_embedding_batch(["a", "b", "c"]))


# its bridges


@gpt(calls=3, at_once=3)
def async_from_sync(url: str) -> str:
    from llama_index.core.async_utils import asyncio_run, run_jobs

    model = openai(url)
    return "".join(map(str, asyncio_run(run_jobs([model.acomplete("hi") for _ in range(3)]))))


@gpt()
async def sync_on_a_loop(url: str) -> str:
    """Where a loop runs already it takes a thread, and blocks."""
    from llama_index.core.async_utils import asyncio_run

    return str(asyncio_run(openai(url).acomplete("hi")))


@gpt(stream=True)
def chat_engine_stream(url: str) -> str:
    """A thread writes the history while the answer is read."""
    from llama_index.core.chat_engine import SimpleChatEngine

    return "".join(SimpleChatEngine.from_defaults(llm=openai(url)).stream_chat("hi").response_gen)


@gpt(stream=True, calls=2)
async def function_agent(url: str) -> str:
    from llama_index.core.agent.workflow import FunctionAgent

    def look_up(question: str) -> str:
        """Looks something up."""
        return question

    return str(await FunctionAgent(tools=[look_up], llm=openai(url)).run("hi"))
