"""An agent that takes a fixed time for an answer, one after the other, as a model on a device does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from disrouter.agents import ScriptedAgent
from disrouter.types import Completion, Look, Query, Sampling, Scenario

__all__ = ["FixedTime"]


class FixedTime(ScriptedAgent):
    """Sleeps while it answers; a copy of it works on one answer at a time, and further ones wait beside it."""

    self_assessment = "none"

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(name, cost=0.5)
        self.seconds = seconds
        self._turn: asyncio.Lock | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_turn": None}

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncGenerator[str | Completion, None]:
        """Wait for its turn, sleep, answer."""
        self._turn = self._turn or asyncio.Lock()
        async with self._turn:
            await asyncio.sleep(self.seconds)
        yield Completion(text="done")
