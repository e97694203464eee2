"""LangChain, and by it LangGraph."""

from __future__ import annotations

from typing import Any

from tests.frameworks.way import CLAUDE, EMBEDDED, EMBEDS, GEMINI, GPT, KEY, v1, ways_of

gpt = ways_of("langchain-openai", GPT, "langchain_openai.chat_models.base.OpenAIRateLimitError")
embeds = ways_of("langchain-openai", EMBEDS, "openai.RateLimitError", usage=EMBEDDED)
claude = ways_of("langchain-anthropic", CLAUDE, "langchain_anthropic.chat_models.AnthropicRateLimitError")
gemini = ways_of("langchain-google-genai", GEMINI, "langchain_google_genai.chat_models.GoogleRateLimitError")


def openai(url: str, **more: Any) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model=GPT, base_url=v1(url), **KEY, **more)


def anthropic(url: str) -> Any:
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model_name=CLAUDE, base_url=url, **KEY)


def google(url: str) -> Any:
    """It repeats what it is refused, five times, unless it is told not to."""
    from langchain_google_genai import ChatGoogleGenerativeAI

    return ChatGoogleGenerativeAI(model=GEMINI, base_url=url, max_retries=1, **KEY)


def streamed(model: Any) -> str:
    return "".join(part.text for part in model.stream("hi"))


async def astreamed(model: Any) -> str:
    return "".join([part.text async for part in model.astream("hi")])


@gpt()
def invoke(url: str) -> str:
    return openai(url).invoke("hi").text


@gpt()
async def ainvoke(url: str) -> str:
    return (await openai(url).ainvoke("hi")).text


@gpt(stream=True)
def stream(url: str) -> str:
    return streamed(openai(url))


@gpt(stream=True)
async def astream(url: str) -> str:
    return await astreamed(openai(url))


@gpt()
def responses_invoke(url: str) -> str:
    return openai(url, use_responses_api=True).invoke("hi").text


@gpt(stream=True)
async def responses_astream(url: str) -> str:
    return await astreamed(openai(url, use_responses_api=True))


@embeds()
def embed(url: str) -> str:
    from langchain_openai import OpenAIEmbeddings

    made = OpenAIEmbeddings(model=EMBEDS, base_url=v1(url), check_embedding_ctx_length=False, **KEY)
    return repr(made.embed_query("hi"))


@claude()
def claude_invoke(url: str) -> str:
    return anthropic(url).invoke("hi").text


@claude()
async def claude_ainvoke(url: str) -> str:
    return (await anthropic(url).ainvoke("hi")).text


@claude(stream=True)
def claude_stream(url: str) -> str:
    return streamed(anthropic(url))


@claude(stream=True)
async def claude_astream(url: str) -> str:
    return await astreamed(anthropic(url))


@gemini()
def gemini_invoke(url: str) -> str:
    return google(url).invoke("hi").text


@gemini()
async def gemini_ainvoke(url: str) -> str:
    return (await google(url).ainvoke("hi")).text


@gemini(stream=True)
def gemini_stream(url: str) -> str:
    return streamed(google(url))


@gemini(stream=True)
async def gemini_astream(url: str) -> str:
    return await astreamed(google(url))


# its bridges: threads of its own, and from one world into the other


@gpt(calls=3, at_once=3)
def batch(url: str) -> str:
    return "".join(answer.text for answer in openai(url).batch(["a", "b", "c"]))


@gpt(calls=3, at_once=3)
async def abatch(url: str) -> str:
    return "".join([answer.text for answer in await openai(url).abatch(["a", "b", "c"])])


@gpt(calls=2, at_once=2)
def parallel(url: str) -> str:
    from langchain_core.runnables import RunnableParallel

    said = RunnableParallel(one=openai(url), two=openai(url)).invoke("hi")
    return said["one"].text + said["two"].text


@gpt(calls=2, at_once=2)
async def aparallel(url: str) -> str:
    from langchain_core.runnables import RunnableParallel

    said = await RunnableParallel(one=openai(url), two=openai(url)).ainvoke("hi")
    return said["one"].text + said["two"].text


@gpt()
async def function_awaited(url: str) -> str:
    """A function in a chain that is awaited runs in an executor."""
    from langchain_core.runnables import RunnableLambda

    def ask(_: str) -> str:
        return openai(url).invoke("hi").text

    return await RunnableLambda(ask).ainvoke("hi")


@gpt()
async def executor(url: str) -> str:
    from langchain_core.runnables.config import run_in_executor

    return (await run_in_executor(None, openai(url).invoke, "hi")).text


@gpt(stream=True)
async def chain_astreamed(url: str) -> str:
    """A chain that is streamed, the model within it by its callbacks."""
    from langchain_core.output_parsers import StrOutputParser

    return "".join([part async for part in (openai(url) | StrOutputParser()).astream("hi")])


def agent(url: str) -> Any:
    """It asks the model, which has a tool called, in which another is asked; then it is told the result."""
    from langchain.agents import create_agent
    from langchain_core.tools import tool

    @tool
    def look_up(question: str) -> str:
        """Looks something up."""
        return openai(url).invoke(question).text

    return create_agent(openai(url), [look_up])


ASKED = {"messages": [{"role": "user", "content": "hi"}]}


@gpt(calls=3)
def agent_invoke(url: str) -> str:
    return agent(url).invoke(ASKED)["messages"][-1].text


@gpt(calls=3)
async def agent_ainvoke(url: str) -> str:
    return (await agent(url).ainvoke(ASKED))["messages"][-1].text
