"""A gateway that really runs, in this process and on a free port of loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from disrouter.agents.openai_compatible import OpenAICompatibleAgent, Patience
from disrouter.gateway.app import Gateway, Settings
from disrouter.gateway.records import RouteRecord
from disrouter.gateway.server import GatewayServer, bound_socket
from disrouter.network import Network
from disrouter.types import Agent, AgentCard, QueryPrice, Serving

__all__ = ["Kept", "Running", "behind", "running"]


class Kept:
    """A recorder that keeps everything."""

    def __init__(self) -> None:
        self.routes: list[RouteRecord] = []

    def record(self, route: RouteRecord) -> None:
        self.routes.append(route)


class _Server(GatewayServer):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # those are the test runner's


@dataclass
class Running:
    """A gateway at work, and a client for it."""

    gateway: Gateway
    kept: Kept
    url: str
    http: aiohttp.ClientSession
    server: GatewayServer
    served: asyncio.Task[None] = field(repr=False)

    async def post(
        self, path: str = "/v1/chat/completions", /, body: Any = None, headers: Any = None, **fields: Any
    ) -> tuple[int, Any, dict[str, str]]:
        """Send a request and return status, JSON and headers."""
        data = body if body is not None else ask(**fields)
        async with self.http.post(self.url + path, json=data, headers=headers) as reply:
            return reply.status, await reply.json(content_type=None), {k.lower(): v for k, v in reply.headers.items()}

    async def events(self, path: str = "/v1/chat/completions", /, body: Any = None, **fields: Any) -> list[str]:
        """Send a request that streams and return the data of every event."""
        data = body if body is not None else ask(**{"stream": True, **fields})
        async with self.http.post(self.url + path, json=data) as reply:
            assert reply.status == 200, await reply.text()
            text = await reply.text()
        return [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]


def ask(text: str = "What is 2 + 2?", **fields: Any) -> dict[str, Any]:
    """Return the body of a chat completion request."""
    return {"model": "disrouter", "messages": [{"role": "user", "content": text}], **fields}


def behind(
    name: str,
    url: str,
    cost: float = 0.5,
    *,
    serving: Serving | None = None,
    patience: Patience | None = None,
    **settings: Any,
) -> OpenAICompatibleAgent:
    """Return an agent behind a server; its patience is short, and it is asked once."""
    return OpenAICompatibleAgent(
        AgentCard(name=name, price=QueryPrice(cost=cost), serving=serving or Serving(), details={"backend": "openai"}),
        model=f"model-of-{name}",
        base_url=url,
        patience=patience or Patience(connect=2.0, first_token=2.0, stall=2.0, total=5.0, retries=0),
        **settings,
    )


@contextlib.asynccontextmanager
async def running(
    *agents: Agent,
    network: Network | None = None,
    routes: Sequence[Any] | Callable[[Gateway], Sequence[Any]] = (),
    **options: Any,
) -> AsyncIterator[Running]:
    """Serve agents, or a network, for as long as the block runs; ``routes`` may ask for the gateway they belong to."""
    kept = Kept()
    settings = options.pop("settings", None) or Settings()
    gateway = Gateway(network or Network("test", agents), recorder=kept, settings=settings, **options)
    server = _Server(gateway, gateway.app(routes(gateway) if callable(routes) else routes), settle=0.0, patience=5.0)
    sock = bound_socket("127.0.0.1", 0)
    port = sock.getsockname()[1]
    served = asyncio.create_task(server.serve([sock]))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        while not server.started:
            assert not served.done(), served.result()
            await asyncio.sleep(0.002)
        try:
            yield Running(gateway, kept, f"http://127.0.0.1:{port}", http, server, served)
        finally:
            await http.close()
            server.should_exit = True
            await served
