"""RouteLLM's matrix factorisation, over n agents.

Paper: RouteLLM: Learning to Route LLMs with Preference Data (arXiv 2406.18665).
Algorithm: a score δ(i, q) = w·(v_i ⊙ (W x_q + b)) of agent i on query q with features x_q; the chance that i is
preferred to j is σ(δ_i − δ_j), learned by cross-entropy from pairs of answers. The paper sends q to the strong one of
two models if that chance passes a threshold calibrated on held-out queries.
Departures: preferences come from recorded scores, ½ + (s_i − s_j)/2, ties included, instead of chat battles; all
pairs of n agents are learned together. With such labels 2σ(δ_i − δ_j) − 1 estimates s_i − s_j, so its mean over j
ranks n agents by quality, and the threshold becomes the tuned weight of cost. For two agents that is the paper's
rule. Features as asked for, not a text-embedding service.
May look at: the query's text. Charged: the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from disrouter.baselines._nets import tensor, trained
from disrouter.baselines._plug_in import Estimator, Floats, Lesson, PlugIn, cost_model, fit_on_texts
from disrouter.baselines.contract import Need, Rows
from disrouter.baselines.features import TFIDF, TextFeatures

__all__ = ["MatrixFactorisation"]

SETTINGS = ((16, 1e-2), (64, 1e-2), (16, 3e-1), (64, 3e-1))
"""Dimensions of the factors, weight decay."""


@dataclass(frozen=True, slots=True)
class MatrixFactorisation:
    """Learns who beats whom on which queries."""

    features: TextFeatures = TFIDF
    name: ClassVar[str] = "routellm-mf"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> PlugIn:
        """Learn the factors from train, choose setting and cost weight on validation."""
        return fit_on_texts(train, validation, self.features, settings=SETTINGS, learn=_learn, seed=seed)


class _Factors(nn.Module):
    """δ of every agent on every query, shape (n, A)."""

    def __init__(self, width: int, agents: int, dimensions: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, dimensions)
        self.agent = nn.Parameter(torch.randn(agents, dimensions) / dimensions**0.5)
        self.head = nn.Linear(dimensions, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        told: Tensor = self.head(self.query(x)[:, None, :] * self.agent)
        return told.squeeze(-1)


def _learn(lesson: Lesson, setting: tuple[int, float], seed: int) -> Estimator:
    dimensions, decay = setting
    agents = len(lesson.score)
    one, other = np.triu_indices(agents, k=1)
    x, score = tensor(lesson.x), tensor(lesson.score.T)
    x_held, score_held = tensor(lesson.x_validation), tensor(lesson.score_validation.T)

    def preference(network: nn.Module, x: Tensor, score: Tensor) -> Tensor:
        if agents == 1:  # nobody to compare with
            return torch.zeros((), requires_grad=True)
        delta: Tensor = network(x)
        preferred = 0.5 + (score[:, one] - score[:, other]) / 2
        return nn.functional.binary_cross_entropy_with_logits(delta[:, one] - delta[:, other], preferred)

    network = trained(
        lambda: _Factors(x.shape[1], agents, dimensions),
        lambda network, places: preference(network, x[places], score[places]),
        len(x),
        lambda network: preference(network, x_held, score_held),
        seed=seed,
        decay=decay,
    )
    costs = cost_model(lesson.x, lesson.cost)

    def estimate(rows: Floats) -> tuple[Floats, Floats]:
        with torch.no_grad():
            delta = network(tensor(rows)).double()
        wins = 2 * torch.sigmoid(delta[:, :, None] - delta[:, None, :]) - 1
        return wins.mean(dim=2).numpy().T, costs(rows)

    return estimate
