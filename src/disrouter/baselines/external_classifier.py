"""An external classifier with the labels that agents are trained on, under the network's own rule.

Paper: the classifiers that DiSRouter compares self-assessment with (arXiv 2510.19208).
Algorithm: for every agent a classifier of the query's text learns the agent's success rate, what the agent itself
would be trained to know. Its prediction takes the place of the agent's confidence: along the chain of rising cost the
first agent answers whose predicted chance passes the network's rule, by default the paper's threshold (1 − α)^½; the
last one always answers.
Departures: logistic regression on the features asked for instead of an 8B model, which nothing here could run; nobody
is asked for a look, so the rejections on the way are free but for the features.
May look at: the query's text. Charged: the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from disrouter.baselines._estimates import Chance, soft_classifier
from disrouter.baselines._plug_in import TextReader
from disrouter.baselines._tuning import best_of, by_cost, column_of, first_alike, worth
from disrouter.baselines.contract import AgentPlaces, Need, Queries, Rows, Seen
from disrouter.baselines.features import TFIDF, TextFeatures, feature_cost
from disrouter.baselines.ledger import Ledger
from disrouter.policies import PaperThreshold, Policy
from disrouter.seeds import seed_of
from disrouter.types import Scenario

__all__ = ["ExternalClassifier"]

SETTINGS = (0.1, 0.01, 1.0, 10.0)
"""Inverse strength of the L2 penalty."""

_PAPER = PaperThreshold()


@dataclass(frozen=True, slots=True)
class ExternalClassifier:
    """Judges every agent from outside, and lets the network's rule decide."""

    features: TextFeatures = TFIDF
    policy: Policy = _PAPER
    name: ClassVar[str] = "external-classifier"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> FittedClassifiers:
        """Learn a classifier per agent from train, choose their penalty on validation."""
        encoder = self.features.fit(train.texts, seed=seed_of(seed, "features"))
        reader = TextReader(encoder, feature_cost(self.features, train.table))
        x, table, chain = encoder.encode(train.texts), train.table, tuple(by_cost(train.table))
        alike = first_alike(table, "score")
        learnt = {
            s: [tuple(soft_classifier(x, rate, setting) for rate in table.score[s]) for setting in SETTINGS]
            for s in set(alike)
        }
        chosen = []
        for s, scenario in enumerate(table.scenarios):

            def value(chances: tuple[Chance, ...], scenario: Scenario = scenario) -> float:
                unseen = Seen(train="", validation="")
                fitted = FittedClassifiers(unseen, reader, self.policy, chain, (scenario,), (chances,))
                return worth(fitted.route, validation, scenario)

            chosen.append(best_of(learnt[alike[s]], value))
        return FittedClassifiers(Seen.of(train, validation), reader, self.policy, chain, table.scenarios, tuple(chosen))


@dataclass(frozen=True, slots=True, eq=False)
class FittedClassifiers:
    """A classifier per agent and scenario, and the rule."""

    seen: Seen
    reader: TextReader
    policy: Policy
    chain: tuple[int, ...]
    scenarios: tuple[Scenario, ...]
    chances: tuple[tuple[Chance, ...], ...]

    def route(self, queries: Queries, scenario: Scenario, ledger: Ledger) -> AgentPlaces:
        """Let the first agent of the chain answer that the rule accepts, else the last."""
        x = self.reader.read(queries, ledger)
        chances = self.chances[column_of(self.scenarios, scenario)]
        agent = np.full(len(queries), self.chain[-1], dtype=np.int64)
        travelling = np.ones(len(queries), dtype=bool)
        for a in self.chain[:-1]:
            chance = np.round(chances[a](x), 8)
            answers = travelling & self.policy.accepts(chance, chance > 0.5, scenario)
            agent[answers] = a
            travelling &= ~answers
        return agent
