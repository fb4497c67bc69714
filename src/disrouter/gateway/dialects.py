"""Dialects: the API's endpoints as ways to read a request and to write an answer. Inside, everything is a chat."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from disrouter.gateway.asking import Ask
from disrouter.gateway.errors import ProblemError
from disrouter.gateway.records import Endpoint
from disrouter.gateway.redaction import without_secrets
from disrouter.types import Delta, Trace, Usage

__all__ = ["Dialect", "Facts", "Stream", "event", "reply_of", "trace_json", "usage_json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What every part of an answer repeats."""

    trace_id: str
    created: int = field(default_factory=lambda: int(time.time()))


class Stream(Protocol):
    """Writes one answer while it arrives."""

    def piece(self, delta: Delta) -> bytes:
        """Return what a piece of the answer is in this dialect; nothing if it says nothing."""
        ...

    def end(self, trace: Trace, extension: dict[str, Any]) -> bytes:
        """Return what comes after the last piece."""
        ...

    def broken(self, problem: ProblemError) -> bytes:
        """Return the one event that ends an answer which broke off."""
        ...


class Dialect(Protocol):
    """One endpoint of the API."""

    @property
    def endpoint(self) -> Endpoint: ...

    def read(self, body: dict[str, Any], agents: Mapping[str, Any], most_messages: int) -> Ask:
        """Return what a request wants, as a chat.

        Raises:
            ProblemError: It cannot be understood.
        """
        ...

    def whole(self, ask: Ask, reply: dict[str, Any], facts: Facts) -> dict[str, Any]:
        """Return an answer that does not stream, made from a chat completion."""
        ...

    def stream(self, ask: Ask, facts: Facts) -> Stream:
        """Return the writer of an answer that streams."""
        ...


def event(content: Mapping[str, Any]) -> bytes:
    """Return a server-sent event."""
    return b"data: " + orjson.dumps(content) + b"\n\n"


def usage_json(usage: Usage) -> dict[str, int]:
    """Return tokens as OpenAI counts them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def reply_of(trace: Trace, facts: Facts) -> dict[str, Any]:
    """Return the chat completion of an answered query: what the agent's server sent, under our id and its name."""
    completion = trace.completion
    assert completion is not None  # it was answered
    if completion.body is None:
        message = {"role": "assistant", "content": completion.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": completion.finish_reason}
        rest: dict[str, Any] = {"choices": [choice], "usage": usage_json(trace.hops[-1].usage)}
    else:
        rest = completion.body
        for index, choice in enumerate(rest["choices"]):
            choice.setdefault("index", index)
            choice.setdefault("logprobs", None)
            choice["finish_reason"] = choice.get("finish_reason") or "stop"
            choice["message"].setdefault("role", "assistant")
            choice["message"].setdefault("content", None)
        if not rest.get("usage"):
            rest["usage"] = usage_json(trace.hops[-1].usage)
    return {
        **rest,
        "id": f"chatcmpl-{facts.trace_id}",
        "object": "chat.completion",
        "created": facts.created,
        "model": trace.agent,
    }


def trace_json(trace: Trace, trace_id: str, saved: float | None, seconds: float) -> dict[str, Any]:
    """Return a route as answers and streams show it."""
    usage = trace.usage
    return {
        "trace_id": trace_id,
        "agent": trace.agent,
        "scenario": trace.scenario.name,
        "alpha": trace.scenario.alpha,
        "hops": [
            {
                "agent": hop.agent,
                "decision": hop.decision,
                "confidence": hop.confidence,
                "prompt_tokens": hop.usage.prompt_tokens,
                "completion_tokens": hop.usage.completion_tokens,
                "cost": round(hop.cost, 9),
                "seconds": round(hop.seconds, 6),
                "reason": without_secrets(hop.reason) if hop.reason else None,
            }
            for hop in trace.hops
        ],
        "cost": round(trace.cost_full, 9),
        "saved": None if saved is None else round(saved, 9),
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "seconds": round(seconds, 6),
    }
