"""The gate before an agent: a bounded number at work, a bounded number waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from disrouter.agents.faults import FaultError

__all__ = ["Gate"]


class Gate:
    """Lets in a bounded number at once and has a bounded number wait, first come, first served."""

    def __init__(self, agent: str, concurrency: int, queue: int) -> None:
        self.agent = agent
        self.concurrency = concurrency
        self.queue = queue
        self.inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Wait for a place.

        Raises:
            FaultError: Too many wait already.
        """
        if self.inside < self.concurrency and not self._waiting:
            self.inside += 1
            return
        if len(self._waiting) >= self.queue:
            raise FaultError(
                f"Agent '{self.agent}' has {self.inside} queries at work and {self.waiting} waiting.",
                kind="busy",
                retry_after=1.0,
            )
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with contextlib.suppress(ValueError):  # whoever left just now may have passed over it already
                    self._waiting.remove(turn)
            else:  # the place was given to somebody who has just left
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place to whoever waits longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.inside -= 1
