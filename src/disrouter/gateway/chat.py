"""``/v1/chat/completions``: the dialect that everything inside speaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from disrouter.gateway.asking import Ask, chat_ask
from disrouter.gateway.dialects import Facts, Stream, event, usage_json
from disrouter.gateway.errors import ProblemError, error_of
from disrouter.gateway.records import Endpoint
from disrouter.types import Delta, Trace

__all__ = ["DONE", "Chat", "ChatStream"]

DONE = b"data: [DONE]\n\n"


class Chat:
    """Chat completions."""

    endpoint: Endpoint = "chat"

    def read(self, body: dict[str, Any], agents: Mapping[str, Any], most_messages: int) -> Ask:
        """Return what a request wants."""
        return chat_ask(body, agents=agents, most_messages=most_messages)

    def whole(self, ask: Ask, reply: dict[str, Any], facts: Facts) -> dict[str, Any]:
        """Return the chat completion as it is."""
        return reply

    def stream(self, ask: Ask, facts: Facts) -> Stream:
        """Return the writer of chunks."""
        return ChatStream(ask, facts)


class ChatStream:
    """Writes chat completion chunks: one id, one model, a role first and a reason last for every choice."""

    def __init__(self, ask: Ask, facts: Facts) -> None:
        self._ask = ask
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{facts.trace_id}",
            "object": "chat.completion.chunk",
            "created": facts.created,
            "model": ask.model,
        }
        self._ended: dict[int, bool] = {}
        """For every choice that has begun, whether it has ended."""
        self._usage: Any = None

    def piece(self, delta: Delta) -> bytes:
        """Return the chunks of a piece."""
        return b"".join(event(chunk) for chunk in self.chunks(delta))

    def chunks(self, delta: Delta) -> list[dict[str, Any]]:
        """Return a piece as chunks of ours."""
        if delta.agent is not None:
            self._head["model"] = delta.agent
        if not delta.chunks:
            return [self._chunk([self._choice(0, {"content": delta.text})])] if delta.text else []
        found = []
        for chunk in delta.chunks:
            if chunk.get("usage"):
                self._usage = chunk["usage"]
            if not chunk["choices"]:
                continue  # the usage, which is told at the end
            chunk["choices"] = [self._forwarded(choice) for choice in chunk["choices"]]
            chunk |= self._head
            chunk.pop("usage", None)
            if self._ask.wants_usage:
                chunk["usage"] = None
            found.append(chunk)
        return found

    def end(self, trace: Trace, extension: dict[str, Any]) -> bytes:
        """Return what is missing: reasons, the usage and the trace where they are wanted, and the end mark."""
        return b"".join(event(chunk) for chunk in self.last_chunks(trace, extension)) + DONE

    def last_chunks(self, trace: Trace, extension: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the chunks after the last piece."""
        completion = trace.completion
        self._head["model"] = trace.agent
        if not self._ended:  # an answer without a word
            self._choice(0, {})
        reason = completion.finish_reason if completion is not None else "stop"
        found = [
            self._chunk([self._choice(index, {}, reason)]) for index, ended in sorted(self._ended.items()) if not ended
        ]
        if self._ask.wants_usage or self._ask.wants_trace:
            last: dict[str, Any] = {**self._head, "choices": []}
            if self._ask.wants_usage:
                last["usage"] = self._usage or usage_json(trace.hops[-1].usage)
            if self._ask.wants_trace:
                last["disrouter"] = extension
            found.append(last)
        return found

    def broken(self, problem: ProblemError) -> bytes:
        """Return the error event that clients raise; no end mark follows."""
        return event(error_of(problem))

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = {**self._head, "choices": choices}
        if self._ask.wants_usage:
            chunk["usage"] = None
        return chunk

    def _choice(self, index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        if index not in self._ended:
            delta = {"role": "assistant", "content": "", **delta}
        self._ended[index] = self._ended.get(index, False) or reason is not None
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}

    def _forwarded(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Return a server's choice with what every choice of a chunk has."""
        index = choice.setdefault("index", 0)
        choice.setdefault("logprobs", None)
        reason = choice.setdefault("finish_reason", None)
        if index not in self._ended:
            choice["delta"].setdefault("role", "assistant")
        self._ended[index] = self._ended.get(index, False) or reason is not None
        return choice
