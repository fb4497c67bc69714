"""Peer to peer: a node that goes on with walks itself.

    POST /v1/agent/carry     a walk so far; back come its hops as they settle, the answer's pieces, and its end

The node knows the network file. It asks its own agent, decides, and passes the query on to the next agent's node.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from disrouter.agents.baton import baton_from, broken_json, carried_json
from disrouter.agents.carrying import Variants, carry_on, require_ours
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import Travel
from disrouter.agents.peering import BEAT
from disrouter.errors import DisrouterError
from disrouter.gateway.app import RawEndpoint
from disrouter.gateway.asking import json_of
from disrouter.gateway.bodies import read_body
from disrouter.gateway.guard import Guard
from disrouter.network import Network
from disrouter.nodes.calls import LINES, LOG, NodeCall
from disrouter.peers import Leg, Settled

if TYPE_CHECKING:
    from disrouter.nodes.app import Node

__all__ = ["Peers"]

STOP_SECONDS = 5.0


class Peers:
    """What a node has to know to go on with walks.

    Args:
        node: The node.
        network: The network; the node's own agent is the one that it serves.
    """

    def __init__(self, node: Node, network: Network) -> None:
        own = node.gateway.service.guards[node.name]
        # A peer that is broken is left alone here as by a gateway; the own agent has one gate, however it is asked.
        guards = {
            name: Guard(agent, guard=own if name == node.name else None) for name, agent in network.agents.items()
        }
        self.node = node
        self.agents = {name: agent for name, agent in network.agents.items() if name != node.name}
        self.variants = Variants(network.with_agents(guards, network.edges))
        self._loop: asyncio.AbstractEventLoop | None = None

    def routes(self) -> Sequence[BaseRoute]:
        """Return the route that takes walks."""

        async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
            await PeerCall(self, scope, receive, send).run()

        return [Route("/v1/agent/carry", RawEndpoint(endpoint), methods=["POST"])]

    def open(self) -> None:
        """Keep connections to peers; call it in the event loop that serves."""
        self._loop = asyncio.get_running_loop()
        for agent in self.agents.values():
            start = getattr(agent, "open", None)
            if start is not None:
                start()

    def close(self) -> None:
        """Let go of them; called from another thread while the loop still runs."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self.aclose(), self._loop).result(STOP_SECONDS)

    async def aclose(self) -> None:
        """Let go of all connections."""
        for agent in self.agents.values():
            close = getattr(agent, "aclose", None)
            if close is not None:
                await close()


class PeerCall(NodeCall):
    """One walk that came here; used once."""

    def __init__(self, peers: Peers, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(peers.node, "carry", scope, receive, send)
        self.peers = peers
        self._said = 0.0
        self._held = b""
        """What others settled, which goes with the next line: whoever waits needs it only if this node is lost, and
        then knows whom to go on with."""

    async def _serve(self) -> None:
        gateway, variants = self.node.gateway, self.peers.variants
        gateway.require_sound_headers(self.headers)
        raw = await read_body(self.receive, self.headers, gateway.settings)
        travel = self.node.travel(self.scope, self.headers, raw)
        body = json_of(raw)
        self._require_expected(body)
        self._require_open()
        left = gateway.time_for(self.headers, travel)
        leg = _arriving(baton_from(body.get("baton"), policy=variants.network.policy), travel, left)
        require_ours(variants.network, leg, self.node.name)
        watcher = asyncio.create_task(self._watch(asyncio.current_task()))
        try:
            async with asyncio.timeout(left):
                await self._carry(leg)
        finally:
            watcher.cancel()

    async def _carry(self, leg: Leg) -> None:
        await self._start(200, LINES)  # goes out at once, and says that the query is here
        self._said = time.monotonic()
        beating = asyncio.create_task(self._beat())
        try:
            async with aclosing(carry_on(self.peers.variants, leg, here=self.node.name)) as events:
                async for event in events:
                    line = orjson.dumps(carried_json(event)) + b"\n"
                    if isinstance(event, Settled) and event.hop.agent != self.node.name:
                        self._held += line
                    else:
                        await self._say(line)
        finally:
            beating.cancel()
        await self.send({"type": "http.response.body", "body": b""})

    async def _say(self, line: bytes) -> None:
        self._said = time.monotonic()
        line, self._held = self._held + line, b""
        await self.send({"type": "http.response.body", "body": line, "more_body": True})

    async def _beat(self) -> None:
        """Say what is held, or only that somebody is there, whenever nothing has been said for a while."""
        with contextlib.suppress(OSError):  # whoever listened has gone, and the watcher says so
            while True:
                await asyncio.sleep(max(0.0, self._said + BEAT - time.monotonic()))
                if time.monotonic() - self._said >= BEAT:
                    await self._say(b"\n")

    async def _fail(self, error: Exception) -> None:
        """Tell the caller what happened, in the way that is still open."""
        if not self.begun:
            await super()._fail(error)
            return
        if isinstance(error, TimeoutError):
            error = FaultError(f"Agent '{self.node.name}' ran out of time.", kind="timeout")
        elif not isinstance(error, DisrouterError):
            LOG.error("a walk failed: %s", type(error).__name__)
        line = self._held + orjson.dumps(broken_json(error)) + b"\n"
        await self.send({"type": "http.response.body", "body": line})


def _arriving(leg: Leg, travel: Travel, left: float) -> Leg:
    """Return a leg with what travelled beside it, on the clock of this process. Hosts on the way are no gateways."""
    request = leg.query.request
    if request is None:
        return leg
    request = replace(
        request,
        deadline=time.monotonic() + left,
        via=travel.via,
        max_cost=travel.max_cost,
        max_hops=travel.max_hops,
        traceparent=travel.traceparent,
    )
    return replace(leg, query=replace(leg.query, request=request))
