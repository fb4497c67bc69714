"""A node that really runs, in this process and on a free port of loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from disrouter.agents._server import Patience
from disrouter.agents.node import NodeAgent
from disrouter.gateway.server import bound_socket
from disrouter.nodes.app import Node
from disrouter.nodes.server import NodeServer
from disrouter.types import Agent, AgentCard

__all__ = ["RunningNode", "far", "noded"]

PATIENCE = Patience(connect=10.0, first_token=20.0, stall=20.0, total=30.0, retries=0)


class _Server(NodeServer):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # those are the test runner's


@dataclass
class RunningNode:
    """A node at work."""

    node: Node
    url: str
    server: NodeServer
    served: asyncio.Task[None]

    def agent(self, *, card: AgentCard | None = None, **settings: Any) -> NodeAgent:
        """Return the agent as networks elsewhere have it."""
        found = NodeAgent(
            card or self.node.gateway.service.guards[self.node.name].card,
            base_url=self.url,
            patience=settings.pop("patience", PATIENCE),
            **settings,
        )
        found.open()
        return found


@contextlib.asynccontextmanager
async def noded(agent: Agent, *, routes: Sequence[Any] = (), **options: Any) -> AsyncIterator[RunningNode]:
    """Serve an agent as a node for as long as the block runs."""
    node = Node(agent, **{"warm": False, **options})
    server = _Server(node, node.app(routes), patience=5.0)
    sock = bound_socket("127.0.0.1", 0)
    served = asyncio.create_task(server.serve([sock]))
    while not server.started:
        assert not served.done(), served.result()
        await asyncio.sleep(0.002)
    try:
        yield RunningNode(node, f"http://127.0.0.1:{sock.getsockname()[1]}/v1", server, served)
    finally:
        server.should_exit = True
        await served


@contextlib.asynccontextmanager
async def far(*agents: Agent) -> AsyncIterator[list[NodeAgent]]:
    """Serve every agent as a node, and give them as networks elsewhere have them."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(noded(agent)) for agent in agents]
        found = [node.agent() for node in nodes]
        for agent in found:
            stack.push_async_callback(agent.aclose)
        yield found
