"""The guard of one agent in service: no more work than it takes, and none while it is broken.

A guard is an agent itself. It lets in as many queries as the card says, has a bounded number wait, and leaves an agent
alone that failed several times in a row, until one query that is let through as a probe succeeds.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from disrouter.agents.faults import FaultError
from disrouter.agents.recarded import innermost
from disrouter.errors import ContextError, InterruptedRunError, UsageError
from disrouter.gateway.breaker import Breaker, Step
from disrouter.gateway.gate import Gate
from disrouter.gateway.plain_agents import cut_at_stop, unsupported
from disrouter.network import Network
from disrouter.types import Agent, AgentCard, Completion, Delta, Look, Query, Sampling, Scenario

__all__ = ["Guard"]

CHARACTERS_PER_TOKEN = 8
"""No tokenizer of today puts more into a token on average: what is too long by this count is too long."""


class _Held:
    """A look whose answer has begun, and which therefore keeps its place."""

    def __init__(self, look: Look, gate: Gate) -> None:
        self.look = look
        self._gate: Gate | None = gate

    async def aclose(self) -> None:
        """End what has begun and give the place back, once."""
        gate, self._gate = self._gate, None
        try:
            close = getattr(self.look.state, "aclose", None)
            if close is not None:
                await close()
        finally:
            if gate is not None:
                gate.leave()

    @property
    def has_place(self) -> bool:
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
                held = _Held(look, self.gate)
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
        held = look.state if look is not None and isinstance(look.state, _Held) else None
        if held is not None and held.has_place:
            async with aclosing(self._answer(query, scenario, held.look, sampling, probe=False)) as pieces:
                async for piece in pieces:
                    yield piece
            await held.aclose()
            return
        probe = self.breaker.admit()
        try:
            await self.gate.enter()
        except BaseException:
            self.breaker.undecided(probe)
            raise
        inner = held.look if held is not None else look
        try:
            async with aclosing(self._answer(query, scenario, inner, sampling, probe=probe)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self.gate.leave()

    async def _answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling, *, probe: bool
    ) -> AsyncGenerator[Delta | Completion, None]:
        pieces = self.agent.answer(query, scenario, look, sampling)
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
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

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
        characters = sum(len(message.content) for message in query.messages)
        if length is not None and characters > length * CHARACTERS_PER_TOKEN:
            raise ContextError(
                f"The messages have {characters:,} characters; agent '{self.card.name}' takes {length:,} tokens."
            )
