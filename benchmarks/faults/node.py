"""One node of the experiment, as a process: `python node.py NAME TABLE ADDRESS PORT [--peer NAME=URL …]`.

SIGUSR1 has it answer garbage from then on, SIGUSR2 sense again.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from pool import AGENTS, Pool

from disrouter.agents._server import Patience
from disrouter.agents.node import NodeAgent
from disrouter.gateway.settings import Settings
from disrouter.nodes import Node, serve_node
from disrouter.nodes.server import access_for

SECRET = "FAULTS_SECRET"


def patience(seconds: float) -> Patience:
    """Return how long everybody waits for a node."""
    return Patience(connect=seconds, first_token=seconds, stall=seconds, total=5.0, retries=1)


class SpoiltNode(Node):
    """A node that can be told to answer garbage."""

    spoilt = False

    def app(self, routes: Any = ()) -> Any:
        inner = super().app(routes)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async def spoiling(message: Any) -> None:
                if self.spoilt and message["type"] == "websocket.send":
                    message = {"type": "websocket.send", "bytes": os.urandom(200)}
                await send(message)

            if not (self.spoilt and scope["type"] == "http" and scope["path"].startswith("/v1/agent")):
                await inner(scope, receive, spoiling)
                return
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": os.urandom(200)})

        return app


def main() -> None:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("table", type=Path)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--patience", type=float, default=2.0)
    arguments = parser.parse_args()

    pool = Pool(arguments.table)
    agent = pool.agent(arguments.name)
    network = None
    if arguments.peer:
        waits = patience(arguments.patience)
        urls = dict(peer.split("=", 1) for peer in arguments.peer)
        network = pool.network(
            [
                agent
                if name == arguments.name
                else NodeAgent(pool.cards[name], base_url=urls[name], hop_secret_env=SECRET, patience=waits)
                for name in AGENTS
            ],
            dispatch="peer",
        )
    settings, access = Settings(hop_secret_env=SECRET), access_for(arguments.address, None)
    measured = agent.card.competence  # of the model whose words are repeated here
    digest = measured.model if measured is not None else None
    node = SpoiltNode(agent, settings=settings, access=access, network=network, digest=digest)

    def spoil(number: int, _: object) -> None:
        node.spoilt = number == signal.SIGUSR1

    signal.signal(signal.SIGUSR1, spoil)
    signal.signal(signal.SIGUSR2, spoil)
    serve_node(node, host=arguments.address, port=arguments.port, drain=1.0)


if __name__ == "__main__":
    sys.exit(main())
