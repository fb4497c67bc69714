"""A node: one agent in service, as an OpenAI-compatible model and as an agent of networks elsewhere.

As a model it is a gateway over a network of that one agent. Beside that it speaks the agent contract:

    GET /v1/agent            its card: prices, context, competence; model digest, version, whether it is draining
    GET /v1/agent/channel    a WebSocket for calls: what it thinks of a query, its answer, to go on with a walk

With a secret, both are open to who signs with it and to nobody else; without one, to this machine only.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from prometheus_client import Gauge
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from disrouter import __version__
from disrouter.agents.hops import Travel
from disrouter.agents.hosting import Hosting
from disrouter.agents.wire import WIRE
from disrouter.agents.wire_cards import card_json
from disrouter.gateway.access import Access
from disrouter.gateway.app import Gateway, RawEndpoint, Settings
from disrouter.gateway.counts import Tally
from disrouter.gateway.endpoints import Door
from disrouter.gateway.errors import ProblemError
from disrouter.gateway.hosts import is_local
from disrouter.gateway.metrics import BreakerState, Metrics
from disrouter.network import Network
from disrouter.nodes.calls import AnswerCall, LookCall, ReleaseCall
from disrouter.nodes.channel import MakeCall, NodeChannel
from disrouter.nodes.peer import PeerCall, Peers
from disrouter.types import Agent

__all__ = ["Node"]


class Node:
    """One agent in service.

    Args:
        agent: The agent.
        settings: What is allowed; names the variable with the secret.
        access: Who may ask it as a plain model. Default: anybody.
        digest: Digest of its model, where that lies here.
        looks: Most looks that are held for their answers.
        look_seconds: How long one is held.
        network: The whole network that it is an agent of, where this process knows it; with ``dispatch`` peer the node
            passes queries on itself.
        warm: Whether a model of this process is loaded from the start instead of at its first look.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        settings: Settings | None = None,
        access: Access | None = None,
        digest: str | None = None,
        looks: int = 256,
        look_seconds: float = 60.0,
        network: Network | None = None,
        warm: bool = True,
    ) -> None:
        self.name = agent.card.name
        self.digest = digest
        self.network = network
        self.metrics = Metrics([self.name])
        self.gateway = Gateway(
            Network(self.name, [agent]),
            access=access,
            recorder=self.metrics,
            settings=settings,
            on_change=self._show,
            on_flight=lambda started: self.metrics.started() if started else self.metrics.finished(),
            on_shed=self.metrics.shed,
            warm=warm,
        )
        self.hosting = Hosting(self.gateway.service.guards[self.name], most=looks, seconds=look_seconds)
        self.calls = Tally(
            "disrouter_node_calls",
            "Calls of networks elsewhere, by what came of them.",
            ["call", "outcome"],
            self.metrics.registry,
        )
        held = Gauge("disrouter_node_looks", "Looks held for their answers.", registry=self.metrics.registry)
        held.set_function(lambda: self.hosting.held)

    def app(self, routes: Sequence[BaseRoute] = ()) -> Door:
        """Return the ASGI app; ``routes`` are more of them."""
        peers = Peers(self, self.network) if self.network is not None and self.network.dispatch == "peer" else None
        return self.gateway.app(
            [
                Route("/v1/agent", self.card, methods=["GET"]),
                WebSocketRoute("/v1/agent/channel", self._channel(peers)),
                Route("/metrics", self.show_metrics, methods=["GET"]),
                *routes,
            ],
            on_start=peers.open if peers else None,
            on_stop=peers.close if peers else None,
        )

    @property
    def busy(self) -> bool:
        """Whether somebody still waits for what was begun here."""
        return self.gateway.in_flight > 0 or self.hosting.held > 0

    def count(self, call: str, outcome: str) -> None:
        """Count a call of a network elsewhere."""
        self.calls.at(call, outcome).value += 1

    def travel(self, scope: Scope, headers: Mapping[str, str], body: bytes) -> Travel:
        """Return what a call from a network elsewhere carries along.

        Raises:
            ProblemError: Its sender has not signed it, or is on another machine while there is no secret.
        """
        travel = self.gateway.travel(scope["path"], headers, body, required=True)
        client = scope.get("client")
        if not self.gateway.has_secret and client is not None and not is_local(_host_of(client[0])):
            raise ProblemError(
                403,
                "This node has no secret, so only networks on its own machine may call its agent.",
                code="secret_needed",
                error="caller_key",
            )
        return travel

    def about(self) -> dict[str, Any]:
        """Return what others may know of the agent and its process."""
        return {
            "object": "agent",
            "wire": WIRE,
            "version": __version__,
            "digest": self.digest,
            "draining": self.gateway.draining,
            "card": card_json(self.hosting.agent.card),
        }

    async def card(self, request: HttpRequest) -> Response:
        """The agent's card, and the proof that it is from a node that knows the secret."""
        headers = dict(request.headers)
        self.travel(request.scope, headers, b"")
        body = orjson.dumps(self.about())
        return Response(body, media_type="application/json", headers=self.gateway.proof(headers, body))

    async def show_metrics(self, request: HttpRequest) -> Response:
        """Everything Prometheus wants; where keys are needed, it needs one."""
        self.gateway.access.look(request.headers.get("authorization"))
        return self.metrics.response()

    def _show(self, states: Mapping[str, BreakerState]) -> None:
        for name, state in states.items():
            self.metrics.breaker(name, state)

    def _channel(self, peers: Peers | None) -> RawEndpoint:
        calls: dict[str, MakeCall] = {
            kind.name: functools.partial(kind, self) for kind in (LookCall, AnswerCall, ReleaseCall)
        }
        if peers is not None:
            calls[PeerCall.name] = peers.call

        async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
            await NodeChannel(self, calls, scope, receive, send).run()

        return RawEndpoint(endpoint)


def _host_of(address: str) -> str:
    return f"[{address}]" if ":" in address else address
