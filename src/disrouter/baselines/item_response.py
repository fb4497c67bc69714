"""IRT-Router: item response theory with queries as items and agents as examinees.

Paper: IRT-Router: Effective and Interpretable Multi-LLM Routing via Item Response Theory (arXiv 2506.01048, "MIRT").
Algorithm: the chance that agent i is right on query q is σ(a_q·θ_i − b_q): the agent's ability θ_i in several
dimensions, the query's discrimination a_q and difficulty b_q, both linear in its features. Then argmax chance −
weight·cost.
Departures: abilities are free parameters, not read from a description of the model; no warm-up with neighbouring
queries; scores in [0, 1] are learned as they are, by cross-entropy.
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

__all__ = ["ItemResponse"]

SETTINGS = ((4, 1e-2), (16, 1e-2), (4, 3e-1), (16, 3e-1))
"""Dimensions of ability, weight decay."""


@dataclass(frozen=True, slots=True)
class ItemResponse:
    """Learns how hard a query is, and in which way, and how able every agent."""

    features: TextFeatures = TFIDF
    name: ClassVar[str] = "irt"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> PlugIn:
        """Learn abilities and items from train, choose setting and cost weight on validation."""
        return fit_on_texts(train, validation, self.features, settings=SETTINGS, learn=_learn, seed=seed)


class _Items(nn.Module):
    """Logits of being right, shape (n, A)."""

    def __init__(self, width: int, agents: int, dimensions: int) -> None:
        super().__init__()
        self.discrimination = nn.Linear(width, dimensions)
        self.difficulty = nn.Linear(width, 1)
        self.ability = nn.Parameter(torch.randn(agents, dimensions) / dimensions**0.5)

    def forward(self, x: Tensor) -> Tensor:
        told: Tensor = self.discrimination(x) @ self.ability.T - self.difficulty(x)
        return told


def _learn(lesson: Lesson, setting: tuple[int, float], seed: int) -> Estimator:
    dimensions, decay = setting
    x, score = tensor(lesson.x), tensor(lesson.score.T)
    x_held, score_held = tensor(lesson.x_validation), tensor(lesson.score_validation.T)

    def surprise(network: nn.Module, x: Tensor, score: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(network(x), score)

    network = trained(
        lambda: _Items(x.shape[1], score.shape[1], dimensions),
        lambda network, places: surprise(network, x[places], score[places]),
        len(x),
        lambda network: surprise(network, x_held, score_held),
        seed=seed,
        decay=decay,
    )
    costs = cost_model(lesson.x, lesson.cost)

    def estimate(rows: Floats) -> tuple[Floats, Floats]:
        with torch.no_grad():
            return torch.sigmoid(network(tensor(rows))).double().numpy().T, costs(rows)

    return estimate
