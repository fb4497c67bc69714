"""A pool whose truth is known: queries of three classes, agents whose confidence speaks about the class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from disrouter.agents import RecordedAgent
from disrouter.evaluation.difficulty import measure
from disrouter.evaluation.outcomes import Outcome, OutcomeTable
from disrouter.network import Network
from disrouter.policies import AnyPolicy, policy_of
from disrouter.types import AgentCard, QueryPrice, Scenario
from disrouter.utility import SCENARIOS

COSTS = {"small": 0.1, "middle": 0.4, "large": 0.9}

SOLVES = {"small": (0.9, 0.1, 0.0), "middle": (0.95, 0.85, 0.05), "large": (0.95, 0.9, 0.1)}
"""Chance to be right by class: easy, hard, hopeless."""


def planted_table(
    n: int = 600, seed: int = 0, scenarios: Sequence[Scenario] = tuple(SCENARIOS.values()), split: str = "test"
) -> OutcomeTable:
    """Outcomes of the pool; the large agent gives no confidence."""
    random = np.random.default_rng(seed)
    rows: list[Outcome] = []
    for i in range(n):
        z = int(random.choice(3, p=(0.5, 0.3, 0.2)))
        for agent, cost in COSTS.items():
            chance = SOLVES[agent][z]
            score = float(random.random() < chance)
            heard = float(np.clip(chance + random.normal(0, 0.15), 0.01, 0.99))
            rows.extend(
                Outcome(
                    query_id=f"{split}-{seed}-{i}",
                    dataset="planted",
                    domain="in",
                    level=z + 1,
                    agent=agent,
                    scenario=scenario.name,
                    alpha=scenario.alpha,
                    confidence=None if agent == "large" else heard,
                    accepts=None,
                    answer="yes" if score else "no",
                    score=score,
                    prompt_tokens=10,
                    answer_tokens=20,
                    look_cost=0.05 * cost,
                    answer_cost=cost,
                    look_seconds=0.01,
                    answer_seconds=cost,
                    failure=None,
                )
                for scenario in scenarios
            )
    return OutcomeTable.of(rows)


def planted_network(policy: AnyPolicy | None = None, *, cards: bool = True, seed: int = 99) -> Network:
    """The pool as a cascade of agents without models, with cards measured on queries of their own."""
    found = measure(planted_table(1500, seed, split="validation"), classes=3, bands=6, grades=64) if cards else {}
    agents = [
        RecordedAgent(
            replace(
                AgentCard(name=name, price=QueryPrice(cost=cost, look_share=0.05)),
                competence=found.get(name),
            ),
            (),
        )
        for name, cost in COSTS.items()
    ]
    return Network("planted", agents, policy=policy or policy_of("value-of-forwarding" if cards else "paper"))
