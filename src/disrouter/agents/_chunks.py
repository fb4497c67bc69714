"""Streamed chat completions: reading chunks as they arrive, and putting them together to a whole one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import Any

import aiohttp
import orjson

from disrouter.agents._server import Server
from disrouter.agents._sse import EventReader
from disrouter.agents.faults import FaultError
from disrouter.types import Completion, Delta, Usage

__all__ = ["Answer", "assembled", "completion_of", "text_of"]

Chunk = dict[str, Any]

_SAID = ("content", "tool_calls", "refusal", "function_call", "reasoning_content", "reasoning", "audio")
"""Parts of a delta that a reader would notice."""


class Answer:
    """What has been read of one streamed answer."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.parts: list[str] = []
        self.usage: Usage | None = None
        self.written = 0
        """Chunks that said something: about as many tokens, where the server does not count."""
        self.reasons: dict[int, str | None] = {}
        """Why each choice ended; None for one that has not."""
        self._told = 0

    async def deltas(self, response: aiohttp.ClientResponse) -> AsyncGenerator[Delta, None]:
        """Yield the answer as it arrives, the first delta as soon as something has been said.

        Raises:
            FaultError: The answer breaks off, or is none.
        """
        if "text/event-stream" not in response.headers.get("content-type", "").lower():
            kind = response.headers.get("content-type", "").partition(";")[0][:60] or "no type"
            raise self._malformed(f"a reply of type '{kind}'")
        reader = EventReader()
        held: list[Chunk] = []
        begun = False
        try:
            async for received in response.content.iter_any():
                done = self._take(reader.feed(received), held)
                begun = begun or self.written > 0 or any(self.reasons.values())
                if held and begun:
                    yield self._delta(held)
                    held = []
                if done:
                    return
            done = self._take(reader.finish(), held)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise self.server.fault_of(exc) from None
        except ValueError as exc:
            raise self._malformed(f"something that is no stream ({exc})") from None
        if held and (begun or self.written or any(self.reasons.values())):
            yield self._delta(held)
        if not done and not (self.reasons and all(self.reasons.values())):
            raise FaultError(f"The answer of agent '{self.server.agent}' broke off.", kind="cut")

    def completion(self, prompt: str, seconds: float) -> Completion:
        """Return the end of the answer; tokens that the server has not counted are estimated."""
        return Completion(
            text="".join(self.parts),
            usage=self.usage or Usage(estimated_tokens(prompt), self.written),
            finish_reason="length" if self.reasons.get(0) == "length" else "stop",
            seconds=seconds,
        )

    def _take(self, events: Iterable[bytes], held: list[Chunk]) -> bool:
        """Read events; return whether the stream said that it is done."""
        for event in events:
            if event == b"[DONE]":
                if not self.reasons:
                    raise self._malformed("a stream without an answer")
                return True
            held.append(self._chunk(event))
        return False

    def _chunk(self, event: bytes) -> Chunk:
        try:
            chunk = orjson.loads(event)
        except orjson.JSONDecodeError:
            raise self._malformed("a chunk that is no JSON") from None
        if isinstance(chunk, dict) and chunk.get("error") and not chunk.get("choices"):
            raise self.server.error_in(chunk["error"])
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        if not isinstance(choices, list):
            raise self._malformed("a chunk without choices")
        if chunk.get("usage"):
            self.usage = usage_of(chunk["usage"])
        for choice in choices:
            self._choice(choice)
        return chunk  # type: ignore[no-any-return]  # its choices are a list, so it is a dictionary

    def _choice(self, choice: Any) -> None:
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if delta is None and isinstance(choice, dict):
            delta = choice["delta"] = {}
        index = choice.get("index", 0) if isinstance(choice, dict) else None
        if not isinstance(delta, dict) or not isinstance(index, int):
            raise self._malformed("a chunk whose choices have no delta")
        content = delta.get("content")
        if content and not isinstance(content, str):
            raise self._malformed("a chunk whose content is no text")
        if not _are_calls(delta.get("tool_calls")):
            raise self._malformed("a chunk with tool calls that are none")
        if content or any([delta.get(part) for part in _SAID]):
            self.written += 1
        if content and index == 0:
            self.parts.append(content)
        reason = choice.get("finish_reason")
        if reason or index not in self.reasons:
            self.reasons[index] = self.reasons.get(index) or (str(reason) if reason else None)

    def _delta(self, chunks: list[Chunk]) -> Delta:
        text, self._told = "".join(self.parts[self._told :]), len(self.parts)
        return Delta(text, tuple(chunks), self.server.agent)

    def _malformed(self, what: str) -> FaultError:
        return FaultError(f"Agent '{self.server.agent}' sent {what} instead of a completion.", kind="malformed")


def _are_calls(calls: Any) -> bool:
    return not calls or (
        isinstance(calls, list)
        and all(isinstance(call, dict) and isinstance(call.get("function"), dict | None) for call in calls)
    )


def text_of(chunks: Iterable[Chunk]) -> str:
    """Return the text that chunks add to the first choice."""
    return "".join(
        choice["delta"].get("content") or ""
        for chunk in chunks
        for choice in chunk["choices"]
        if choice.get("index", 0) == 0
    )


def completion_of(server: Server, body: dict[str, Any], prompt: str, seconds: float) -> Completion:
    """Return the end of an answer that did not stream.

    Raises:
        FaultError: The body is no chat completion.
    """
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise FaultError(f"Agent '{server.agent}' sent a reply without choices.", kind="malformed")
    for choice in choices:
        message = choice.get("message") if isinstance(choice, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(message, dict) or not (content is None or isinstance(content, str)):
            raise FaultError(f"Agent '{server.agent}' sent a choice without a message.", kind="malformed")
        if not _are_calls(message.get("tool_calls")):
            raise FaultError(f"Agent '{server.agent}' sent tool calls that are none.", kind="malformed")
    text = choices[0]["message"].get("content") or ""
    usage = usage_of(body.get("usage")) or Usage(estimated_tokens(prompt), estimated_tokens(text))
    return Completion(
        text=text,
        usage=usage,
        finish_reason="length" if choices[0].get("finish_reason") == "length" else "stop",
        seconds=seconds,
        body=body,
    )


def usage_of(value: Any) -> Usage | None:
    """Return the tokens that a server has counted, or None if it has not, readably."""
    if not isinstance(value, dict):
        return None
    read, written = value.get("prompt_tokens"), value.get("completion_tokens", 0)
    if not isinstance(read, int) or not isinstance(written, int) or read < 0 or written < 0:
        return None
    return Usage(read, written)


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text has: four characters each, as English has with most tokenizers."""
    return (len(text) + 3) // 4


def assembled(chunks: Iterable[Chunk]) -> dict[str, Any]:
    """Return the chat completion that a server would have sent instead of these chunks."""
    body: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        body.update({key: value for key, value in chunk.items() if key not in ("choices", "object") and value})
        for choice in chunk["choices"]:
            index = choice.get("index", 0)
            into = choices.setdefault(
                index,
                {"index": index, "message": {"role": "assistant", "content": None}, "logprobs": None},
            )
            _merge(into["message"], choice["delta"])
            if choice.get("logprobs"):
                into["logprobs"] = into["logprobs"] or {}
                _merge(into["logprobs"], choice["logprobs"])
            into["finish_reason"] = choice.get("finish_reason") or into.get("finish_reason")
    for choice in choices.values():
        for call in choice["message"].get("tool_calls") or ():
            call.pop("index", None)
    body["object"] = "chat.completion"
    body["choices"] = [choices[index] for index in sorted(choices)]
    return body


_WHOLE = ("role", "id", "type", "name", "index")
"""Keys whose value comes whole, though it is text."""


def _merge(into: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a delta to what is there: texts are continued, lists extended, tool calls found by their index."""
    for key, value in delta.items():
        there = into.get(key)
        if value is None or there is None:
            into[key] = there if value is None else _fresh(value)
        elif isinstance(value, str) and isinstance(there, str) and key not in _WHOLE:
            into[key] = there + value
        elif isinstance(value, dict) and isinstance(there, dict):
            _merge(there, value)
        elif isinstance(value, list) and isinstance(there, list):
            _extend(there, value)
        else:
            into[key] = value


def _fresh(value: Any) -> Any:
    if isinstance(value, list):
        fresh: list[Any] = []
        _extend(fresh, value)
        return fresh
    return dict(value) if isinstance(value, dict) else value


def _extend(there: list[Any], items: list[Any]) -> None:
    for item in items:
        known = next(
            (old for old in there if isinstance(item, dict) and "index" in item and old.get("index") == item["index"]),
            None,
        )
        if known is None:
            there.append(_fresh(item))
        else:
            _merge(known, item)
