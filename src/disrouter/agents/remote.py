"""Agents that live in another process: the agent contract over any transport that carries JSON.

A look's state stays where the agent lives. Here it is a ticket that ends as the state would end: one that holds a place
or a connection when routing lets go of it, any other when nobody has the look any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol

from disrouter.agents.faults import FaultError
from disrouter.agents.wire import Call, Piece, Ticket, WireError, call_json, look_from, piece_from
from disrouter.types import AgentCard, Completion, Look, Query, Sampling, Scenario

__all__ = ["RemoteAgent", "Transport"]

MOST_RELEASES = 1_000
"""Tickets that wait to be given back; more than that their process forgets by itself."""


class Transport(Protocol):
    """Carries calls to where the agent lives, and what it says back. What goes wrong on the way is a FaultError."""

    async def look(self, call: dict[str, Any], query: Query) -> Any:
        """Return the look of a call, as JSON."""
        ...

    def answer(self, call: dict[str, Any], query: Query) -> AsyncGenerator[Any, None]:
        """Yield the pieces of the answer of a call, as JSON."""
        ...

    async def release(self, tickets: Sequence[str]) -> None:
        """Let go of looks."""
        ...


class RemoteAgent:
    """An agent that lives in another process.

    Args:
        card: The agent's card, as it is taken here.
        transport: The way to it.
    """

    def __init__(self, card: AgentCard, transport: Transport) -> None:
        self._card = card
        self._transport = transport
        self._releases: list[str] = []
        self._releasing: asyncio.Task[None] | None = None

    @property
    def card(self) -> AgentCard:
        """What others may know about this agent."""
        return self._card

    @property
    def forwards_requests(self) -> bool:
        """That a query's whole request travels: what the agent there cannot do, it says itself."""
        return True

    async def look(self, query: Query, scenario: Scenario) -> Look:
        """Have the agent look.

        Raises:
            AgentError: It broke, as it would here; or it cannot be reached.
        """
        call = call_json(Call(agent=self._card.name, query=query, scenario=scenario))
        try:
            look, ticket = look_from(await self._transport.look(call, query))
        except WireError as exc:
            raise self._malformed(exc) from None
        if ticket is None:
            return look
        return replace(look, state=_OpenState(self, ticket) if ticket.open else _KeptState(self, ticket))

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[Piece]:
        """Have the agent answer, going on from its look where that is still held there.

        Raises:
            AgentError: It broke, as it would here; or it cannot be reached.
        """
        async with aclosing(self._pieces(query, scenario, look, sampling, whole=False)) as pieces:
            async for piece in pieces:
                yield piece

    async def complete(self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling) -> Completion:
        """Have the agent answer as a whole.

        Raises:
            AgentError: It broke, as it would here; or it cannot be reached.
        """
        async with aclosing(self._pieces(query, scenario, look, sampling, whole=True)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Completion):
                    return piece
        raise AssertionError("an answer ends in a completion or an error")

    async def aclose(self) -> None:
        """Give back what is still to be given back."""
        if self._releasing is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._releasing

    async def _pieces(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling, *, whole: bool
    ) -> AsyncGenerator[Piece, None]:
        name, state = self._card.name, look.state if look is not None else None
        ticket = state.use() if isinstance(state, _State) and state.agent is self else None
        call = Call(
            agent=name, query=query, scenario=scenario, sampling=sampling, look=look, ticket=ticket, whole=whole
        )
        try:
            async with aclosing(self._transport.answer(call_json(call), query)) as values:
                async for value in values:
                    piece = piece_from(value, name)
                    yield piece
                    if isinstance(piece, Completion):
                        return
        except WireError as exc:
            raise self._malformed(exc) from None
        raise FaultError(f"The answer of agent '{name}' broke off.", kind="cut")

    def release(self, ticket: Ticket) -> None:
        """Give a look's state back, soon and beside everything else."""
        if len(self._releases) < MOST_RELEASES:
            self._releases.append(ticket.id)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # the loop has ended: the other side's patience will, too
            self._releases.clear()
            return
        if self._releasing is None or self._releasing.done():
            self._releasing = loop.create_task(self._give_back())

    async def _give_back(self) -> None:
        while self._releases:
            tickets, self._releases = self._releases, []
            with contextlib.suppress(FaultError):  # what cannot be told ends there by itself
                await self._transport.release(tickets)

    def _malformed(self, error: WireError) -> FaultError:
        return FaultError(f"Agent '{self._card.name}' sent no sense. {error.message}", kind="malformed")


class _State:
    """A look's state elsewhere, used or given back once."""

    def __init__(self, agent: RemoteAgent, ticket: Ticket) -> None:
        self.agent = agent
        self._ticket: Ticket | None = ticket

    def use(self) -> Ticket | None:
        """Return the ticket, which is the answer's from now on."""
        ticket, self._ticket = self._ticket, None
        return ticket


class _OpenState(_State):
    """A state that holds more than memory, and ends when routing says so."""

    async def aclose(self) -> None:
        """Give it back."""
        if (ticket := self.use()) is not None:
            self.agent.release(ticket)


class _KeptState(_State):
    """A state that is memory, and ends with the last look at it."""

    def __init__(self, agent: RemoteAgent, ticket: Ticket) -> None:
        super().__init__(agent, ticket)
        self._end = weakref.finalize(self, agent.release, ticket)
        self._end.atexit = False

    def use(self) -> Ticket | None:
        """Return the ticket, which is the answer's from now on."""
        self._end.detach()
        return super().use()
