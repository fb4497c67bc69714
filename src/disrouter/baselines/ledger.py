"""The ledger: what a method asks for while it routes, and what that costs.

It holds recordings without their scores. A method pays for every look, answer and verification it requests, once per
query, whatever it does with what it learns. An answer includes its look; the agent that answers in the end is
charged by the ledger itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.baselines.contract import AgentPlaces, Need, Queries, Rows
from disrouter.errors import UsageError
from disrouter.evaluation.outcomes import CELLS, ObjectCube, OutcomeTable
from disrouter.evaluation.replay import replay
from disrouter.network import Network
from disrouter.types import Scenario

__all__ = ["Decisions", "Ledger"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Which = NDArray[Any]
"""Which queries: a mask of shape (n,), or places."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decisions:
    """What a method decided and asked for on n queries, sealed before any score is known."""

    agent: AgentPlaces
    """Place of the agent that answers, -1 where a network left the query unanswered, shape (n,)."""

    looked: Bools
    """Which agents were asked what they think of which queries, shape (A, n)."""

    asked: Bools
    """Which agents were asked to answer which queries, the final one included, shape (A, n)."""

    overhead: Floats
    """Normalised cost of everything else: verification, embedding, other models, shape (n,)."""

    def digest(self) -> str:
        """Return the hash by which a later reader sees that nothing was changed."""
        hashed = blake2b(digest_size=16)
        for array in (self.agent, self.looked, self.asked, self.overhead):
            hashed.update(np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()


class Ledger:
    """Sells what is recorded of n queries in one scenario, and remembers who was asked.

    Args:
        rows: The queries' recordings. Their scores are dropped here.
        scenario: The scenario in which they are routed.
        needs: What the method has declared; anything else is refused.
    """

    def __init__(self, rows: Rows, scenario: Scenario, needs: frozenset[Need]) -> None:
        self._s = rows.column(scenario)
        self._scenario = scenario
        self._table = _without_scores(rows.table, self._s, scenario)
        self._features = rows.features
        self._verifications = rows.verifications
        self._needs = needs
        self._queries = rows.queries
        shape = (len(self.agents), len(self._queries))
        self._looked, self._asked = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        self._verified = np.zeros(shape, dtype=bool)
        self._overhead = np.zeros(shape[1])
        self._unanswered = np.zeros(shape[1], dtype=bool)

    @property
    def agents(self) -> tuple[str, ...]:
        """Names of the agents, in the order of their places."""
        return self._table.agents

    @property
    def queries(self) -> Queries:
        """The queries that are routed."""
        return self._queries

    def look(self, agent: int, which: Which) -> Floats:
        """Return an agent's confidence in these queries (NaN where it cannot say), and charge for its looks."""
        self._allow("confidences", f"what agent '{self.agents[agent]}' thinks of a query")
        self._looked[agent, which] = True
        told: Floats = self._table.confidence[0, agent, which].copy()
        return told

    def ask(self, agent: int, which: Which) -> ObjectCube:
        """Return an agent's answers to these queries (None where it broke), and charge for them."""
        self._allow("responses", f"the answers of agent '{self.agents[agent]}'")
        self._asked[agent, which] = True
        told: ObjectCube = self._table.answer[0, agent, which].copy()
        return told

    def verify(self, agent: int, which: Which) -> Floats:
        """Return the share of samples in which an agent calls its own answer right; charge answer and samples."""
        self._allow("verifications", f"how agent '{self.agents[agent]}' verifies its answers")
        if self._verifications is None:
            raise UsageError("The outcome table has no verifications.", hint="record them, or leave the method out")
        self._asked[agent, which] = True
        self._verified[agent, which] = True
        told: Floats = self._verifications.share[self._s, agent, which].copy()
        return told

    def features(self, which: Which) -> Floats:
        """Return the recorded prefill features of these queries, shape (n, D), and charge for the agent's looks."""
        self._allow("features", "the prefill features")
        if self._features is None:
            raise UsageError("The outcome table has no prefill features.", hint="record them, or leave the method out")
        self._looked[self.agents.index(self._features.agent), which] = True
        told: Floats = self._features.values[which].copy()
        return told

    def charge(self, cost: Floats | float, which: Which | None = None) -> None:
        """Add the normalised cost of the method's own machinery to these queries (default: to all).

        Raises:
            UsageError: A cost is negative or not finite.
        """
        added = np.broadcast_to(
            np.asarray(cost, dtype=np.float64), self._overhead[... if which is None else which].shape
        )
        if not np.all(np.isfinite(added) & (added >= 0)):
            raise UsageError(f"A method cannot charge {added[~(added >= 0)][:1]}: costs are finite and at least 0.")
        self._overhead[... if which is None else which] += added

    def walk(self, network: Network) -> AgentPlaces:
        """Route all queries through a network over the recordings, as live routing would; charge every look and answer.

        Raises:
            DataError: The network has an agent that the table has no outcomes of.
        """
        self._allow("confidences", f"the looks of network '{network.name}'")
        table = self._table.select(agents=list(network.agents))
        routed = replay(table, network)
        places = np.array([self.agents.index(name) for name in table.agents])
        self._looked[places] |= routed.received[0]
        answering = routed.choice.agent[0]
        self._unanswered |= answering < 0
        return np.where(answering < 0, -1, places[answering])

    def seal(self, agent: AgentPlaces) -> Decisions:
        """Return what was decided and what was asked for on the way; nothing can be requested afterwards."""
        asked, overhead = self._asked.copy(), self._overhead.copy()
        answered = np.flatnonzero(agent >= 0)
        asked[agent[answered], answered] = True
        if self._verifications is not None:
            overhead += np.where(self._verified, self._verifications.cost[self._s], 0.0).sum(axis=0)
        self._needs = frozenset()
        return Decisions(agent=agent.copy(), looked=self._looked.copy(), asked=asked, overhead=overhead)

    @property
    def unanswered(self) -> Bools:
        """Which queries a network left without an answer, shape (n,)."""
        return self._unanswered.copy()

    def _allow(self, need: Need, what: str) -> None:
        if need not in self._needs:
            raise UsageError(
                f"The method asked for {what}, which it has not declared.", hint=f"add '{need}' to its `needs`"
            )


def _without_scores(table: OutcomeTable, s: int, scenario: Scenario) -> OutcomeTable:
    """Return one scenario's outcomes with every score blanked."""
    cells = {name: getattr(table, name)[s : s + 1] for name in CELLS}
    cells["score"] = np.zeros_like(cells["score"])
    return replace(table, scenarios=(scenario,), **cells)
