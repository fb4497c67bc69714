"""Hybrid LLM: one small and one large agent, and a router that knows when the small one will do.

Paper: Hybrid LLM: Cost-Efficient and Quality-Aware Query Routing (arXiv 2404.14618).
Algorithm: a classifier of the query's text predicts the chance that the small model's answer is at least as good as
the large one's, less a margin t: Pr[s_small ≥ s_large − t]. Above a threshold the small model answers. The margin is
the one whose labels differ most among train queries, which helps where the small model rarely keeps up.
Departures: the pair is chosen per scenario among all agents by what a perfect router of the pair would earn on train,
since the method knows two models only. A score is one number per answer: where it is a success rate, the label at t =
0 is the chance 1 − (1 − s_small)·s_large that the small one is not beaten; the other label is 1 or 0, at the best
margin. Which one serves, and the threshold, is chosen on validation. Logistic regression on the features asked for
instead of DeBERTa.
May look at: the query's text. Charged: the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np

from disrouter.baselines._estimates import Chance, soft_classifier
from disrouter.baselines._plug_in import Floats, TextReader
from disrouter.baselines._tuning import best_of, by_cost, column_of, worth
from disrouter.baselines.contract import AgentPlaces, Need, Queries, Rows, Seen
from disrouter.baselines.features import TFIDF, TextFeatures, feature_cost
from disrouter.baselines.ledger import Ledger
from disrouter.seeds import seed_of
from disrouter.types import Scenario

__all__ = ["HybridLlm"]

SETTINGS = ((0.1, False), (0.1, True), (1.0, False), (1.0, True))
"""Inverse penalty; whether labels are taken at the margin that tells queries apart best."""

_THRESHOLDS = 33


@dataclass(frozen=True, slots=True)
class HybridLlm:
    """Learns when the small one of two agents will do."""

    features: TextFeatures = TFIDF
    name: ClassVar[str] = "hybrid-llm"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> FittedHybrid:
        """Choose the pair and learn from train; choose setting and threshold on validation."""
        encoder = self.features.fit(train.texts, seed=seed_of(seed, "features"))
        reader = TextReader(encoder, feature_cost(self.features, train.table))
        x, x_validation = encoder.encode(train.texts), encoder.encode(validation.texts)
        chosen = []
        for s, scenario in enumerate(train.table.scenarios):
            small, large = _pair(train, s)
            rate = train.table.score[s]
            candidates = []
            for inverse_penalty, transformed in SETTINGS:
                label = _label(rate[small], rate[large], transformed=transformed)
                chance = soft_classifier(x, label, inverse_penalty)
                told = chance(x_validation)
                cuts = np.quantile(told, np.linspace(0, 1, _THRESHOLDS))
                candidates += [(Pair(small, large, chance, float(cut)), told) for cut in [*np.unique(cuts), np.inf]]

            def value(candidate: tuple[Pair, Floats], scenario: Scenario = scenario) -> float:
                pair, told = candidate
                frozen = Pair(pair.small, pair.large, lambda _: told, pair.threshold)
                fitted = FittedHybrid(Seen(train="", validation=""), reader, (scenario,), (frozen,))
                return worth(fitted.route, validation, scenario)

            chosen.append(best_of(candidates, value)[0])
        return FittedHybrid(Seen.of(train, validation), reader, train.table.scenarios, tuple(chosen))


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two agents and the rule between them."""

    small: int
    large: int
    chance: Chance
    """That the small one will do."""

    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class FittedHybrid:
    """One pair per scenario."""

    seen: Seen
    reader: TextReader
    scenarios: tuple[Scenario, ...]
    pairs: tuple[Pair, ...]

    def route(self, queries: Queries, scenario: Scenario, ledger: Ledger) -> AgentPlaces:
        """Send a query to the small agent if that will do, else to the large one."""
        pair = self.pairs[column_of(self.scenarios, scenario)]
        chance = pair.chance(self.reader.read(queries, ledger))
        # Rounded: a query must be routed alike whatever the last bits say, which depend on who is beside it.
        return np.where(np.round(chance, 8) >= np.round(pair.threshold, 8), pair.small, pair.large).astype(np.int64)


def _pair(train: Rows, s: int) -> tuple[int, int]:
    """Return the pair, the cheaper one first, that a perfect router would earn most with; a lone agent is its own."""
    table = train.table
    utility = table.score[s] - table.scenarios[s].alpha * table.answer_cost[s]
    order = by_cost(table)
    pairs = list(combinations(order, 2)) or [(order[0], order[0])]
    return best_of(pairs, lambda pair: float(np.maximum(utility[pair[0]], utility[pair[1]]).mean()))


def _label(small: Floats, large: Floats, *, transformed: bool) -> Floats:
    """Return how surely the small agent will do on each train query (r_prob and r_trans)."""
    if not transformed:
        return np.asarray(1 - (1 - small) * large)
    kept = [(small >= large - margin).astype(np.float64) for margin in np.linspace(0.0, 1.0, 21)]
    # The mean difference of two queries' labels is 2·m·(1 − m), where m is the share of ones.
    return best_of(kept, lambda label: float(label.mean() * (1 - label.mean())))
