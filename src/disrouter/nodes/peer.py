"""Peer to peer: a node that goes on with walks itself.

Its call ``carry`` brings a walk so far; back come its hops as they settle, the answer's pieces, and its end. The node
knows the network file. It asks its own agent, decides, and passes the query on to the next agent's node.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from disrouter.agents._wire_values import Json
from disrouter.agents.baton import baton_from, broken_json, carried_json
from disrouter.agents.carrying import Variants, carry_on, require_ours
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import Travel
from disrouter.agents.peering import BEAT
from disrouter.errors import DisrouterError
from disrouter.gateway.guard import Guard
from disrouter.gateway.watch import Watch
from disrouter.network import Network
from disrouter.nodes.calls import LOG, NodeCall
from disrouter.peers import Arrived, Leg, Settled

if TYPE_CHECKING:
    from disrouter.nodes.app import Node
    from disrouter.nodes.channel import Reply

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

    def call(self, reply: Reply, message: Json) -> PeerCall:
        """Return the call that brings a walk."""
        return PeerCall(self, reply, message)

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

    name = "carry"

    def __init__(self, peers: Peers, reply: Reply, message: Json) -> None:
        super().__init__(peers.node, reply, message)
        self.peers = peers
        self._timer: asyncio.TimerHandle | None = None
        self._said = 0.0
        self._held: list[Json] = []
        """What others settled, which goes with the next word: whoever waits needs it only if this node is lost, and
        then knows whom to go on with."""

    async def _serve(self, left: float) -> None:
        variants = self.peers.variants
        self._require_open()
        leg = _arriving(baton_from(self.body.get("baton"), policy=variants.network.policy), self.travel, left)
        require_ours(variants.network, leg, self.node.name)
        self._said = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(BEAT, self._beat)
        try:
            with Watch(left):
                await self._carry(leg)
        finally:
            self._timer.cancel()

    async def _carry(self, leg: Leg) -> None:
        async with aclosing(carry_on(self.peers.variants, leg, here=self.node.name)) as events:
            async for event in events:
                said = carried_json(event)
                if isinstance(event, Settled) and event.hop.agent != self.node.name:
                    self._held.append(said)
                elif isinstance(event, Arrived):
                    self._tell_held()
                    self.reply.end(said)
                else:
                    self._tell_held()
                    await self.reply.say(said)

    def _tell_held(self) -> None:
        self._said = time.monotonic()
        held, self._held = self._held, []
        for said in held:
            self.reply.tell(said)

    def _beat(self) -> None:
        """Say what is held, or only that somebody is there, whenever nothing has been said for a while."""
        now = time.monotonic()
        if now - self._said >= BEAT:
            if not self._held:
                self.reply.beat()
            self._tell_held()
        self._timer = asyncio.get_running_loop().call_later(max(0.001, self._said + BEAT - now), self._beat)

    def _fail(self, error: Exception) -> None:
        if self._timer is None:  # the walk has not begun here
            super()._fail(error)
            return
        self._tell_held()
        if isinstance(error, TimeoutError):
            error = FaultError(f"Agent '{self.node.name}' ran out of time.", kind="timeout")
        elif not isinstance(error, DisrouterError):
            LOG.error("a walk failed: %s", type(error).__name__)
        self.reply.end(broken_json(error))


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
