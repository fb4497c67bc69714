"""The mock backend is what the other tests trust, so it is tested itself: by the official client, and its faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from gateway.mock_backend import MockBackend, closed_port_url

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}


@pytest.fixture
async def backend() -> AsyncIterator[MockBackend]:
    async with MockBackend() as backend:
        yield backend


@pytest.fixture
async def client(backend: MockBackend) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=backend.url, api_key="any", max_retries=0, timeout=10) as client:
        yield client


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def test_the_same_request_has_the_same_answer_and_another_seed_another(client: openai.AsyncOpenAI) -> None:
    async def ask(seed: int) -> str | None:
        found = await client.chat.completions.create(model="m", messages=user("hi"), seed=seed)
        return found.choices[0].message.content

    assert await ask(1) == await ask(1) != await ask(2)


async def test_a_stream_says_what_a_whole_answer_says(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="m", messages=user("hi"), n=2)
    said = ["", ""]
    usage = None
    stream = await client.chat.completions.create(
        model="m", messages=user("hi"), n=2, stream=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        usage = chunk.usage
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""

    assert said == [choice.message.content for choice in whole.choices]
    assert usage == whole.usage


async def test_tools_are_called_and_their_results_are_read(client: openai.AsyncOpenAI) -> None:
    messages = user("Weather? [tools=2]")
    tools: Any = [WEATHER]
    async with client.chat.completions.stream(model="m", messages=messages, tools=tools) as stream:
        message = (await stream.get_final_completion()).choices[0].message
    results = [{"role": "tool", "tool_call_id": "call_0_weather", "content": "rain"}]
    history: Any = [*messages, message.model_dump(exclude_none=True), *results]
    after = await client.chat.completions.create(model="m", messages=history, tools=tools)

    assert [call.id for call in message.tool_calls or []] == ["call_0_weather", "call_1_weather"]
    assert {call.function.arguments for call in message.tool_calls or []} == {'{"city": "text", "days": 4}'}
    assert after.choices[0].message.content == "The tool says: rain"


async def test_an_answer_is_cut_at_its_limit_and_at_a_stop_sequence(client: openai.AsyncOpenAI) -> None:
    limited = await client.chat.completions.create(model="m", messages=user("[words=9]"), max_completion_tokens=2)
    stopped = await client.chat.completions.create(model="m", messages=user("[words=9]"), stop=[" word3"])

    assert (limited.choices[0].message.content, limited.choices[0].finish_reason) == ("word0 word1", "length")
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("word0 word1 word2", "stop")


async def test_a_look_finds_the_confidence_at_the_rejection_token(
    backend: MockBackend, client: openai.AsyncOpenAI
) -> None:
    backend.confidence = 0.3

    found = await client.chat.completions.create(
        model="m", messages=user("hi"), max_tokens=1, logprobs=True, top_logprobs=5
    )

    assert found.choices[0].logprobs is not None and found.choices[0].logprobs.content is not None
    best = found.choices[0].logprobs.content[0].top_logprobs[0]
    assert (best.token, round(best.logprob, 3)) == ("<|reject|>", -0.357)  # ln 0.7


async def raw(backend: MockBackend, fault: str, *, stream: bool, seconds: float = 0.3) -> tuple[int, str, bytes]:
    body = {"model": "m", "messages": user(f"hi [fault={fault}]"), "stream": stream}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session,
        session.post(f"{backend.url}/chat/completions", json=body, allow_redirects=False) as response,
    ):
        return response.status, response.content_type, await response.read()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["hang", "hang-after-headers", "stall"])
async def test_a_silent_backend_keeps_the_client_waiting_and_notices_when_it_leaves(
    backend: MockBackend, fault: str, stream: bool
) -> None:
    with pytest.raises(TimeoutError):
        await raw(backend, fault, stream=stream)
    await backend.idle()

    assert backend.received[0].cancelled


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["drop", "die", "not-http"])
async def test_a_connection_breaks(backend: MockBackend, fault: str, stream: bool) -> None:
    with pytest.raises(aiohttp.ClientError):
        await raw(backend, fault, stream=stream, seconds=10)


@pytest.mark.parametrize("fault", ["400", "401", "403", "404", "429", "500", "503", "redirect"])
async def test_a_status_is_given(backend: MockBackend, fault: str) -> None:
    status, _, _ = await raw(backend, fault, stream=True, seconds=10)

    assert status == (307 if fault == "redirect" else int(fault))


async def test_answers_are_spoilt(backend: MockBackend) -> None:
    async def spoilt(fault: str, *, stream: bool) -> tuple[str, bytes]:
        status, kind, body = await raw(backend, fault, stream=stream, seconds=10)
        assert status == 200
        return kind, body

    assert await spoilt("html", stream=False) == ("text/html", b"<html><body>Welcome to nginx!</body></html>")
    assert await spoilt("empty", stream=False) == ("application/json", b"")
    assert await spoilt("empty", stream=True) == ("text/event-stream", b"")
    assert (await spoilt("wrong-type", stream=True))[0] == "application/json"
    assert b"[DONE]" not in (await spoilt("no-done", stream=True))[1]
    assert (await spoilt("drip", stream=True))[1].endswith(b"data: [DONE]\n\n")
    assert json.loads((await spoilt("drip", stream=False))[1])["object"] == "chat.completion"
    with pytest.raises(json.JSONDecodeError):
        json.loads((await spoilt("malformed", stream=False))[1])
    cut = (await spoilt("cut", stream=True))[1]
    assert cut.count(b"data:") == backend.after and b'"stop"' not in cut
    assert b'"error"' in (await spoilt("error-event", stream=True))[1].split(b"\n\n")[-2]


async def test_a_script_is_followed_before_anything_else(backend: MockBackend) -> None:
    backend.script = ["500", None]
    backend.fault = "404"

    assert [(await raw(backend, "503", stream=False, seconds=10))[0] for _ in range(3)] == [500, 200, 503]


async def test_a_stopped_backend_refuses_connections_until_it_comes_back(backend: MockBackend) -> None:
    await backend.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await raw(backend, "none", stream=False, seconds=10)
    await backend.start()

    assert (await raw(backend, "no-done", stream=False, seconds=10))[0] == 200
    assert closed_port_url() != backend.url


async def test_requests_at_the_same_time_are_counted(backend: MockBackend) -> None:
    backend.first = 0.05

    await asyncio.gather(*(raw(backend, "no-done", stream=False, seconds=10) for _ in range(5)))

    assert (backend.most_at_once, backend.at_once) == (5, 0)
