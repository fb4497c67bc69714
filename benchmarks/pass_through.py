"""What a gateway in Python costs at least: Starlette and aiohttp, passing bytes on and doing nothing else.

python benchmarks/pass_through.py UPSTREAM PORT
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

UPSTREAM, PORT = sys.argv[1], int(sys.argv[2])


async def complete(request: Request) -> Response:
    """Pass a request on and its answer back."""
    body = await request.body()
    session: aiohttp.ClientSession = request.app.state.session
    answer = await session.post(f"{UPSTREAM}/chat/completions", data=body, headers={"Content-Type": "application/json"})
    kind = answer.headers["Content-Type"]
    if kind != "text/event-stream":
        content = await answer.read()
        return Response(content, answer.status, media_type=kind)

    async def relay() -> AsyncIterator[bytes]:
        async with answer:
            async for piece in answer.content.iter_any():
                yield piece

    return StreamingResponse(relay(), answer.status, media_type=kind)


async def health(request: Request) -> Response:
    """Say that it runs."""
    return Response("ok")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Keep one session for all requests."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        app.state.session = session
        yield


app = Starlette(
    routes=[Route("/v1/chat/completions", complete, methods=["POST"]), Route("/health", health)], lifespan=lifespan
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
