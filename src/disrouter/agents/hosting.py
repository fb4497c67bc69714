"""Hosting: an agent as others elsewhere use it, with the looks whose work an answer can go on from.

A look's state (a prefill, an answer that has begun) stays in the process of its agent, under a ticket that only who
asked for the look is told. A bounded number is held, for a bounded time; what is let go of is closed. An answer with a
ticket that is not held any more is answered all the same, from the beginning.

Neutral of the way in which calls come: a node's HTTP routes and the replicas of a Ray deployment both use it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from disrouter.agents.faults import FaultError
from disrouter.agents.wire import Call, Piece, Ticket, fault_json, look_json, piece_json
from disrouter.errors import AgentError
from disrouter.steps import completed
from disrouter.types import Agent, Completion, Look, Query, Sampling, Scenario

__all__ = ["Hosting"]

LOG = logging.getLogger("disrouter.agents")

MOST_LOOKS = 256
HELD_SECONDS = 60.0


@dataclass(slots=True)
class _Held:
    """A look's state and the agent it is of; ``timer`` ends it."""

    agent: Agent
    state: object
    timer: asyncio.TimerHandle


class Hosting:
    """One agent, hosted.

    Args:
        agent: The agent; it may be exchanged (for one with another price, say): what is held stays with the old one.
        most: Most looks whose state is held. The oldest one goes first.
        seconds: How long one is held.
    """

    def __init__(self, agent: Agent, *, most: int = MOST_LOOKS, seconds: float = HELD_SECONDS) -> None:
        self.agent = agent
        self.most = most
        self.seconds = seconds
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def held(self) -> int:
        """How many looks may still be gone on from."""
        return len(self._held)

    async def look(self, query: Query, scenario: Scenario) -> tuple[Look, Ticket | None]:
        """Return the agent's look without its state, and the ticket of that, if it has any.

        Raises:
            AgentError: The agent broke, or its confidence is none.
        """
        agent = self.agent
        look = await agent.look(query, scenario)
        if look.confidence is not None and not 0.0 <= look.confidence <= 1.0:  # JSON has no word for some of these
            raise AgentError(
                f"Confidence {look.confidence} of agent '{agent.card.name}' is no probability from 0 to 1."
            )
        if look.state is None:
            return look, None
        return replace(look, state=None), self._hold(agent, look.state, self._seconds_for(query))

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling, *, ticket: Ticket | None = None
    ) -> AsyncGenerator[Piece, None]:
        """Stream the agent's answer, going on from the look of the ticket where that is still held."""
        async with self._going_on(look, ticket) as (agent, seen):
            pieces = agent.answer(query, scenario, seen, sampling)
            try:
                async for piece in pieces:
                    yield piece
            finally:
                close = getattr(pieces, "aclose", None)
                if close is not None:
                    await close()

    async def complete(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling, *, ticket: Ticket | None = None
    ) -> Completion:
        """Return the agent's answer as a whole, going on from the look of the ticket where that is still held."""
        async with self._going_on(look, ticket) as (agent, seen):
            return await completed(agent, query, scenario, seen, sampling)

    def release(self, tickets: Iterable[str]) -> None:
        """Let go of looks; tickets that are not held are no harm."""
        for ticket in tickets:
            held = self._take(ticket)
            if held is not None:
                self._close_later(held.state)

    async def aclose(self) -> None:
        """Let go of everything."""
        self.release(list(self._held))
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def look_json(self, call: Call) -> dict[str, Any]:
        """Return the look that a call from the wire asks for, as JSON for the wire.

        Raises:
            Exception: Whatever the agent raises; :func:`~disrouter.agents.wire.fault_json` tells it.
        """
        self._require_name(call)
        look, ticket = await self.look(call.query, call.scenario)
        return look_json(look, ticket)

    async def answer_json(self, call: Call) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the pieces of the answer that a call from the wire asks for, as JSON for the wire.

        An answer that nobody reads while it is written is its end only. What the agent raises is the last piece,
        ``{"fault": …}``.
        """
        request, sampling = call.query.request, call.sampling or Sampling()
        asked = (call.query, call.scenario, call.look, sampling)
        try:
            self._require_name(call)
            if call.whole or (request is not None and not request.streaming):
                yield piece_json(await self.complete(*asked, ticket=call.ticket))
                return
            async with aclosing(self.answer(*asked, ticket=call.ticket)) as pieces:
                async for piece in pieces:
                    yield piece_json(piece)
        except Exception as error:  # on purpose: it travels to the caller, who decides
            yield {"fault": fault_json(error)}

    @asynccontextmanager
    async def _going_on(
        self, look: Look | None, ticket: Ticket | None
    ) -> AsyncGenerator[tuple[Agent, Look | None], None]:
        """Give the agent of a ticket and the look with its state, which is let go of at the end."""
        held = self._take(ticket.id) if ticket is not None else None
        if held is None:
            yield self.agent, look
            return
        try:
            yield held.agent, replace(look or Look(confidence=None), state=held.state)
        finally:
            await _close(held.state)

    def _require_name(self, call: Call) -> None:
        name = self.agent.card.name
        if call.agent != name:
            raise FaultError(
                f"Agent '{call.agent}' was asked for, and '{name}' lives here.", kind="status", code="wrong_agent"
            )

    def _seconds_for(self, query: Query) -> float:
        """Return how long the look at a query is held: no longer than its caller waits."""
        deadline = query.request.deadline if query.request is not None else None
        return self.seconds if deadline is None else max(0.0, min(self.seconds, deadline - time.monotonic()))

    def _hold(self, agent: Agent, state: object, seconds: float) -> Ticket:
        ticket = secrets.token_hex(16)
        timer = asyncio.get_running_loop().call_later(seconds, self.release, [ticket])
        self._held[ticket] = _Held(agent, state, timer)
        while len(self._held) > self.most:
            self.release([next(iter(self._held))])
        return Ticket(ticket, open=hasattr(state, "aclose"))

    def _take(self, ticket: str) -> _Held | None:
        held = self._held.pop(ticket, None)
        if held is not None:
            held.timer.cancel()
        return held

    def _close_later(self, state: object) -> None:
        if hasattr(state, "aclose"):
            task = asyncio.get_running_loop().create_task(_close(state))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


async def _close(state: object) -> None:
    """Give back what a state holds; one that cannot be closed is told of and forgotten."""
    close = getattr(state, "aclose", None)
    if close is None:
        return
    try:
        await close()
    except Exception as error:
        LOG.error("a look could not be let go of: %s", type(error).__name__)
