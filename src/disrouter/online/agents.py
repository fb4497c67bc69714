"""Agents as they are taken now: with a refreshed card, and heard through the audit's curve."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from disrouter.competence import Competence
from disrouter.network import Network
from disrouter.online.audit import Auditor
from disrouter.types import Agent, AgentCard, Completion, Delta, Look, Query, Sampling, Scenario

__all__ = ["Heard", "retaken"]


@dataclass(frozen=True, slots=True)
class Heard:
    """An agent with another card, whose confidence is taken as an auditor hears it."""

    inner: Agent
    card: AgentCard
    auditor: Auditor | None = None

    async def look(self, query: Query, scenario: Scenario) -> Look:
        """Judge the own chance of answering right; see :class:`~disrouter.types.Agent`."""
        look = await self.inner.look(query, scenario)
        if self.auditor is None or look.confidence is None:
            return look
        heard = float(self.auditor.hear(self.card.name, np.array([look.confidence]))[0])
        return replace(look, confidence=None if np.isnan(heard) else heard)

    def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[str | Delta | Completion]:
        """Stream the answer; see :class:`~disrouter.types.Agent`."""
        return self.inner.answer(query, scenario, look, sampling)


def retaken(network: Network, cards: Mapping[str, Competence], auditor: Auditor | None = None) -> Network:
    """Return a network whose agents have these cards and are heard through an auditor, without those he left out.

    Its policy plans anew, which takes milliseconds; nothing else changes. Give the original network every time.
    Somebody has to answer: if everybody were left out, nobody is.
    """
    agents = {
        name: Heard(agent, replace(agent.card, competence=cards[name]), auditor)
        for name, agent in network.agents.items()
    }
    out = [name for name in (auditor.out if auditor else ()) if name in agents]
    left = network.without(*out) if 0 < len(out) < len(agents) else network
    return Network(
        network.name,
        {name: agents[name] for name in left.agents},
        left.edges,
        policy=network.policy,
        scenario=network.scenario,
        limits=network.limits,
        always_answers=left.always_answers,
    )
