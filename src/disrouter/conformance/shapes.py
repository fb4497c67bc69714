"""What answers look like: each function returns the part that matters, or says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from disrouter.conformance.case import expect, one, short
from disrouter.conformance.target import Reply, Stream

__all__ = [
    "FINISH_REASONS",
    "chunks_of",
    "completion",
    "content_of",
    "error_of",
    "finish_of",
    "joined",
    "message_of",
    "refused",
    "streamed_finish",
    "usage",
]

FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter", "function_call")


def completion(reply: Reply, kind: str = "chat.completion") -> dict[str, Any]:
    """Return a whole answer after looking at what every one of its kind has."""
    expect(reply.status == 200, f"HTTP {reply.status} instead of an answer: {short(reply.body[:200])}")
    expect(reply.content_type == "application/json", f"the content type is {short(reply.content_type)}")
    body: dict[str, Any] = one(reply.json(), dict, "the body")
    expect(body.get("object") == kind, f"object is {short(body.get('object'))}, not '{kind}'")
    expect(one(body.get("id"), str, "id"), "id is empty")
    one(body.get("created"), int, "created")
    expect(one(body.get("model"), str, "model"), "model is empty")
    choices = one(body.get("choices"), list, "choices")
    expect(choices, "choices is empty")
    for place, choice in enumerate(choices):
        one(choice, dict, f"choices[{place}]")
        expect(choice.get("index") == place, f"choices[{place}].index is {short(choice.get('index'))}")
        reason = choice.get("finish_reason")
        expect(reason in FINISH_REASONS, f"finish_reason is {short(reason)}")
    return body


def message_of(reply: Reply) -> dict[str, Any]:
    """Return the message of the first choice."""
    message: dict[str, Any] = one(completion(reply)["choices"][0].get("message"), dict, "message")
    expect(message.get("role") == "assistant", f"message.role is {short(message.get('role'))}")
    return message


def content_of(reply: Reply) -> str:
    """Return the text of the first choice."""
    text: str = one(message_of(reply).get("content"), str, "message.content")
    return text


def finish_of(reply: Reply) -> str:
    """Return the finish reason of the first choice."""
    return str(completion(reply)["choices"][0]["finish_reason"])


def usage(found: object) -> Mapping[str, int]:
    """Return token counts after looking whether they add up."""
    counts = one(found, dict, "usage")
    prompt, said, total = (
        one(counts.get(name), int, f"usage.{name}") for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    expect(prompt >= 0 and said >= 0, f"usage is negative: {short(counts)}")
    expect(total == prompt + said, f"usage does not add up: {prompt} + {said} is not {total}")
    return {"prompt": prompt, "completion": said}


def chunks_of(stream: Stream, kind: str = "chat.completion.chunk") -> list[dict[str, Any]]:
    """Return the chunks of a stream that went well, without its end mark."""
    expect(stream.status == 200, f"HTTP {stream.status} instead of a stream: {short(stream.body[:200])}")
    expect(stream.content_type == "text/event-stream", f"the content type is {short(stream.content_type)}")
    expect(not stream.broken, "the connection broke before the end of the stream")
    events = stream.events()
    expect(events, "there is no event in the stream")
    chunks = []
    for event in events:
        if event.done:
            continue
        chunk = event.json
        expect(isinstance(chunk, dict), f"an event holds no JSON object: {short(event.data)}")
        expect("error" not in chunk, f"the stream brings an error: {short(chunk.get('error'))}")
        expect(chunk.get("object") == kind, f"object of a chunk is {short(chunk.get('object'))}, not '{kind}'")
        chunks.append(chunk)
    return chunks


def joined(chunks: Sequence[Mapping[str, Any]], index: int = 0, key: str = "content") -> str:
    """Return what the deltas of a choice say together."""
    choices = (choice for chunk in chunks for choice in chunk["choices"] if choice.get("index") == index)
    return "".join(choice["delta"].get(key) or "" for choice in choices)


def streamed_finish(chunks: Sequence[Mapping[str, Any]]) -> object:
    """Return the finish reason of the last chunk that has a choice."""
    reasons = [choice.get("finish_reason") for chunk in chunks for choice in chunk["choices"]]
    return reasons[-1] if reasons else None


def error_of(body: object) -> dict[str, Any]:
    """Return the error object of a body or of an event."""
    error: dict[str, Any] = one(one(body, dict, "the body of an error").get("error"), dict, "error")
    expect(one(error.get("message"), str, "error.message"), "error.message is empty")
    expect(one(error.get("type"), str, "error.type"), "error.type is empty")
    for name in ("param", "code"):
        expect(name in error, f"error has no '{name}' (null where there is nothing to say)")
        value = error[name]
        expect(value is None or isinstance(value, str), f"error.{name} is {short(value)}, not text or null")
    return error


def refused(reply: Reply, *statuses: int, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """Return the error object of a refusal with one of the statuses (none given: any 4xx)."""
    wanted = " or ".join(map(str, statuses)) or "4xx"
    right = reply.status in statuses if statuses else 400 <= reply.status < 500
    expect(right, f"HTTP {reply.status} instead of {wanted}: {short(reply.body[:160])}")
    expect(reply.content_type == "application/json", f"the error comes as {short(reply.content_type)}")
    error = error_of(reply.json())
    if code is not None:
        expect(error["code"] == code, f"error.code is {short(error['code'])}, not '{code}'")
    if param is not None:
        expect(error["param"] == param, f"error.param is {short(error['param'])}, not '{param}'")
    return error
