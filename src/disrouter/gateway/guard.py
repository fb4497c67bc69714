"""The guard of one agent in service: no more work than it takes, and none while it is broken.

A guard is an agent itself. It lets in as many queries as the card says, has a bounded number wait, and leaves an agent
alone that failed several times in a row, until one query that is let through as a probe succeeds.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from disrouter.agents.faults import FaultError
from disrouter.agents.recarded import innermost
from disrouter.errors import AgentError, ContextError, InterruptedRunError, UsageError
from disrouter.gateway.breaker import Breaker, Step
from disrouter.gateway.gate import Gate
from disrouter.gateway.plain_agents import cut_at_stop, stops_of, unsupported
from disrouter.network import Network
from disrouter.peers import Carried, Carrier, Leg
from disrouter.steps import completed
from disrouter.types import Agent, AgentCard, Completion, Delta, Look, Query, Sampling, Scenario

__all__ = ["Guard"]

CHARACTERS_PER_TOKEN = 8
"""No tokenizer of today puts more into a token on average: what is too long by this count is too long."""


class _Place:
    """A place at an agent, kept by an answer at work or by a look whose answer has begun."""

    def __init__(self, look: Look | None, gate: Gate, *, probe: bool = False) -> None:
        self.look = look
        self.probe = probe
        self._gate: Gate | None = gate

    async def aclose(self) -> None:
        """End what has begun and give the place back, once."""
        gate, self._gate = self._gate, None
        try:
            close = getattr(self.look.state, "aclose", None) if self.look is not None else None
            if close is not None:
                await close()
        finally:
            if gate is not None:
                gate.leave()

    @property
    def kept(self) -> bool:
        """Whether the place is still kept."""
        return self._gate is not None


class Guard:
    """An agent in service; the same agent, with a gate and a breaker before it.

    Args:
        agent: The agent.
        looking: Whether it is asked what it thinks of a query at all; an agent asked by its own name just answers.
        guard: Another guard of the same agent, to share its gate and breaker with.
    """

    def __init__(self, agent: Agent, *, looking: bool = True, guard: Guard | None = None) -> None:
        serving = agent.card.serving
        self.agent = agent
        self.looking = looking
        self.gate: Gate = guard.gate if guard else Gate(agent.card.name, serving.concurrency, serving.queue)
        self.breaker: Breaker = guard.breaker if guard else Breaker(agent.card.name, serving.failures, serving.pause)
        self.carry: Carrier | None = self._carry if getattr(agent, "carry", None) is not None else None
        """How its host goes on with a walk, where it has one of its own that can."""
        self._forwards = bool(getattr(agent, "forwards_requests", False))
        self._free_look = getattr(agent, "self_assessment", None) == "none" or isinstance(innermost(agent), Network)

    @property
    def card(self) -> AgentCard:
        """The agent's own card."""
        return self.agent.card

    async def look(self, query: Query, scenario: Scenario) -> Look:
        """Look as the agent does.

        Raises:
            FaultError: The agent is broken or has no room, or the request holds what it cannot do.
        """
        self._require_fit(query)
        if not self.looking:
            self.breaker.require()
            return Look(confidence=None, accepts=True)
        if self._free_look:
            self.breaker.require()
            return await self.agent.look(query, scenario)
        probe = self.breaker.admit()
        try:
            await self.gate.enter()
        except BaseException:
            self.breaker.undecided(probe)
            raise
        keeps_place = False
        try:
            look = await self.agent.look(query, scenario)
            self.breaker.succeeded("look", probe)
            if hasattr(look.state, "aclose"):
                keeps_place = True
                held = _Place(look, self.gate)
                return Look(
                    confidence=look.confidence,
                    accepts=look.accepts,
                    usage=look.usage,
                    seconds=look.seconds,
                    state=held,
                )
            return look
        except BaseException as error:
            self._judge(error, "look", probe)
            raise
        finally:
            if not keeps_place:
                self.gate.leave()

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncGenerator[Delta | Completion, None]:
        """Answer as the agent does; every piece names it.

        Raises:
            FaultError: The agent is broken or has no room.
        """
        place = await self._place(look)
        pieces, probe = self.agent.answer(query, scenario, place.look, sampling), place.probe
        if not self._forwards:
            pieces = cut_at_stop(pieces, query, self.card.name)
        settled = begun = False
        try:
            async for piece in pieces:
                if isinstance(piece, Completion):
                    settled = True
                    self.breaker.succeeded("answer", probe)
                    if not begun and piece.text and piece.body is None:  # an agent that does not stream
                        yield Delta(piece.text, (), self.card.name)
                begun = True
                yield piece if not isinstance(piece, str) else Delta(piece, (), self.card.name)
        except BaseException as error:
            if not settled:
                settled = True
                self._judge(error, "answer", probe)
            raise
        finally:
            if not settled:
                self.breaker.undecided(probe)
            try:
                close = getattr(pieces, "aclose", None)
                if close is not None:
                    await close()
            finally:
                await place.aclose()

    async def complete(self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling) -> Completion:
        """Answer as the agent does, in one piece.

        Raises:
            FaultError: The agent is broken or has no room.
        """
        place = await self._place(look)
        try:
            completion = await self._complete(query, scenario, place.look, sampling)
            self.breaker.succeeded("answer", place.probe)
            return completion
        except BaseException as error:
            self._judge(error, "answer", place.probe)
            raise
        finally:
            await place.aclose()

    async def _carry(self, leg: Leg) -> AsyncGenerator[Carried, None]:
        """Have the agent's host go on with a walk. It takes no place here: the host has a gate of its own.

        Raises:
            FaultError: The agent is broken.
        """
        carry: Carrier = self.agent.carry  # type: ignore[attr-defined]  # seen to be there
        probe = self.breaker.admit()
        settled = False
        try:
            async with aclosing(carry(leg)) as events:
                async for event in events:
                    if not settled:  # from now on it is alive, whatever becomes of the walk
                        settled = True
                        self.breaker.succeeded("look", probe)
                    yield event
        except BaseException as error:
            if not settled:
                settled = True
                self._judge(error, "look", probe)
            raise
        finally:
            if not settled:
                self.breaker.undecided(probe)

    async def _place(self, look: Look | None) -> _Place:
        """Return the place at the agent that a look has kept, or a new one."""
        kept = look.state if look is not None and isinstance(look.state, _Place) else None
        if kept is not None and kept.kept:
            return kept
        probe = self.breaker.admit()
        try:
            await self.gate.enter()
        except BaseException:
            self.breaker.undecided(probe)
            raise
        return _Place(look if kept is None else kept.look, self.gate, probe=probe)

    async def _complete(self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling) -> Completion:
        if self._forwards or query.request is None or not stops_of(query.request.body):
            return await completed(self.agent, query, scenario, look, sampling)
        pieces = cut_at_stop(self.agent.answer(query, scenario, look, sampling), query, self.card.name)
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Completion):
                    return piece
        raise AgentError(f"The answer of agent '{self.card.name}' ended without a completion.")

    def _judge(self, error: BaseException, step: Step, probe: bool) -> None:
        """Tell the breaker what an exception says about the agent."""
        own = isinstance(error, Exception) and not isinstance(error, ContextError | UsageError | InterruptedRunError)
        if own and not (isinstance(error, FaultError) and not error.own):
            self.breaker.failed(step, probe)
        else:
            self.breaker.undecided(probe)

    def _require_fit(self, query: Query) -> None:
        request = query.request
        if request is not None and not self._forwards and (missing := unsupported(request.body)):
            raise FaultError(
                f"Agent '{self.card.name}' takes plain text only, and cannot do: {', '.join(missing)}.",
                kind="request",
                code="unsupported_value",
                param=missing[0],
            )
        length = self.card.context_length
        if length is None:
            return
        characters = sum(len(message.content) for message in query.messages)
        if characters > length * CHARACTERS_PER_TOKEN:
            raise ContextError(
                f"The messages have {characters:,} characters; agent '{self.card.name}' takes {length:,} tokens."
            )
