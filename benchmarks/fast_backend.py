"""A backend that costs next to nothing, so that what is measured is the gateway: canned answers over bare sockets.

    python benchmarks/fast_backend.py [PORT]

The model's name chooses: ``fast`` answers at once, ``slow`` after 0.2 s, ``paced`` streams a chunk every 5 ms and tells
with its first words when it sent them, ``crawling`` one every 3 s, and ``unsure`` says the rejection token when it is
asked for one token. Any of them streams 22 chunks if asked to stream.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

CHUNKS = 22
SLOW_SECONDS = 0.2
PACE_SECONDS = 0.005
CRAWL_SECONDS = 3.0


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _response(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _part(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


_HEAD = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "fast"}
_USAGE = {"prompt_tokens": 12, "completion_tokens": 20, "total_tokens": 32}
_TEXT = "".join(f"word{i} " for i in range(20))


def _choice(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return b"data: " + _json({**_HEAD, "object": "chat.completion.chunk", "choices": [choice]}) + b"\n\n"


WHOLE = _response(
    _json(
        {
            **_HEAD,
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": _TEXT},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": _USAGE,
        }
    )
)
_TOKEN = {"token": "<|reject|>", "logprob": -0.05, "bytes": None}
LOOK = _response(
    _json(
        {
            **_HEAD,
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "<|reject|>"},
                    "logprobs": {"content": [{**_TOKEN, "top_logprobs": [_TOKEN]}], "refusal": None},
                    "finish_reason": "length",
                }
            ],
            "usage": {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 13},
        }
    )
)
MODELS = _response(
    _json({"object": "list", "data": [{"id": "fast", "object": "model", "created": 0, "owned_by": "x"}]})
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_DELTAS = [_choice({"role": "assistant", "content": ""}), *(_choice({"content": f"word{i} "}) for i in range(20))]
STREAM = [*map(_part, [*_DELTAS, _choice({}, "stop")])]
STREAM_END = _part(b"data: [DONE]\n\n") + b"0\r\n\r\n"
USAGE_PART = _part(
    b"data: " + _json({**_HEAD, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE}) + b"\n\n"
)
assert len(STREAM) == CHUNKS


class Backend(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self) -> None:
        self.data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own kind is none by its class
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self.data += data
        while True:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.data[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.data) < end + 4 + length:
                return
            body = bytes(self.data[end + 4 : end + 4 + length])
            del self.data[: end + 4 + length]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        """Choose by the model's name and by what is asked for."""
        if head.startswith(b"get "):
            self.send(MODELS)
        elif b'"unsure"' in body and b'"logprobs"' in body:
            self.send(LOOK)
        elif b'"stream":true' in body or b'"stream": true' in body:
            self.transport.write(STREAM_HEAD)
            parts = [*STREAM, *([USAGE_PART] if b'"include_usage"' in body else []), STREAM_END]
            self.stream(
                parts, 0, CRAWL_SECONDS if b'"crawling"' in body else PACE_SECONDS if b'"paced"' in body else 0.0
            )
        elif b'"slow"' in body:
            self.loop.call_later(SLOW_SECONDS, self.send, WHOLE)
        else:
            self.send(WHOLE)

    def send(self, answer: bytes) -> None:
        """Send a whole answer, unless the client is gone."""
        if not self.transport.is_closing():
            self.transport.write(answer)

    def stream(self, parts: list[bytes], place: int, pause: float) -> None:
        """Send one chunk, and the next one in the loop's next turn or after the pause."""
        if self.transport.is_closing():
            return
        part = parts[place]
        if place == 1 and pause == PACE_SECONDS:  # this machine's clock: the client is on it, too
            part = _part(_choice({"content": f"word0@{time.monotonic():.6f} "}))
        self.transport.write(part)
        if place + 1 < len(parts):
            if pause:
                self.loop.call_later(pause, self.stream, parts, place + 1, pause)
            else:
                self.loop.call_soon(self.stream, parts, place + 1, pause)


async def main(port: int) -> None:
    """Serve on loopback until killed."""
    server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop
    except ModuleNotFoundError:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
    else:
        uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
