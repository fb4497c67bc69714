"""CARROT with its nearest-neighbour estimators.

Paper: CARROT: A Cost Aware Rate Optimal Router (arXiv 2502.03261).
Algorithm: estimate every agent's quality *and* cost on a query by the mean over its k nearest train queries, then
plug both in: argmax quality − weight·cost. The paper shows that this is minimax rate optimal.
Departures: cosine distance on the features asked for; the weight is alpha times a factor chosen on validation, as for
every baseline that predicts.
May look at: the query's text. Charged: the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.neighbors import NearestNeighbors

from disrouter.baselines._plug_in import Estimator, Floats, Lesson, PlugIn, fit_on_texts
from disrouter.baselines.contract import Need, Rows
from disrouter.baselines.features import TFIDF, TextFeatures

__all__ = ["NearestNeighbours"]

SETTINGS = (40, 10, 20, 80)
"""Neighbours."""

_BLOCK = 1000
"""Queries looked up at once: bounds memory, changes nothing else."""


@dataclass(frozen=True, slots=True)
class NearestNeighbours:
    """Judges a query by the train queries most like it."""

    features: TextFeatures = TFIDF
    name: ClassVar[str] = "carrot-knn"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> PlugIn:
        """Keep the train queries, choose how many neighbours count on validation."""
        return fit_on_texts(train, validation, self.features, settings=SETTINGS, learn=_learn, seed=seed)


def _learn(lesson: Lesson, setting: int, seed: int) -> Estimator:
    neighbours = NearestNeighbors(n_neighbors=min(setting, len(lesson.x)), metric="cosine").fit(lesson.x)

    def estimate(rows: Floats) -> tuple[Floats, Floats]:
        blocks = [rows[at : at + _BLOCK] for at in range(0, len(rows), _BLOCK)]
        near = np.vstack([neighbours.kneighbors(block, return_distance=False) for block in blocks])
        return lesson.score[:, near].mean(axis=2), lesson.cost[:, near].mean(axis=2)

    return estimate
