"""Stream: recorded outcomes as a world through which queries come one batch after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.network import Network
from disrouter.online.feedback import Feedback
from disrouter.policies import ANSWER, PoolPolicy, Views
from disrouter.types import Scenario

__all__ = ["Routed", "World", "route"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """What every agent says and does about every query, shape (A, n); what is true, whatever a network believes."""

    agents: tuple[str, ...]
    confidence: Floats
    score: Floats
    look_cost: Floats
    answer_cost: Floats
    """Of look and answer."""

    failed: Bools

    @classmethod
    def of(cls, table: OutcomeTable) -> World:
        """Return the world of a table's first scenario."""
        return cls(
            agents=table.agents,
            confidence=np.array(table.confidence[0]),
            score=np.array(table.score[0]),
            look_cost=np.array(table.look_cost[0]),
            answer_cost=np.array(table.answer_cost[0]),
            failed=np.array(table.failed[0]),
        )

    def at(self, places: Ints) -> World:
        """Return the world of these queries."""
        return World(
            agents=self.agents,
            confidence=self.confidence[:, places],
            score=self.score[:, places],
            look_cost=self.look_cost[:, places],
            answer_cost=self.answer_cost[:, places],
            failed=self.failed[:, places],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Routed:
    """What became of n queries."""

    feedback: Feedback
    cost: Floats
    """Full cost, every look included, shape (n,)."""


def route(
    world: World, network: Network, scenario: Scenario, *, heard: Floats | None = None, instead: Ints | None = None
) -> Routed:
    """Route every query of a world through a network whose policy knows its pool, as routing live would.

    Unlike a replay this may weigh cost by more than 1, hear confidences otherwise than they were said, and let
    somebody else answer. An agent that breaks passes the query to its first successor; if nobody is left, the dearest
    agent that looked answers.

    Args:
        world: The queries.
        network: Of some or all of the world's agents; with a pool policy, without limits.
        scenario: Under which all are asked.
        heard: The confidences as they are taken, shape (A, n); as they were said if left out.
        instead: Place of the agent that answers for the sake of learning whatever was decided, shape (n,); -1 for
            nobody. Its look is charged too.
    """
    policy = network.policy
    if not isinstance(policy, PoolPolicy):
        raise TypeError(f"policy '{policy.name}' knows no pool")
    confidence = world.confidence if heard is None else heard
    count, n = world.score.shape
    order = network.order
    places = np.array([world.agents.index(name) for name in order])
    consulted, failed = np.zeros((count, n), dtype=bool), np.zeros((count, n), dtype=bool)
    agent = np.full(n, -1)
    at = np.full(n, order.index(network.entry))
    for k, name in enumerate(order):
        here = np.flatnonzero((at == k) & (agent < 0))
        broke = world.failed[places[k], here]
        failed[places[k], here[broke]] = True
        successors = network.successors(name)
        at[here[broke]] = order.index(successors[0]) if successors else len(order)
        here = here[~broke]
        if not len(here):
            continue
        consulted[places[k], here] = True
        upstream = {other: consulted[places[i], here] for i, other in enumerate(order[:k])}
        code = policy.decide_many(
            Views(
                agent=name,
                scenario=scenario,
                confidence=confidence[places[k], here],
                upstream={
                    other: confidence[places[i], here] for i, other in enumerate(order[:k]) if upstream[other].any()
                },
                consulted=upstream,
            )
        )
        agent[here[code == ANSWER]] = places[k]
        recalled = code < ANSWER
        agent[here[recalled]] = places[-2 - code[recalled]]
        at[here] = np.where(code >= 0, code, k)
    left = np.flatnonzero((agent < 0) & consulted.any(axis=0))
    dear = np.where(consulted[:, left], world.answer_cost[:, left], -np.inf)
    agent[left] = np.argmax(dear, axis=0)
    if instead is not None:
        rows = np.arange(n)
        works = (instead >= 0) & ~world.failed[np.maximum(instead, 0), rows]
        asked = np.flatnonzero(instead >= 0)
        consulted[instead[works], rows[works]] = True
        broken = asked[~works[asked]]
        failed[instead[broken], broken] = True
        agent = np.where(works, instead, agent)
    rows, answered = np.arange(n), np.maximum(agent, 0)
    looks = (world.look_cost * consulted).sum(axis=0)
    answer = world.answer_cost[answered, rows] - world.look_cost[answered, rows]
    feedback = Feedback(
        agents=world.agents,
        confidence=np.where(consulted, confidence, np.nan),
        consulted=consulted,
        failed=failed,
        agent=agent,
        score=np.where(agent >= 0, world.score[answered, rows], 0.0),
    )
    return Routed(feedback=feedback, cost=looks + np.where(agent >= 0, answer, 0.0))
