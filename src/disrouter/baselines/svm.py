"""Support vector machines that say which agent is worth most.

Source: the predictive routers of RouterBench (arXiv 2403.12031), with a support vector machine in their place.
Algorithm: for every pair of agents a support vector machine with a radial kernel learns from the query's features
which of the two is worth more (score − α·cost), and the agents vote; trained once per scenario.
Departures: a train query weighs what choosing the wrong one of the pair would cost there (as in cost-sensitive
one-versus-one, Lin 2014), for without that, rare but dear mistakes count like any other. The kernel is approximated
by landmarks (Nyström), so that ten thousand queries fit in seconds.
May look at: the query's text. Charged: the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from sklearn.kernel_approximation import Nystroem
from sklearn.svm import LinearSVC

from disrouter.baselines._plug_in import Floats, TextReader
from disrouter.baselines._tuning import best_of, cheapest_best, column_of, worth
from disrouter.baselines.contract import AgentPlaces, Need, Queries, Rows, Seen
from disrouter.baselines.features import TFIDF, TextFeatures, feature_cost
from disrouter.baselines.ledger import Ledger
from disrouter.seeds import seed_of
from disrouter.types import Scenario

__all__ = ["Svm"]

SETTINGS = ((0.1, 0.1), (0.1, 0.5), (1.0, 0.1), (1.0, 0.5))
"""Inverse penalty; width of the kernel, in units of 1/D."""

_LANDMARKS = 200


@dataclass(frozen=True, slots=True)
class Svm:
    """Learns directly who is worth more than whom."""

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

    kernel: Any
    pairs: tuple[tuple[int, int, Any], ...]
    """Two agents, and what tells when the first is worth more; True or False if that never changes."""

    agents: int
    cost: Floats
    """Mean per agent, which breaks ties."""

    def places(self, rows: Floats) -> AgentPlaces:
        """Return the agent of most votes for each row of features."""
        votes = np.zeros((self.agents, len(rows)))
        mapped = self.kernel.transform(rows)
        for one, other, model in self.pairs:
            first = model if isinstance(model, bool) else np.round(model.decision_function(mapped), 8) > 0
            votes[one] += first
            votes[other] += np.logical_not(first)
        return cheapest_best(votes, np.broadcast_to(self.cost[:, None], votes.shape))


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
    chance = seed_of(seed, "svm") % 2**32
    kernel = Nystroem(gamma=width / x.shape[1], n_components=min(_LANDMARKS, len(x)), random_state=chance).fit(x)
    mapped = kernel.transform(x)
    pairs = []
    for one, other in combinations(range(len(utility)), 2):
        gap = np.round(utility[one] - utility[other], 9)
        told = gap != 0
        if (gap >= 0).all() or (gap <= 0).all():
            pairs.append((one, other, bool((gap > 0).any())))
            continue
        model = LinearSVC(C=inverse_penalty, random_state=chance, max_iter=5000)
        weight = np.abs(gap[told])
        pairs.append((one, other, model.fit(mapped[told], gap[told] > 0, sample_weight=weight / weight.mean())))
    return Machine(kernel, tuple(pairs), len(utility), cost.mean(axis=1))
