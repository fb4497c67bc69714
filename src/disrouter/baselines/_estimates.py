"""Estimating the chance of being right, from whatever columns are given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

__all__ = ["Chance", "soft_classifier", "tree_classifier"]

Floats = NDArray[np.float64]

Chance = Callable[[Floats], Floats]
"""From rows of shape (n, D) to chances in [0, 1], shape (n,)."""


def soft_classifier(x: Floats, rate: Floats, inverse_penalty: float) -> Chance:
    """Return a logistic regression of rates in [0, 1]: each row counts as right by its rate, as wrong by the rest."""
    mean = float(rate.mean())
    if mean <= 0.0 or mean >= 1.0:  # one class only
        return lambda rows: np.full(len(rows), mean)
    right, wrong = np.flatnonzero(rate > 0), np.flatnonzero(rate < 1)
    rows = np.concatenate([right, wrong])
    label = np.repeat([1, 0], [len(right), len(wrong)])
    weight = np.concatenate([rate[right], 1 - rate[wrong]])
    model = LogisticRegression(C=inverse_penalty, max_iter=500).fit(x[rows], label, sample_weight=weight)
    return lambda rows: np.asarray(model.predict_proba(rows)[:, 1])


def tree_classifier(x: Floats, rate: Floats, leaves: int, *, seed: int) -> Chance:
    """Return boosted trees for rates in [0, 1], which find how columns work together."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    if np.ptp(rate) == 0:
        return lambda rows: np.full(len(rows), float(rate[0]))
    model = HistGradientBoostingRegressor(
        max_leaf_nodes=leaves, max_iter=40, min_samples_leaf=min(20, max(2, len(x) // 20)), random_state=seed % 2**32
    ).fit(x, rate)
    return lambda rows: np.clip(model.predict(rows), 0.0, 1.0)
