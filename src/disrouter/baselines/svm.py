"""A support vector machine that says which agent is worth most.

Source: the predictive routers of RouterBench (arXiv 2403.12031), with a support vector machine in their place.
Algorithm: label every train query by the agent of the highest score − α·cost and learn the labels by a support vector
machine with a radial kernel, one against the rest; trained once per scenario.
Departures: a mistake weighs what it costs (best minus mean utility of the query), for without that rare but dear
mistakes count like any other; the kernel is approximated by landmarks (Nyström), so that ten thousand queries fit in
seconds.
May look at: the query's text. Charged: the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.kernel_approximation import Nystroem
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from disrouter.baselines._plug_in import Floats, TextReader
from disrouter.baselines._tuning import best_of, cheapest_best, column_of, worth
from disrouter.baselines.contract import AgentPlaces, Need, Queries, Rows, Seen
from disrouter.baselines.features import TFIDF, TextFeatures, feature_cost
from disrouter.baselines.ledger import Ledger
from disrouter.seeds import seed_of
from disrouter.types import Scenario

__all__ = ["Svm"]

SETTINGS = ((1.0, 1.0), (0.1, 1.0), (1.0, 4.0), (0.1, 4.0))
"""Inverse penalty; width of the kernel, in units of 1/D."""

_LANDMARKS = 200


@dataclass(frozen=True, slots=True)
class Svm:
    """Learns directly who is worth most."""

    features: TextFeatures = TFIDF
    name: ClassVar[str] = "svm"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> FittedSvm:
        """Learn one machine per scenario from train, choose its setting on validation."""
        encoder = self.features.fit(train.texts, seed=seed_of(seed, "features"))
        reader = TextReader(encoder, feature_cost(self.features, train.table))
        x, table = encoder.encode(train.texts), train.table
        chosen = []
        for s, scenario in enumerate(table.scenarios):
            utility = table.score[s] - scenario.alpha * table.answer_cost[s]
            machines = [_machine(x, utility, table.answer_cost[s], setting, seed) for setting in SETTINGS]

            def value(machine: Machine, scenario: Scenario = scenario) -> float:
                fitted = FittedSvm(Seen(train="", validation=""), reader, (scenario,), (machine,))
                return worth(fitted.route, validation, scenario)

            chosen.append(best_of(machines, value))
        return FittedSvm(Seen.of(train, validation), reader, table.scenarios, tuple(chosen))


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """What was learned in one scenario."""

    agents: NDArray[np.int64]
    """The agents that are the best for some train query."""

    model: Any
    """None if that is one agent only."""

    def places(self, rows: Floats) -> AgentPlaces:
        """Return the agent for each row of features."""
        if self.model is None:
            return np.full(len(rows), self.agents[0], dtype=np.int64)
        margin = np.round(self.model.decision_function(rows), 8)
        if margin.ndim == 1:  # two labels have one margin
            return np.asarray(self.agents[(margin > 0).astype(np.int64)])
        return np.asarray(self.agents[margin.argmax(axis=1)])


@dataclass(frozen=True, slots=True, eq=False)
class FittedSvm:
    """One machine per scenario."""

    seen: Seen
    reader: TextReader
    scenarios: tuple[Scenario, ...]
    machines: tuple[Machine, ...]

    def route(self, queries: Queries, scenario: Scenario, ledger: Ledger) -> AgentPlaces:
        """Send every query where the machine of this scenario says."""
        return self.machines[column_of(self.scenarios, scenario)].places(self.reader.read(queries, ledger))


def _machine(x: Floats, utility: Floats, cost: Floats, setting: tuple[float, float], seed: int) -> Machine:
    inverse_penalty, width = setting
    label = cheapest_best(utility, cost)
    stake = utility.max(axis=0) - utility.mean(axis=0)
    agents = np.unique(label)
    if len(agents) == 1 or stake.sum() <= 0:
        return Machine(agents[:1], None)
    model = make_pipeline(
        Nystroem(
            gamma=width / x.shape[1], n_components=min(_LANDMARKS, len(x)), random_state=seed_of(seed, "svm") % 2**32
        ),
        LinearSVC(C=inverse_penalty, random_state=seed_of(seed, "svm") % 2**32, max_iter=5000),
    )
    model.fit(x, label, linearsvc__sample_weight=stake / stake.mean())
    return Machine(agents, model)
