"""Agents with another card: the same agent at another price, say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from disrouter.types import Agent, AgentCard, Completion, Delta, Look, Query, Sampling, Scenario

__all__ = ["Recarded", "innermost"]


class Recarded:
    """An agent that is taken by another card, and otherwise is itself.

    Args:
        inner: The agent.
        card: The card.
    """

    def __init__(self, inner: Agent, card: AgentCard) -> None:
        self.inner = inner
        self.card = card

    def __getattr__(self, name: str) -> Any:
        """Return whatever else the agent can do."""
        if name == "inner":  # not made yet
            raise AttributeError(name)
        return getattr(self.inner, name)

    async def look(self, query: Query, scenario: Scenario) -> Look:
        """Look as the agent does."""
        return await self.inner.look(query, scenario)

    def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[str | Delta | Completion]:
        """Answer as the agent does."""
        return self.inner.answer(query, scenario, look, sampling)


def innermost(agent: Agent) -> Agent:
    """Return the agent itself, whatever card it is taken by."""
    while isinstance(agent, Recarded):
        agent = agent.inner
    return agent
