"""pydantic-ai, which validates every answer strictly: text, stream, tool loop, structured output, responses."""

from __future__ import annotations

import asyncio
import os
from importlib.metadata import version

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=os.environ["CLIENT_BASE_URL"], api_key=os.environ["CLIENT_API_KEY"])
model = OpenAIChatModel(os.environ["CLIENT_MODEL"], provider=provider)
WORDS = "word0 word1 word2"


class Trip(BaseModel):
    city: str
    days: int


async def main() -> None:
    plain = Agent(model)
    found = await plain.run("[words=3]")
    assert found.output == WORDS, found

    async with plain.run_stream("[words=3]") as stream:
        assert await stream.get_output() == WORDS

    able = Agent(model, instructions="Use the tool.")

    @able.tool_plain
    def weather(city: str, days: int) -> str:
        """Get the weather of a city."""
        return f"rain in {city} for {days} days"

    answer = await able.run("Weather?")
    assert answer.output == "The tool says: rain in text for 4 days", answer
    async with able.run_stream("Weather?") as stream:
        assert await stream.get_output() == "The tool says: rain in text for 4 days"

    by_tool = await Agent(model, output_type=Trip).run("A trip?")
    assert by_tool.output == Trip(city="text", days=4)
    by_schema = await Agent(model, output_type=NativeOutput(Trip)).run("A trip?")
    assert by_schema.output == Trip(city="text", days=4)

    responses = Agent(OpenAIResponsesModel(os.environ["CLIENT_MODEL"], provider=provider))
    assert (await responses.run("[words=3]")).output == WORDS
    async with responses.run_stream("[words=3]") as stream:
        assert await stream.get_output() == WORDS


asyncio.run(main())
print(f"pydantic-ai {version('pydantic-ai-slim')}: 8 uses")
