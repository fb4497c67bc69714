"""Methods that the network is compared with: each picks one agent per query from the outcome table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.errors import DataError
from disrouter.evaluation.metrics import right
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.seeds import seed_of

__all__ = [
    "METHODS",
    "Choice",
    "best_single",
    "chosen",
    "largest",
    "oracle",
    "random_choice",
    "rate_aware_oracle",
    "single",
    "smallest",
]

METHODS = ("ours", "oracle", "random", "smallest", "largest", "best-single")
"""Names in reports, in their order."""

Places = NDArray[np.integer[Any]]
"""Agent per scenario and query: places on the table's agent axis, shape (S, Q)."""


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What a method gets and pays, every array of shape (S, Q)."""

    agent: Places
    """Place of the agent that answered; -1 if none did."""

    score: NDArray[np.float64]
    cost: NDArray[np.float64]
    """The paper's cost: that of the agent that answered."""

    cost_full: NDArray[np.float64]
    """With the looks of those that rejected."""

    seconds: NDArray[np.float64] = field(default_factory=lambda: np.zeros((1, 1)))
    """Spent along the whole route, as measured or set; 0 for all where a method does not say (shape (1, 1))."""


def chosen(table: OutcomeTable, agent: Places) -> Choice:
    """Return what asking these agents, and nobody else, gets and pays."""
    at = agent[:, None, :]
    cost = np.take_along_axis(table.answer_cost, at, axis=1)[:, 0]
    look, answer = (np.take_along_axis(c, at, axis=1)[:, 0] for c in (table.look_seconds, table.answer_seconds))
    score = np.take_along_axis(table.score, at, axis=1)[:, 0]
    return Choice(agent=agent, score=score, cost=cost, cost_full=cost, seconds=look + answer)


def oracle(table: OutcomeTable) -> Places:
    """Pick the cheapest right agent of every query, and the cheapest where none is right (the paper's upper bound)."""
    ok = right(table.score)
    solved = ok.any(axis=1, keepdims=True)
    places: Places = np.argmin(np.where(ok | ~solved, table.answer_cost, np.inf), axis=1)
    return places


def rate_aware_oracle(table: OutcomeTable) -> Places:
    """Pick the agent of the highest score − α·cost: the bound where scores are success rates; the cheaper in a tie."""
    worth = _worth(table)
    # Rounded: utilities that are equal on paper must tie whatever their last bit says.
    best = np.round(worth, 12) == np.round(worth, 12).max(axis=1, keepdims=True)
    places: Places = np.argmin(np.where(best, table.answer_cost, np.inf), axis=1)
    return places


def random_choice(table: OutcomeTable, *, seed: int) -> Places:
    """Pick any agent with equal chance, by seed and query id; the same one in every scenario."""
    drawn = [seed_of(seed, "random", query) % len(table.agents) for query in table.query_ids]
    return np.broadcast_to(np.array(drawn), (table.shape[0], table.shape[2]))


def single(table: OutcomeTable, agent: int) -> Places:
    """Pick one agent always."""
    return np.full((table.shape[0], table.shape[2]), agent)


def smallest(table: OutcomeTable) -> Places:
    """Pick the agent whose answers cost least on average, always."""
    return single(table, int(np.argmin(table.answer_cost.mean(axis=(0, 2)))))


def largest(table: OutcomeTable) -> Places:
    """Pick the agent whose answers cost most on average, always."""
    return single(table, int(np.argmax(table.answer_cost.mean(axis=(0, 2)))))


def best_single(table: OutcomeTable, validation: OutcomeTable) -> Places:
    """Pick always, per scenario, the one agent with the best mean utility on *other* queries than the table's.

    Raises:
        DataError: The validation table shares a query with the table, or differs in agents or scenarios.
    """
    shared = set(table.query_ids) & set(validation.query_ids)
    if shared:
        raise DataError(
            f"Query '{min(shared)}' is in the test and in the validation table: the best single agent must not be "
            "chosen on the queries it is judged by.",
            hint="take the validation queries from another seed or split",
        )
    if validation.agents != table.agents or validation.scenarios != table.scenarios:
        raise DataError("The test and the validation table differ in their agents or scenarios.")
    best = np.argmax(_worth(validation).mean(axis=2), axis=1)
    return np.repeat(best[:, None], table.shape[2], axis=1)


def _worth(table: OutcomeTable) -> NDArray[np.float64]:
    """Return score − α·cost − β·seconds of every cell."""
    alphas, betas = (np.array([getattr(s, w) for s in table.scenarios])[:, None, None] for w in ("alpha", "beta"))
    worth: NDArray[np.float64] = table.score - alphas * table.answer_cost
    return worth - betas * (table.look_seconds + table.answer_seconds) if betas.any() else worth
