"""LlamaIndex's OpenAILike: complete, chat, stream, tools, async."""

from __future__ import annotations

import asyncio
import os
from importlib.metadata import version

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(
    model=os.environ["CLIENT_MODEL"],
    api_base=os.environ["CLIENT_BASE_URL"],
    api_key=os.environ["CLIENT_API_KEY"],
    is_chat_model=True,
    is_function_calling_model=True,
    context_window=8192,
    max_retries=0,
)
WORDS = "word0 word1 word2"


def weather(city: str, days: int) -> str:
    """Get the weather of a city."""
    return f"rain in {city} for {days} days"


asked = [ChatMessage(role="user", content="[words=3]")]
assert model.complete("[words=3]").text == WORDS
assert model.chat(asked).message.content == WORDS
assert list(model.stream_chat(asked))[-1].message.content == WORDS
assert "".join(part.delta or "" for part in model.stream_complete("[words=3]")) == WORDS

tool = FunctionTool.from_defaults(weather)
calling = model.chat_with_tools([tool], user_msg="Weather?")
calls = model.get_tool_calls_from_response(calling)
assert calls[0].tool_name == "weather" and calls[0].tool_kwargs == {"city": "text", "days": 4}, calls
assert model.predict_and_call([tool], user_msg="Weather?").response == "rain in text for 4 days"


async def asynchronous() -> None:
    assert (await model.achat(asked)).message.content == WORDS
    parts = [part async for part in await model.astream_chat(asked)]
    assert parts[-1].message.content == WORDS


asyncio.run(asynchronous())
print(f"llama-index-llms-openai-like {version('llama-index-llms-openai-like')}: 8 uses")
