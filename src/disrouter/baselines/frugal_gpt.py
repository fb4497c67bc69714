"""FrugalGPT: ask the cheap agents first, and stop at the first answer that a scorer trusts.

Paper: FrugalGPT: How to Use Large Language Models While Reducing Cost and Improving Performance (arXiv 2305.05176).
Algorithm: a scorer g(q, a) learns from the query *and the agent's answer* whether the answer is right. A cascade is a
list of at most three agents and a threshold for each but the last: they are asked in turn until g reaches the
threshold. Lists and thresholds are searched for the best trade-off of quality and cost.
Departures: lists run from cheap to dear; utility is maximised instead of quality under a budget. The scorer is a
logistic regression or boosted trees, one per agent, on features of the query, of the answer and of what they share,
instead of DistilBERT. Scorers are fitted on train, lists and thresholds on validation: separate folds, so that no
threshold is set on answers that the scorer has learned by heart.
May look at: the query's text and the answers that it has paid for. Charged: every answer asked for, used or not, and
the features of every text read. A broken agent's answer has a score of 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from typing import ClassVar

import numpy as np

from disrouter.baselines._answers import AnswerReader
from disrouter.baselines._estimates import Chance, soft_classifier, tree_classifier
from disrouter.baselines._plug_in import Floats
from disrouter.baselines._tuning import best_of, by_cost, column_of, first_alike
from disrouter.baselines.contract import AgentPlaces, Need, Queries, Rows, Seen
from disrouter.baselines.features import TFIDF, TextFeatures
from disrouter.baselines.ledger import Ledger
from disrouter.evaluation.outcomes import ObjectCube
from disrouter.seeds import seed_of
from disrouter.types import Scenario

__all__ = ["FrugalGpt"]

SETTINGS = (("linear", 0.1), ("linear", 1.0), ("trees", 7), ("trees", 15))
"""Kind of scorer, its inverse penalty or its leaves."""

_LENGTH, _THRESHOLDS = 3, 14
"""Most agents in a list; thresholds tried per agent."""


@dataclass(frozen=True, slots=True)
class FrugalGpt:
    """Learns when an answer can be trusted, and whom to ask in which order."""

    features: TextFeatures = TFIDF
    name: ClassVar[str] = "frugalgpt"
    needs: ClassVar[frozenset[Need]] = frozenset({"responses"})

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> FittedFrugalGpt:
        """Learn scorers from train; choose their setting, the list and its thresholds on validation."""
        reader = AnswerReader.of(train, self.features, seed=seed_of(seed, "features"))
        table = train.table
        alike = first_alike(table, "score", "answer")
        trusts: dict[int, list[tuple[tuple[Chance, ...], Floats]]] = {}
        for s in sorted(set(alike)):
            held = validation.table.answer[validation.column(table.scenarios[s])]
            shown = [reader.read(train.texts, answers) for answers in table.answer[s]]
            held_shown = [reader.read(validation.texts, answers) for answers in held]
            trusts[s] = []
            for i, setting in enumerate(SETTINGS):
                scorers = tuple(
                    _scorer(rows, rate, setting, seed_of(seed, "scorer", str(i)))
                    for rows, rate in zip(shown, table.score[s], strict=True)
                )
                told = [_trust(g, rows, a) for g, rows, a in zip(scorers, held_shown, held, strict=True)]
                trusts[s].append((scorers, np.stack(told)))
        cascades = [
            _best_cascade(trusts[alike[s]], validation, scenario, by_cost(table), reader.cost)
            for s, scenario in enumerate(table.scenarios)
        ]
        return FittedFrugalGpt(Seen.of(train, validation), reader, table.scenarios, tuple(cascades))


@dataclass(frozen=True, slots=True, eq=False)
class Cascade:
    """Whom to ask in turn, and how much trust is enough."""

    agents: tuple[int, ...]
    thresholds: tuple[float, ...]
    """One per agent but the last."""

    scorers: tuple[Chance, ...]
    """One per agent of the table."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedFrugalGpt:
    """One cascade per scenario."""

    seen: Seen
    reader: AnswerReader
    scenarios: tuple[Scenario, ...]
    cascades: tuple[Cascade, ...]

    def route(self, queries: Queries, scenario: Scenario, ledger: Ledger) -> AgentPlaces:
        """Ask in turn and stop at the first trusted answer."""
        cascade = self.cascades[column_of(self.scenarios, scenario)]
        agent = np.full(len(queries), cascade.agents[-1], dtype=np.int64)
        waiting = np.arange(len(queries))
        for a, threshold in zip(cascade.agents, cascade.thresholds, strict=False):  # the last one is not judged
            if len(waiting) == 0:
                break
            answers = ledger.ask(a, waiting)
            ledger.charge(self.reader.cost, waiting)
            rows = self.reader.read([queries.texts[q] for q in waiting], answers)
            trusted = _trust(cascade.scorers[a], rows, answers) >= threshold
            agent[waiting[trusted]] = a
            waiting = waiting[~trusted]
        return agent


def _scorer(rows: Floats, rate: Floats, setting: tuple[str, float], seed: int) -> Chance:
    kind, strength = setting
    if kind == "linear":
        return soft_classifier(rows, rate, strength)
    return tree_classifier(rows, rate, int(strength), seed=seed)


def _trust(scorer: Chance, rows: Floats, answers: ObjectCube) -> Floats:
    """Return how far each answer is trusted, rounded so that who is beside it does not matter; 0 without an answer."""
    broken = np.array([answer is None for answer in answers], dtype=bool)
    return np.where(broken, 0.0, np.round(scorer(rows), 6))


def _best_cascade(
    trusts: list[tuple[tuple[Chance, ...], Floats]],
    validation: Rows,
    scenario: Scenario,
    order: list[int],
    reading: float,
) -> Cascade:
    """Return the setting, list and thresholds of the highest mean utility on validation."""
    s = validation.column(scenario)
    score, cost = validation.table.score[s], validation.table.answer_cost[s]
    lists = [agents for size in range(1, _LENGTH + 1) for agents in combinations(order, size)]
    candidates = []
    for scorers, trust in trusts:
        cuts = {a: np.unique(np.quantile(trust[a], np.linspace(0.02, 1.0, _THRESHOLDS))) for a in order}
        candidates += [
            (Cascade(agents, tuple(float(cut) for cut in thresholds), scorers), trust)
            for agents in lists
            for thresholds in product(*(cuts[a] for a in agents[:-1]))
        ]

    def value(candidate: tuple[Cascade, Floats]) -> float:
        cascade, trust = candidate
        utility = score[cascade.agents[-1]] - scenario.alpha * cost[cascade.agents[-1]]
        for a, threshold in zip(cascade.agents[-2::-1], cascade.thresholds[::-1], strict=True):
            asked = scenario.alpha * (cost[a] + reading)
            utility = np.where(trust[a] >= threshold, score[a] - asked, utility - asked)
        return float(utility.mean())

    return best_of(candidates, value)[0]
