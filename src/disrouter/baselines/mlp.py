"""A multilayer perceptron that predicts every agent's score.

Paper: RouterBench: A Benchmark for Multi-LLM Routing System (arXiv 2403.12031, "MLP router").
Algorithm: one hidden layer from query features to all agents' scores; then argmax score − weight·cost.
Departures: cross-entropy instead of squared error (scores lie in [0, 1]); costs are predicted too, by a linear model.
May look at: the query's text. Charged: the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from disrouter.baselines._nets import tensor, trained
from disrouter.baselines._plug_in import Estimator, Floats, Lesson, PlugIn, cost_model, fit_on_texts
from disrouter.baselines.contract import Need, Rows
from disrouter.baselines.features import TFIDF, TextFeatures

__all__ = ["SETTINGS", "Mlp", "learn_scores"]

SETTINGS = ((64, 1e-2), (64, 3e-1), (256, 1e-2), (256, 3e-1))
"""Hidden units, weight decay."""

_DROPOUT = 0.2


@dataclass(frozen=True, slots=True)
class Mlp:
    """Predicts all agents' scores from one hidden layer."""

    features: TextFeatures = TFIDF
    name: ClassVar[str] = "mlp"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> PlugIn:
        """Train on train, choose setting and cost weight on validation."""
        return fit_on_texts(train, validation, self.features, settings=SETTINGS, learn=learn_scores, seed=seed)


def learn_scores(lesson: Lesson, setting: tuple[int, float], seed: int) -> Estimator:
    """Return the perceptron's estimates of all agents' scores, and a linear model's of their costs."""
    hidden, decay = setting
    x, score = tensor(lesson.x), tensor(lesson.score.T)
    x_held, score_held = tensor(lesson.x_validation), tensor(lesson.score_validation.T)

    def surprise(network: nn.Module, x: Tensor, score: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(network(x), score)

    network = trained(
        lambda: nn.Sequential(
            nn.Linear(x.shape[1], hidden), nn.ReLU(), nn.Dropout(_DROPOUT), nn.Linear(hidden, score.shape[1])
        ),
        lambda network, places: surprise(network, x[places], score[places]),
        len(x),
        lambda network: surprise(network, x_held, score_held),
        seed=seed,
        rate=3e-3,
        decay=decay,
    )
    costs = cost_model(lesson.x, lesson.cost)

    def estimate(rows: Floats) -> tuple[Floats, Floats]:
        with torch.no_grad():
            return torch.sigmoid(network(tensor(rows))).double().numpy().T, costs(rows)

    return estimate
