"""Nodes: agents that a DiSRouter elsewhere serves (``disrouter agent serve``), reached over HTTP.

Everything is JSON: a call goes out signed where a secret is shared, a look comes back as one object, an answer as one
object a line. What breaks there breaks here in the same words, so a query takes the same route wherever its agents are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import aiohttp
import orjson

from disrouter.agents._server import PATIENCE, Patience, Server
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import Travel, travel_of
from disrouter.agents.peering import carried_by
from disrouter.agents.remote import RemoteAgent
from disrouter.agents.wire import WIRE
from disrouter.peers import Carried, Leg
from disrouter.types import AgentCard, Query

__all__ = ["NodeAgent"]

LARGEST_LINE = 8 * 1024 * 1024
RELEASE_SECONDS = 5.0


class NodeAgent(RemoteAgent):
    """An agent behind a node.

    Args:
        card: The agent's card, as it is taken here.
        base_url: The node's address with its version, say ``http://10.0.0.7:9000/v1``.
        hop_secret_env: Environment variable with the secret shared with the node.
        patience: How long the node may take.
        model_digest: Digest of the model that must be behind it; a node with another one refuses.
        version: Version of DiSRouter that it must run; a node with another one refuses.
    """

    def __init__(
        self,
        card: AgentCard,
        *,
        base_url: str,
        hop_secret_env: str | None = None,
        patience: Patience = PATIENCE,
        model_digest: str | None = None,
        version: str | None = None,
    ) -> None:
        self.server = Server(card.name, base_url, hop_secret_env=hop_secret_env, patience=patience)
        self.base_url = base_url
        self.model_digest = model_digest
        self.version = version
        expected = {"digest": model_digest, "version": version}
        self._expected = {key: value for key, value in expected.items() if value}
        super().__init__(card, _Http(self.server, self._expected))

    @property
    def hop_secret_env(self) -> str | None:
        """Environment variable that holds the secret shared with the node."""
        return self.server.hop_secret_env

    def carry(self, leg: Leg) -> AsyncGenerator[Carried, None]:
        """Have the node go on with a walk, and yield what happens to it (:mod:`disrouter.peers`).

        Raises:
            AgentError: The node could not go on, or was lost.
            RunError: The answer broke off after it had begun.
        """
        return carried_by(self.server, leg, self._expected)

    def open(self) -> None:
        """Keep connections to the node from now on, in the running event loop, until :meth:`aclose`."""
        self.server.open()

    async def aclose(self) -> None:
        """Give back what is held there, and let go of every connection."""
        await super().aclose()
        await self.server.aclose()


class _Http:
    """Calls over HTTP."""

    def __init__(self, server: Server, expected: Mapping[str, str]) -> None:
        self._server = server
        self._expected = dict(expected)

    async def look(self, call: dict[str, Any], query: Query) -> Any:
        """Return the look of a call."""
        travel = travel_of(query)
        timeout = min(self._server.patience.first_token, self._total(travel))
        return await self._server.json("agent/look", self._of(call), timeout=timeout, travel=travel)

    async def answer(self, call: dict[str, Any], query: Query) -> AsyncGenerator[Any, None]:
        """Yield the pieces of the answer of a call; whoever stops listening stops the work there."""
        travel, patience = travel_of(query), self._server.patience
        streaming = not call.get("whole") and (query.request is None or query.request.streaming)
        total = self._total(travel)
        stall = max(patience.stall, patience.first_token) if streaming else total
        async with (
            self._server.replying("agent/answer", self._of(call), total=total, stall=stall, travel=travel) as response,
            aclosing(lines_of(self._server, response)) as lines,
        ):
            if streaming:
                yield await self._first(lines)
            async for line in lines:
                yield line

    async def release(self, tickets: Sequence[str]) -> None:
        """Let go of looks."""
        body = {"wire": WIRE, "agent": self._server.agent, "tickets": list(tickets)}
        await self._server.json("agent/release", body, timeout=RELEASE_SECONDS, travel=Travel())

    async def _first(self, lines: AsyncGenerator[Any, None]) -> Any:
        seconds = self._server.patience.first_token
        try:
            async with asyncio.timeout(seconds):
                return await anext(lines)
        except TimeoutError:
            raise FaultError(f"Agent '{self._server.agent}' said nothing in {seconds:g} s.", kind="timeout") from None
        except StopAsyncIteration:
            raise FaultError(f"The answer of agent '{self._server.agent}' broke off.", kind="cut") from None

    def _of(self, call: dict[str, Any]) -> dict[str, Any]:
        return {**call, "expected": self._expected} if self._expected else call

    def _total(self, travel: Travel) -> float:
        total = self._server.patience.total
        return total if travel.seconds is None else max(0.001, min(total, travel.seconds))


async def lines_of(server: Server, response: aiohttp.ClientResponse) -> AsyncGenerator[Any, None]:
    """Yield the JSON values of a reply with one a line.

    Raises:
        FaultError: The reply breaks off, or is something else.
    """
    rest = b""
    try:
        async for received in response.content.iter_any():
            *lines, rest = (rest + received).split(b"\n")
            for line in lines:
                yield orjson.loads(line)
            if len(rest) > LARGEST_LINE:
                raise FaultError(f"Agent '{server.agent}' sent a piece that is too large.", kind="malformed")
    except orjson.JSONDecodeError:
        raise FaultError(f"Agent '{server.agent}' sent something that is no JSON.", kind="malformed") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        raise server.fault_of(exc) from None
    if rest:
        raise FaultError(f"The answer of agent '{server.agent}' broke off.", kind="cut")
