"""Predict, then choose: the frame of every baseline that estimates qualities and costs from what it reads of a query.

    agent = argmax_i  quality_i(x) − w·α·cost_i(x)

What differs between such baselines is how they estimate; that stands in their own files. The weight w is chosen on
validation (:data:`~disrouter.baselines._tuning.WEIGHTS`), as is one of four settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from disrouter.baselines._tuning import WEIGHTS, best_of, cheapest_best, column_of, first_alike, worth
from disrouter.baselines.contract import AgentPlaces, Need, Queries, Rows, Seen
from disrouter.baselines.features import TextEncoder, TextFeatures, feature_cost
from disrouter.baselines.ledger import Ledger
from disrouter.seeds import seed_of
from disrouter.types import Scenario

__all__ = ["Estimator", "Lesson", "PlugIn", "Reader", "TextReader", "cost_model", "fit_on_texts", "fit_plug_in"]

Floats = NDArray[np.float64]
Setting = TypeVar("Setting")

Estimator = Callable[[Floats], tuple[Floats, Floats]]
"""From what is read of n queries, shape (n, D), to qualities and costs, both of shape (A, n)."""


class Reader(Protocol):
    """How a router comes to read of a query, and what that is charged."""

    @property
    def needs(self) -> frozenset[Need]: ...

    def read(self, queries: Queries, ledger: Ledger) -> Floats: ...


@dataclass(frozen=True, slots=True, eq=False)
class TextReader:
    """Reads the text, at the cost of its features."""

    encoder: TextEncoder
    cost: float
    needs: frozenset[Need] = frozenset()

    def read(self, queries: Queries, ledger: Ledger) -> Floats:
        """Return one row per query."""
        ledger.charge(self.cost)
        return self.encoder.encode(queries.texts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """What an estimator learns from in one scenario; the second half is for early stopping only."""

    x: Floats
    """Shape (n, D)."""

    score: Floats
    """Shape (A, n)."""

    cost: Floats
    x_validation: Floats
    score_validation: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlugIn:
    """A fitted predict-then-choose router."""

    seen: Seen
    reader: Reader
    scenarios: tuple[Scenario, ...]
    estimators: tuple[Estimator, ...]
    """One per scenario."""

    weights: tuple[float, ...]
    """One per scenario."""

    def route(self, queries: Queries, scenario: Scenario, ledger: Ledger) -> AgentPlaces:
        """Send every query to the agent of the best estimated quality less weighted cost."""
        s = column_of(self.scenarios, scenario)
        quality, cost = self.estimators[s](self.reader.read(queries, ledger))
        return cheapest_best(quality - self.weights[s] * scenario.alpha * cost, cost)


def fit_on_texts(
    train: Rows,
    validation: Rows,
    features: TextFeatures,
    *,
    settings: Sequence[Setting],
    learn: Callable[[Lesson, Setting, int], Estimator],
    seed: int,
    weights: Sequence[float] = WEIGHTS,
) -> PlugIn:
    """Return the fitted router that reads texts."""
    encoder = features.fit(train.texts, seed=seed_of(seed, "features"))
    return fit_plug_in(
        train,
        validation,
        TextReader(encoder, feature_cost(features, train.table)),
        encoder.encode(train.texts),
        encoder.encode(validation.texts),
        settings=settings,
        learn=learn,
        seed=seed,
        weights=weights,
    )


def fit_plug_in(
    train: Rows,
    validation: Rows,
    reader: Reader,
    x: Floats,
    x_validation: Floats,
    *,
    settings: Sequence[Setting],
    learn: Callable[[Lesson, Setting, int], Estimator],
    seed: int,
    weights: Sequence[float] = WEIGHTS,
) -> PlugIn:
    """Return the router with, per scenario, the setting and the weight of the best utility on validation."""
    table, scenarios = train.table, train.table.scenarios
    alike = first_alike(table, "score", "answer_cost")
    learnt: dict[int, list[Estimator]] = {}
    for s in sorted(set(alike)):
        lesson = Lesson(
            x=x,
            score=table.score[s],
            cost=table.answer_cost[s],
            x_validation=x_validation,
            score_validation=validation.table.score[validation.column(scenarios[s])],
        )
        learnt[s] = [learn(lesson, setting, seed_of(seed, "setting", str(i))) for i, setting in enumerate(settings)]
    chosen = []
    for s, scenario in enumerate(scenarios):
        # What is estimated does not depend on the weight, so it is estimated once.
        found = [(estimator, estimator(x_validation)) for estimator in learnt[alike[s]]]
        candidates = [(estimator, told, weight) for estimator, told in found for weight in weights]

        def value(candidate: tuple[Estimator, tuple[Floats, Floats], float], scenario: Scenario = scenario) -> float:
            _, told, weight = candidate
            frozen = PlugIn(
                seen=Seen(train="", validation=""),
                reader=reader,
                scenarios=(scenario,),
                estimators=(lambda _: told,),
                weights=(weight,),
            )
            return worth(frozen.route, validation, scenario, reader.needs)

        estimator, _, weight = best_of(candidates, value)
        chosen.append((estimator, weight))
    return PlugIn(
        seen=Seen.of(train, validation),
        reader=reader,
        scenarios=scenarios,
        estimators=tuple(estimator for estimator, _ in chosen),
        weights=tuple(weight for _, weight in chosen),
    )


def cost_model(x: Floats, cost: Floats) -> Callable[[Floats], Floats]:
    """Return a linear model of each agent's answer cost: exact where an agent costs the same whatever is asked."""
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=10.0).fit(x, cost.T)
    fixed = np.ptp(cost, axis=1) < 1e-12
    low, high = cost.min(axis=1, keepdims=True), cost.max(axis=1, keepdims=True)

    def predict(rows: Floats) -> Floats:
        told = np.clip(np.atleast_2d(model.predict(rows).reshape(len(rows), len(cost)).T), low, high)
        return np.asarray(np.where(fixed[:, None], low, told))

    return predict
