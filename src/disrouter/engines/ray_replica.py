"""A replica: one agent in a process of a cluster.

Calls and what they return are the JSON values of :mod:`disrouter.agents.wire`. What a look keeps for its answer stays
here, under a ticket that begins with the replica's own name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from disrouter.agents.hosting import Hosting
from disrouter.agents.wire import Call, call_from, fault_json
from disrouter.engines.batches import batches
from disrouter.types import Agent

__all__ = ["Replica"]


class Replica:
    """One agent, hosted; its constructor loads the model, so that a replica that takes calls can answer them.

    Args:
        agent: The agent.
        name: Of this replica; the one that Serve gives it if left out.
    """

    async def __init__(self, agent: Agent, name: str | None = None) -> None:  # type: ignore[misc]  # Serve awaits it
        self._name = name or _own_name()
        self._hosting = Hosting(agent)
        start = getattr(agent, "open", None)
        if start is not None:
            start()
        load = getattr(agent, "warm", None)
        if load is not None:
            await load()

    async def look(self, call: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Return a look, or how the agent failed."""
        try:
            async with asyncio.timeout(seconds):
                look = await self._hosting.look_json(self._read(call))
        except Exception as error:  # on purpose: it travels to the caller, who decides
            return {"fault": fault_json(error)}
        if "ticket" in look:
            ticket, is_open = look["ticket"]
            look["ticket"] = [f"{self._name}.{ticket}", is_open]
        return look

    async def answer(self, call: dict[str, Any], seconds: float) -> AsyncGenerator[list[dict[str, Any]], None]:
        """Yield the pieces of an answer, several at a time."""
        async with asyncio.timeout(seconds), aclosing(batches(self._hosting.answer_json(self._read(call)))) as lists:
            async for pieces in lists:
                yield pieces

    async def release(self, tickets: Sequence[str]) -> None:
        """Let go of looks."""
        self._hosting.release([ticket.rpartition(".")[2] for ticket in tickets])

    def _read(self, call: dict[str, Any]) -> Call:
        found = call_from(call)
        if found.ticket is None:
            return found
        # A ticket of another replica is held by nobody here: the answer begins with the prompt.
        return replace(found, ticket=replace(found.ticket, id=found.ticket.id.rpartition(".")[2]))


def _own_name() -> str:
    from ray import serve

    name: str = serve.get_replica_context().replica_id.unique_id
    return name
