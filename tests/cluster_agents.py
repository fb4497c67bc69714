"""A cluster for tests, and agents for it; whose workers find them by this file's name."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from disrouter.agents import ScriptedAgent
from disrouter.engines import Placement, engine_of
from disrouter.errors import ModelError
from disrouter.network import Network
from disrouter.types import Agent, Completion, Look, Query, Request, Sampling, Scenario

__all__ = ["LIGHT", "Cluster", "Sleeping", "Telling", "Unstartable", "query"]

T = TypeVar("T")
LIGHT = Placement(cpus=0.1)


class Cluster:
    """A cluster of this process; agents are hosted on it as tests need them."""

    def __init__(self) -> None:
        self.read: Callable[[], Any] = lambda: (Network("idle", [ScriptedAgent("idle")]), {})
        engine = engine_of("ray")
        assert engine is not None
        self._open = ExitStack()
        self._hosted = self._open.enter_context(engine.hosting(lambda: self.read()))
        self._networks: list[Network] = []

    def hosted(self) -> Network:
        """Return the network that is read now, on the cluster until the test ends."""
        self._networks.append(self._hosted())
        return self._networks[-1]

    def clear(self) -> None:
        """Let go of everybody, so that there is room for what the next test hosts."""

        async def leave() -> None:
            for network in self._networks:
                for agent in network.agents.values():
                    if hasattr(agent, "app") and callable(close := getattr(agent, "aclose", None)):
                        await close()

        asyncio.run(leave())
        self._networks.clear()

    def host(self, agents: Sequence[Agent], placement: Placement = LIGHT) -> Network:
        network = Network("on-ray", list(agents))
        self.read = lambda: (network, {agent.card.name: placement for agent in agents})
        return self.hosted()

    def ask(self, network: Network, work: Callable[[], Awaitable[T]]) -> T:
        """Run something in an event loop of its own, and let go of that loop's connections."""

        async def run() -> T:
            try:
                return await work()
            finally:
                for agent in network.agents.values():
                    if handles := getattr(agent, "_handles", None):
                        await handles.aclose()

        return asyncio.run(run())

    def close(self) -> None:
        self._open.close()


def query(name: str, deadline: float | None = None) -> Query:
    request = None if deadline is None else Request(body={}, streaming=True, deadline=time.monotonic() + deadline)
    return replace(Query.from_text("2 + 2 ?", id=name), request=request)


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
