"""Routing: the walk of one query through a network.

An agent looks, the policy decides, the agent answers or the query moves on. The caller dispatches every step, so no
agent holds anything while another thinks.

What happens when things go wrong:

- An agent that breaks makes a hop of kind ``failure``; the query goes to its first successor within the limits.
- If there is none, the duty to answer falls to the costliest agent that looked before and rejected (then to the next
  costliest). It answers in a new hop with the reason ``fallback`` that pays for the answer only: the look is paid.
- If nobody is left, the trace ends without an answer.
- A policy may let an agent answer that rejected before: it does so in a new hop with the reason ``recall``, which pays
  for the answer only. If it breaks, the duty to answer falls to the others that looked, as above.
- At a limit the agent that would pass on answers instead, and the hop's reason names the limit.

A walk that travels from host to host itself: :mod:`disrouter.peers`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from disrouter.errors import AgentError, RunError
from disrouter.limits import ROUNDING, LimitName, cost_expected, limit_reached
from disrouter.policies import Accept, Pass, Recall, Verdict, View
from disrouter.steps import Broken, completed, guarded, let_go, pieces_of
from disrouter.types import Completion, Delta, Hop, Look, Query, Sampling, Scenario, Trace, Usage

if TYPE_CHECKING:
    from disrouter.network import Network

__all__ = ["Duty", "Walk", "cut_error"]


@dataclass(frozen=True, slots=True)
class Duty:
    """An agent shall answer: which one, with which look, and why if it is not the policy's plain word."""

    agent: str
    look: Look
    reason: LimitName | Literal["recall", "fallback"] | None = None


def cut_error(name: str, broken: Broken) -> RunError:
    """Return the error for an agent's answer that has begun and will not end."""
    error = RunError(
        f"Agent '{name}' broke after its answer had begun ({broken.reason}); the text so far is not whole.",
        hint="ask again; an answer that is not streamed may pass to another agent",
    )
    error.__cause__ = broken.cause
    return error


class Walk:
    """One query on its way through a network; used once.

    :meth:`trace` goes the whole way, and :meth:`events` tells of it as it happens. Who carries a walk from place to
    place takes it a :meth:`step` at a time: all that it has come to know stands in its attributes.

    Args:
        network: The network.
        query: The query.
        scenario: What cost weighs.
        sampling: How the answer is drawn.
    """

    def __init__(self, network: Network, query: Query, scenario: Scenario, sampling: Sampling) -> None:
        self.network = network
        self.query = query
        self.scenario = scenario
        self.sampling = sampling
        self.at: str | None = network.entry
        """Who is consulted next; None when the duty has fallen to those that looked."""
        self.hops: list[Hop] = []
        """The decisions so far, in order."""
        self.rejected: dict[str, Look] = {}
        """What those saw that looked and rejected, and may still have to answer."""
        self.consulted = 0
        """Agents asked to look, failing ones included."""
        self.prompt_tokens = 0
        """Tokens of the query, as the agents so far have counted it; 0 if none has."""
        self.completion: Completion | None = None
        """The answer, once there is one."""
        self.over = False
        """Whether the query has been answered, or nobody is left to answer it."""
        self.started = time.perf_counter()
        self._holding: list[Look] = []
        self._told = 0

    async def trace(self) -> Trace:
        """Walk to the end and return the trace; an agent that breaks in the middle of its answer is passed over."""
        try:
            while not self.over:
                duty = await self.step()
                if duty is not None:
                    await self.answer(duty)
        finally:
            await self.aclose()
        return self._trace()

    async def events(self) -> AsyncGenerator[str | Delta | Hop | Trace, None]:
        """Walk to the end; yield hops as they settle, the answer's pieces as they are written, and the trace."""
        try:
            while not self.over:
                duty = await self.step()
                for hop in self._news():
                    yield hop
                if duty is not None:
                    async with aclosing(self._streamed(duty)) as pieces:
                        async for piece in pieces:
                            yield piece
                    for hop in self._news():
                        yield hop
        finally:
            await self.aclose()
        yield self._trace()

    async def step(self) -> Duty | None:
        """Consult the next agent; return who shall answer now, or None if the query has moved on (or nowhere to go).

        Its hop is settled unless it shall answer itself. Whoever gets a duty has :meth:`answer` see to it.
        """
        if self.at is not None:
            return await self._consult(self.at)
        duty = self._fallback()
        self.over = duty is None
        return duty

    async def answer(self, duty: Duty) -> None:
        """Have an agent answer, and settle its hop; if it breaks the walk goes on."""
        agent = self.network.agents[duty.agent]
        self._settle(
            duty, await guarded(completed(agent, self._carrying(), self.scenario, duty.look, self.sampling), self.query)
        )

    async def aclose(self) -> None:
        """Let go of all that looks still hold, say a connection on which an answer has begun."""
        for look in self._holding:
            await let_go(look)

    def _trace(self) -> Trace:
        completion = self.completion
        return Trace(
            query_id=self.query.id,
            scenario=self.scenario,
            hops=tuple(self.hops),
            answer=None if completion is None else completion.text,
            completion=completion,
        )

    def _news(self) -> Sequence[Hop]:
        """Return the hops that :meth:`events` has not told."""
        news = self.hops[self._told :]
        self._told = len(self.hops)
        return news

    async def _consult(self, name: str) -> Duty | None:
        """Let one agent look and decide: it answers, or its hop is settled and the query moves on."""
        self.consulted += 1
        look = await guarded(self._look(name), self.query)
        if isinstance(look, Broken):
            self.hops.append(Hop(agent=name, decision="failure", reason=look.reason, cause=look.cause))
            self.at = self._next_after_failure(name)
            return None
        self.prompt_tokens = max(self.prompt_tokens, look.usage.prompt_tokens)
        verdict = self._verdict(name, look)
        if isinstance(verdict, Accept):
            return Duty(name, look)
        rejection = Hop(
            agent=name,
            decision="reject",
            confidence=look.confidence,
            usage=look.usage,
            cost=self.network.agents[name].card.price.of(look.usage, answered=False),
            seconds=look.seconds,
        )
        hops = [*self.hops, rejection]
        limit = (
            self._limit_on_recall(verdict.agent, hops)
            if isinstance(verdict, Recall)
            else self._limit_on(verdict.to, hops)
        )
        if limit is not None:
            return Duty(name, look, limit)
        self.rejected[name] = look
        self.hops.append(rejection)
        if isinstance(verdict, Recall):
            return Duty(verdict.agent, self.rejected[verdict.agent], "recall")
        await let_go(look)
        self.at = verdict.to
        return None

    def _carrying(self) -> Query:
        """Return the query with what is left of its limits, which whoever is asked may have to keep as well."""
        request, limits = self.query.request, self.network.limits
        if request is None or (limits.max_cost is None and limits.max_hops is None):
            return self.query
        cost, hops = request.max_cost, request.max_hops
        if limits.max_cost is not None:
            cost = max(0.0, limits.max_cost - sum(hop.cost for hop in self.hops))
        if limits.max_hops is not None:
            hops = max(1, limits.max_hops - self.consulted + 1)
        return replace(self.query, request=replace(request, max_cost=cost, max_hops=hops))

    async def _look(self, name: str) -> Look:
        look = await self.network.agents[name].look(self._carrying(), self.scenario)
        if look.state is not None:
            self._holding.append(look)
        if look.confidence is not None and not 0.0 <= look.confidence <= 1.0:
            raise AgentError(f"Confidence {look.confidence} of agent '{name}' is no probability from 0 to 1.")
        return look

    def _verdict(self, name: str, look: Look) -> Verdict:
        successors = self.network.successors(name)
        if not successors or self.network.always_answers.get(name):
            return Accept()
        verdict = self.network.policy.decide(
            View(
                confidence=look.confidence,
                accepts=look.accepts,
                scenario=self.scenario,
                card=self.network.agents[name].card,
                successors=successors,
                upstream=tuple((upstream, seen.confidence) for upstream, seen in self.rejected.items()),
            )
        )
        if (
            isinstance(verdict, Pass)
            and verdict.to not in successors
            and verdict.to not in self.network.reachable(name)
        ):
            raise RunError(
                f"Policy '{self.network.policy.name}' passed from '{name}' to '{verdict.to}', which is no successor.",
                hint=f"it may pass to {', '.join(successors)}, or skip to whom they lead to",
            )
        if isinstance(verdict, Recall) and verdict.agent not in self.rejected:
            raise RunError(
                f"Policy '{self.network.policy.name}' recalled '{verdict.agent}', which has not rejected the query.",
                hint=f"it may recall {', '.join(self.rejected) or 'nobody yet'}",
            )
        return verdict

    async def _streamed(self, duty: Duty) -> AsyncGenerator[str | Delta, None]:
        """Have an agent answer and yield what it writes; from its first piece on the query stays with it."""
        agent = self.network.agents[duty.agent]
        begun = False
        async with aclosing(pieces_of(agent, self._carrying(), self.scenario, duty.look, self.sampling)) as pieces:
            while isinstance(piece := await guarded(anext(pieces), self.query), (str, Delta)):
                if piece != "":
                    begun = True
                    yield piece
        if isinstance(piece, Broken) and begun:
            raise cut_error(duty.agent, piece)
        if isinstance(piece, Completion) and piece.text and not begun:
            yield piece.text
        self._settle(duty, piece)

    def _settle(self, duty: Duty, ended: Completion | Broken) -> None:
        """Write down how an agent's answer ended, and where the query goes if it broke."""
        look, name = duty.look, duty.agent
        price = self.network.agents[name].card.price
        # Who looked and rejected before has a hop for that, and paid for the look there.
        paid = name in self.rejected
        usage, seconds = (Usage(), 0.0) if paid else (look.usage, look.seconds)
        if isinstance(ended, Broken):
            # What a broken answer used beyond the look is unknown, so only the look is charged.
            self.hops.append(
                Hop(
                    agent=name,
                    decision="failure",
                    confidence=look.confidence,
                    usage=usage,
                    cost=0.0 if paid else price.of(look.usage, answered=False),
                    seconds=seconds,
                    reason=ended.reason,
                    cause=ended.cause,
                )
            )
            if paid:  # it had its chance; the duty falls to the others that looked
                del self.rejected[name]
                self.at = None
            else:
                self.at = self._next_after_failure(name)
            return
        first, both = ended.first_token_seconds, look.usage + ended.usage
        self.hops.append(
            Hop(
                agent=name,
                decision="answer",
                confidence=look.confidence,
                usage=ended.usage if paid else both,
                cost=price.of(both, answered=True) - (price.of(look.usage, answered=False) if paid else 0.0),
                seconds=seconds + ended.seconds,
                first_token_seconds=None if first is None else seconds + first,
                reason=duty.reason,
            )
        )
        self.completion = ended
        self.over = True

    def _limit_on(self, to: str, hops: Sequence[Hop]) -> LimitName | None:
        """Return the limit that keeps the query from being passed to an agent, given the hops up to then."""
        expected = cost_expected(
            self.network.agents[to].card.price,
            # A token holds at least about one character: as long as nobody has counted, this errs on the safe side.
            prompt_tokens=self.prompt_tokens or sum(len(message.content) for message in self.query.messages),
            max_tokens=self.sampling.max_tokens,
        )
        return limit_reached(
            self.network.limits,
            hops=self.consulted + 1,
            cost=sum(hop.cost for hop in hops) + expected,
            # Recorded agents report seconds that have not passed, others forget to report any.
            seconds=max(time.perf_counter() - self.started, sum(hop.seconds for hop in hops)),
        )

    def _limit_on_recall(self, name: str, hops: Sequence[Hop]) -> LimitName | None:
        """Return the limit that keeps an agent from being recalled: its answer must still be affordable."""
        cost = sum(hop.cost for hop in hops) + self._cost_of_recall(name)
        return limit_reached(self.network.limits, hops=0, cost=cost, seconds=-1.0)

    def _cost_of_recall(self, name: str) -> float:
        """Return what the answer of an agent is expected to cost after the look that it has been paid for."""
        price, looked = self.network.agents[name].card.price, self.rejected[name].usage
        expected = cost_expected(price, prompt_tokens=looked.prompt_tokens, max_tokens=self.sampling.max_tokens)
        return expected - price.of(looked, answered=False)

    def _next_after_failure(self, name: str) -> str | None:
        successors = self.network.successors(name)
        return next((to for to in successors if self._limit_on(to, self.hops) is None), None)

    def _fallback(self) -> Duty | None:
        """Return the duty of the costliest that looked and can be afforded, if there is one."""
        max_cost = self.network.limits.max_cost
        prices = {name: self.network.agents[name].card.price for name in self.rejected}
        paid = sum(hop.cost for hop in self.hops)
        # Of equally dear agents the last one consulted goes first.
        for name in sorted(reversed(prices), key=lambda name: prices[name].rank, reverse=True):
            if max_cost is None or paid + self._cost_of_recall(name) <= max_cost + ROUNDING:
                return Duty(name, self.rejected[name], "fallback")
        return None
