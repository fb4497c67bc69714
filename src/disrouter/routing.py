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

Peer to peer the walk itself travels: where the next agent is a peer, its host is given all that has been settled
(:class:`Leg`) and goes on, and what comes back is passed on. A peer that is lost before the answer has begun is a
failure like any other; one that had already passed the query on is left out, and the walk is taken up where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from disrouter.errors import AgentError, DisrouterError, InterruptedRunError, RunError, UsageError
from disrouter.policies import Accept, AnyPolicy, Pass, Recall, Verdict, View
from disrouter.types import Completion, Delta, Hop, Look, Price, Query, Sampling, Scenario, Trace, Usage

if TYPE_CHECKING:
    from disrouter.network import Limits, Network

__all__ = ["Arrived", "Carried", "Leg", "LimitName", "Settled", "Walk", "cost_expected", "limit_reached"]

LimitName: TypeAlias = Literal["max_hops", "max_cost", "max_seconds"]

T = TypeVar("T")

LONGEST_REASON = 300
"""Characters of a failure's message that a hop keeps."""

ROUNDING = 1e-9
"""Costs are sums of floats: a limit of 0.3 must admit 0.1 + 0.2."""


def limit_reached(limits: Limits, *, hops: int, cost: float, seconds: float) -> LimitName | None:
    """Return the first limit that asking one more agent would break, if any.

    Args:
        limits: The network's limits.
        hops: Agents consulted, the one about to be asked included.
        cost: Normalised cost of the route if that agent answers.
        seconds: Seconds the route has taken so far.
    """
    if limits.max_hops is not None and hops > limits.max_hops:
        return "max_hops"
    if limits.max_cost is not None and cost > limits.max_cost + ROUNDING:
        return "max_cost"
    if limits.max_seconds is not None and seconds >= limits.max_seconds:
        return "max_seconds"
    return None


def cost_expected(price: Price, *, prompt_tokens: int, max_tokens: int | None) -> float:
    """Return what an answer will cost before it is written: exact for a price per query, else an estimate.

    With a token price the answer is taken to be ``max_tokens`` long, or as long as the prompt where there is no such
    bound (the mix of 1:1 that also ranks token prices).
    """
    completion_tokens = prompt_tokens if max_tokens is None else max_tokens
    return price.of(Usage(prompt_tokens, completion_tokens), answered=True)


@dataclass(frozen=True, slots=True)
class _Broken:
    """An agent broke: what a hop may tell about it, and the cause."""

    reason: str
    cause: Exception


@dataclass(frozen=True, slots=True)
class _Answers:
    """An agent shall answer: which one, with which look, and why if it is not the policy's plain word."""

    agent: str
    look: Look
    reason: LimitName | Literal["recall"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A walk as it is handed from host to host: all that somebody else needs to go on with it."""

    query: Query
    scenario: Scenario
    sampling: Sampling
    streaming: bool
    at: str
    """Who is asked next."""
    hops: tuple[Hop, ...]
    """What has been settled. Looks, costs and how many were asked follow from it."""
    seconds: float
    """How long the walk has taken so far."""
    limits: Limits
    policy: AnyPolicy


@dataclass(frozen=True, slots=True)
class Settled:
    """A hop was settled elsewhere."""

    hop: Hop
    at: str
    """Who holds the query now."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A walk ended elsewhere."""

    completion: Completion | None
    """The answer's end; None if nobody answered."""


Carried: TypeAlias = str | Delta | Settled | Arrived
"""What comes back from a host that goes on with a walk; :class:`Arrived` is the last."""

_Carrier: TypeAlias = Callable[[Leg], AsyncGenerator[Carried, None]]


class Walk:
    """One query on its way through a network; used once.

    Args:
        network: The network.
        query: The query.
        scenario: What cost weighs.
        sampling: How an answer is drawn.
        streaming: Whether the answer's pieces are yielded.
        leg: Where somebody else has come with it; None at the entry.
    """

    def __init__(
        self,
        network: Network,
        query: Query,
        scenario: Scenario,
        sampling: Sampling,
        *,
        streaming: bool,
        leg: Leg | None = None,
    ) -> None:
        self.network = network
        self.query = query
        self.scenario = scenario
        self.sampling = sampling
        self.streaming = streaming
        self.hops: list[Hop] = []
        self.rejected: dict[str, Look] = {}
        self.consulted = 0
        self.prompt_tokens = 0
        self.completion: Completion | None = None
        self.looks: list[Look] = []
        self.started = 0.0
        self.at = network.entry
        """Who holds the query."""
        self.arrived = False
        """Whether it ended elsewhere."""
        self._before = 0.0
        if leg is not None:
            self.at, self._before, self.hops = leg.at, leg.seconds, list(leg.hops)
            self._take_stock()

    @property
    def text(self) -> str | None:
        """The answer's text, once there is one."""
        return None if self.completion is None else self.completion.text

    async def run(self) -> AsyncGenerator[str | Delta | Hop | Trace, None]:
        """Yield hops as they settle, the answer's pieces if streaming, and the trace at the end."""
        self.started = time.perf_counter() - self._before
        try:
            async with aclosing(self._run()) as events:
                async for event in events:
                    yield event
        finally:
            for look in self.looks:
                await _let_go(look)

    async def _run(self) -> AsyncGenerator[str | Delta | Hop | Trace, None]:
        name: str | None = self.at
        while name is not None:
            self.at = name
            if (carry := self._carrier(name)) is not None:
                async with aclosing(self._hand_over(name, carry)) as carried:
                    async for event in carried:
                        yield event
                if self.arrived:
                    break
                # Whoever was lost after passing the query on is not missed.
                name = self.at if self.at != name else self._next_after_failure(name)
                continue
            verdict = await self._consult(name)
            if isinstance(verdict, _Answers):
                if verdict.reason == "recall":
                    yield self.hops[-1]
                async with aclosing(self._answer(verdict.agent, verdict.look, reason=verdict.reason)) as events:
                    async for event in events:
                        yield event
                if self.text is not None:
                    name = None
                elif verdict.reason == "recall":  # it had its chance; the duty falls to the others that looked
                    del self.rejected[verdict.agent]
                    name = None
                else:
                    name = self._next_after_failure(name)
            else:
                self.at = verdict or name
                name = verdict
                yield self.hops[-1]
        for fallback in () if self.arrived else self._fallbacks():
            async with aclosing(self._answer(fallback, self.rejected[fallback], reason="fallback")) as events:
                async for event in events:
                    yield event
            if self.text is not None:
                break
        yield Trace(
            query_id=self.query.id,
            scenario=self.scenario,
            hops=tuple(self.hops),
            answer=self.text,
            completion=self.completion,
        )

    def _carrier(self, name: str) -> _Carrier | None:
        """Return how an agent's host goes on with a walk, where that is wanted and it can."""
        carry: _Carrier | None = getattr(self.network.agents[name], "carry", None)
        return carry if self.network.dispatch == "peer" else None

    async def _hand_over(self, name: str, carry: _Carrier) -> AsyncGenerator[str | Delta | Hop, None]:
        """Have an agent's host go on, and yield what comes back.

        Unless the walk has arrived afterwards, the host was lost: :attr:`at` says with whom the query was then, and
        where that is the agent itself its failure is settled.
        """
        leg = Leg(
            query=self.query,
            scenario=self.scenario,
            sampling=self.sampling,
            streaming=self.streaming,
            at=name,
            hops=tuple(self.hops),
            seconds=time.perf_counter() - self.started,
            limits=self.network.limits,
            policy=self.network.policy,
        )
        begun = False
        async with aclosing(carry(leg)) as events:
            while not isinstance(event := await self._guarded(anext(events)), _Broken | Arrived):
                if isinstance(event, Settled):
                    self.at = event.at
                    self.hops.append(event.hop)
                    self._take_stock()
                    yield event.hop
                else:
                    begun = True
                    yield event
        if isinstance(event, Arrived):
            self.arrived, self.completion = True, event.completion
            return
        if begun:
            if isinstance(event.cause, RunError) and not isinstance(event.cause, AgentError):
                raise event.cause  # it was said where it happened
            raise _cut(name, event)
        if self.at == name and (not self.hops or (self.hops[-1].agent, self.hops[-1].decision) != (name, "failure")):
            self.hops.append(Hop(agent=name, decision="failure", reason=event.reason, cause=event.cause))
            self._take_stock()
            yield self.hops[-1]

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

    async def _consult(self, name: str) -> _Answers | str | None:
        """Let one agent look and decide: it answers, or its hop is settled and the next agent's name returned."""
        self.consulted += 1
        agent = self.network.agents[name]
        look = await self._guarded(self._look(name))
        if isinstance(look, _Broken):
            self.hops.append(Hop(agent=name, decision="failure", reason=look.reason, cause=look.cause))
            return self._next_after_failure(name)
        self.prompt_tokens = max(self.prompt_tokens, look.usage.prompt_tokens)
        verdict = self._verdict(name, look)
        if isinstance(verdict, Accept):
            return _Answers(name, look, reason=None)
        rejection = Hop(
            agent=name,
            decision="reject",
            confidence=look.confidence,
            usage=look.usage,
            cost=agent.card.price.of(look.usage, answered=False),
            seconds=look.seconds,
        )
        hops = [*self.hops, rejection]
        limit = (
            self._limit_on_recall(verdict.agent, hops)
            if isinstance(verdict, Recall)
            else self._limit_on(verdict.to, hops)
        )
        if limit is not None:
            return _Answers(name, look, reason=limit)
        self.rejected[name] = look
        self.hops.append(rejection)
        if isinstance(verdict, Recall):
            return _Answers(verdict.agent, self.rejected[verdict.agent], reason="recall")
        await _let_go(look)
        return verdict.to

    async def _look(self, name: str) -> Look:
        look = await self.network.agents[name].look(self._carrying(), self.scenario)
        self.looks.append(look)
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

    async def _answer(self, name: str, look: Look, *, reason: str | None) -> AsyncGenerator[str | Delta | Hop, None]:
        """Let one agent answer. Its last event is the settled hop; :attr:`text` stays None if the agent broke."""
        price = self.network.agents[name].card.price
        looked = Hop(
            agent=name,
            decision="failure",
            confidence=look.confidence,
            usage=look.usage,
            cost=price.of(look.usage, answered=False),
            seconds=look.seconds,
        )
        paid = 0.0
        if name in self.rejected:  # a fallback paid for its look when it rejected
            paid = looked.cost
            looked = replace(looked, usage=Usage(), cost=0.0, seconds=0.0)
        begun = False
        async with aclosing(self._pieces(name, look)) as pieces:
            while isinstance(piece := await self._guarded(anext(pieces)), str | Delta):
                if self.streaming and piece != "":
                    begun = True
                    yield piece
        if isinstance(piece, _Broken):
            if begun:
                raise _cut(name, piece)
            # What a broken answer used beyond the look is unknown, so only the look is charged.
            hop = replace(looked, reason=piece.reason, cause=piece.cause)
        else:
            if self.streaming and piece.text and not begun:
                yield piece.text
            self.completion = piece
            hop = replace(
                looked,
                decision="answer",
                usage=looked.usage + piece.usage,
                cost=price.of(look.usage + piece.usage, answered=True) - paid,
                seconds=looked.seconds + piece.seconds,
                first_token_seconds=(
                    None if piece.first_token_seconds is None else looked.seconds + piece.first_token_seconds
                ),
                reason=reason,
            )
        self.hops.append(hop)
        yield hop

    async def _pieces(self, name: str, look: Look) -> AsyncGenerator[str | Delta | Completion, None]:
        stream = self.network.agents[name].answer(self._carrying(), self.scenario, look, self.sampling)
        try:
            async for piece in stream:
                if not isinstance(piece, str | Delta | Completion):
                    raise AgentError(f"Agent '{name}' answered with {type(piece).__name__}, neither text nor the end.")
                yield piece
                if isinstance(piece, Completion):
                    return
        finally:
            # A reader who leaves early must stop the agent's work now, not when memory is collected.
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        raise AgentError(f"The answer of agent '{name}' ended without a completion.")

    async def _guarded(self, step: Awaitable[T]) -> T | _Broken:
        """Wait for one step of an agent; the single place where what an agent raises becomes a failure."""
        try:
            return await step
        except (UsageError, InterruptedRunError):
            raise  # a damaged checkpoint or a missing extra is for the user to mend, and no accident of this query
        except Exception as error:  # on purpose: agents are others' code and must not bring down the network
            return _Broken(_reason(error, self.query), error)

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

    def _fallbacks(self) -> Iterator[str]:
        """Yield who may answer although they rejected, the costliest first, for as long as nobody has answered."""
        max_cost = self.network.limits.max_cost
        prices = {name: self.network.agents[name].card.price for name in self.rejected}
        # Of equally dear agents the last one consulted goes first.
        for name in sorted(reversed(prices), key=lambda name: prices[name].rank, reverse=True):
            paid = sum(hop.cost for hop in self.hops)
            affordable = max_cost is None or paid + self._cost_of_recall(name) <= max_cost + ROUNDING
            if self.text is None and affordable:
                yield name


def _cut(name: str, broken: _Broken) -> RunError:
    """Return the error for an answer that has begun and will not end."""
    error = RunError(
        f"Agent '{name}' broke after its answer had begun ({broken.reason}); the text so far is not whole.",
        hint="ask again; an answer that is not streamed may pass to another agent",
    )
    error.__cause__ = broken.cause
    return error


async def _let_go(look: Look) -> None:
    """Give back what a look still holds, say a connection on which its answer has begun."""
    close = getattr(look.state, "aclose", None)
    if close is not None:
        await close()


def _reason(error: Exception, query: Query) -> str:
    """Return type and message of an error without the words of the user."""
    message = error.message if isinstance(error, DisrouterError) else str(error)
    for content in sorted({message.content.strip() for message in query.messages}, key=len, reverse=True):
        if len(content) > 2:  # anything shorter is no secret, and would tear the message apart
            for quoted in (content, repr(content)[1:-1], json.dumps(content)[1:-1]):
                message = message.replace(quoted, "[query]")
    text = " ".join(f"{type(error).__name__}: {message}".split())
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
