"""Methods that do not read the query: any agent by chance, the cheapest, the dearest, the best one on validation.

Source: the reference rows of the paper's main table (arXiv 2510.19208). The choice itself stands in
:mod:`disrouter.evaluation.methods`, which every evaluation uses; here it only meets the contract.
May look at: nothing while routing; ids for the draw. The best single agent is chosen by validation outcomes.
Departures: none. The oracles need the scores of the queries they route, so they are no methods under this contract:
the bench computes them when decisions are joined with scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from disrouter.baselines._tuning import column_of
from disrouter.baselines.contract import AgentPlaces, Need, Queries, Rows, Seen
from disrouter.baselines.ledger import Ledger
from disrouter.evaluation import methods
from disrouter.seeds import seed_of
from disrouter.types import Scenario

__all__ = ["BestSingle", "Largest", "Random", "Smallest"]


@dataclass(frozen=True, slots=True)
class Random:
    """Any agent with equal chance, by seed and query id."""

    name: ClassVar[str] = "random"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> _Drawn:
        """Remember the seed."""
        return _Drawn(Seen.of(train, validation), seed)


@dataclass(frozen=True, slots=True)
class Smallest:
    """The agent whose answers cost least on average, always."""

    name: ClassVar[str] = "smallest"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> _Always:
        """Compare the costs on train."""
        return _always(train, validation, lambda: methods.smallest(train.table))


@dataclass(frozen=True, slots=True)
class Largest:
    """The agent whose answers cost most on average, always."""

    name: ClassVar[str] = "largest"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> _Always:
        """Compare the costs on train."""
        return _always(train, validation, lambda: methods.largest(train.table))


@dataclass(frozen=True, slots=True)
class BestSingle:
    """Per scenario the one agent of the best mean utility on validation, always."""

    name: ClassVar[str] = "best-single"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> _Always:
        """Compare the utilities on validation."""
        return _always(train, validation, lambda: methods.best_single(train.table, validation.table))


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    seen: Seen
    seed: int

    def route(self, queries: Queries, scenario: Scenario, ledger: Ledger) -> AgentPlaces:
        drawn = [seed_of(self.seed, "random", query) % len(ledger.agents) for query in queries.ids]
        return np.array(drawn, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Always:
    seen: Seen
    scenarios: tuple[Scenario, ...]
    agents: tuple[int, ...]
    """One per scenario."""

    def route(self, queries: Queries, scenario: Scenario, ledger: Ledger) -> AgentPlaces:
        return np.full(len(queries), self.agents[column_of(self.scenarios, scenario)], dtype=np.int64)


def _always(train: Rows, validation: Rows, places: Callable[[], methods.Places]) -> _Always:
    agents = tuple(int(agent) for agent in places()[:, 0])
    return _Always(Seen.of(train, validation), train.table.scenarios, agents)
