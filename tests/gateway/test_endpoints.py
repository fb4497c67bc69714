"""The endpoints beside chat completions, and the wire form of streams."""

from __future__ import annotations

import json

import aiohttp
import pytest

from gateway.mock_backend import MockBackend
from gateway.running import Running, ask, behind, running

# One gateway serves most of these tests, which ask it one thing each.
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_models_lists_the_network_its_scenarios_and_every_agent(gateway: Running) -> None:
    async with gateway.http.get(gateway.url + "/v1/models") as reply:
        listed = await reply.json()
    async with gateway.http.get(gateway.url + "/v1/models/disrouter/balance") as reply:
        one = await reply.json()
    async with gateway.http.get(gateway.url + "/v1/models/nobody") as reply:
        missing, status = await reply.json(), reply.status

    ids = [model["id"] for model in listed["data"]]
    assert ids == ["disrouter", "disrouter/performance-first", "disrouter/balance", "disrouter/cost-first",
                   "small", "middle", "large"]  # fmt: skip
    assert set(one) == {"id", "object", "created", "owned_by"}
    assert (status, missing["error"]["code"]) == (404, "model_not_found")


async def test_a_prompt_is_completed_as_the_one_message_of_a_chat(backend: MockBackend) -> None:
    async with running(behind("a", backend.url)) as gateway:
        _, body, _ = await gateway.post("/v1/completions", body={"model": "disrouter", "prompt": "Hello"})
        events = await gateway.events(
            "/v1/completions", body={"model": "disrouter", "prompt": "Hello", "stream": True, "max_tokens": 100}
        )

    assert backend.bodies[0]["messages"] == [{"role": "user", "content": "Hello"}]
    assert backend.bodies[0]["max_tokens"] == 16
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    assert body["choices"][0]["text"].startswith("You said: Hello")
    chunks = [json.loads(event) for event in events[:-1]]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == body["choices"][0]["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_a_response_is_asked_as_a_chat_and_answered_in_items(backend: MockBackend) -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "What is the weather?"}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ]
    async with running(behind("a", backend.url)) as gateway:
        status, body, _ = await gateway.post(
            "/v1/responses",
            body={
                "model": "disrouter",
                "instructions": "Be brief.",
                "input": items,
                "max_output_tokens": 50,
                "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}}],
                "tool_choice": "none",
                "text": {"format": {"type": "text"}},
            },
        )

    assert status == 200, body
    sent = backend.bodies[0]
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    assert sent["max_completion_tokens"] == 50
    assert sent["tools"] == [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    assert (body["object"], body["status"], body["instructions"]) == ("response", "completed", "Be brief.")
    assert body["output"][0]["content"][0]["type"] == "output_text"
    assert body["usage"]["total_tokens"] == body["usage"]["input_tokens"] + body["usage"]["output_tokens"]


async def test_a_streamed_response_numbers_its_events_and_ends_with_the_whole(backend: MockBackend) -> None:
    async with running(behind("a", backend.url)) as gateway:
        found = await gateway.events("/v1/responses", body={"model": "disrouter", "input": "Hi", "stream": True})

    events = [json.loads(event) for event in found]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = list(dict.fromkeys(event["type"] for event in events))
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == text
    assert text.startswith("You said: Hi")


async def test_a_streamed_response_that_breaks_ends_in_one_error_event(backend: MockBackend) -> None:
    backend.fault = "die"
    async with running(behind("a", backend.url)) as gateway:
        found = await gateway.events("/v1/responses", body={"model": "disrouter", "input": "Hi", "stream": True})

    kinds = [json.loads(event)["type"] for event in found]
    assert kinds[-1] == "error"
    assert kinds.count("error") == 1
    assert "response.completed" not in kinds


async def test_the_wire_form_of_a_stream_is_that_of_server_sent_events(gateway: Running) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.post(gateway.url + "/v1/chat/completions", json=ask(stream=True)) as reply,
    ):
        raw = await reply.read()

    parts = raw.split(b"\n\n")
    assert parts[-1] == b""
    assert parts[-2] == b"data: [DONE]"
    assert all(part.startswith(b"data: {") and b"\n" not in part for part in parts[:-2])
    assert len({json.loads(part[6:])["id"] for part in parts[:-2]}) == 1
