"""A gateway with one planted mistake: it passes everything on to a good server, but for what its spoiler changes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from disrouter.conformance.events import events_of

__all__ = ["Spoiler", "spoilt"]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoiler:
    """What is changed on the way; by default nothing."""

    request: Callable[[Json], Json] = lambda body: body
    whole: Callable[[Json], Json] = lambda body: body
    chunk: Callable[[Json, int], Json | None] = lambda chunk, place: chunk
    """Changes a chunk of a stream, or leaves it out (None)."""
    end: tuple[str, ...] = ("[DONE]",)
    """What comes in the place of [DONE]."""
    status: Callable[[int], int] = lambda status: status
    loses: tuple[str, ...] = ()
    """Headers that do not get through."""
    done_after_errors: bool = False
    stream_headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"))
    holds_back: bool = False


@asynccontextmanager
async def spoilt(upstream: str, spoiler: Spoiler) -> AsyncIterator[str]:
    """Yield the base URL of a proxy in front of ``upstream``."""
    passed = _PASSED - set(spoiler.loses)
    async with aiohttp.ClientSession() as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            content = await request.read()
            if content:
                with suppress(ValueError):  # what is no JSON is not for us to change
                    content = json.dumps(spoiler.request(json.loads(content))).encode()
            headers = {
                name: value for name, value in request.headers.items() if name in ("Authorization", "Content-Type")
            }
            url = upstream.removesuffix("/v1") + request.path_qs
            async with session.request(request.method, url, data=content, headers=headers) as answer:
                if answer.content_type == "text/event-stream":
                    return await _stream(request, answer, spoiler)
                body = await answer.read()
                kept = {name: value for name, value in answer.headers.items() if name.lower() in passed}
                if answer.content_type == "application/json":
                    body = json.dumps(spoiler.whole(json.loads(body))).encode()
                return web.Response(body=body, status=spoiler.status(answer.status), headers=kept)

        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()


_PASSED = {"content-type", "retry-after", "x-request-id", "allow", "www-authenticate"}


async def _stream(request: web.Request, answer: aiohttp.ClientResponse, spoiler: Spoiler) -> web.StreamResponse:
    response = web.StreamResponse(headers=dict(spoiler.stream_headers))
    await response.prepare(request)
    held: list[bytes] = []
    rest, place, failed = b"", 0, False
    async for piece in answer.content.iter_any():
        blocks = (rest + piece).split(b"\n\n")
        rest = blocks.pop()
        for event in (event for block in blocks for event in events_of(block + b"\n\n")):
            if event.done:
                held += [_block(mark) for mark in spoiler.end]
            elif isinstance(event.json, dict):
                chunk = spoiler.chunk(event.json, place)
                place += 1
                failed = failed or bool(event.json.get("error"))
                if chunk is not None:
                    held.append(_block(json.dumps(chunk), event.name))
        if not spoiler.holds_back:
            await response.write(b"".join(held))
            held = []
    if failed and spoiler.done_after_errors:
        held.append(_block("[DONE]"))
    await response.write(b"".join(held))
    return response


def _block(data: str, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode()
