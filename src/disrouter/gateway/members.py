"""Members: the administrator's calls that change who is in the network that a gateway serves.

An address that joins is asked who it is before it gets a query; where there is a secret, it must show that it knows it.
Changes hold until the file is read again: then it says who is in and at which price. Who was drained stays so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from disrouter.agents.introductions import NodeAddress, ask_node, node_problem
from disrouter.errors import ConfigError, UnknownNameError
from disrouter.gateway import membership
from disrouter.gateway.guard import Guard
from disrouter.gateway.membership import Place
from disrouter.network import Network
from disrouter.types import Agent, AgentCard, Price, QueryPrice

if TYPE_CHECKING:
    from disrouter.gateway.app import Gateway

__all__ = ["Members"]

CONCURRENCY, QUEUE = 256, 256
"""Of a node that joins: it has a gate of its own."""


@dataclass(frozen=True, slots=True)
class _Resting:
    """An agent that gets no new queries."""

    agent: Agent
    guard: Guard
    edges: Mapping[str, tuple[str, ...]]
    """Of the network before it was taken out."""


class Members:
    """Who is in a gateway's network, and who rests. Call it in the gateway's event loop."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._resting: dict[str, _Resting] = {}
        self._changing = asyncio.Lock()

    def listed(self) -> list[dict[str, Any]]:
        """Return everybody, those that rest last."""
        service = self._gateway.service
        found = [
            {
                "name": state.name,
                "state": "serving",
                "kind": state.kind,
                "price": _price_json(service.guards[state.name].card.price),
                "passes_to": list(state.passes_to),
                "breaker": state.breaker,
                "in_flight": state.in_flight,
                "waiting": state.waiting,
            }
            for state in service.state().agents
        ]
        for name, resting in self._resting.items():
            gate = resting.guard.gate
            found.append(
                {
                    "name": name,
                    "state": "draining" if gate.inside or gate.waiting else "drained",
                    "kind": "other",
                    "price": _price_json(resting.agent.card.price),
                    "passes_to": [],
                    "breaker": resting.guard.breaker.state,
                    "in_flight": gate.inside,
                    "waiting": gate.waiting,
                }
            )
        return found

    async def join(
        self, base_url: str, *, name: str | None = None, price: Price | None = None, place: Place | None = None
    ) -> str:
        """Take in the agent of a node; return its name.

        Args:
            base_url: The node's address with its version.
            name: Who is expected there; None takes whoever it is.
            price: What it is taken to cost; None takes the node's word.
            place: Where it stands, in a network that is no chain by price.

        Raises:
            ConfigError: The address is none, or the network cannot have it.
            FaultError: The node cannot be reached, or does not show that it knows the secret.
        """
        variable = self._gateway.settings.hop_secret_env
        if problem := node_problem(base_url, has_secret=self._gateway.has_secret):
            raise ConfigError(f"'{base_url[:200]}' cannot join: {problem}.")
        address = NodeAddress(name=name or "", base_url=base_url, hop_secret_env=variable)
        about = await asyncio.to_thread(ask_node, address)
        card = about.card
        if name is not None and card.name != name:
            raise ConfigError(f"The node at that address serves agent '{card.name}', not '{name}'.")
        if about.draining:
            raise ConfigError(f"The node of agent '{card.name}' is ending.", hint="start it again first")
        from disrouter.agents.node import NodeAgent

        taken = AgentCard(
            name=card.name,
            price=price or card.price,
            context_length=card.context_length,
            parameters=card.parameters,
            competence=card.competence,
            seconds=card.seconds,
            details={**card.details, "backend": "node"},
        )
        agent = NodeAgent(taken, base_url=base_url, hop_secret_env=variable, model_digest=about.digest)
        async with self._changing:
            if card.name in self._resting:
                raise ConfigError(
                    f"There is an agent '{card.name}' already, which is drained.",
                    hint="have it resume, or leave before another one joins under its name",
                )
            await self._gateway.change(membership.joined(self._plain, agent, place))
        return card.name

    async def leave(self, name: str) -> None:
        """Take an agent out for good; what it has it finishes.

        Raises:
            ConfigError: Nobody would be left to answer.
            UnknownNameError: There is no such agent.
        """
        async with self._changing:
            if self._resting.pop(name, None) is None:
                await self._gateway.change(membership.without(self._plain, name))

    async def drain(self, name: str) -> None:
        """Give an agent no new queries; what it has it finishes, and it may resume.

        Raises:
            ConfigError: Nobody would be left to answer.
            UnknownNameError: There is no such agent.
        """
        async with self._changing:
            if name in self._resting:
                return
            plain, guards = self._plain, self._gateway.service.guards
            changed = membership.without(plain, name)
            resting = _Resting(plain.agents[name], guards[name], plain.edges)
            await self._gateway.change(changed)
            self._resting[name] = resting

    async def resume(self, name: str) -> None:
        """Have an agent serve again that was drained.

        Raises:
            ConfigError: The network cannot have it any more.
            UnknownNameError: Nobody of that name is drained.
        """
        async with self._changing:
            if name not in self._resting:
                raise UnknownNameError.of("drained agent", name, self._resting)
            resting = self._resting[name]
            await self._gateway.change(membership.returned(self._plain, resting.agent, resting.edges))
            del self._resting[name]

    async def reprice(self, name: str, price: Price) -> None:
        """Take an agent at another price from now on.

        Raises:
            ConfigError: The price does not go with the others.
            UnknownNameError: There is no such agent.
        """
        async with self._changing:
            await self._gateway.change(membership.repriced(self._plain, name, price))

    def still_resting(self, network: Network) -> Network:
        """Return a network as its file says, without those that rest; whoever the file does not know is forgotten."""
        for name in list(self._resting):
            if name not in network.agents:
                del self._resting[name]
                continue
            changed = membership.without(network, name)
            resting = self._resting[name]
            self._resting[name] = _Resting(network.agents[name], resting.guard, network.edges)
            network = changed
        return network

    @property
    def _plain(self) -> Network:
        return self._gateway.service.plain


def _price_json(price: Price) -> dict[str, float]:
    return {key: value for key, value in asdict(price).items()} | {
        "per": "query" if isinstance(price, QueryPrice) else "token"
    }
