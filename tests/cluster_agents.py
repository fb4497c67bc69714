"""Agents for tests on a cluster; whose workers find them by this file's name."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

from disrouter.agents import ScriptedAgent
from disrouter.errors import ModelError
from disrouter.types import Completion, Look, Query, Sampling, Scenario

__all__ = ["Sleeping", "Telling", "Unstartable"]


class Sleeping(ScriptedAgent):
    """Sleeps while it looks; notes its process when it begins, and how it ended when it is cancelled."""

    def __init__(self, name: str, folder: Path, *, cost: float = 0.1, seconds: float = 60.0) -> None:
        super().__init__(name, cost=cost)
        self.folder = folder
        self.seconds = seconds

    async def look(self, query: Query, scenario: Scenario) -> Look:
        (self.folder / f"{query.id}.pid").write_text(str(os.getpid()))
        await self._sleep(query)
        return Look(confidence=1.0)

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncGenerator[str | Completion, None]:
        yield "a first word "
        await self._sleep(query)
        yield Completion(text="a first word ")

    async def _sleep(self, query: Query) -> None:
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            (self.folder / f"{query.id}.cancelled").touch()
            raise


class Telling(ScriptedAgent):
    """Says in which process it answers, and whether it was the one that had looked."""

    async def look(self, query: Query, scenario: Scenario) -> Look:
        return Look(confidence=1.0, state=os.getpid())

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncGenerator[str | Completion, None]:
        same = look is not None and look.state == os.getpid()
        yield Completion(text=f"{os.getpid()} {same}")


class Unstartable(ScriptedAgent):
    """Cannot load its model."""

    async def warm(self) -> None:
        raise ModelError("The weights of this one are damaged.")
