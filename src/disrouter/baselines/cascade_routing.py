"""Cascade routing: after every answer, plan again which set of agents is worth asking.

Paper: A Unified Approach to Routing and Cascading for LLMs (arXiv 2410.10347).
Algorithm: estimate the quality of every agent's answer before it is asked (from the query) and after (from its
answer, too). Asking a set of agents earns the expected maximum of their qualities, Gaussian around the estimates with
the covariance of "after − before", less λ times what the set costs. Take the best set that contains those already
asked, ask the cheapest new agent in it, estimate anew; stop when the best set is the one already asked, and give the
answer of the highest estimate.
Departures: λ is alpha times a tuned factor, the same at every step (the paper tunes one λ per step for a budget); at
most three further agents are planned ahead; the expected maximum is a mean over a fixed sample. Estimates after an
answer use features of query and answer and how often the other answers agree with it; token probabilities are not
recorded.
May look at: the query's text and the answers that it has paid for. Charged: every answer asked for, used or not, and
the features of every text read. A broken agent's answer has a quality of 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from disrouter.baselines._answers import AnswerReader, final_answer
from disrouter.baselines._estimates import Chance, soft_classifier, tree_classifier
from disrouter.baselines._plug_in import Floats, cost_model
from disrouter.baselines._tuning import WEIGHTS, best_of, column_of, first_alike, worth
from disrouter.baselines.contract import AgentPlaces, Need, Queries, Rows, Seen
from disrouter.baselines.features import TFIDF, TextFeatures
from disrouter.baselines.ledger import Ledger
from disrouter.evaluation.outcomes import ObjectCube
from disrouter.seeds import seed_of
from disrouter.types import Scenario

__all__ = ["CascadeRouting"]

SETTINGS = (("linear", 0.1), ("linear", 1.0), ("trees", 7), ("trees", 15))
"""Kind of estimator after an answer, its inverse penalty or its leaves."""

_PENALTY, _AHEAD, _DRAWS, _BLOCK = 0.1, 3, 48, 1000
"""Inverse penalty of the estimator before; agents planned ahead; sample of the expected maximum; queries at once."""

Shown = Callable[[int, NDArray[np.int64]], tuple[ObjectCube, Floats]]
"""From an agent and places of queries to its answers, paid for, and what is read of them."""


@dataclass(frozen=True, slots=True)
class CascadeRouting:
    """Plans sets of agents, and plans again after every answer."""

    features: TextFeatures = TFIDF
    name: ClassVar[str] = "cascade-routing"
    needs: ClassVar[frozenset[Need]] = frozenset({"responses"})

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> FittedCascadeRouting:
        """Learn both estimators from train; choose setting and λ on validation."""
        reader = AnswerReader.of(train, self.features, seed=seed_of(seed, "features"))
        table = train.table
        alike = first_alike(table, "score", "answer", "answer_cost")
        learnt: dict[int, tuple[list[Estimates], Shown]] = {}
        for s in sorted(set(alike)):
            answers = validation.table.answer[validation.column(table.scenarios[s])]
            shown = _all_shown(reader, validation.texts, answers)
            learnt[s] = _learn(train, s, reader, seed), shown
        x = reader.query.encode(validation.texts)
        chosen = []
        for s, scenario in enumerate(table.scenarios):
            estimates, shown = learnt[alike[s]]
            candidates = [(e, weight) for e in estimates for weight in WEIGHTS]

            def value(candidate: tuple[Estimates, float], scenario: Scenario = scenario, shown: Shown = shown) -> float:
                def route(queries: Queries, scenario: Scenario, ledger: Ledger) -> AgentPlaces:
                    def bought(agent: int, places: NDArray[np.int64]) -> tuple[ObjectCube, Floats]:
                        ledger.ask(agent, places)
                        ledger.charge(reader.cost, places)
                        return shown(agent, places)  # read once for all candidates

                    return _run(candidate[0], candidate[1] * scenario.alpha, x, bought)

                return worth(route, validation, scenario, self.needs)

            chosen.append(best_of(candidates, value))
        return FittedCascadeRouting(
            Seen.of(train, validation),
            reader,
            table.scenarios,
            tuple(estimates for estimates, _ in chosen),
            tuple(weight for _, weight in chosen),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Qualities before and after answers, their covariance, and costs."""

    before: tuple[Chance, ...]
    after: tuple[Chance, ...]
    covariance: Floats
    costs: Callable[[Floats], Floats]
    draws: Floats
    """Standard normal sample for the expected maximum, shape (draws, A)."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedCascadeRouting:
    """Estimators and the weight of cost, per scenario."""

    seen: Seen
    reader: AnswerReader
    scenarios: tuple[Scenario, ...]
    estimates: tuple[Estimates, ...]
    weights: tuple[float, ...]

    def route(self, queries: Queries, scenario: Scenario, ledger: Ledger) -> AgentPlaces:
        """Plan, ask, and plan again."""
        s = column_of(self.scenarios, scenario)

        def bought(agent: int, places: NDArray[np.int64]) -> tuple[ObjectCube, Floats]:
            answers = ledger.ask(agent, places)
            ledger.charge(self.reader.cost, places)
            return answers, self.reader.read([queries.texts[q] for q in places], answers)

        x = self.reader.query.encode(queries.texts)
        return _run(self.estimates[s], self.weights[s] * scenario.alpha, x, bought)


def _run(estimates: Estimates, rate: float, x: Floats, bought: Shown) -> AgentPlaces:
    """Return who answers each query when a unit of cost is worth ``rate``."""
    agent = np.zeros(len(x), dtype=np.int64)
    for start in range(0, len(x), _BLOCK):
        places = np.arange(start, min(start + _BLOCK, len(x)))

        def bought_here(a: int, at: NDArray[np.int64], places: NDArray[np.int64] = places) -> tuple[ObjectCube, Floats]:
            return bought(a, places[at])

        agent[places] = _run_block(estimates, rate, x[places], bought_here)
    return agent


def _run_block(estimates: Estimates, rate: float, x: Floats, bought: Shown) -> AgentPlaces:
    quality = np.stack([chance(x) for chance in estimates.before])  # (A, n), before until it is known better
    cost = estimates.costs(x)
    agents, n = quality.shape
    before = quality.copy()
    asked = np.zeros((agents, n), dtype=bool)
    finals = np.full((agents, n), "", dtype=object)
    read: dict[int, dict[int, Floats]] = {a: {} for a in range(agents)}
    open_ = np.arange(n)
    while len(open_):
        following = _plan(estimates, rate, quality[:, open_], cost[:, open_], asked[:, open_])
        open_, following = open_[following >= 0], following[following >= 0]
        for a in np.unique(following):
            places = open_[following == a]
            answers, rows = bought(int(a), places)
            asked[a, places] = True
            finals[a, places] = [final_answer(answer) for answer in answers]
            read[int(a)].update(zip(places.tolist(), rows, strict=True))
        agreeing = _agreement(finals[:, open_], asked[:, open_])
        for a in range(agents):
            known = asked[a, open_]
            places = open_[known]
            if len(places):
                rows = np.array([read[a][q] for q in places.tolist()])
                told = estimates.after[a](np.hstack([rows, before[a, places, None], agreeing[a][known]]))
                quality[a, places] = np.where(finals[a, places] == "", 0.0, told)
    return np.asarray(np.argmax(np.where(asked, np.round(quality, 6), -1.0), axis=0), dtype=np.int64)


def _plan(estimates: Estimates, rate: float, quality: Floats, cost: Floats, asked: NDArray[np.bool_]) -> AgentPlaces:
    """Return whom to ask next for each query, -1 if nobody: the cheapest new agent of the best set."""
    following = np.full(quality.shape[1], -1, dtype=np.int64)
    patterns, pattern = np.unique(asked, axis=1, return_inverse=True)
    for i in range(patterns.shape[1]):
        at, done = np.flatnonzero(pattern.ravel() == i), np.flatnonzero(patterns[:, i])
        new = [a for a in range(len(quality)) if not patterns[a, i]]
        sample = quality[:, at].T[:, None, :] + _noise(estimates, new)[None]  # (n, draws, A)
        base = sample[:, :, done].max(axis=2) if len(done) else None
        best = np.full(len(at), -np.inf) if base is None else base.mean(axis=1)
        for size in range(1, min(_AHEAD, len(new)) + 1):
            for added in combinations(new, size):
                most = sample[:, :, list(added)].max(axis=2)
                if base is not None:
                    most = np.maximum(most, base)
                price = cost[list(added)][:, at]
                value = most.mean(axis=1) - rate * price.sum(axis=0)
                better = value > best + 1e-7  # smaller sets come first, so that they win ties
                cheapest = np.array(added)[np.argmin(np.round(price, 8), axis=0)]
                following[at] = np.where(better, cheapest, following[at])
                best = np.where(better, value, best)
    return following


def _noise(estimates: Estimates, new: list[int]) -> Floats:
    """Return the sample of what answers may still change, shape (draws, A): nothing where an answer is known."""
    noise = np.zeros((len(estimates.draws), len(estimates.before)))
    if new:
        covariance = estimates.covariance[np.ix_(new, new)] + 1e-9 * np.eye(len(new))
        noise[:, new] = estimates.draws[:, : len(new)] @ np.linalg.cholesky(covariance).T
    return noise


def _agreement(finals: ObjectCube, asked: NDArray[np.bool_]) -> Floats:
    """Return per agent and query the share of other answers that agree with its own, and their number, (A, n, 2)."""
    others = asked.sum(axis=0) - asked
    same = np.stack([((finals == own) & asked).sum(axis=0) for own in finals]) - asked
    share = np.where(others > 0, same / np.maximum(others, 1), 0.5)
    return np.stack([share, others.astype(np.float64)], axis=2)


def _all_shown(reader: AnswerReader, texts: tuple[str, ...], answers: ObjectCube) -> Shown:
    """Return what is read of any agent's answers, all read once."""
    rows = [reader.read(texts, told) for told in answers]
    return lambda agent, places: (answers[agent, places], rows[agent][places])


def _learn(train: Rows, s: int, reader: AnswerReader, seed: int) -> list[Estimates]:
    """Return the estimates of every setting. Half of the train answers, drawn anew, count as asked when they agree."""
    table = train.table
    score, answers = table.score[s], table.answer[s]
    x = reader.query.encode(train.texts)
    before = tuple(soft_classifier(x, rate, _PENALTY) for rate in score)
    told = np.stack([chance(x) for chance in before])
    rng = np.random.default_rng(seed_of(seed, "asked"))
    finals = np.array([[final_answer(answer) for answer in row] for row in answers], dtype=object)
    drawn = rng.random(score.shape) < 0.5
    columns = []
    for a in range(len(score)):
        asked = drawn.copy()
        asked[a] = True
        rows = reader.read(train.texts, answers[a])
        columns.append(np.hstack([rows, told[a][:, None], _agreement(finals, asked)[a]]))
    draws = rng.standard_normal((_DRAWS // 2, len(score)))
    costs = cost_model(x, table.answer_cost[s])
    found = []
    for i, (kind, strength) in enumerate(SETTINGS):
        after = tuple(
            soft_classifier(rows, rate, strength)
            if kind == "linear"
            else tree_classifier(rows, rate, int(strength), seed=seed_of(seed, "after", str(i)))
            for rows, rate in zip(columns, score, strict=True)
        )
        change = np.stack([chance(rows) for chance, rows in zip(after, columns, strict=True)]) - told
        covariance = np.atleast_2d(np.cov(change))
        found.append(Estimates(before, after, covariance, costs, np.vstack([draws, -draws])))
    return found
