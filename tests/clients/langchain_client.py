"""LangChain's ChatOpenAI: invoke, stream with usage, tools, structured output, async."""

from __future__ import annotations

import asyncio
import os
from importlib.metadata import version

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

model = ChatOpenAI(
    model=os.environ["CLIENT_MODEL"],
    base_url=os.environ["CLIENT_BASE_URL"],
    api_key=os.environ["CLIENT_API_KEY"],
    max_retries=0,
)
WORDS = "word0 word1 word2"


class Trip(BaseModel):
    """A trip."""

    city: str
    days: int


@tool
def weather(city: str, days: int) -> str:
    """Get the weather of a city."""
    return f"rain in {city} for {days} days"


found = model.invoke("[words=3]")
assert found.content == WORDS, found
assert found.usage_metadata["output_tokens"] == 3, found.usage_metadata

chunks = list(model.stream("[words=3]", stream_usage=True))
assert "".join(chunk.content for chunk in chunks) == WORDS
assert sum((chunk.usage_metadata or {}).get("output_tokens", 0) for chunk in chunks) == 3

assert model.with_structured_output(Trip).invoke("A trip?") == Trip(city="text", days=4)
assert model.with_structured_output(Trip, method="function_calling").invoke("A trip?") == Trip(city="text", days=4)

able = model.bind_tools([weather])
asked = HumanMessage("Weather?")
calling = able.invoke([asked])
results = [ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in calling.tool_calls]
assert able.invoke([asked, calling, *results]).content == "The tool says: rain in text for 4 days"
streamed = None
for chunk in able.stream([asked]):
    streamed = chunk if streamed is None else streamed + chunk
assert streamed.tool_calls[0]["args"] == {"city": "text", "days": 4}, streamed


async def asynchronous() -> None:
    assert (await model.ainvoke("[words=3]")).content == WORDS
    assert "".join([chunk.content async for chunk in model.astream("[words=3]")]) == WORDS


asyncio.run(asynchronous())

through_responses = model.model_copy(update={"use_responses_api": True})
assert through_responses.invoke("[words=3]").text == WORDS

print(f"langchain-openai {version('langchain-openai')}: 9 uses")
