"""The process around a node: where it listens, how it ends.

SIGTERM and SIGINT: looks are refused, so that nobody new comes; whoever has a look may still have its answer; when
nothing is held any more it ends. A second signal ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import time
from collections.abc import Callable, Sequence

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from disrouter.agents.addresses import is_loopback
from disrouter.agents.channel import LARGEST_FRAME
from disrouter.agents.sealing import MAC_BYTES
from disrouter.errors import ConfigError
from disrouter.gateway.access import Access
from disrouter.gateway.hosts import LocalOnly
from disrouter.gateway.keys import Key, digest_of
from disrouter.gateway.server import GatewayServer, bound_socket
from disrouter.nodes.app import Node

__all__ = ["NodeServer", "access_for", "require_secret", "serve_node"]

SETTLE = 0.5
"""Seconds, at the least, between no longer looking and no longer answering."""

LOST = 120.0
"""Seconds after which a caller that does not reply to a ping has gone; one that computes may be busy for long."""


def require_secret(host: str, *, has_secret: bool) -> None:
    """Do nothing if a node may listen at a host.

    Raises:
        ConfigError: Others could reach it, and nobody has to sign.
    """
    if not has_secret and not is_loopback(host):
        raise ConfigError(
            f"Host '{host}' can be reached from other machines, and there is no secret: anybody could use the agent.",
            hint="share one with --hop-secret-env NAME, or listen at 127.0.0.1",
        )


def access_for(host: str, key_variable: str | None) -> Access:
    """Return who may ask a node's agent as a plain model: whoever has its key; without one, this machine only."""
    key = os.environ.get(key_variable) if key_variable is not None else None
    keys = [Key(id="node", name="node", digest=digest_of(key), created=0.0)] if key else []
    return Access(keys, keys_required=not is_loopback(host))


class NodeServer(GatewayServer):
    """Runs a node until it is told to end.

    Args:
        node: The node.
        app: Its app.
        patience: Seconds that what was begun has to end.
        ready: Called with the port once calls are accepted.
        leash: A file descriptor; when it comes to its end, so does the node.
    """

    def __init__(
        self,
        node: Node,
        app: ASGIApp,
        *,
        patience: float = 60.0,
        ready: Callable[[int], None] | None = None,
        leash: int | None = None,
    ) -> None:
        super().__init__(node.gateway, app, settle=SETTLE, patience=patience, ready=ready)
        self.config.ws = "websockets-sansio"
        self.config.ws_per_message_deflate = False
        self.config.ws_max_size = LARGEST_FRAME + MAC_BYTES
        self.config.ws_ping_timeout = LOST
        self.node = node
        self.patience = patience
        self._leash = leash

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, and to feel the leash."""
        await super().startup(sockets)
        if self._leash is not None:
            asyncio.get_running_loop().add_reader(self._leash, self._pulled)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end now: when it is time, and nobody has a look to go on from."""
        over = await super().on_tick(counter)
        if over and not self.should_exit and self.node.busy and time.monotonic() < self._ends_at + self.patience:
            return False
        return over

    def _fresh(self) -> bool:
        """Return whether the request of somebody who has just connected, or the reply to a call, is on its way."""
        connections = self.server_state.connections
        return self.gateway.in_flight > 0 or any(getattr(one, "cycle", one) is None for one in connections)

    def _pulled(self) -> None:
        """End as at a signal when whoever started this node is gone."""
        assert self._leash is not None
        if os.read(self._leash, 1024):
            return
        asyncio.get_running_loop().remove_reader(self._leash)
        if not self.gateway.draining:
            self.gateway.drain()
            self._ends_at = time.monotonic() + self.settle


def serve_node(
    node: Node,
    *,
    host: str,
    port: int,
    drain: float,
    routes: Sequence[BaseRoute] = (),
    ready: Callable[[int], None] | None = None,
    leash: int | None = None,
) -> None:
    """Serve a node until a signal ends it.

    Args:
        node: The node.
        host: Where to listen.
        port: At which port; 0 takes a free one.
        drain: Seconds that what was begun has to end at SIGTERM.
        routes: More routes.
        ready: Called with the port once calls are accepted.
        leash: A file descriptor; when it comes to its end, so does the node.

    Raises:
        ConfigError: The address cannot or must not be listened at, or a key that the agent needs is not there.
    """
    require_secret(host, has_secret=node.gateway.has_secret)
    node.gateway.service.require_keys()
    app = LocalOnly(node.app(routes), lambda: node.gateway.access.open)
    gc.collect()
    gc.freeze()
    with contextlib.closing(bound_socket(host, port)) as sock:
        server = NodeServer(node, app, patience=drain, ready=ready, leash=leash)
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(server.serve([sock]))
