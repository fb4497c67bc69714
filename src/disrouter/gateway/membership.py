"""Membership: who is in a network while it is served. Agents join, leave, rest and change their price.

A change makes a new network; requests that have begun end in the one they began in, so none is lost. Where agents ask
each other by rising price, whoever comes or changes its price finds its place by it; in any other graph it is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from disrouter import _graph
from disrouter.agents.recarded import Recarded, innermost
from disrouter.errors import ConfigError, UnknownNameError
from disrouter.network import Network
from disrouter.types import Agent, Price

__all__ = ["Place", "joined", "repriced", "returned", "without"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an agent stands in a graph that is no chain by price."""

    asked_by: tuple[str, ...] = ()
    """Who passes queries to it; nobody: it is asked first."""

    passes_to: tuple[str, ...] = ()
    """Whom it passes queries to; nobody: it always answers."""


def joined(network: Network, agent: Agent, place: Place | None = None) -> Network:
    """Return the network with one more agent.

    Raises:
        ConfigError: The name is taken, or nobody can tell where the agent shall stand.
        UnknownNameError: Its place names nobody.
    """
    name = agent.card.name
    if name in network.agents:
        raise ConfigError(
            f"There is an agent '{name}' in network '{network.name}' already; two cannot have one name.",
            hint="drain the other one and have it leave first, or serve this one under another name",
        )
    agents = {**network.agents, name: agent}
    if place is None:
        if not _is_chain_by_price(network):
            raise ConfigError(
                f"Network '{network.name}' has edges of its own: nobody knows where '{name}' shall stand.",
                hint="say whom it is asked by, and whom it passes to",
            )
        return network.with_agents(agents)
    for other in (*place.asked_by, *place.passes_to):
        if other not in network.agents:
            raise UnknownNameError.of("agent", other, network.agents, where=f"network '{network.name}'")
    edges = {
        other: (name, *successors) if other in place.asked_by else successors
        for other, successors in network.edges.items()
    }
    return network.with_agents(agents, {**edges, name: place.passes_to})


def without(network: Network, name: str) -> Network:
    """Return the network with one agent less.

    Raises:
        ConfigError: Nobody would be left, or nobody who may answer.
        UnknownNameError: There is no such agent.
    """
    if tuple(network.agents) == (name,):
        raise ConfigError(
            f"'{name}' is the only agent of network '{network.name}': without it nobody could answer.",
            hint="have another one join first",
        )
    return network.without(name)


def repriced(network: Network, name: str, price: Price) -> Network:
    """Return the network with one agent at another price.

    Raises:
        ConfigError: The price does not go with the others.
        UnknownNameError: There is no such agent.
    """
    if name not in network.agents:
        raise UnknownNameError.of("agent", name, network.agents, where=f"network '{network.name}'")
    agent = network.agents[name]
    inner = innermost(agent)
    changed = Recarded(inner, replace(agent.card, price=price))
    edges = None if _is_chain_by_price(network) else network.edges
    return network.with_agents({**network.agents, name: changed}, edges)


def returned(network: Network, agent: Agent, edges: Mapping[str, tuple[str, ...]]) -> Network:
    """Return the network with an agent again that was taken out of it.

    Args:
        network: The network as it is now.
        agent: The agent.
        edges: Those before it was taken out: where nothing else has changed since, they are as they were; else it
            stands between those that are still there.

    Raises:
        ConfigError: The network cannot have it any more.
    """
    name = agent.card.name
    if _graph.without(list(edges), edges, [name]) == dict(network.edges):
        return network.with_agents({**network.agents, name: agent}, edges)
    if _is_chain_by_price(network):
        return joined(network, agent)
    asked_by = tuple(other for other, to in edges.items() if name in to and other in network.agents)
    passes_to = tuple(other for other in edges[name] if other in network.agents)
    return joined(network, agent, Place(asked_by=asked_by, passes_to=passes_to))


def _is_chain_by_price(network: Network) -> bool:
    prices = {name: agent.card.price for name, agent in network.agents.items()}
    if len({type(price) for price in prices.values()}) > 1:
        return False
    return dict(network.edges) == _graph.cascade({name: price.rank for name, price in prices.items()})
