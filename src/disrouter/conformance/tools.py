"""Tool calls, whole and in deltas, and structured output."""

from __future__ import annotations

import json
from typing import Any

from disrouter.conformance.case import BrokenRuleError, expect, group, one, short
from disrouter.conformance.shapes import (
    chunks_of,
    completion,
    content_of,
    finish_of,
    joined,
    message_of,
    streamed_finish,
)
from disrouter.conformance.target import Target

__all__ = ["STRUCTURED", "TOOLS", "assembled", "parsed"]

TOOLS = group("tools", "OpenAI guide: function calling")
STRUCTURED = group("structured", "OpenAI guide: structured outputs")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


def _tool(name: str) -> dict[str, Any]:
    description = f"Get the {name} of a city for the next days."
    return {"type": "function", "function": {"name": name, "description": description, "parameters": SCHEMA}}


WEATHER, TRAFFIC = _tool("weather"), _tool("traffic")
ASK = "How is the weather in Oslo for the next 4 days?"
CALL_IT: dict[str, Any] = {"tools": [WEATHER, TRAFFIC], "tool_choice": "required"}
SHAPED: dict[str, Any] = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA, "strict": True}}
}


def parsed(text: str, what: str) -> Any:
    """Return the JSON of a text.

    Raises:
        BrokenRuleError: It is none.
    """
    try:
        return json.loads(text)
    except ValueError:
        raise BrokenRuleError(f"{what} is no JSON: {short(text)}") from None


def _calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = one(message.get("tool_calls"), list, "message.tool_calls")
    expect(calls, "message.tool_calls is empty")
    for call in calls:
        expect(one(call.get("id"), str, "id of a call"), "the id of a call is empty")
        expect(call.get("type") == "function", f"type of a call is {short(call.get('type'))}")
        function = one(call.get("function"), dict, "function of a call")
        expect(function.get("name") in ("weather", "traffic"), f"the tool called is {short(function.get('name'))}")
        arguments = one(function.get("arguments"), str, "arguments (a text that holds JSON)")
        one(parsed(arguments, "arguments"), dict, "what arguments holds")
    return calls


@TOOLS.case("tool-call-shape", "A call has id, type, and a function with name and arguments as text.", needs=["tools"])
async def _(target: Target) -> None:
    _calls(message_of(await target.chat(ASK, **CALL_IT)))


@TOOLS.case("tool-call-finish", "An answer that calls tools has the finish reason tool_calls.", needs=["tools"])
async def _(target: Target) -> None:
    found = finish_of(await target.chat(ASK, **CALL_IT))
    expect(found == "tool_calls", f"it is {short(found)}")


@TOOLS.case("tool-choice-named", "tool_choice with a name calls that tool.", needs=["tools"])
async def _(target: Target) -> None:
    choice = {"type": "function", "function": {"name": "traffic"}}
    calls = _calls(message_of(await target.chat(ASK, tools=[WEATHER, TRAFFIC], tool_choice=choice)))
    names = [call["function"]["name"] for call in calls]
    expect(set(names) == {"traffic"}, f"called are {names}")


@TOOLS.case("tool-choice-none", "tool_choice: none calls nothing and says something.", needs=["tools"])
async def _(target: Target) -> None:
    message = message_of(await target.chat(ASK, tools=[WEATHER], tool_choice="none"))
    expect(not message.get("tool_calls"), f"called is {short(message.get('tool_calls'))}")


@TOOLS.case("tool-calls-parallel", "Several calls of one answer have several ids.", needs=["mock"])
async def _(target: Target) -> None:
    calls = _calls(message_of(await target.chat("Both! [tools=2]", tools=[WEATHER, TRAFFIC])))
    expect([call["function"]["name"] for call in calls] == ["weather", "traffic"], f"called are {short(calls)}")
    expect(len({call["id"] for call in calls}) == 2, "they share an id")


@TOOLS.case("tool-calls-one-at-a-time", "parallel_tool_calls: false reaches the model.", needs=["mock"])
async def _(target: Target) -> None:
    reply = await target.chat("Both! [tools=2]", tools=[WEATHER, TRAFFIC], parallel_tool_calls=False)
    calls = _calls(message_of(reply))
    expect(len(calls) == 1, f"{len(calls)} tools were called")


@TOOLS.case("tool-result", "The result of a call, sent back by its id, leads to an answer in words.", needs=["tools"])
async def _(target: Target) -> None:
    message = message_of(await target.chat(ASK, **CALL_IT))
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "Rain on all days."} for call in _calls(message)]
    history = [{"role": "user", "content": ASK}, message, *results]
    content_of(await target.chat(messages=history, tools=[WEATHER, TRAFFIC]))


def assembled(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the calls of a stream together as clients do, looking at every fragment."""
    calls: dict[int, dict[str, Any]] = {}
    for delta in (choice["delta"] for chunk in chunks for choice in chunk["choices"]):
        for part in delta.get("tool_calls") or []:
            index = one(part.get("index"), int, "index of a fragment")
            function = one(part.get("function"), dict, "function of a fragment")
            if index not in calls:
                expect(one(part.get("id"), str, "id of a first fragment"), "the id of a first fragment is empty")
                expect(part.get("type") == "function", f"type of a first fragment is {short(part.get('type'))}")
                one(function.get("name"), str, "name of a first fragment")
                calls[index] = {"id": part["id"], "name": function["name"], "arguments": ""}
            else:
                expect(not part.get("id"), "a later fragment has an id again: clients append it")
                expect(not function.get("name"), "a later fragment has a name again: clients append it")
            calls[index]["arguments"] += one(function.get("arguments", ""), str, "arguments of a fragment")
    expect(calls, "no tool was called")
    expect(list(calls) == list(range(len(calls))), f"the indices are {list(calls)}")
    for call in calls.values():
        one(parsed(call["arguments"], "what the arguments join to"), dict, "what the arguments join to")
    return list(calls.values())


@TOOLS.case(
    "tool-deltas",
    "In a stream a call's index is in every fragment; id, type and name in its first only; arguments join to JSON.",
    needs=["tools"],
)
async def _(target: Target) -> None:
    assembled(chunks_of(await target.chat_stream(ASK, **CALL_IT)))


@TOOLS.case("tool-deltas-finish", "A stream that calls tools has the finish reason tool_calls.", needs=["tools"])
async def _(target: Target) -> None:
    found = streamed_finish(chunks_of(await target.chat_stream(ASK, **CALL_IT)))
    expect(found == "tool_calls", f"it is {short(found)}")


@TOOLS.case("tool-deltas-parallel", "Several calls of a stream are told apart by index.", needs=["mock"])
async def _(target: Target) -> None:
    chunks = chunks_of(await target.chat_stream("Both! [tools=2]", tools=[WEATHER, TRAFFIC]))
    names = [call["name"] for call in assembled(chunks)]
    expect(names == ["weather", "traffic"], f"called are {names}")


@TOOLS.case("tool-deltas-same", "A stream calls what the whole answer calls.", needs=["mock"])
async def _(target: Target) -> None:
    whole = _calls(message_of(await target.chat(ASK, **CALL_IT)))
    streamed = assembled(chunks_of(await target.chat_stream(ASK, **CALL_IT)))
    expected = [(call["id"], call["function"]["arguments"]) for call in whole]
    expect([(call["id"], call["arguments"]) for call in streamed] == expected, f"{short(streamed)} against {expected}")


def _fits(text: str) -> None:
    value = one(parsed(text, "the answer"), dict, "the answer")
    one(value.get("city"), str, "city")
    one(value.get("days"), int, "days")


@STRUCTURED.case("json-schema", "response_format json_schema brings JSON that fits the schema.", needs=["structured"])
async def _(target: Target) -> None:
    _fits(content_of(await target.chat("A trip to Oslo for 4 days, as JSON.", **SHAPED)))


@STRUCTURED.case("json-schema-stream", "A stream joins to JSON that fits the schema.", needs=["structured"])
async def _(target: Target) -> None:
    _fits(joined(chunks_of(await target.chat_stream("A trip to Oslo for 4 days, as JSON.", **SHAPED))))


@STRUCTURED.case("json-object", "response_format json_object brings a JSON object.", needs=["structured"])
async def _(target: Target) -> None:
    text = content_of(await target.chat("Answer as a JSON object.", response_format={"type": "json_object"}))
    one(parsed(text, "the answer"), dict, "the answer")


@STRUCTURED.case("response-format-text", "response_format text changes nothing.")
async def _(target: Target) -> None:
    completion(await target.chat(response_format={"type": "text"}))
