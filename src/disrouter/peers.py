"""Peer to peer: a walk that travels itself, from the host of one agent to the host of the next.

Whoever holds the query hands it over to the next agent's host with all that has been settled (:class:`Leg`). That host
decides with the same code, from the same network file, and passes on in its turn; what happens comes back along the
chain. An agent that does not live on a host of its own is asked as ever.

- A host that is lost before an answer has begun is a failure of its agent, and the query goes on from here.
- One that is lost when it had passed the query on already is not missed: the walk is taken up where it was.
- Whoever answers after all (a recall, a fallback) is asked by the host that holds the query then.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

from disrouter.errors import AgentError, RunError
from disrouter.limits import Limits
from disrouter.policies import AnyPolicy
from disrouter.routing import Walk, cut_error
from disrouter.steps import Broken, guarded
from disrouter.types import Completion, Delta, Hop, Look, Query, Sampling, Scenario, Trace

__all__ = ["Arrived", "Carried", "Carrier", "Leg", "PeerWalk", "Settled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A walk as it is handed from host to host: all that somebody else needs to go on with it."""

    query: Query
    scenario: Scenario
    sampling: Sampling
    streaming: bool
    """Whether the answer's pieces are wanted."""
    at: str
    """Who is consulted next."""
    hops: tuple[Hop, ...]
    """What has been settled. Who was asked and what is known of them follows from it."""
    seconds: float
    """How long the walk has taken so far."""
    limits: Limits
    policy: AnyPolicy
    members: frozenset[str]
    """Who may be asked. A host leaves out whoever it knows besides: an agent that has left, or is drained."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A hop was settled elsewhere."""

    hop: Hop
    at: str | None
    """Who holds the query now; None when the duty has fallen to those that looked."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A walk ended elsewhere."""

    completion: Completion | None
    """The answer; None if nobody is left to give one."""


Carried: TypeAlias = str | Delta | Settled | Arrived
"""What comes back from a host that goes on with a walk; :class:`Arrived` is the last."""

Carrier: TypeAlias = Callable[[Leg], AsyncGenerator[Carried, None]]
"""What an agent on a host of its own has under the name ``carry``."""


class PeerWalk(Walk):
    """A walk that is handed over to hosts that can go on with it."""

    def take_up(self, leg: Leg) -> None:
        """Go on where somebody else has come to."""
        self.at = leg.at
        self.hops.extend(leg.hops)
        self.started -= leg.seconds
        self._told = len(self.hops)
        self._take_stock()

    async def trace(self) -> Trace:
        """Walk to the end and return the trace."""
        async with aclosing(self.happenings(streaming=False)) as events:
            async for _ in events:
                pass
        return self._trace()

    async def events(self) -> AsyncGenerator[str | Delta | Hop | Trace, None]:
        """Walk to the end; yield hops as they settle, the answer's pieces as they are written, and the trace."""
        async with aclosing(self.happenings(streaming=True)) as events:
            async for event in events:
                yield event
        yield self._trace()

    async def happenings(self, *, streaming: bool) -> AsyncGenerator[str | Delta | Hop, None]:
        """Walk to the end and yield hops as they settle, wherever that is, and the answer's pieces if streaming."""
        try:
            while not self.over:
                if self.at is not None and (carry := getattr(self.network.agents[self.at], "carry", None)) is not None:
                    async with aclosing(self._handed_over(self.at, carry, streaming)) as events:
                        async for event in events:
                            yield event
                    continue
                duty = await self.step()
                for hop in self._news():
                    yield hop
                if duty is None:
                    continue
                if streaming:
                    async with aclosing(self._streamed(duty)) as pieces:
                        async for piece in pieces:
                            yield piece
                else:
                    await self.answer(duty)
                for hop in self._news():
                    yield hop
        finally:
            await self.aclose()

    async def _handed_over(self, name: str, carry: Carrier, streaming: bool) -> AsyncGenerator[str | Delta | Hop, None]:
        """Have an agent's host go on, and yield what comes back.

        Unless the walk is over afterwards, the host was lost, and :attr:`at` says where to go on.
        """
        begun = False
        async with aclosing(carry(self._leg(name, streaming))) as events:
            while not isinstance(event := await guarded(self._next(name, events), self.query), Broken | Arrived):
                if isinstance(event, Settled):
                    self._settle_elsewhere(event.hop, event.at)
                    yield event.hop
                else:
                    begun = True
                    yield event
        if isinstance(event, Arrived):
            self.over, self.completion = True, event.completion
        elif begun:
            if isinstance(event.cause, RunError) and not isinstance(event.cause, AgentError):
                raise event.cause  # it was said where it happened
            raise cut_error(name, event)
        elif self.at == name:
            self._settle_elsewhere(Hop(agent=name, decision="failure", reason=event.reason, cause=event.cause), None)
            self.at = self._next_after_failure(name)
            for hop in self._news():
                yield hop

    async def _next(self, name: str, events: AsyncGenerator[Carried, None]) -> Carried:
        """Return what came back next, if it can be: who is lost later must have led forward."""
        event = await anext(events)
        if isinstance(event, Settled):
            forward = self.network.reachable(name)
            if event.hop.agent not in self.network.agents or not (event.at in (name, None) or event.at in forward):
                raise AgentError(f"The host of agent '{name}' passed the query on in a way that is not known here.")
        return event

    def _leg(self, name: str, streaming: bool) -> Leg:
        return Leg(
            query=self.query,
            scenario=self.scenario,
            sampling=self.sampling,
            streaming=streaming,
            at=name,
            hops=tuple(self.hops),
            seconds=time.perf_counter() - self.started,
            limits=self.network.limits,
            policy=self.network.policy,
            members=frozenset(self.network.agents),
        )

    def _settle_elsewhere(self, hop: Hop, at: str | None) -> None:
        self.hops.append(hop)
        self.at = at
        self._take_stock()

    def _take_stock(self) -> None:
        """Find out from the hops alone who was asked, and what is known of them."""
        self.consulted = len({hop.agent for hop in self.hops})
        self.prompt_tokens = max((hop.usage.prompt_tokens for hop in self.hops), default=0)
        self.rejected = {
            hop.agent: Look(confidence=hop.confidence, usage=hop.usage, seconds=hop.seconds)
            for hop in self.hops
            if hop.decision == "reject"
        }
        for hop in self.hops:
            if hop.decision == "failure":  # it rejected, had to answer after all, and broke
                self.rejected.pop(hop.agent, None)
