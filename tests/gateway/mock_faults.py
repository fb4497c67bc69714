"""The ways in which a server lets its clients down."""

from __future__ import annotations

import asyncio
from typing import Literal

from aiohttp import web

__all__ = ["Fault", "answer_badly", "raise_alarm"]

Fault = Literal[
    "hang",  # accepts the request and says nothing, ever
    "drop",  # hangs up before a byte is sent
    "hang-after-headers",
    "stall",  # some chunks, then silence
    "die",  # some chunks, then the connection is reset
    "cut",  # some chunks, then a clean end without finish reason or [DONE]
    "error-event",  # some chunks, then an error object
    "400",
    "401",
    "403",
    "404",
    "context",  # 400, the prompt is too long for this model
    "429",  # with retry-after: 30
    "429-soon",  # with retry-after: 0
    "500",
    "503",
    "html",
    "empty",  # 200 and nothing
    "malformed",  # JSON that ends in the middle; of a stream, one such event
    "not-openai",  # JSON of another kind
    "no-done",  # a whole stream without [DONE]
    "drip",  # a whole answer, byte by byte
    "wrong-type",  # a whole answer under a wrong content type
    "redirect",
    "huge",  # 64 MiB of nothing
    "not-http",
]
"""What can go wrong. Those that need a stream change nothing about a whole answer, unless it can be cut as well."""

_ERRORS: dict[str, tuple[int, str, str | None, dict[str, str]]] = {
    "400": (400, "This does not make sense.", None, {}),
    "401": (401, "Incorrect API key provided.", "invalid_api_key", {}),
    "403": (403, "You may not.", None, {}),
    "404": (404, "The model does not exist.", "model_not_found", {}),
    "context": (400, "This model's maximum context length is 8 tokens.", "context_length_exceeded", {}),
    "429": (429, "Rate limit reached.", "rate_limit_exceeded", {"Retry-After": "30"}),
    "429-soon": (429, "Rate limit reached.", "rate_limit_exceeded", {"Retry-After": "0"}),
    "500": (500, "The server had an error.", None, {}),
    "503": (503, "The engine is overloaded.", None, {}),
}


async def raise_alarm(fault: Fault | None, request: web.Request) -> web.StreamResponse | None:
    """Do what goes wrong before the first byte of a good answer; None if nothing does."""
    if fault is None:
        return None
    if fault in _ERRORS:
        status, message, code, headers = _ERRORS[fault]
        kind = "server_error" if status >= 500 else "invalid_request_error"
        error = {"message": message, "type": kind, "param": None, "code": code}
        return web.json_response({"error": error}, status=status, headers=headers)
    match fault:
        case "hang":
            await asyncio.sleep(3600)
        case "drop":
            _reset(request)
            return web.Response()
        case "html":
            return web.Response(text="<html><body>Welcome to nginx!</body></html>", content_type="text/html")
        case "not-openai":
            return web.json_response({"status": "fine", "choices": "none"})
        case "redirect":
            return web.Response(status=307, headers={"Location": str(request.path)})
        case "huge":
            return await _endless(request)
        case "not-http":
            assert request.transport is not None
            request.transport.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
            request.transport.close()
            return web.Response()
        case _:
            pass
    return None


async def answer_badly(fault: Fault, request: web.Request, good: bytes) -> web.StreamResponse:
    """Spoil a whole answer."""
    early = await raise_alarm(fault, request)
    if early is not None:
        return early
    match fault:
        case "empty":
            return web.Response(content_type="application/json")
        case "malformed":
            return web.Response(body=good[: len(good) // 2], content_type="application/json")
        case "wrong-type":
            return web.Response(body=good, content_type="text/plain")
        case "error-event":
            return web.json_response({"error": {"message": "out of memory", "type": "server_error", "code": None}})
        case "hang-after-headers" | "stall" | "die" | "cut" | "drip":
            return await _in_part(fault, request, good)
        case _:
            return web.Response(body=good, content_type="application/json")


async def _in_part(fault: Fault, request: web.Request, good: bytes) -> web.StreamResponse:
    """Promise a whole answer and send some of it."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(good))})
    await response.prepare(request)
    if fault == "drip":
        for at in range(len(good)):
            await response.write(good[at : at + 1])
            await asyncio.sleep(0)
        return response
    if fault != "hang-after-headers":
        await response.write(good[: len(good) // 2])
    if fault in ("stall", "hang-after-headers"):
        await asyncio.sleep(3600)
    _reset(request)
    return response


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for _ in range(64):
        await response.write(b" " * 2**20)
    return response


def _reset(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
