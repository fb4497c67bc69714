"""A look over bare HTTP: no signature, no gate, no checks. What any agent behind HTTP takes at the least."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson

from disrouter.types import Agent, AgentCard, Completion, Look, Query, Sampling, Scenario, Usage

__all__ = ["BareAgent", "app"]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reject the query "k" unless it is for the agent "k"."""
    received = b""
    while (event := await receive()).get("more_body"):
        received += event.get("body", b"")
    received += event.get("body", b"")
    asked = orjson.loads(received) if received else {"agent": "agent-1", "query": {"id": "q1"}}
    sure = int(asked["agent"][-1]) >= int(asked["query"]["id"][1:])
    body = orjson.dumps({"confidence": 0.9 if sure else 0.1, "accepts": None, "usage": [10, 0], "seconds": 0.0})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class BareAgent:
    """An agent whose looks are asked for over bare HTTP; its answer is here."""

    def __init__(self, inner: Agent, url: str) -> None:
        self.inner = inner
        self.url = url

    @property
    def card(self) -> AgentCard:
        return self.inner.card

    def open(self) -> None:
        self.http = aiohttp.ClientSession()

    async def aclose(self) -> None:
        await self.http.close()

    async def look(self, query: Query, scenario: Scenario) -> Look:
        messages = [[message.role, message.content] for message in query.messages]
        call = {"agent": self.card.name, "query": {"id": query.id, "messages": messages}, "scenario": scenario.name}
        async with self.http.post(self.url, data=orjson.dumps(call)) as reply:
            found = orjson.loads(await reply.read())
        return Look(confidence=found["confidence"], usage=Usage(*found["usage"]))

    def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[Any | Completion]:
        return self.inner.answer(query, scenario, look, sampling)
