"""Load of known outcomes: queries at a steady rate, and what became of each."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from disrouter.types import Query

__all__ = ["Asked", "Load"]

HANGING = 3.0
"""Seconds after its deadline after which nobody waits for a query any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One query, and what became of it."""

    query_id: str
    at: float
    """Seconds since the load began."""
    seconds: float
    status: int
    """0 where there was no reply."""
    agent: str | None = None
    cost: float = 0.0
    hops: tuple[tuple[str, str, str | None], ...] = ()
    """Agent, decision and reason of every hop."""
    text: str | None = None
    error: str | None = None
    """What a reply that is no answer said."""

    @property
    def route(self) -> tuple[tuple[str, str], ...]:
        """Agents and decisions alone."""
        return tuple(hop[:2] for hop in self.hops)


@dataclass
class Load:
    """Asks a gateway ``rate`` queries a second, however long it takes to answer."""

    url: str
    queries: list[Query]
    rate: float
    deadline: float
    asked: list[Asked] = field(default_factory=list)
    began: float = 0.0

    @property
    def now(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self.began

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until told to stop, and wait for what is on its way."""
        self.began = time.monotonic()
        number = 0
        timeout = aiohttp.ClientTimeout(total=self.deadline + HANGING)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http, asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                tasks.create_task(self._ask(http, self.queries[number % len(self.queries)]))
                number += 1
                await asyncio.sleep(max(0.0, number / self.rate - self.now))

    async def _ask(self, http: aiohttp.ClientSession, query: Query) -> None:
        at = self.now
        body = {"model": "disrouter", "messages": [{"role": "user", "content": query.text}]}
        status, reply = 0, {}
        try:
            async with http.post(f"{self.url}/v1/chat/completions", json=body) as response:
                reply = await response.json(content_type=None)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, ValueError):
            pass
        self.asked.append(_asked(query, at, self.now - at, status, reply))


def _asked(query: Query, at: float, seconds: float, status: int, reply: dict[str, Any]) -> Asked:
    trace = reply.get("disrouter") or {}
    return Asked(
        query_id=query.id,
        at=at,
        seconds=seconds,
        status=status,
        agent=trace.get("agent"),
        cost=trace.get("cost", 0.0),
        hops=tuple((hop["agent"], hop["decision"], hop["reason"]) for hop in trace.get("hops", ())),
        text=reply["choices"][0]["message"]["content"] if status == 200 else None,
        error=None if status == 200 else str((reply.get("error") or {}).get("message", "no reply")),
    )
