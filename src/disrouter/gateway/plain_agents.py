"""What agents that only read and write plain text cannot do, and what the gateway does for them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from disrouter.types import Completion, Delta, Query, Usage

__all__ = ["cut_at_stop", "stops_of", "unsupported"]


def unsupported(body: Mapping[str, Any]) -> list[str]:
    """Return the fields of a request whose meaning would be lost on an agent that only writes text."""
    found = [name for name in ("tools", "functions", "logprobs", "audio", "prediction") if body.get(name)]
    if (body.get("n") or 1) != 1:
        found.append("n")
    form = body.get("response_format")
    if isinstance(form, dict) and form.get("type") not in (None, "text"):
        found.append("response_format")
    modalities = body.get("modalities")
    if isinstance(modalities, list) and modalities != ["text"]:
        found.append("modalities")
    if any(not _is_text(message) for message in body.get("messages") or ()):
        found.append("messages")
    return found


def _is_text(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("role") in ("tool", "function") or message.get("tool_calls"):
        return False
    content = message.get("content")
    return not isinstance(content, list) or all(
        isinstance(part, dict) and part.get("type") in ("text", "input_text", "refusal") for part in content
    )


def stops_of(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts at which an answer shall end."""
    stop = body.get("stop")
    found = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    return tuple(text for text in found if isinstance(text, str) and text)


async def cut_at_stop(
    pieces: AsyncIterator[str | Delta | Completion], query: Query, agent: str
) -> AsyncGenerator[str | Delta | Completion, None]:
    """Yield an answer up to the first text at which the request wants it to end, that text not included."""
    stops = stops_of(query.request.body) if query.request is not None else ()
    text, sent, written = "", 0, 0
    longest = max((len(stop) for stop in stops), default=0)
    source = pieces
    async with aclosing(source):  # type: ignore[type-var]  # every agent of ours is a generator
        async for piece in source:
            if not stops or isinstance(piece, Delta):
                yield piece
                continue
            if isinstance(piece, str):
                text += piece
                written += 1
            end = min((at for stop in stops if (at := text.find(stop)) >= 0), default=-1)
            if isinstance(piece, Completion):
                whole = piece.text if end < 0 else text[:end]
                if not text:  # an agent that does not stream has all its text in the completion
                    cut = min((at for stop in stops if (at := whole.find(stop)) >= 0), default=-1)
                    whole = whole if cut < 0 else whole[:cut]
                elif rest := whole[sent:]:
                    yield rest
                yield replace(piece, text=whole)
                return
            if end >= 0:
                if text[sent:end]:
                    yield text[sent:end]
                yield Completion(text=text[:end], usage=Usage(0, written))  # local agents write a token a piece
                return
            # A stop may have begun in the last characters; they are held back until that is clear.
            if len(text) - (longest - 1) > sent:
                yield text[sent : len(text) - (longest - 1)]
                sent = len(text) - (longest - 1)
