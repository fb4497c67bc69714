"""openai-python, 2.x and 3.x alike: sync and async, streaming, tools, structured output, responses, errors."""

from __future__ import annotations

import asyncio
import os
import sys

import openai
from pydantic import BaseModel

URL, MODEL = os.environ["CLIENT_BASE_URL"], os.environ["CLIENT_MODEL"]
KEY = os.environ["CLIENT_API_KEY"]
WORDS = "word0 word1 word2"


class Trip(BaseModel):
    city: str
    days: int


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "strict": True}}


def user(text):
    return [{"role": "user", "content": text}]


def whole(client):
    found = client.chat.completions.create(model=MODEL, messages=user("[words=3]"))
    assert found.choices[0].message.content == WORDS, found
    assert found.usage.completion_tokens == 3, found.usage
    assert found._request_id, "no x-request-id"


def raw_response(client):
    found = client.chat.completions.with_raw_response.create(model=MODEL, messages=user("[words=3]"))
    assert found.headers["content-type"].startswith("application/json")
    assert found.parse().choices[0].message.content == WORDS


def streaming(client):
    stream = client.chat.completions.create(
        model=MODEL, messages=user("[words=3]"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == WORDS
    assert chunks[-1].usage.completion_tokens == 3
    assert len({chunk.id for chunk in chunks}) == 1


def stream_helper(client):
    with client.chat.completions.stream(model=MODEL, messages=user("[words=3]")) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in kinds and "content.done" in kinds, kinds
    assert final.choices[0].message.content == WORDS


def several(client):
    found = client.chat.completions.create(model=MODEL, messages=user("hi"), n=2, logprobs=True, top_logprobs=2)
    assert [choice.index for choice in found.choices] == [0, 1]
    assert len(found.choices[0].logprobs.content[0].top_logprobs) == 2


def tools(client):
    messages = user("Weather? [tools=2]")
    found = client.chat.completions.create(model=MODEL, messages=messages, tools=[TOOL])
    calls = found.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "weather"]
    messages += [found.choices[0].message]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in calls]
    after = client.chat.completions.create(model=MODEL, messages=messages, tools=[TOOL])
    assert after.choices[0].message.content == "The tool says: rain"


def tools_streamed(client):
    with client.chat.completions.stream(model=MODEL, messages=user("Weather?"), tools=[TOOL]) as stream:
        kinds = [event.type for event in stream]
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert "tool_calls.function.arguments.done" in kinds, kinds
    assert call.function.parsed_arguments == {"city": "text", "days": 4}, call


def structured(client):
    found = client.chat.completions.parse(model=MODEL, messages=user("A trip?"), response_format=Trip)
    assert found.choices[0].message.parsed == Trip(city="text", days=4)


def refusal(client):
    found = client.chat.completions.parse(model=MODEL, messages=user("[refuse]"), response_format=Trip)
    assert found.choices[0].message.parsed is None
    assert found.choices[0].message.refusal == "I cannot help with that."


def completions(client):
    assert client.completions.create(model=MODEL, prompt="[words=3]", max_tokens=9).choices[0].text == WORDS
    parts = client.completions.create(model=MODEL, prompt="[words=3]", max_tokens=9, stream=True)
    assert "".join(chunk.choices[0].text for chunk in parts) == WORDS


def responses(client):
    found = client.responses.create(model=MODEL, input="[words=3]", instructions="Be brief.")
    assert found.output_text == WORDS and found.status == "completed", found
    assert found.usage.output_tokens == 3


def responses_streamed(client):
    with client.responses.stream(model=MODEL, input="[words=3]") as stream:
        deltas = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert deltas == WORDS == final.output_text


def responses_tools(client):
    tool = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}
    found = client.responses.create(model=MODEL, input="Weather?", tools=[tool])
    (call,) = (item for item in found.output if item.type == "function_call")
    items = [{"role": "user", "content": "Weather?"}, call.model_dump(exclude_none=True)]
    items += [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    after = client.responses.create(model=MODEL, input=items, tools=[tool])
    assert after.output_text == "The tool says: rain"


def responses_structured(client):
    found = client.responses.parse(model=MODEL, input="A trip?", text_format=Trip)
    assert found.output_parsed == Trip(city="text", days=4)


def models(client):
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL


def errors(client):
    try:
        client.chat.completions.create(model="no-such-model", messages=user("hi"))
    except openai.NotFoundError as error:
        assert error.code == "model_not_found" and "no-such-model" in error.message, error
    else:
        raise AssertionError("no error")
    try:
        client.chat.completions.create(model=MODEL, messages=user("hi"), temperature=9)
    except openai.BadRequestError as error:
        assert error.param == "temperature", error
    else:
        raise AssertionError("no error")


def error_in_stream(client):
    said = ""
    try:
        for chunk in client.chat.completions.create(model=MODEL, messages=user("[words=9] [fault=die]"), stream=True):
            said += chunk.choices[0].delta.content or ""
    except openai.APIError as error:
        assert error.message, error
    else:
        raise AssertionError(f"no error after {said!r}")


def retried(client):
    patient = client.with_options(max_retries=2)
    try:
        patient.chat.completions.create(model=MODEL, messages=user("[fault=500]"))
    except openai.InternalServerError as error:
        assert error.status_code in (500, 502, 503)
    else:
        raise AssertionError("no error")


async def asynchronous():
    async with openai.AsyncOpenAI(base_url=URL, api_key=KEY, max_retries=0) as client:
        found = await client.chat.completions.create(model=MODEL, messages=user("[words=3]"))
        assert found.choices[0].message.content == WORDS
        async with client.chat.completions.stream(model=MODEL, messages=user("[words=3]")) as stream:
            assert (await stream.get_final_completion()).choices[0].message.content == WORDS
        several = [client.chat.completions.create(model=MODEL, messages=user(f"number-{i}")) for i in range(16)]
        for i, found in enumerate(await asyncio.gather(*several)):
            assert f"number-{i} " in found.choices[0].message.content
        async with client.responses.stream(model=MODEL, input="[words=3]") as stream:
            assert (await stream.get_final_response()).output_text == WORDS


def main():
    client = openai.OpenAI(base_url=URL, api_key=KEY, max_retries=0)
    wanted = [whole, raw_response, streaming, stream_helper, several, tools, tools_streamed, structured, refusal]
    wanted += [completions, responses, responses_streamed, responses_tools, responses_structured, models, errors]
    wanted += [error_in_stream, retried]
    for what in wanted:
        try:
            what(client)
        except Exception as error:
            raise SystemExit(f"{what.__name__}: {type(error).__name__}: {error}") from error
    asyncio.run(asynchronous())
    print(f"openai {openai.__version__}: {len(wanted) + 1} uses")


if __name__ == "__main__":
    sys.exit(main())
