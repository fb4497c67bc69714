"""The Responses API: whole answers and their stream of named events."""

from __future__ import annotations

from typing import Any

from disrouter.conformance.case import expect, group, one, short
from disrouter.conformance.shapes import refused
from disrouter.conformance.target import Reply, Target
from disrouter.conformance.tools import SCHEMA, parsed

__all__ = ["RESPONSES"]

RESPONSES = group("responses", "OpenAI API reference: responses")
case = RESPONSES.case

WEATHER = {"type": "function", "name": "weather", "description": "Get the weather.", "parameters": SCHEMA}


async def _ask(target: Target, **fields: Any) -> Reply:
    return await target.post("/responses", {"model": target.model, "input": "Say hello.", **fields})


async def _events(target: Target, **fields: Any) -> list[dict[str, Any]]:
    stream = await target.stream("/responses", {"model": target.model, "input": "Say hello.", "stream": True, **fields})
    expect(stream.status == 200, f"HTTP {stream.status} instead of a stream: {short(stream.body[:160])}")
    expect(stream.content_type == "text/event-stream", f"the content type is {short(stream.content_type)}")
    events = []
    for event in stream.events():
        if event.done:
            continue
        found = one(event.json, dict, "the data of an event")
        expect(one(found.get("type"), str, "type") == event.name, f"event {short(event.name)} is {found['type']}")
        events.append(found)
    expect(events, "there is no event in the stream")
    return events


def _response(found: object) -> dict[str, Any]:
    body: dict[str, Any] = one(found, dict, "the response")
    expect(body.get("object") == "response", f"object is {short(body.get('object'))}")
    expect(one(body.get("id"), str, "id"), "id is empty")
    expect(isinstance(body.get("created_at"), int | float), f"created_at is {short(body.get('created_at'))}")
    one(body.get("model"), str, "model")
    one(body.get("output"), list, "output")
    return body


def _whole(reply: Reply) -> dict[str, Any]:
    expect(reply.status == 200, f"HTTP {reply.status} instead of an answer: {short(reply.body[:160])}")
    return _response(reply.json())


def _text(body: dict[str, Any]) -> str:
    parts = [part for item in body["output"] if item.get("type") == "message" for part in item.get("content", [])]
    texts = [one(part.get("text"), str, "text") for part in parts if part.get("type") == "output_text"]
    expect(texts, f"no message holds output_text: {short(body['output'])}")
    return "".join(texts)


@case("response-shape", "A response is completed, and its output holds the assistant's message with output_text.")
async def _(target: Target) -> None:
    body = _whole(await _ask(target))
    expect(body.get("status") == "completed", f"status is {short(body.get('status'))}")
    for item in (item for item in body["output"] if item.get("type") == "message"):
        expect(item.get("role") == "assistant", f"role is {short(item.get('role'))}")
        expect(one(item.get("id"), str, "id of a message"), "the id of a message is empty")
        for part in item["content"]:
            one(part.get("annotations"), list, "annotations")
    _text(body)


@case("response-usage", "usage has input_tokens, output_tokens and their total.")
async def _(target: Target) -> None:
    counts = one(_whole(await _ask(target)).get("usage"), dict, "usage")
    read, said, total = (one(counts.get(f"{name}_tokens"), int, name) for name in ("input", "output", "total"))
    expect(total == read + said, f"{read} + {said} is not {total}")


@case("response-items", "input may be a list of messages, with content in parts.")
async def _(target: Target) -> None:
    parts = [{"type": "input_text", "text": "Say hello."}]
    _text(_whole(await _ask(target, input=[{"role": "user", "content": parts}])))


@case("response-instructions", "instructions are taken.")
async def _(target: Target) -> None:
    _text(_whole(await _ask(target, instructions="Be brief.")))


@case("response-cut", "max_output_tokens leaves a response incomplete, and says why.")
async def _(target: Target) -> None:
    body = _whole(await _ask(target, input="Count from 1 to 100. [words=60]", max_output_tokens=16))
    expect(body.get("status") == "incomplete", f"status is {short(body.get('status'))}")
    reason = (body.get("incomplete_details") or {}).get("reason")
    expect(reason == "max_output_tokens", f"incomplete_details.reason is {short(reason)}")


@case("response-tools", "A call is an item function_call with call_id, name and arguments as text.", needs=["tools"])
async def _(target: Target) -> None:
    body = _whole(await _ask(target, input="Weather in Oslo?", tools=[WEATHER], tool_choice="required"))
    calls = [item for item in body["output"] if item.get("type") == "function_call"]
    expect(calls, f"no tool is called: {short(body['output'])}")
    expect(one(calls[0].get("call_id"), str, "call_id"), "call_id is empty")
    expect(calls[0].get("name") == "weather", f"name is {short(calls[0].get('name'))}")
    parsed(one(calls[0].get("arguments"), str, "arguments"), "arguments")


@case("response-tool-result", "A function_call_output sent back leads to an answer in words.", needs=["tools"])
async def _(target: Target) -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Oslo","days":4}'}
    result = {"type": "function_call_output", "call_id": "call_1", "output": "Rain."}
    items = [{"role": "user", "content": "Weather in Oslo?"}, call, result]
    _text(_whole(await _ask(target, input=items, tools=[WEATHER])))


@case("response-structured", "text.format json_schema brings JSON that fits.", needs=["structured"])
async def _(target: Target) -> None:
    shape = {"format": {"type": "json_schema", "name": "trip", "schema": SCHEMA, "strict": True}}
    value = parsed(_text(_whole(await _ask(target, input="A trip to Oslo for 4 days.", text=shape))), "the answer")
    one(one(value, dict, "the answer").get("days"), int, "days")


@case("response-stream-frame", "A stream begins with response.created and ends with response.completed.")
async def _(target: Target) -> None:
    events = await _events(target)
    expect(events[0]["type"] == "response.created", f"the first event is {events[0]['type']}")
    expect(events[-1]["type"] == "response.completed", f"the last event is {events[-1]['type']}")
    first, last = _response(events[0].get("response")), _response(events[-1].get("response"))
    expect(first["id"] == last["id"], "the two have different ids")
    expect(first.get("status") == "in_progress", f"it begins with the status {short(first.get('status'))}")


@case("response-stream-numbers", "sequence_number counts the events of a stream.")
async def _(target: Target) -> None:
    numbers = [event.get("sequence_number") for event in await _events(target)]
    expect(numbers == list(range(len(numbers))), f"they are {short(numbers)}")


@case("response-stream-text", "The deltas join to output_text.done and to the text of the completed response.")
async def _(target: Target) -> None:
    events = await _events(target)
    deltas = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    done = [e.get("text") for e in events if e["type"] == "response.output_text.done"]
    expect(done == [deltas], f"{short(done)} is not {short([deltas])}")
    expect(_text(events[-1]["response"]) == deltas, "the completed response says something else")


@case(
    "response-stream-items",
    "Items and parts are opened before their deltas and closed after them; clients build the response from that.",
)
async def _(target: Target) -> None:
    kinds = [event["type"].removeprefix("response.") for event in await _events(target)]
    frame = ["output_item.added", "content_part.added", "output_text.done", "content_part.done", "output_item.done"]
    missing = [kind for kind in frame if kind not in kinds]
    expect(not missing, f"there is no {', '.join(missing)}")
    order = [kinds.index(kind) for kind in frame]
    expect(order == sorted(order), f"their order is {sorted(frame, key=kinds.index)}")


@case("response-stream-tools", "A call is streamed as an item with deltas of its arguments.", needs=["tools"])
async def _(target: Target) -> None:
    events = await _events(target, input="Weather in Oslo?", tools=[WEATHER], tool_choice="required")
    deltas = "".join(e["delta"] for e in events if e["type"] == "response.function_call_arguments.delta")
    done = [e for e in events if e["type"] == "response.function_call_arguments.done"]
    expect(done and done[0].get("arguments") == deltas, f"{short(deltas)} is not {short(done)}")
    items = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    expect(any(item.get("type") == "function_call" for item in items), "no function_call is done")


@case("response-no-input", "Without input: 400.")
async def _(target: Target) -> None:
    refused(await target.post("/responses", {"model": target.model}), 400)


@case("response-odd-part", "A part of the content whose type is no text: 400.")
async def _(target: Target) -> None:
    refused(await _ask(target, input=[{"role": "user", "content": [{"type": {}, "text": ""}]}]), 400)


@case("response-call-id", "A function_call_output that does not say which call it is of: 400.")
async def _(target: Target) -> None:
    refused(await _ask(target, input=[{"type": "function_call_output", "output": "rain"}]), 400)


@case("response-unknown-model", "An unknown model: 404 with code model_not_found.")
async def _(target: Target) -> None:
    refused(await _ask(target, model="no-such-model-here"), 404, code="model_not_found")


@case("response-unknown-previous", "A previous_response_id that nobody knows is refused, not ignored.")
async def _(target: Target) -> None:
    refused(await _ask(target, previous_response_id="resp_of_nobody"), 400, 404)
