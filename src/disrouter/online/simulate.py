"""Simulate: one stream of queries after the other, served by a network that learns and by one that does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disrouter.competence import Competence
from disrouter.errors import ConfigError
from disrouter.network import Network
from disrouter.online.agents import retaken
from disrouter.online.audit import Auditor, Event
from disrouter.online.budget import GRID, HIGHEST, BudgetPacer
from disrouter.online.drifts import Stream
from disrouter.online.feedback import beliefs
from disrouter.online.refresh import MEMORY, Refresher, explored
from disrouter.online.stream import World, route
from disrouter.types import Scenario

__all__ = ["ARMS", "Arm", "Served", "alpha_spending", "serve"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BATCH = 25
"""Queries that are routed before their feedback comes in."""

REPLAN = 100
"""Queries after which refreshed cards are put into the network; at once where the audit has found something."""

EXPLORED = 0.01
"""Share of the queries answered by somebody else for the sake of learning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What a network does about change."""

    name: str
    told: bool = True
    """Plans anew when the operator changes prices or members."""

    refresh: bool = False
    audit: bool = False
    pace: bool = False
    explore: float = 0.0


ARMS = {
    arm.name: arm
    for arm in (
        Arm(name="static", told=False),
        Arm(name="online", refresh=True, audit=True, explore=EXPLORED),
        Arm(name="audit", audit=True, explore=EXPLORED),
        Arm(name="refresh", refresh=True, explore=EXPLORED),
        Arm(name="paced", told=False, pace=True),
        Arm(name="online-paced", refresh=True, audit=True, pace=True, explore=EXPLORED),
    )
}
"""By name."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Served:
    """What one arm made of one stream, query by query."""

    score: Floats
    cost: Floats
    """Full cost."""

    alpha: Floats
    """Price of cost under which each query was routed."""

    agent: Ints
    events: tuple[Event, ...]


def serve(
    stream: Stream,
    cards: Mapping[str, Competence],
    arm: Arm,
    *,
    alpha: float,
    budget: float | None = None,
    seed: int = 0,
    memory: float = MEMORY,
    advance: Callable[[int], None] | None = None,
) -> Served:
    """Serve a stream and return what became of every query.

    Nothing is known beforehand but the cards, which were measured on other queries, and the alpha to begin with; all
    arms get the same. An arm learns the score of an answer only, after the batch in which it was given.

    Args:
        stream: The queries and the networks.
        cards: Of every agent that is or will be in the network.
        arm: What is done about change.
        alpha: Price of cost; with a pacing arm the first one.
        budget: Mean full cost per query; needed by an arm that paces.
        seed: Seed of the exploration.
        memory: How long a refresher remembers, in queries.
        advance: Told how many queries were just served.

    Raises:
        ConfigError: The arm paces and there is no budget.
    """
    if arm.pace and budget is None:
        raise ConfigError(f"Arm '{arm.name}' keeps a budget, but none is given.", hint="give a mean cost per query")
    random = np.random.default_rng([seed, 7])
    n, agents = len(stream.rows), stream.world.agents
    pacer = BudgetPacer.starting_at(alpha, budget) if arm.pace and budget is not None else None
    refresher, auditor = Refresher.of(cards, memory=memory), Auditor.of(cards)
    network, planned = stream.before, -REPLAN
    score, cost, alphas, agent = np.zeros(n), np.zeros(n), np.zeros(n), np.full(n, -1)
    events: list[Event] = []
    due = arm.refresh or arm.audit
    for start in range(0, n, BATCH):
        source = stream.after if arm.told and start >= stream.turn else stream.before
        if start - planned >= REPLAN or due:
            if arm.refresh or arm.audit:
                now = refresher.refreshed() if arm.refresh else cards
                network = retaken(source, now, auditor if arm.audit else None)
            else:
                network = source
            planned, due = start, False
        places = np.arange(start, min(start + BATCH, n))
        world = stream.world.at(places)
        scenario = pacer.scenario if pacer else Scenario(name="stream", alpha=alpha)
        heard = np.array([auditor.hear(name, world.confidence[a]) for a, name in enumerate(agents)])
        instead = _instead(world, source, len(places), arm.explore, random)
        routed = route(world, network, scenario, heard=heard, instead=instead)
        feedback = routed.feedback
        score[places], cost[places], alphas[places] = feedback.score, routed.cost, scenario.alpha
        agent[places] = feedback.agent
        if pacer:
            pacer = pacer.paid(routed.cost.tolist())
        if arm.audit:
            believed = beliefs(cards, feedback, refresher.prior if arm.refresh else None)
            stated = np.where(feedback.consulted, world.confidence, np.nan)
            auditor, found = auditor.seen(feedback, stated, believed, cards)
            events.extend(found)
            for event in found:
                refresher = refresher if event.kind in ("broken", "restored") else refresher.forget(event.agent)
            due = bool(found)
        if arm.refresh:
            refresher = refresher.seen(feedback)
        if advance is not None:
            advance(len(places))
    return Served(score=score, cost=cost, alpha=alphas, agent=agent, events=tuple(events))


def alpha_spending(budget: float, world: World, network: Network) -> float:
    """Return the alpha, on the pacer's grid, under which a network spends most without exceeding a budget on a world.

    The highest one if all of them exceed it.
    """
    low, high = 0, round(GRID * HIGHEST / (1.0 + HIGHEST))

    def spent(step: int) -> float:
        scenario = Scenario(name="budget", alpha=(step / GRID) / (1.0 - step / GRID))
        return float(route(world, network, scenario).cost.mean())

    while low < high:  # spending falls as alpha rises, up to chance
        middle = (low + high) // 2
        low, high = (low, middle) if spent(middle) <= budget else (middle + 1, high)
    return (low / GRID) / (1.0 - low / GRID)


def _instead(world: World, network: Network, n: int, share: float, random: np.random.Generator) -> Ints:
    """Return who of the network's agents answers for the sake of learning, as places in the world."""
    members = np.array([world.agents.index(name) for name in network.agents])
    who = explored(len(members), n, share, random)
    return np.where(who >= 0, members[np.maximum(who, 0)], -1)
