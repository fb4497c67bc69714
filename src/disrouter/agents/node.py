"""Nodes: agents that a DiSRouter elsewhere serves (``disrouter agent serve``), reached over a channel.

Everything is JSON (:mod:`disrouter.agents.channel`). What breaks there breaks here in the same words, so a query takes
the same route wherever its agents are.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import orjson

from disrouter.agents._server import PATIENCE, Patience, Server
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import Travel, travel_of
from disrouter.agents.line import Line
from disrouter.agents.peering import carried_by
from disrouter.agents.remote import RemoteAgent
from disrouter.agents.wire import WIRE
from disrouter.peers import Carried, Leg
from disrouter.types import AgentCard, Query

__all__ = ["NodeAgent"]

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
        self.line = Line(self.server)
        self.base_url = base_url
        self.model_digest = model_digest
        self.version = version
        expected = {"digest": model_digest, "version": version}
        self._expected = {key: value for key, value in expected.items() if value}
        super().__init__(card, _Calls(self.server, self.line, self._expected))

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
        return carried_by(self.server, self.line, leg, self._expected)

    def open(self) -> None:
        """Keep a channel to the node from now on, in the running event loop, until :meth:`aclose`."""
        self.line.open()

    async def aclose(self) -> None:
        """Give back what is held there, and let go of the channel."""
        await super().aclose()
        await self.line.aclose()


class _Calls:
    """The calls of the agent contract over a line."""

    def __init__(self, server: Server, line: Line, expected: Mapping[str, str]) -> None:
        self._server = server
        self._line = line
        self._expected = expected

    async def look(self, call: dict[str, Any], query: Query) -> Any:
        """Return the look of a call."""
        travel = travel_of(query)
        seconds = min(self._server.patience.first_token, self._total(travel))
        return await self._line.one("look", self._body(call), travel=travel, seconds=seconds)

    async def answer(self, call: dict[str, Any], query: Query) -> AsyncGenerator[Any, None]:
        """Yield the pieces of the answer of a call; whoever stops listening stops the work there."""
        travel, patience = travel_of(query), self._server.patience
        total = self._total(travel)
        streaming = not call.get("whole") and (query.request is None or query.request.streaming)
        said = self._line.many(
            "answer",
            self._body(call),
            travel=travel,
            total=total,
            first=patience.first_token if streaming else total,
            stall=max(patience.stall, patience.first_token) if streaming else total,
        )
        async with aclosing(said) as pieces:
            async for piece in pieces:
                yield piece

    async def release(self, tickets: Sequence[str]) -> None:
        """Let go of looks."""
        body = orjson.dumps({"wire": WIRE, "agent": self._server.agent, "tickets": list(tickets)})
        await self._line.one("release", body, travel=Travel(), seconds=RELEASE_SECONDS)

    def _body(self, call: dict[str, Any]) -> bytes:
        try:
            return orjson.dumps({**call, "expected": self._expected} if self._expected else call)
        except TypeError:  # what can be read cannot always be written: nesting, say
            raise FaultError(
                f"The request cannot be sent to agent '{self._server.agent}': it is nested too deeply.", kind="request"
            ) from None

    def _total(self, travel: Travel) -> float:
        total = self._server.patience.total
        return total if travel.seconds is None else max(0.001, min(total, travel.seconds))
