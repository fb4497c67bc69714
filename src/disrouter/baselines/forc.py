"""FORC: one meta-model that predicts how well any agent does on a query, then cost-aware assignment.

Paper: Fly-Swat or Cannon? Cost-Effective Language Model Choice via Meta-Modeling (arXiv 2308.06077).
Algorithm: a single model reads the query together with the name of an agent and predicts that agent's score; costs
are estimated from the query; queries are assigned so that predicted scores less weighted costs are largest.
Departures: gradient-boosted trees on query features and the agent's indicator instead of a fine-tuned DistilBERT. The
paper also assigns under a budget by an integer program; with utility A − α·C that program falls apart into the best
agent per query.
May look at: the query's text. Charged: the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from disrouter.baselines._plug_in import Estimator, Floats, Lesson, PlugIn, cost_model, fit_on_texts
from disrouter.baselines.contract import Need, Rows
from disrouter.baselines.features import TFIDF, TextFeatures

__all__ = ["Forc"]

SETTINGS = ((15, 0.1), (7, 0.1), (31, 0.1), (15, 0.03))
"""Leaves of a tree, learning rate."""

_TREES = 60


@dataclass(frozen=True, slots=True)
class Forc:
    """Predicts any agent's score with one model that is told which agent is meant."""

    features: TextFeatures = TFIDF
    name: ClassVar[str] = "forc"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> PlugIn:
        """Learn the meta-model from train, choose setting and cost weight on validation."""
        return fit_on_texts(train, validation, self.features, settings=SETTINGS, learn=_learn, seed=seed)


def _learn(lesson: Lesson, setting: tuple[int, float], seed: int) -> Estimator:
    leaves, rate = setting
    agents = len(lesson.score)
    model = HistGradientBoostingRegressor(
        max_leaf_nodes=leaves,
        learning_rate=rate,
        max_iter=_TREES,
        early_stopping=True,
        n_iter_no_change=8,
        random_state=seed % 2**32,
    ).fit(
        _pairs(lesson.x, agents),
        lesson.score.ravel(),
        X_val=_pairs(lesson.x_validation, agents),
        y_val=lesson.score_validation.ravel(),
    )
    costs = cost_model(lesson.x, lesson.cost)

    def estimate(rows: Floats) -> tuple[Floats, Floats]:
        told = model.predict(_pairs(rows, agents)).reshape(agents, len(rows))
        return np.clip(told, 0.0, 1.0), costs(rows)

    return estimate


def _pairs(x: Floats, agents: int) -> Floats:
    """Return every query beside the indicator of every agent, agent by agent."""
    return np.hstack([np.tile(x, (agents, 1)), np.repeat(np.eye(agents), len(x), axis=0)])
