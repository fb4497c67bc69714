"""A real OpenAI-compatible server on loopback that answers deterministically and misbehaves on demand.

    async with MockBackend() as backend:
        backend.script = ["die", None]   # the next request dies in mid-stream, the one after is answered
        ...                              # ask at backend.url, which ends in /v1
        assert backend.received[0].cancelled

A fault comes from ``script`` (one entry a request, first), else from ``[fault=…]`` in the last user message, else from
``fault``. ``python -m gateway.mock_backend`` serves one in a process of its own and prints its address.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from aiohttp import web

from gateway.mock_faults import Fault, answer_badly, raise_alarm
from gateway.mock_replies import (
    REJECTION_TEXT,
    Reply,
    directives,
    last_user_text,
    logprobs_of,
    prompt_tokens,
    replies,
    tokens,
)

__all__ = ["FAULTS", "Fault", "MockBackend", "Received", "closed_port_url"]

FAULTS: tuple[Fault, ...] = get_args(Fault)

CREATED = 1_700_000_000


@dataclass(slots=True, kw_only=True)
class Received:
    """One request as it arrived, and what became of it."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    fault: Fault | None = None
    at: float = field(default_factory=time.monotonic)
    cancelled_at: float | None = None
    """When the client hung up before it had everything."""
    finished: bool = False
    chunks: int = 0

    @property
    def cancelled(self) -> bool:
        """Whether the client hung up before it had everything."""
        return self.cancelled_at is not None


@dataclass
class MockBackend:
    """The server; change its fields at any time."""

    model: str = "mock-model"
    """What it calls itself in answers; it takes any model name, and says so in ``models``."""
    listed: tuple[str, ...] | None = None
    """The models in its list, whatever it takes; None: itself."""
    listings: int = 0
    """How often it was asked for them."""
    api_key: str | None = None
    """Requests without it are refused with 401, if it is set."""
    fault: Fault | None = None
    script: list[Fault | None] = field(default_factory=list)
    after: int = 3
    """Chunks that are sent before a stream goes wrong."""
    first: float = 0.0
    """Seconds before anything is sent."""
    pause: float = 0.0
    """Seconds between chunks."""
    confidence: float | None = None
    """What a one-token look finds: the rejection token gets 1 - confidence at the first token."""
    rejection_token: str = "<|reject|>"
    rejects: bool = False
    """Every answer is the rejection text."""
    reply: Callable[[dict[str, Any]], str | None] | None = None
    """Says something else to a request, or None for the usual."""
    context_length: int | None = None
    """Longer prompts are refused like OpenAI does."""
    received: list[Received] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0
    _runner: web.AppRunner | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The base URL, to be given to a client or a network file."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The bodies of all requests, in order."""
        return [request.body for request in self.received]

    def connections(self) -> int:
        """Count the connections that are open."""
        server = self._runner.server if self._runner is not None else None
        return len(server.connections) if server is not None else 0

    async def start(self, port: int = 0) -> None:
        """Listen on loopback; a port that was given before is taken again, so a stopped backend comes back."""
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port or self.port, reuse_address=True, backlog=4096).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and hang up on everybody: from now on connections are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> MockBackend:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def idle(self, timeout: float = 5.0) -> None:
        """Wait until no request is under way.

        Raises:
            TimeoutError: One still is.
        """
        async with asyncio.timeout(timeout):
            while self.at_once:
                await asyncio.sleep(0.005)

    # -- requests ------------------------------------------------------------------------------------------------------

    async def _health(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "ok"})

    async def _models(self, request: web.Request) -> web.StreamResponse:
        self.listings += 1
        cards = [
            {"id": name, "object": "model", "created": CREATED, "owned_by": "mock"}
            for name in ((self.model,) if self.listed is None else self.listed)
        ]
        return web.json_response({"object": "list", "data": cards})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
        except ValueError:
            return refusal(400, "The body is not JSON.")
        seen = Received(path=request.path, headers=dict(request.headers), body=body)
        self.received.append(seen)
        if self.api_key is not None and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return refusal(401, "Incorrect API key provided.", code="invalid_api_key")
        if self.context_length is not None and prompt_tokens(body) > self.context_length:
            said = f"This model's maximum context length is {self.context_length} tokens."
            return refusal(400, said, param="messages", code="context_length_exceeded")
        try:
            asked = directives(body)
        except (LookupError, TypeError, AttributeError):
            return refusal(400, "The request cannot be understood.")
        seen.fault = self._fault_of(asked)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(float(asked.get("first", self.first)))
            response = await self._answer(request, body, asked, seen)
            seen.finished = True
            return response
        except asyncio.CancelledError:
            seen.cancelled_at = time.monotonic()
            raise
        except ConnectionError:  # the client hung up while we were writing
            seen.cancelled_at = time.monotonic()
            return web.Response()
        except (LookupError, TypeError, AttributeError, ValueError):
            return refusal(400, "The request cannot be understood.")
        finally:
            self.at_once -= 1

    def _fault_of(self, asked: Mapping[str, str]) -> Fault | None:
        if self.script:
            return self.script.pop(0)
        named: Any = asked.get("fault", self.fault)
        if named is not None and named not in FAULTS:
            raise AssertionError(f"no fault is called {named!r}: {FAULTS}")
        return named  # type: ignore[no-any-return]

    async def _answer(
        self, request: web.Request, body: dict[str, Any], asked: Mapping[str, str], seen: Received
    ) -> web.StreamResponse:
        if body.get("stream"):
            pause = float(asked.get("pause", self.pause))
            return await self._stream(request, self._chunks(body), seen, pause)
        whole = self._whole(body)
        if seen.fault is not None:
            return await answer_badly(seen.fault, request, json.dumps(whole).encode())
        return web.json_response(whole)

    def _replies(self, body: dict[str, Any]) -> list[Reply]:
        text = self.reply(body) if self.reply is not None else None
        if text is None and self.rejects:
            text = REJECTION_TEXT
        if text is None and self._is_look(body):
            text = self.rejection_token if (self.confidence or 0.0) < 0.5 else "Yes"
        return replies(body, text)

    def _is_look(self, body: Mapping[str, Any]) -> bool:
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        return self.confidence is not None and limit == 1 and bool(body.get("logprobs"))

    def _logprobs(self, body: Mapping[str, Any], said: str) -> dict[str, Any] | None:
        if not body.get("logprobs"):
            return None
        first = None
        if self.confidence is not None:
            first = {self.rejection_token: 1 - self.confidence, "Yes": self.confidence}
        return {"content": logprobs_of(tokens(said), int(body.get("top_logprobs") or 0), first), "refusal": None}

    # -- a whole answer ------------------------------------------------------------------------------------------------

    def _whole(self, body: dict[str, Any]) -> dict[str, Any]:
        said = self._replies(body)
        chat = "messages" in body
        make = self._choice if chat else self._text_choice
        return {
            **self._head(body, "chat.completion" if chat else "text_completion"),
            "choices": [make(body, index, reply) for index, reply in enumerate(said)],
            "usage": usage_of(body, said),
        }

    def _head(self, body: Mapping[str, Any], kind: str) -> dict[str, Any]:
        number = len(self.received)
        prefix = "chatcmpl" if kind.startswith("chat") else "cmpl"
        return {
            "id": f"{prefix}-{number:08d}",
            "object": kind,
            "created": CREATED,
            "model": self.model,
            "system_fingerprint": "fp_mock",
        }

    def _choice(self, body: dict[str, Any], index: int, reply: Reply) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": reply.refusal}
        if reply.tool_calls or reply.refusal:
            message["content"] = None
        if reply.tool_calls:
            message["tool_calls"] = list(reply.tool_calls)
        if reply.reasoning:
            message["reasoning_content"] = reply.reasoning
        logprobs = self._logprobs(body, reply.text)
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reply.finish_reason}

    def _text_choice(self, body: dict[str, Any], index: int, reply: Reply) -> dict[str, Any]:
        text = last_user_text(body) + reply.text if body.get("echo") else reply.text
        return {"index": index, "text": text, "logprobs": None, "finish_reason": reply.finish_reason}

    # -- a stream ------------------------------------------------------------------------------------------------------

    def _chunks(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the events of a stream, all choices in turn."""
        said = self._replies(body)
        chat = "messages" in body
        head = self._head(body, "chat.completion.chunk" if chat else "text_completion")
        with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        extra: dict[str, Any] = {"usage": None} if with_usage else {}
        chunks = []
        for index, reply in enumerate(said):
            for choice in self._deltas(body, index, reply) if chat else text_deltas(index, reply):
                chunks.append({**head, "choices": [choice], **extra})
        if with_usage:
            chunks.append({**head, "choices": [], "usage": usage_of(body, said)})
        return chunks

    def _deltas(self, body: dict[str, Any], index: int, reply: Reply) -> list[dict[str, Any]]:
        def choice(delta: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> dict[str, Any]:
            return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}

        start: dict[str, Any] = {"role": "assistant", "content": None if reply.tool_calls else ""}
        found = [choice(start)]
        found += [choice({"reasoning_content": token}) for token in tokens(reply.reasoning or "")]
        found += [choice({"refusal": token}) for token in tokens(reply.refusal or "")]
        logprobs = self._logprobs(body, reply.text)
        for place, token in enumerate(tokens(reply.text)):
            own = {"content": [logprobs["content"][place]], "refusal": None} if logprobs else None
            found.append(choice({"content": token}, logprobs=own))
        for number, call in enumerate(reply.tool_calls):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            opening = {"name": name, "arguments": ""}
            found.append(choice({"tool_calls": [{"index": number, **call, "function": opening}]}))
            for at in range(0, len(arguments), 5):
                part = {"arguments": arguments[at : at + 5]}
                found.append(choice({"tool_calls": [{"index": number, "function": part}]}))
        return [*found, choice({}, reply.finish_reason)]

    async def _stream(
        self, request: web.Request, chunks: list[dict[str, Any]], seen: Received, pause: float
    ) -> web.StreamResponse:
        fault = seen.fault
        early = await raise_alarm(fault, request)
        if early is not None:
            return early
        kind = "application/json" if fault == "wrong-type" else "text/event-stream"
        response = web.StreamResponse(headers={"Content-Type": kind, "Cache-Control": "no-cache"})
        await response.prepare(request)
        async for line in self._lines(chunks, fault, request):
            await asyncio.sleep(pause)
            if fault == "drip":
                for at in range(len(line)):
                    await response.write(line[at : at + 1])
                    await asyncio.sleep(0)
            else:
                await response.write(line)
            seen.chunks += 1
        return response

    async def _lines(
        self, chunks: list[dict[str, Any]], fault: Fault | None, request: web.Request
    ) -> AsyncIterator[bytes]:
        """Yield what goes over the wire, up to where the fault strikes."""
        if fault in ("empty", "hang-after-headers"):
            await self._strike(fault, request)
            return
        for number, chunk in enumerate(chunks):
            if number == self.after and fault in ("stall", "die", "cut"):
                await self._strike(fault, request)
                return
            if number == self.after and fault == "malformed":
                yield b'data: {"choices": [{"index": 0, "del\n\n'
                return
            if number == self.after and fault == "error-event":
                yield b'data: {"error": {"message": "out of memory", "type": "server_error", "code": null}}\n\n'
                return
            yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
        if fault != "no-done":
            yield b"data: [DONE]\n\n"

    async def _strike(self, fault: Fault, request: web.Request) -> None:
        if fault in ("stall", "hang-after-headers"):
            await asyncio.sleep(3600)
        if fault == "die" and request.transport is not None:
            request.transport.abort()


def text_deltas(index: int, reply: Reply) -> list[dict[str, Any]]:
    """Return the choices of a streamed text completion."""
    parts = [{"index": index, "text": token, "logprobs": None, "finish_reason": None} for token in tokens(reply.text)]
    return [*parts, {"index": index, "text": "", "logprobs": None, "finish_reason": reply.finish_reason}]


def usage_of(body: Mapping[str, Any], said: list[Reply]) -> dict[str, Any]:
    """Return the tokens of a request and all its choices."""
    prompt, completion = prompt_tokens(body), sum(reply.token_count for reply in said)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def refusal(status: int, message: str, *, param: str | None = None, code: str | None = None) -> web.Response:
    """Return an error in OpenAI's shape."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return web.json_response({"error": error}, status=status)


def closed_port_url() -> str:
    """Return a base URL at which nobody listens: connections are refused."""
    import socket

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/v1"


async def _serve_forever() -> None:
    async with MockBackend() as backend:
        print(backend.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve_forever())
