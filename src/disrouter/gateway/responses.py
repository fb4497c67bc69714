"""``/v1/responses``: asked as a chat, answered in items and, where it streams, in their events.

Nothing is kept between requests: a client sends the whole conversation as its input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from disrouter.gateway.asking import Ask, chat_ask
from disrouter.gateway.chat import ChatStream
from disrouter.gateway.dialects import Facts, Stream
from disrouter.gateway.errors import ProblemError, error_of
from disrouter.gateway.records import Endpoint
from disrouter.gateway.responses_input import chat_body
from disrouter.types import Delta, Trace

__all__ = ["Responses"]

_ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, with the values where it named none."""


class Responses:
    """Responses without memory."""

    endpoint: Endpoint = "responses"

    def read(self, body: dict[str, Any], agents: Mapping[str, Any], most_messages: int) -> Ask:
        """Return what a request wants, as a chat."""
        echo = {key: default if body.get(key) is None else body[key] for key, default in _ECHOED.items()}
        return replace(chat_ask(chat_body(body), agents=agents, most_messages=most_messages), echo=echo)

    def whole(self, ask: Ask, reply: dict[str, Any], facts: Facts) -> dict[str, Any]:
        """Return the response that a chat completion stands for."""
        choice = reply["choices"][0]
        message = choice["message"]
        output: list[dict[str, Any]] = []
        parts = _parts(message.get("content"), message.get("refusal"))
        calls = message.get("tool_calls") or []
        if parts or not calls:
            output.append(_message(facts, len(output), parts or _parts("", None, empty=True)))
        for call in calls:
            output.append(_call(facts, len(output), call))
        cut = choice.get("finish_reason") == "length"
        return _response(ask, facts, reply["model"], output, usage=reply.get("usage"), cut=cut)

    def stream(self, ask: Ask, facts: Facts) -> Stream:
        """Return the writer of events."""
        return _Events(ask, facts)


class _Events:
    """Writes the events of one response, numbered in order."""

    def __init__(self, ask: Ask, facts: Facts) -> None:
        self._ask = ask
        self._facts = facts
        self._chat = ChatStream(replace(ask, wants_usage=True), facts)
        self._number = 0
        self._model = ask.model
        self._begun = False
        self._output: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None
        """The message that is being written, if any; it has one part."""
        self._calls: dict[int, dict[str, Any]] = {}
        """Function calls by their index in the chat."""
        self._cut = False

    def piece(self, delta: Delta) -> bytes:
        """Return the events of a piece."""
        events = [] if self._begun else self._begin(delta.agent)
        for chunk in self._chat.chunks(delta):
            for choice in chunk["choices"]:
                if choice["index"] == 0:
                    events += self._choice(choice)
        return b"".join(events)

    def end(self, trace: Trace, extension: dict[str, Any]) -> bytes:
        """Return the events that finish every item, and the response."""
        events = [] if self._begun else self._begin(trace.agent)
        last = self._chat.last_chunks(trace, extension)
        self._cut = self._cut or (trace.completion is not None and trace.completion.finish_reason == "length")
        if not self._output:
            events += self._text("content", "")
        events += self._close_message()
        for item in self._calls.values():
            item["status"] = "completed"
            at = {"item_id": item["id"], "output_index": self._output.index(item)}
            events.append(self._event("response.function_call_arguments.done", **at, name=item["name"],
                                      arguments=item["arguments"]))  # fmt: skip
            events.append(self._event("response.output_item.done", output_index=at["output_index"], item=item))
        response = _response(
            self._ask, self._facts, self._model, self._output, usage=last[-1].get("usage"), cut=self._cut
        )
        if self._ask.wants_trace:
            response["disrouter"] = extension
        kind = "response.incomplete" if self._cut else "response.completed"
        return b"".join([*events, self._event(kind, response=response)])

    def broken(self, problem: ProblemError) -> bytes:
        """Return the one error event: in the form of this API, and in the form that clients raise."""
        error = error_of(problem)["error"]
        flat = {"code": problem.code, "message": problem.message, "param": problem.param}
        return self._event("error", **flat, error=error)

    def _begin(self, agent: str | None) -> list[bytes]:
        self._begun = True
        self._model = agent or self._model
        response = _response(self._ask, self._facts, self._model, [], usage=None, cut=False, status="in_progress")
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
        ]

    def _choice(self, choice: dict[str, Any]) -> list[bytes]:
        delta = choice["delta"]
        events: list[bytes] = []
        for key in ("content", "refusal"):
            if delta.get(key):
                events += self._text(key, delta[key])
        for call in delta.get("tool_calls") or ():
            events += self._call(call)
        self._cut = self._cut or choice.get("finish_reason") == "length"
        return events

    def _text(self, key: str, text: str) -> list[bytes]:
        """Return the events of a piece of text or of a refusal."""
        events: list[bytes] = []
        kind = "output_text" if key == "content" else "refusal"
        if self._open is not None and self._open["content"][0]["type"] != kind:
            events += self._close_message()
        if self._open is None:
            part = _parts("", None, empty=True)[0] if kind == "output_text" else {"type": "refusal", "refusal": ""}
            self._open = _message(self._facts, len(self._output), [], status="in_progress")
            events.append(self._event("response.output_item.added", output_index=len(self._output), item=self._open))
            self._output.append(self._open)
            events.append(self._event("response.content_part.added", **self._at(), part=part))
            self._open["content"] = [part]
        part = self._open["content"][0]
        field = "text" if kind == "output_text" else "refusal"
        part[field] += text
        if text:
            more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
            events.append(self._event(f"response.{kind}.delta", **self._at(), delta=text, **more))
        return events

    def _call(self, call: dict[str, Any]) -> list[bytes]:
        """Return the events of a piece of a function call."""
        events = self._close_message()
        index = call.get("index", 0)
        function = call.get("function") or {}
        item = self._calls.get(index)
        if item is None:
            item = self._calls[index] = _call(self._facts, len(self._output), call, status="in_progress")
            item["arguments"] = ""
            events.append(self._event("response.output_item.added", output_index=len(self._output), item=item))
            self._output.append(item)
        if function.get("arguments"):
            item["arguments"] += function["arguments"]
            events.append(
                self._event(
                    "response.function_call_arguments.delta",
                    item_id=item["id"],
                    output_index=self._output.index(item),
                    delta=function["arguments"],
                )
            )
        return events

    def _close_message(self) -> list[bytes]:
        item = self._open
        if item is None:
            return []
        part, at = item["content"][0], self._at()
        kind, field = part["type"], "text" if part["type"] == "output_text" else "refusal"
        item["status"] = "completed"
        more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
        self._open = None
        return [
            self._event(f"response.{kind}.done", **at, **{field: part[field]}, **more),
            self._event("response.content_part.done", **at, part=part),
            self._event("response.output_item.done", output_index=at["output_index"], item=item),
        ]

    def _at(self) -> dict[str, Any]:
        assert self._open is not None
        return {"item_id": self._open["id"], "output_index": self._output.index(self._open), "content_index": 0}

    def _event(self, kind: str, **content: Any) -> bytes:
        data = orjson.dumps({"type": kind, "sequence_number": self._number, **content})
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def _parts(content: Any, refusal: Any, *, empty: bool = False) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if content or empty:
        parts.append({"type": "output_text", "text": content or "", "annotations": [], "logprobs": []})
    if refusal:
        parts.append({"type": "refusal", "refusal": refusal})
    return parts


def _message(facts: Facts, place: int, parts: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    return {
        "id": f"msg_{facts.trace_id}{place}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": parts,
    }


def _call(facts: Facts, place: int, call: Mapping[str, Any], status: str = "completed") -> dict[str, Any]:
    function = call.get("function") or {}
    return {
        "id": f"fc_{facts.trace_id}{place}",
        "type": "function_call",
        "status": status,
        "call_id": call.get("id") or f"call_{facts.trace_id}{place}",
        "name": function.get("name") or "",
        "arguments": function.get("arguments") or "",
    }


def _response(
    ask: Ask,
    facts: Facts,
    model: str,
    output: list[dict[str, Any]],
    *,
    usage: Any,
    cut: bool,
    status: str | None = None,
) -> dict[str, Any]:
    return {
        "id": f"resp_{facts.trace_id}",
        "object": "response",
        "created_at": facts.created,
        "status": status or ("incomplete" if cut else "completed"),
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "model": model,
        "output": output,
        "previous_response_id": None,
        "store": False,
        "usage": _usage(usage),
        **ask.echo,
    }


def _usage(usage: Any) -> dict[str, Any] | None:
    if not isinstance(usage, dict):
        return None
    read, written = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": _detail(usage, "prompt_tokens_details", "cached_tokens")},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": _detail(usage, "completion_tokens_details", "reasoning_tokens")},
        "total_tokens": usage.get("total_tokens", read + written),
    }


def _detail(usage: Mapping[str, Any], group: str, name: str) -> int:
    details = usage.get(group)
    value = details.get(name) if isinstance(details, dict) else None
    return value if isinstance(value, int) else 0
