"""``/v1/completions``: a text prompt, asked as the one message of a chat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from disrouter.gateway.asking import Ask, chat_ask
from disrouter.gateway.chat import DONE, ChatStream
from disrouter.gateway.dialects import Facts, Stream, event
from disrouter.gateway.errors import ProblemError, error_of, invalid, shown
from disrouter.gateway.records import Endpoint
from disrouter.types import Delta, Trace

__all__ = ["Completions"]

DEFAULT_TOKENS = 16
"""What OpenAI's API takes where a request names no bound."""


class Completions:
    """Legacy text completions."""

    endpoint: Endpoint = "completions"

    def read(self, body: dict[str, Any], agents: Mapping[str, Any], most_messages: int) -> Ask:
        """Return what a request wants, as a chat with one message."""
        prompt = body.pop("prompt", None)
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
            prompt = prompt[0]
        if not isinstance(prompt, str) or not prompt:
            raise invalid(f"prompt must be one text; it is {shown(prompt)}.", param="prompt")
        for name, neutral in (("echo", (None, False)), ("suffix", (None, "")), ("best_of", (None, 1))):
            if body.pop(name, None) not in neutral:
                raise invalid(f"{name} is not supported here.", param=name, code="unsupported_parameter")
        count = body.pop("logprobs", None)
        if isinstance(count, float) and count.is_integer():
            count = int(count)
        if count is not None:
            if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= 20:
                raise invalid(f"logprobs must be a whole number from 0 to 20; it is {shown(count)}.", param="logprobs")
            body |= {"logprobs": True, "top_logprobs": count}
        if body.get("max_tokens") is None:
            body["max_tokens"] = DEFAULT_TOKENS
        body["messages"] = [{"role": "user", "content": prompt}]
        return chat_ask(body, agents=agents, most_messages=most_messages)

    def whole(self, ask: Ask, reply: dict[str, Any], facts: Facts) -> dict[str, Any]:
        """Return the completion that a chat completion stands for."""
        choices = [
            {
                "text": choice["message"].get("content") or "",
                "index": choice["index"],
                "logprobs": _text_logprobs(choice["logprobs"]),
                "finish_reason": choice["finish_reason"],
            }
            for choice in reply["choices"]
        ]
        return {**reply, "id": _id(facts), "object": "text_completion", "choices": choices}

    def stream(self, ask: Ask, facts: Facts) -> Stream:
        """Return the writer of text chunks."""
        return _TextStream(ask, facts)


class _TextStream:
    def __init__(self, ask: Ask, facts: Facts) -> None:
        self._chat = ChatStream(ask, facts)
        self._facts = facts

    def piece(self, delta: Delta) -> bytes:
        return b"".join(event(self._text(chunk)) for chunk in self._chat.chunks(delta))

    def end(self, trace: Trace, extension: dict[str, Any]) -> bytes:
        chunks = self._chat.last_chunks(trace, extension)
        return b"".join(event(self._text(chunk)) for chunk in chunks) + DONE

    def broken(self, problem: ProblemError) -> bytes:
        return event(error_of(problem))

    def _text(self, chunk: dict[str, Any]) -> dict[str, Any]:
        choices = [
            {
                "text": choice["delta"].get("content") or "",
                "index": choice["index"],
                "logprobs": _text_logprobs(choice["logprobs"]),
                "finish_reason": choice["finish_reason"],
            }
            for choice in chunk["choices"]
        ]
        return {**chunk, "id": _id(self._facts), "object": "text_completion", "choices": choices}


def _id(facts: Facts) -> str:
    return f"cmpl-{facts.trace_id}"


def _text_logprobs(logprobs: Any) -> dict[str, Any] | None:
    """Return a chat's log-probabilities in the older form."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return None
    entries = [entry for entry in content if isinstance(entry, dict)]
    tokens = [str(entry.get("token", "")) for entry in entries]
    offsets = [sum(map(len, tokens[:i])) for i in range(len(tokens))]
    return {
        "tokens": tokens,
        "token_logprobs": [entry.get("logprob") for entry in entries],
        "top_logprobs": [
            {str(top.get("token", "")): top.get("logprob") for top in entry.get("top_logprobs") or ()}
            for entry in entries
        ],
        "text_offset": offsets,
    }
