"""What the mock backend answers: everything follows from the request, so every run gives the same.

Square brackets in the last user message steer an answer: ``[words=40]``, ``[tools=2]``, ``[refuse]``, ``[reject]``,
``[reasoning]`` here, and ``[fault=…]``, ``[first=0.2]``, ``[pause=0.01]`` in the server.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "REJECTION_TEXT",
    "Reply",
    "directives",
    "last_user_text",
    "logprobs_of",
    "prompt_tokens",
    "replies",
    "tokens",
]

REJECTION_TEXT = "I don't know"

_DIRECTIVE = re.compile(r"\[([a-z-]+)(?:=([^\]\s]*))?\]")


@dataclass(frozen=True, slots=True)
class Reply:
    """One choice of one answer."""

    text: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    refusal: str | None = None
    reasoning: str | None = None
    finish_reason: str = "stop"

    @property
    def token_count(self) -> int:
        """Tokens of everything said; a tool call counts its arguments."""
        said = [self.text, self.refusal or "", self.reasoning or ""]
        return sum(len(tokens(text)) for text in (*said, *(call["function"]["arguments"] for call in self.tool_calls)))


def tokens(text: str) -> list[str]:
    """Split a text into tokens that join to the same text: words with the space before them."""
    return re.findall(r"\s*\S+|\s+$", text)


def text_of(content: object) -> str:
    """Return the text of a message's content, which may come in parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(
        str(part.get("text", "")) for part in parts if isinstance(part, dict) and part.get("type") == "text"
    )


def last_user_text(body: Mapping[str, Any]) -> str:
    """Return what the user said last; of a completion request, its prompt."""
    if "messages" not in body:
        prompt = body.get("prompt", "")
        return prompt if isinstance(prompt, str) else str(prompt[0]) if prompt else ""
    said = [text_of(m.get("content")) for m in body["messages"] if m.get("role") == "user"]
    return said[-1] if said else ""


def directives(body: Mapping[str, Any]) -> dict[str, str]:
    """Return what the square brackets in the last user message ask for."""
    return {name: value or "" for name, value in _DIRECTIVE.findall(last_user_text(body))}


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Count the tokens of all messages, or of the prompt."""
    if "messages" not in body:
        return len(tokens(last_user_text(body)))
    return sum(len(tokens(text_of(m.get("content")))) for m in body["messages"])


def replies(body: Mapping[str, Any], text: str | None = None) -> list[Reply]:
    """Return the ``n`` choices for a request; ``text`` replaces what would be said."""
    return [_reply(body, index, text) for index in range(int(body.get("n") or 1))]


def _reply(body: Mapping[str, Any], index: int, text: str | None) -> Reply:
    asked = directives(body)
    if "refuse" in asked:
        return Reply("", refusal="I cannot help with that.")
    calls = _tool_calls(body, int(asked.get("tools") or 1)) if text is None else ()
    if calls:
        return Reply("", tool_calls=calls, finish_reason="tool_calls")
    said = text if text is not None else _text(body, asked, index)
    reasoning = "Let me think about it." if "reasoning" in asked else None
    said, finish = _cut(said, body)
    return Reply(said, finish_reason=finish, reasoning=reasoning)


def _text(body: Mapping[str, Any], asked: Mapping[str, str], index: int) -> str:
    if "reject" in asked:
        return REJECTION_TEXT
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        schema = wanted["json_schema"].get("schema", {})
        return json.dumps(instance_of(schema, schema))
    if wanted.get("type") == "json_object":
        return json.dumps({"answer": 4})
    if "words" in asked:
        return " ".join(f"word{i}" for i in range(int(asked["words"])))
    if body.get("messages") and body["messages"][-1].get("role") == "tool":
        return f"The tool says: {text_of(body['messages'][-1].get('content'))}"
    drawn = f"{last_user_text(body)}|{body.get('seed')}|{index}|{body.get('temperature')}"
    number = int.from_bytes(hashlib.sha256(drawn.encode("utf-8", "replace")).digest()[:2], "big")
    return f"You said: {_DIRECTIVE.sub('', last_user_text(body)).strip()} My number is {number}."


def _cut(text: str, body: Mapping[str, Any]) -> tuple[str, str]:
    stops = body.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.split(stop)[0] if stop else text
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    said = tokens(text)
    if limit is not None and len(said) > int(limit):
        return "".join(said[: int(limit)]), "length"
    return text, "stop"


def _tool_calls(body: Mapping[str, Any], count: int) -> tuple[dict[str, Any], ...]:
    """Call the tool that is chosen, else the first, until a tool has answered."""
    choice, tools = body.get("tool_choice", "auto"), [t for t in body.get("tools") or [] if t["type"] == "function"]
    if not tools or choice == "none" or body["messages"][-1].get("role") == "tool":
        return ()
    named = choice["function"]["name"] if isinstance(choice, dict) else None
    offered = [tool["function"] for tool in tools if named in (None, tool["function"]["name"])]
    if body.get("parallel_tool_calls") is False:
        count = 1
    calls = []
    for number in range(count):
        tool = offered[number % len(offered)]
        schema = tool.get("parameters") or {}
        arguments = json.dumps(instance_of(schema, schema))
        call_id = f"call_{number}_{tool['name']}"
        calls.append({"id": call_id, "type": "function", "function": {"name": tool["name"], "arguments": arguments}})
    return tuple(calls)


def instance_of(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return the plainest value that a JSON schema admits."""
    if "$ref" in schema:
        found: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return instance_of(found, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return instance_of(schema[several][0], root)
    kind = schema.get("type", "object")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {name: instance_of(part, root) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [instance_of(schema.get("items", {"type": "string"}), root)] * int(schema.get("minItems", 1))
        case "string":
            return "text"
        case "integer" | "number":
            return schema.get("minimum", 4)
        case "boolean":
            return True
        case _:
            return None


def logprobs_of(said: Sequence[str], top: int, first: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Return log-probabilities of tokens with ``top`` alternatives each; ``first`` are probabilities at the first."""
    return list(_logprobs(said, top, first))


def _logprobs(said: Sequence[str], top: int, first: Mapping[str, float] | None) -> Iterator[dict[str, Any]]:
    for place, token in enumerate(said):
        spread = {token: 0.5, **{f"alt{i}": 0.25 / 2**i for i in range(20)}}
        if place == 0 and first is not None:
            spread = {**first, **{f"alt{i}": 1e-6 / 2**i for i in range(20)}}
        ranked = sorted(spread.items(), key=lambda pair: -pair[1])[:top]
        own = math.log(max(spread.get(token, 1e-9), 1e-9))
        yield {
            **_entry(token, own),
            "top_logprobs": [_entry(name, math.log(max(p, 1e-9))) for name, p in ranked],
        }


def _entry(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
