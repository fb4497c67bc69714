"""What all learned baselines share: how a setting is judged, how a tie is broken, which scenario's fit serves an alpha.

Every learned baseline tries :data:`TRIES` settings, each fitted on train, and keeps per scenario the one of the highest
mean utility on validation, everything it asked for charged. Nobody tries more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from disrouter.baselines.contract import AgentPlaces, Need, Queries, Rows
from disrouter.baselines.ledger import Decisions, Ledger
from disrouter.evaluation.metrics import utilities
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.types import Scenario

__all__ = [
    "TRIES",
    "WEIGHTS",
    "best_of",
    "by_cost",
    "cheapest_best",
    "column_of",
    "first_alike",
    "full_costs",
    "worth",
]

Floats = NDArray[np.float64]
T = TypeVar("T")

TRIES = 4
"""Settings that every learned baseline may try."""

WEIGHTS = (1.0, 0.5, 0.7, 1.4, 2.0)
"""How much more or less than alpha a predicted cost may weigh: predicted qualities are shrunken or stretched. It is the
threshold that papers calibrate on held-out queries; it needs no further fit, and everyone who predicts has it."""


def full_costs(table: OutcomeTable, s: int, decisions: Decisions) -> Floats:
    """Return the normalised cost of everything that was asked for, shape (n,); an answer includes its look."""
    asked, looked = decisions.asked, decisions.looked & ~decisions.asked
    paid = np.where(asked, table.answer_cost[s], 0.0) + np.where(looked, table.look_cost[s], 0.0)
    return np.asarray(paid.sum(axis=0) + decisions.overhead, dtype=np.float64)


def worth(
    route: Callable[[Queries, Scenario, Ledger], AgentPlaces],
    rows: Rows,
    scenario: Scenario,
    needs: frozenset[Need] = frozenset(),
) -> float:
    """Return the mean utility of routing these rows, everything charged."""
    ledger = Ledger(rows, scenario, needs)
    decisions = ledger.seal(route(rows.queries, scenario, ledger))
    s = rows.column(scenario)
    score = rows.table.score[s, decisions.agent, np.arange(len(decisions.agent))]
    return float(utilities(score, full_costs(rows.table, s, decisions), scenario.alpha).mean())


def best_of(candidates: Sequence[T], value: Callable[[T], float]) -> T:
    """Return the candidate of the highest value, the earliest one in a tie."""
    values = [round(value(candidate), 12) for candidate in candidates]
    return candidates[int(np.argmax(values))]


def cheapest_best(value: Floats, cost: Floats) -> AgentPlaces:
    """Return per column the row of the highest value, the cheaper one in a tie; both of shape (A, n).

    Values are rounded: a query must be routed alike whatever the last bits say, which depend on who is beside it.
    """
    rounded = np.round(value, 8)
    best = rounded == rounded.max(axis=0, keepdims=True)
    return np.asarray(np.argmin(np.where(best, np.round(cost, 8), np.inf), axis=0), dtype=np.int64)


def by_cost(table: OutcomeTable) -> list[int]:
    """Return the agents from the one whose answers cost least on average to the dearest."""
    return [int(a) for a in np.argsort(table.answer_cost.mean(axis=(0, 2)), kind="stable")]


def column_of(scenarios: Sequence[Scenario], scenario: Scenario) -> int:
    """Return which fitted scenario serves this one: its own, else the nearest alpha's."""
    names = [s.name for s in scenarios]
    if scenario.name in names:
        return names.index(scenario.name)
    return int(np.argmin([abs(s.alpha - scenario.alpha) for s in scenarios]))


def first_alike(table: OutcomeTable, *names: str) -> list[int]:
    """Return for every scenario the first one whose columns of these names are the same: one fit serves both."""
    columns: list[list[NDArray[Any]]] = [
        [getattr(table, name)[s] for name in names] for s in range(len(table.scenarios))
    ]
    return [
        next(t for t in range(s + 1) if all(_equal(a, b) for a, b in zip(columns[t], columns[s], strict=True)))
        for s in range(len(columns))
    ]


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
