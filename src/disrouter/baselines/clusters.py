"""Avengers-Pro: clusters of queries, each with its own ranking of agents.

Paper: Beyond GPT-5: Making LLMs Cheaper and Better via Performance-Efficiency Optimized Routing (arXiv 2508.12631).
Algorithm: k-means on query features. In every cluster the agents' mean scores and mean costs are scaled to [0, 1] by
their extremes; an agent's worth is β·performance + (1 − β)·(1 − cost). A query goes to the agent of the largest sum
of worth over its nearest clusters.
Departures: three nearest clusters, each weighted by a softmax of its distance, as the authors' code does; β is not a
user's dial but chosen per scenario on validation (as the weight (1 − β)/β of cost).
May look at: the query's text. Charged: the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.cluster import KMeans

from disrouter.baselines._plug_in import Estimator, Floats, Lesson, PlugIn, fit_on_texts
from disrouter.baselines.contract import Need, Rows
from disrouter.baselines.features import TFIDF, TextFeatures

__all__ = ["Clusters"]

SETTINGS = (32, 8, 16, 64)
"""Clusters."""

BALANCES = (1.0, 0.25, 0.5, 2.0, 4.0)
"""(1 − β)/β in units of alpha."""

_NEAREST, _SHARPNESS = 3, 9.0


@dataclass(frozen=True, slots=True)
class Clusters:
    """Judges a query by the clusters nearest to it."""

    features: TextFeatures = TFIDF
    name: ClassVar[str] = "avengers-pro"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> PlugIn:
        """Cluster the train queries, choose their number and the balance on validation."""
        return fit_on_texts(
            train, validation, self.features, settings=SETTINGS, learn=_learn, seed=seed, weights=BALANCES
        )


def _learn(lesson: Lesson, setting: int, seed: int) -> Estimator:
    unit = _unit(lesson.x)
    clusters = min(setting, len(np.unique(np.round(unit, 9), axis=0)))
    means = KMeans(clusters, n_init=3, random_state=seed % 2**32).fit(unit)
    member = np.eye(clusters)[means.labels_]
    share = member / member.sum(axis=0)
    performance, cost = _scaled(lesson.score @ share), _scaled(lesson.cost @ share)  # (A, clusters)

    def estimate(rows: Floats) -> tuple[Floats, Floats]:
        distance = means.transform(_unit(rows))
        closeness = np.exp(-_SHARPNESS * (distance - distance.min(axis=1, keepdims=True)))
        near = np.sort(distance, axis=1)[:, min(_NEAREST, clusters) - 1, None]
        weight = np.where(distance <= near, closeness, 0.0)
        weight /= weight.sum(axis=1, keepdims=True)
        return performance @ weight.T, cost @ weight.T

    return estimate


def _unit(x: Floats) -> Floats:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9))


def _scaled(means: Floats) -> Floats:
    """Return means per cluster, scaled so that the lowest agent has 0 and the highest 1; 0 where all are alike."""
    low, high = means.min(axis=0), means.max(axis=0)
    return np.asarray((means - low) / np.where(high - low > 1e-12, high - low, 1.0))
