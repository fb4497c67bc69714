"""RouteLLM's classifier variant, over n agents.

Paper: RouteLLM: Learning to Route LLMs with Preference Data (arXiv 2406.18665, "BERT classifier").
Algorithm: a classifier of the query's text says whether the strong model wins, ties or loses against the weak one;
the query goes to the strong one if its chance to win passes a calibrated threshold.
Departures: one three-way classifier per agent against the cheapest one. The chances, each times the mean gap of
scores in wins and losses, give the expected gain in quality, and the threshold becomes the tuned weight of cost.
Logistic regression on the features asked for, instead of a fine-tuned BERT: no encoder is trained.
May look at: the query's text. Charged: the features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.linear_model import LogisticRegression

from disrouter.baselines._plug_in import Estimator, Floats, Lesson, PlugIn, cost_model, fit_on_texts
from disrouter.baselines.contract import Need, Rows
from disrouter.baselines.features import TFIDF, TextFeatures

__all__ = ["TextClassifier"]

SETTINGS = (0.1, 0.01, 1.0, 10.0)
"""Inverse strength of the L2 penalty."""


@dataclass(frozen=True, slots=True)
class TextClassifier:
    """Learns on which queries each agent beats the cheapest one."""

    features: TextFeatures = TFIDF
    name: ClassVar[str] = "routellm-classifier"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> PlugIn:
        """Learn the classifiers from train, choose setting and cost weight on validation."""
        return fit_on_texts(train, validation, self.features, settings=SETTINGS, learn=_learn, seed=seed)


def _learn(lesson: Lesson, setting: float, seed: int) -> Estimator:
    weak = int(np.argmin(lesson.cost.mean(axis=1)))
    models = [_gain_model(lesson.x, score - lesson.score[weak], setting) for score in lesson.score]
    costs = cost_model(lesson.x, lesson.cost)

    def estimate(rows: Floats) -> tuple[Floats, Floats]:
        return np.stack([gain(rows) for gain in models]), costs(rows)

    return estimate


def _gain_model(x: Floats, gap: Floats, inverse_penalty: float) -> Callable[[Floats], Floats]:
    """Return the expected gain of an agent over the cheapest one, learned from who won, tied and lost."""
    outcome = np.sign(np.round(gap, 9)).astype(int)
    found = np.unique(outcome)
    gaps = np.array([gap[outcome == sign].mean() for sign in found])
    if len(found) == 1:  # the same everywhere: nothing to tell apart
        return lambda rows: np.full(len(rows), gaps[0])
    model = LogisticRegression(C=inverse_penalty, max_iter=500).fit(x, outcome)
    return lambda rows: np.asarray(model.predict_proba(rows) @ gaps)
