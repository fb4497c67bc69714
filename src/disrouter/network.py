"""Networks: agents with the edges along which they may pass queries."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from types import MappingProxyType
from typing import Literal, TypeAlias

from disrouter import _graph
from disrouter.errors import AgentError, ConfigError, UnknownNameError, UsageError
from disrouter.limits import Limits, limit_problems
from disrouter.peers import PeerWalk
from disrouter.policies import AnyPolicy, OwnWord, Pool, PoolPolicy
from disrouter.routing import Walk
from disrouter.types import (
    Agent,
    AgentCard,
    Completion,
    Delta,
    Hop,
    Look,
    Price,
    Query,
    QueryPrice,
    Sampling,
    Scenario,
    Trace,
)
from disrouter.utility import BALANCE, scenario_of

__all__ = ["Dispatch", "Limits", "Network", "ScenarioLike"]

Dispatch: TypeAlias = Literal["caller", "peer"]
"""Who passes a query on to the next agent: whoever asked, or the hosts of the agents among themselves."""

ScenarioLike: TypeAlias = Scenario | str | float
"""A scenario, its name, or an alpha in [0, 1]."""

GREEDY = Sampling()


class Network:
    """A directed acyclic graph of agents in which every query travels from the one entry to an answer.

    Agents without successors always answer. A network is an agent itself, so networks nest: seen from outside it
    looks at no cost, always accepts, and streams the answer of its inner route.

    Args:
        name: Name of the network, in messages and as an agent.
        agents: The agents, by name or as a sequence.
        edges: For every agent whom it may pass to, the preferred one first. Default: the cascade by rising price.
        policy: The local rule of every agent.
        scenario: Used where a call names none.
        limits: How far a query may travel.
        always_answers: True for agents that answer whatever the policy says; False for agents that must be able to
            reject, and so cannot stand at the end.
        price: What the network is charged at inside another one. Default: the price of its dearest agent, with a
            free look; for one answer that is the most the paper's cost can be.
        dispatch: ``peer`` has agents on hosts of their own pass queries on among themselves (:mod:`disrouter.peers`).

    Raises:
        ConfigError: The agents, edges and limits make no usable network; all problems are reported together.
    """

    def __init__(
        self,
        name: str,
        agents: Mapping[str, Agent] | Sequence[Agent],
        edges: Mapping[str, Sequence[str]] | None = None,
        *,
        policy: AnyPolicy | None = None,
        scenario: ScenarioLike = BALANCE,
        limits: Limits | None = None,
        always_answers: Mapping[str, bool] | None = None,
        price: Price | None = None,
        dispatch: Dispatch = "caller",
    ) -> None:
        named = list(agents.items()) if isinstance(agents, Mapping) else [(agent.card.name, agent) for agent in agents]
        self.name = name
        self.agents: Mapping[str, Agent] = MappingProxyType(dict(named))
        self.scenario = _scenario(scenario)
        self.limits = limits or Limits()
        self.always_answers: Mapping[str, bool] = MappingProxyType(dict(always_answers or {}))
        cards = {name: agent.card for name, agent in named}
        if unusable := _price_problems(cards):  # without prices there is no order
            raise ConfigError(f"Network '{name}' cannot be used: " + "; ".join(unusable) + ".")
        chosen = (
            _graph.cascade({name: card.price.rank for name, card in cards.items()})
            if edges is None
            else {name: tuple(successors) for name, successors in edges.items()}
        )
        problems = [*_name_problems(named, edges), *_graph.graph_problems(list(cards), chosen, self.always_answers)]
        if not problems:
            self._entry = _graph.entries_of(cards, chosen)[0]
            problems = limit_problems(self.limits, cards[self._entry])
        if problems:
            raise ConfigError(f"Network '{name}' cannot be used: " + "; ".join(problems) + ".")
        self.edges: Mapping[str, tuple[str, ...]] = MappingProxyType({name: chosen.get(name, ()) for name in cards})
        self.policy = self._bound(policy or OwnWord())
        self._own_price = price
        self.dispatch: Dispatch = dispatch
        self._price = price or _dearest(cards.values())

    def __repr__(self) -> str:
        return f"Network({self.name!r}, {' -> '.join(self.chain)})"

    @property
    def entry(self) -> str:
        """Name of the agent that is asked first."""
        return self._entry

    @property
    def chain(self) -> tuple[str, ...]:
        """Names in the order of asking when everybody rejects: from the entry along first successors."""
        names = [self.entry]
        while successors := self.edges[names[-1]]:
            names.append(successors[0])
        return tuple(names)

    @property
    def order(self) -> tuple[str, ...]:
        """All names, every agent after all that may pass to it; a query asks agents in this order."""
        return _graph.topological(list(self.agents), self.edges)

    def reachable(self, name: str) -> frozenset[str]:
        """Return everyone whom a query may reach from an agent, its successors included.

        Raises:
            UnknownNameError: The network has no such agent.
        """
        self._known(name)
        return _graph.reachable(name, self.edges)

    def successors(self, name: str) -> tuple[str, ...]:
        """Return whom an agent may pass to, the preferred one first; empty for one that always answers.

        Raises:
            UnknownNameError: The network has no such agent.
        """
        self._known(name)
        return self.edges[name]

    def without(self, *names: str) -> Network:
        """Return the network with agents dropped and nothing else changed.

        Whoever passed to a dropped agent passes to that agent's successors instead.

        Raises:
            UnknownNameError: The network has no such agent.
            ConfigError: What is left is no usable network.
        """
        for name in names:
            self._known(name)
        kept = {name: agent for name, agent in self.agents.items() if name not in names}
        return self._changed(agents=kept, edges=_graph.without(list(self.agents), self.edges, names))

    def with_agents(self, agents: Mapping[str, Agent], edges: Mapping[str, Sequence[str]] | None = None) -> Network:
        """Return the network with these agents along these edges (default: by rising price), and nothing else changed.

        Raises:
            ConfigError: That is no usable network.
        """
        return self._changed(agents=agents, edges=_by_price(agents) if edges is None else edges)

    def replace(
        self,
        *,
        policy: AnyPolicy | None = None,
        scenario: ScenarioLike | None = None,
        limits: Limits | None = None,
    ) -> Network:
        """Return the network with another policy, scenario or limits; the agents are shared, not copied."""
        return self._changed(policy=policy, scenario=scenario, limits=limits)

    async def route(self, query: Query, scenario: ScenarioLike | None = None, sampling: Sampling = GREEDY) -> Trace:
        """Send a query through the network and return its trace.

        Nothing reaches the user before the end, so an agent that breaks in the middle of its answer is passed over
        like any other.

        Raises:
            UsageError: An agent cannot be used at all (say, its checkpoint is damaged).
            RunError: The policy passed the query to an agent that is no successor.
        """
        return await self.walk(query, scenario, sampling).trace()

    def stream(
        self, query: Query, scenario: ScenarioLike | None = None, sampling: Sampling = GREEDY
    ) -> AsyncGenerator[str | Delta | Hop | Trace, None]:
        """Send a query through the network and yield what happens: hops, text, and the trace at the end.

        A rejection or failure is yielded as it settles; then the answer's text as it is written (from its first piece
        on the query stays with that agent), the answering hop, and the trace.

        Raises:
            UsageError: An agent cannot be used at all.
            RunError: An agent broke after its answer had begun, or the policy passed to no successor.
        """
        return self.walk(query, scenario, sampling).events()

    def walk(self, query: Query, scenario: ScenarioLike | None = None, sampling: Sampling = GREEDY) -> Walk:
        """Return the walk of a query at its beginning, for callers that watch it or take it step by step."""
        kind = PeerWalk if self.dispatch == "peer" else Walk
        return kind(self, query, self.scenario if scenario is None else _scenario(scenario), sampling)

    def ask(self, query: Query | str, scenario: ScenarioLike | None = None, sampling: Sampling = GREEDY) -> Trace:
        """Route one query and wait for its trace; for scripts and the prompt.

        Raises:
            UsageError: Called inside a running event loop: await :meth:`route` there.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.route(_query(query), scenario, sampling))
        raise UsageError("ask() cannot wait inside a running event loop.", hint="write `await network.route(query)`")

    @property
    def card(self) -> AgentCard:
        """The network as others see it when it is an agent of a larger one."""
        return AgentCard(name=self.name, price=self._price, details={"agents": ", ".join(self.agents)})

    async def look(self, query: Query, scenario: Scenario) -> Look:
        """Accept, without asking anybody: a network answers every query."""
        return Look(confidence=None, accepts=True)

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[str | Delta | Completion]:
        """Stream the answer of the inner route; its usage is that of every agent asked.

        Raises:
            AgentError: No agent of the network answered.
        """
        async with aclosing(self.stream(query, scenario, sampling)) as events:
            async for event in events:
                if isinstance(event, str | Delta):
                    yield event
                elif isinstance(event, Trace):
                    yield self._completion(event)

    async def complete(self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling) -> Completion:
        """Return the answer of the inner route as a whole; its usage is that of every agent asked.

        Raises:
            AgentError: No agent of the network answered.
        """
        return self._completion(await self.route(query, scenario, sampling))

    def _completion(self, trace: Trace) -> Completion:
        if trace.answer is None:
            raise AgentError(f"No agent of network '{self.name}' answered.")
        return Completion(
            text=trace.answer,
            usage=trace.usage,
            seconds=trace.seconds,
            first_token_seconds=trace.first_token_seconds,
            finish_reason=trace.completion.finish_reason if trace.completion else "stop",
            body=trace.completion.body if trace.completion else None,
        )

    def _bound(self, policy: AnyPolicy) -> AnyPolicy:
        """Return a policy that knows this pool, if it is of the kind that wants to."""
        if not isinstance(policy, PoolPolicy):
            return policy
        edges = {name: () if self.always_answers.get(name) else to for name, to in self.edges.items()}
        cards = {name: self.agents[name].card for name in self.order}
        return policy.bound(Pool(name=self.name, cards=cards, edges=edges))

    def _known(self, name: str) -> None:
        if name not in self.agents:
            raise UnknownNameError.of("agent", name, self.agents, where=f"network '{self.name}'")

    def _changed(
        self,
        *,
        agents: Mapping[str, Agent] | None = None,
        edges: Mapping[str, Sequence[str]] | None = None,
        policy: AnyPolicy | None = None,
        scenario: ScenarioLike | None = None,
        limits: Limits | None = None,
    ) -> Network:
        kept = self.agents if agents is None else agents
        return Network(
            self.name,
            kept,
            self.edges if edges is None else edges,
            policy=policy or self.policy,
            scenario=self.scenario if scenario is None else scenario,
            limits=limits or self.limits,
            always_answers={name: value for name, value in self.always_answers.items() if name in kept},
            price=self._own_price,
            dispatch=self.dispatch,
        )


def _by_price(agents: Mapping[str, Agent]) -> Mapping[str, Sequence[str]]:
    prices = {name: agent.card.price for name, agent in agents.items()}
    if len({type(price) for price in prices.values()}) > 1:
        raise ConfigError("Prices per query and per token cannot be ordered into a cascade.", hint="give the edges")
    return _graph.cascade({name: price.rank for name, price in prices.items()})


def _name_problems(named: Sequence[tuple[str, Agent]], edges: object) -> list[str]:
    if not named:
        return ["it has no agents; give at least one"]
    repeated = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    problems = [f"two agents are called '{name}'; names must differ" for name in repeated]
    problems.extend(
        f"agent '{agent.card.name}' is listed under the name '{name}'; use its own name"
        for name, agent in named
        if agent.card.name != name
    )
    if edges is None and len({type(agent.card.price) for _, agent in named}) > 1:
        problems.append("prices per query and per token cannot be ordered into a cascade; give the edges")
    return problems


def _price_problems(cards: Mapping[str, AgentCard]) -> list[str]:
    """Return which prices could not be summed or compared."""
    return [
        f"the price of agent '{name}' has {part} {value:g}; give a number {'above' if part == 'unit' else 'from'} 0"
        for name, card in cards.items()
        for part, value in asdict(card.price).items()
        if not 0 <= value < math.inf or (part == "unit" and value == 0)
    ]


def _dearest(cards: Iterable[AgentCard]) -> Price:
    price = max(cards, key=lambda card: card.price.rank).price
    return QueryPrice(cost=price.cost, look_share=0.0) if isinstance(price, QueryPrice) else price


def _scenario(value: ScenarioLike) -> Scenario:
    if not isinstance(value, Scenario):
        return scenario_of(value)
    scenario_of(value.alpha)  # refuses what no scenario may weigh cost with
    return value


def _query(value: Query | str) -> Query:
    return Query.from_text(value) if isinstance(value, str) else value
