"""The network in service: its agents behind guards, and the variants of it that requests ask for.

A service is never changed. A reload makes a new one; the old one closes when its last request is done.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

import orjson

from disrouter.agents.addresses import check_key
from disrouter.agents.recarded import innermost
from disrouter.errors import ConfigError, DisrouterError
from disrouter.gateway.access import BudgetError, Grant
from disrouter.gateway.asking import NETWORK_MODEL, Ask
from disrouter.gateway.errors import ProblemError, invalid
from disrouter.gateway.guard import Guard
from disrouter.gateway.network_state import AgentState, NetworkState
from disrouter.network import Network
from disrouter.policies import POLICIES, policy_of
from disrouter.types import Agent, Price, QueryPrice, Trace, Usage

__all__ = ["Service"]

PLANNING = "value-of-forwarding"

MOST_VARIANTS = 256
"""Combinations of policy and limits that are kept ready."""


class Service:
    """One network, ready to be asked.

    Args:
        network: The network as its file describes it.
        before: The service that this one follows; agents that stay keep their gates and breakers.

    Raises:
        ConfigError: An agent has a name that stands for the network itself.
    """

    def __init__(self, network: Network, before: Service | None = None) -> None:
        for name in network.agents:
            if name == NETWORK_MODEL or name.startswith(f"{NETWORK_MODEL}/"):
                raise ConfigError(
                    f"Agent '{name}' cannot be served: in requests that name stands for the network.",
                    hint="give the agent another one",
                )
        known: dict[str, Guard] = before.guards if before is not None else {}
        self.guards: dict[str, Guard] = {name: _guard(agent, known.get(name)) for name, agent in network.agents.items()}
        self.plain = network
        """The network without guards."""
        self.network = network.with_agents(self.guards, network.edges)
        self.direct = {
            name: Network(name, [Guard(guard.agent, looking=False, guard=guard)]) for name, guard in self.guards.items()
        }
        self.remote = frozenset(name for name, agent in network.agents.items() if _kind(agent) == "server")
        """Agents that live in another process."""
        self.in_flight = 0
        self.retired = False
        self._variants: OrderedDict[tuple[str | None, float | None, int | None], Network] = OrderedDict()
        prices = [agent.card.price for agent in network.agents.values()]
        self._dearest = max(prices, key=lambda price: price.rank)
        per_query = [price.cost for price in prices if isinstance(price, QueryPrice)]
        # With prices per token nobody can tell beforehand.
        self._most = sum(per_query) if len(per_query) == len(prices) else None

    def require_keys(self) -> None:
        """Do nothing if every key that an agent needs is there.

        Raises:
            ConfigError: One is not.
        """
        for agent in self.agents():
            if variable := getattr(agent, "api_key_env", None):
                check_key(variable, agent.card.name)

    def open(self) -> None:
        """Let agents keep connections; call it in the event loop that serves."""
        for agent in self.agents():
            start = getattr(agent, "open", None)
            if start is not None:
                start()

    async def warm(self) -> int:
        """Load the models that run in this process, one after the other, those asked first coming first.

        Returns:
            How many there are.

        Raises:
            DisrouterError: One cannot be loaded.
        """
        names = dict.fromkeys([*self.network.chain, *self.guards])
        loads = [load for name in names if (load := getattr(self.guards[name].agent, "warm", None)) is not None]
        for load in loads:
            await load()
        return len(loads)

    async def aclose(self, keep: Iterable[Service] = ()) -> None:
        """Let go of the connections of all agents but those that are in other services, too."""
        kept = {id(agent) for service in keep for agent in service.agents()}
        for agent in self.agents():
            close = getattr(agent, "aclose", None)
            if close is not None and id(agent) not in kept:
                await close()

    def network_for(self, ask: Ask, grant: Grant | None = None) -> Network:
        """Return the network that a request asks for, within what is left of its key's budget.

        Raises:
            ProblemError: There is no such policy, or no route could keep the limits.
            BudgetError: The budget is too small for any answer.
        """
        left = grant.remaining if grant is not None else None
        if left is not None and self._most is not None and left < min(self._most, ask.max_cost or math.inf):
            try:
                return self._variant(replace(ask, max_cost=left))
            except ProblemError as error:
                if error.param != "max_cost":
                    raise
                raise BudgetError("What is left of this key's budget is too little for any answer.") from None
        return self._variant(ask)

    def _variant(self, ask: Ask) -> Network:
        if ask.model in self.direct:
            base = self.direct[ask.model]
            return base if ask.max_cost is None else self._limited(base, ask, None)
        if ask.policy is None and ask.max_cost is None and ask.max_hops is None:
            return self.network
        key = (ask.policy, ask.max_cost, ask.max_hops)
        found = self._variants.get(key)
        if found is None:
            found = self._variants[key] = self._limited(self.network, ask, ask.policy)
            if len(self._variants) > MOST_VARIANTS:
                self._variants.popitem(last=False)
        else:
            self._variants.move_to_end(key)
        return found

    def saved(self, trace: Trace) -> float | None:
        """Return what sending the query straight to the dearest agent would have added; None without an answer."""
        if trace.agent is None:
            return None
        both = trace.hops[-1].usage
        answered = both if trace.completion is None else trace.completion.usage
        # An agent behind a server reads the prompt twice, to look and to answer; the dearest one would read it once.
        read = (*(hop.usage.prompt_tokens for hop in trace.hops[:-1]), both.prompt_tokens - answered.prompt_tokens)
        usage = Usage(max(answered.prompt_tokens, *read), answered.completion_tokens)
        return _cost(self._dearest, usage) - trace.cost_full

    @cached_property
    def policies(self) -> tuple[str, ...]:
        """Names of the policies that requests may ask for; one that plans needs agents with cards."""
        return tuple(name for name in POLICIES if name != PLANNING or self._plans())

    def _plans(self) -> bool:
        try:
            self.network.replace(policy=policy_of(PLANNING))
        except DisrouterError:
            return False
        return True

    def state(self) -> NetworkState:
        """Return how the network is at this moment."""
        network = self.network
        return NetworkState(
            name=network.name,
            agents=tuple(
                AgentState(
                    name=name,
                    kind=_kind(self.guards[name].agent),
                    price=self.guards[name].card.price.rank,
                    passes_to=network.successors(name),
                    breaker=self.guards[name].breaker.state,
                    in_flight=self.guards[name].gate.inside,
                    waiting=self.guards[name].gate.waiting,
                )
                for name in [*network.chain, *(n for n in network.agents if n not in network.chain)]
            ),
            policy=network.policy.name,
            scenario=network.scenario.name,
            alpha=network.scenario.alpha,
            in_flight=self.in_flight,
            ready=self.ready,
        )

    @property
    def ready(self) -> bool:
        """Whether any agent can be asked."""
        return any(guard.breaker.state != "open" for guard in self.guards.values())

    def _limited(self, base: Network, ask: Ask, policy: str | None) -> Network:
        limits = base.limits
        if ask.max_cost is not None:
            limits = replace(limits, max_cost=_smaller(ask.max_cost, limits.max_cost))
        if ask.max_hops is not None:
            limits = replace(limits, max_hops=int(_smaller(ask.max_hops, limits.max_hops)))
        try:
            chosen = policy_of(orjson.loads(policy)) if policy is not None else None
        except DisrouterError as error:
            raise invalid(f"{error.message} {error.hint or ''}".rstrip(), param="policy") from None
        try:
            return base.replace(policy=chosen, limits=limits)
        except ConfigError as error:
            raise ProblemError(400, error.message, param="max_cost", code="contradictory_limits") from None

    def agents(self) -> list[Agent]:
        """Return every agent, those of networks within the network included."""
        found: list[Agent] = []
        waiting: list[Any] = [guard.agent for guard in self.guards.values()]
        while waiting:
            agent = innermost(waiting.pop())
            if isinstance(agent, Network):
                waiting.extend(agent.agents.values())
            else:
                found.append(agent)
        return found


def _guard(agent: Agent, before: Guard | None) -> Guard:
    """Return the guard of an agent, which goes on as the one before it where that is of the same agent."""
    same = (
        before is not None and innermost(before.agent) is innermost(agent) and before.card.serving == agent.card.serving
    )
    return Guard(agent, guard=before if same else None)


def _smaller(wanted: float, bound: float | None) -> float:
    """Return what a request may have: no more than the file allows."""
    return wanted if bound is None else min(wanted, bound)


def _cost(price: Price, usage: Usage) -> float:
    return price.of(usage, answered=True)


def _kind(agent: Agent) -> Any:
    backend = agent.card.details.get("backend")
    return {"transformers": "local", "openai": "server", "node": "server"}.get(str(backend), "other")
