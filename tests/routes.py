"""Agents that answer, reject or break as they are told, and what their routes come to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from disrouter.agents import ScriptedAgent
from disrouter.limits import Limits
from disrouter.network import Network
from disrouter.types import AgentCard, Completion, Look, Query, QueryPrice, Sampling, Scenario, Trace

QUERY = Query.from_text("what is 2 + 2?", id="q1")  # five words


def rejecting(name: str, cost: float = 0.1, **script: Any) -> ScriptedAgent:
    return ScriptedAgent(name, cost=cost, confidence=0.2, reply=f"{name} says so", **script)


def answering(name: str, cost: float = 0.1, **script: Any) -> ScriptedAgent:
    return ScriptedAgent(name, cost=cost, confidence=0.9, reply=f"{name} says so", **script)


def breaking(name: str, cost: float = 0.1, fails: str = "look", **script: Any) -> ScriptedAgent:
    return ScriptedAgent(name, cost=cost, confidence=0.9, reply=f"{name} says so", fails=fails, **script)


def route(*agents: ScriptedAgent, limits: Limits | None = None) -> Trace:
    return Network("n", agents, limits=limits).ask(QUERY)


def steps(trace: Trace) -> list[tuple[str, str, str | None]]:
    return [(hop.agent, hop.decision, hop.reason) for hop in trace.hops]


class Unruly:
    """An agent whose answers are written by each test."""

    card = AgentCard(name="unruly", price=QueryPrice(cost=0.1))

    def __init__(self, *pieces: str | Completion) -> None:
        self.pieces = pieces
        self.closed = False

    async def look(self, query: Query, scenario: Scenario) -> Look:
        return Look(confidence=1.0)

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[str | Completion]:
        try:
            for piece in self.pieces:
                yield piece
        finally:
            self.closed = True
