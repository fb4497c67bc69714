"""Batches: pieces of a stream that cross a process boundary together, for every crossing costs the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import TypeVar

__all__ = ["MOST", "SECONDS", "batches"]

T = TypeVar("T")

MOST = 32
"""Pieces that go together at most."""

SECONDS = 0.02
"""How long a piece waits for others."""


async def batches(
    pieces: AsyncIterator[T], *, most: int = MOST, seconds: float = SECONDS
) -> AsyncGenerator[list[T], None]:
    """Yield pieces in lists of up to ``most``; none waits longer than ``seconds``, and the first one goes alone.

    Whoever stops reading stops the source. What the source raises comes after the pieces before it.
    """
    arrived: asyncio.Queue[T | None] = asyncio.Queue(maxsize=4 * most)

    async def read() -> None:
        try:
            async for piece in pieces:
                await arrived.put(piece)
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()
            if not arrived.full():  # one who does not read any more needs no end
                arrived.put_nowait(None)

    reader = asyncio.ensure_future(read())
    waiting = most - 1  # the first piece is what somebody waits for
    try:
        while True:
            first = await _next(arrived, reader)
            if first is None:
                break
            batch = [first]
            until = asyncio.get_running_loop().time() + seconds
            ended = False
            while len(batch) < most - waiting and not ended:
                try:
                    async with asyncio.timeout_at(until):
                        piece = await _next(arrived, reader)
                except TimeoutError:
                    break
                ended = piece is None
                if piece is not None:
                    batch.append(piece)
            waiting = 0
            yield batch
            if ended:
                break
        await reader
    finally:
        if not reader.done():
            reader.cancel()
        with suppress(asyncio.CancelledError, Exception):  # told above, or nobody listens any more
            await reader


async def _next(arrived: asyncio.Queue[T | None], reader: asyncio.Future[None]) -> T | None:
    """Return the next piece; None after the last one, however the source ended."""
    if not arrived.empty():
        return arrived.get_nowait()
    if reader.done():
        return None
    return await arrived.get()
