"""Answers that have begun, and that may be gone on with or ended."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator

from disrouter.agents._assessing import rejects_so_far
from disrouter.agents._chunks import Answer, text_of
from disrouter.types import Delta

__all__ = ["Begun"]


class Begun:
    """An answer that has begun: what has arrived of it, and the connection on which the rest will."""

    def __init__(self, answer: Answer, source: AsyncGenerator[Delta, None], *, streaming: bool) -> None:
        self.answer = answer
        self.streaming = streaming
        self.closed = False
        self._source = source
        self._arrived: deque[Delta] = deque()

    async def more(self) -> bool:
        """Wait for another piece; False if there is none."""
        delta = await anext(self._source, None)
        if delta is not None:
            self._arrived.append(delta)
        return delta is not None

    async def next(self) -> Delta | None:
        """Return the next piece, of those that have arrived or of those that will; None if there is none."""
        return self._arrived.popleft() if self._arrived else await anext(self._source, None)

    async def settle(self, rejection: str) -> bool:
        """Read on until it is clear whether the answer is the rejection."""
        while True:
            text = "".join(text_of(delta.chunks) for delta in self._arrived)
            said_otherwise = self.answer.written > len(self.answer.parts)  # a tool call, a refusal
            rejects = False if said_otherwise else rejects_so_far(text, rejection)
            if rejects is not None:
                return rejects
            if not await self.more():
                return False

    async def aclose(self) -> None:
        """End the connection, and with it the server's work."""
        self.closed = True
        await self._source.aclose()
