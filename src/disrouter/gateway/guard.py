"""The guard of one agent in service: no more work than it takes, and none while it is broken.

A guard is an agent itself. It lets in as many queries as the card says, has a bounded number wait, and leaves an agent
alone that failed several times in a row, until one query that is let through as a probe succeeds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Literal

from disrouter.agents.faults import FaultError
from disrouter.errors import ContextError, InterruptedRunError, UsageError
from disrouter.gateway.plain_agents import cut_at_stop, unsupported
from disrouter.network import Network
from disrouter.types import Agent, AgentCard, Completion, Delta, Look, Query, Sampling, Scenario

__all__ = ["Breaker", "Gate", "Guard"]

Step = Literal["look", "answer"]
State = Literal["closed", "open", "half-open"]

CHARACTERS_PER_TOKEN = 8
"""No tokenizer of today puts more into a token on average: what is too long by this count is too long."""


class Breaker:
    """Counts an agent's own failures in a row, looks and answers apart, and opens when there are too many."""

    def __init__(self, agent: str, failures: int, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.agent = agent
        self.most = failures
        self.pause = pause
        self._clock = clock
        self._failed: dict[Step, int] = {"look": 0, "answer": 0}
        self._open_until: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        """Whether queries go through, none do, or one may as a probe."""
        if self._open_until is None:
            return "closed"
        return "open" if self._clock() < self._open_until else "half-open"

    def require(self) -> None:
        """Do nothing if a query may go through.

        Raises:
            FaultError: The agent is left alone for now.
        """
        state = self.state
        if state == "closed" or (state == "half-open" and not self._probing):
            return
        left = max(0.0, (self._open_until or 0.0) - self._clock())
        raise FaultError(
            f"Agent '{self.agent}' failed {self.most} times in a row and is left alone for a while.",
            kind="open_breaker",
            retry_after=left or 1.0,
        )

    def admit(self) -> bool:
        """Let a query through; return whether it is the probe, which must end in one of the calls below."""
        self.require()
        if self._open_until is None:
            return False
        self._probing = True
        return True

    def succeeded(self, step: Step, probe: bool) -> None:
        """The agent did what it was asked."""
        self._failed[step] = 0
        if probe:
            self._probing, self._open_until = False, None
            self._failed = {"look": 0, "answer": 0}

    def failed(self, step: Step, probe: bool) -> None:
        """The agent broke, by its own fault."""
        self._failed[step] += 1
        if probe or self._failed[step] >= self.most:
            self._open_until = self._clock() + self.pause
        if probe:
            self._probing = False

    def undecided(self, probe: bool) -> None:
        """The query ended without saying anything about the agent."""
        if probe:
            self._probing = False


class Gate:
    """Lets in a bounded number at once and has a bounded number wait."""

    def __init__(self, agent: str, concurrency: int, queue: int) -> None:
        self.agent = agent
        self.queue = queue
        self.inside = 0
        self.waiting = 0
        self._places = asyncio.Semaphore(concurrency)

    async def enter(self) -> None:
        """Wait for a place.

        Raises:
            FaultError: Too many wait already.
        """
        if self._places.locked():
            if self.waiting >= self.queue:
                raise FaultError(
                    f"Agent '{self.agent}' has {self.inside} queries at work and {self.waiting} waiting.",
                    kind="busy",
                    retry_after=1.0,
                )
            self.waiting += 1
            try:
                await self._places.acquire()
            finally:
                self.waiting -= 1
        else:
            await self._places.acquire()  # does not wait
        self.inside += 1

    def leave(self) -> None:
        """Give the place to whoever waits longest."""
        self.inside -= 1
        self._places.release()


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
        self._free_look = getattr(agent, "self_assessment", None) == "none" or isinstance(agent, Network)

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
