"""Nodes that pass queries on among themselves, in this process and on free ports of loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from disrouter.agents._server import Patience
from disrouter.agents.node import NodeAgent
from disrouter.gateway.server import bound_socket
from disrouter.network import Network
from disrouter.nodes.app import Node
from disrouter.types import Agent
from nodes.running import _Server

__all__ = ["IMPATIENT", "Peered", "peered", "with_agents"]

IMPATIENT = Patience(connect=2.0, first_token=10.0, stall=10.0, total=20.0, retries=0)


@dataclass
class Peered:
    """A network whose agents are all nodes, as somebody else sees it."""

    network: Network
    nodes: dict[str, Node] = field(default_factory=dict)
    _servers: dict[str, tuple[_Server, asyncio.Task[None]]] = field(default_factory=dict)

    async def stop(self, name: str) -> None:
        """End a node."""
        server, served = self._servers.pop(name)
        server.should_exit = True
        await served


def with_agents(network: Network, agents: Mapping[str, Agent]) -> Network:
    """Return a network with other agents of the same names, peer to peer."""
    return Network(
        network.name,
        agents,
        network.edges,
        policy=network.policy,
        scenario=network.scenario,
        limits=network.limits,
        dispatch="peer",
    )


@contextlib.asynccontextmanager
async def peered(
    network: Network, *, patience: Patience = IMPATIENT, addresses: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[Peered]:
    """Serve every agent of a network as a node for as long as the block runs.

    Agents in ``addresses`` have no node: their address leads elsewhere.
    """
    elsewhere = dict(addresses or {})
    socks = {name: bound_socket("127.0.0.1", 0) for name in network.agents if name not in elsewhere}
    urls = {name: f"http://127.0.0.1:{sock.getsockname()[1]}/v1" for name, sock in socks.items()} | elsewhere
    secret = getattr(options.get("settings"), "hop_secret_env", None)

    def seen(here: str | None) -> Network:
        others = {
            name: NodeAgent(agent.card, base_url=urls[name], patience=patience, hop_secret_env=secret)
            for name, agent in network.agents.items()
        }
        return with_agents(network, others if here is None else {**others, here: network.agents[here]})

    found = Peered(seen(None))
    for name, sock in socks.items():
        node = Node(network.agents[name], network=seen(name), **options)
        server = _Server(node, node.app(), patience=5.0)
        found.nodes[name] = node
        found._servers[name] = server, asyncio.create_task(server.serve([sock]))
    for server, served in found._servers.values():
        while not server.started:
            assert not served.done(), served.result()
            await asyncio.sleep(0.002)
    agents: list[Any] = list(found.network.agents.values())
    for agent in agents:
        agent.open()
    try:
        yield found
    finally:
        for agent in agents:
            await agent.aclose()
        for name in list(found._servers):
            await found.stop(name)
