"""Calibration: fit the curve from an agent's raw confidence to its measured chance of being right (post hoc).

Fitted on held-out queries that were neither trained on nor are judged by. *Isotonic* regression is free in shape and
wants some hundred queries (Zadrozny & Elkan 2002); *Platt* scaling, a logistic curve in the confidence's logit, does
with fewer (Platt 1999).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.agents.calibrators import Curve
from disrouter.errors import DataError
from disrouter.evaluation.metrics import brier, ece
from disrouter.training.settings import CalibrationMethod

__all__ = ["apply_curve", "fit_curve", "held_out", "improvement"]

_FEWEST = 20
"""Queries below which a curve would be noise."""

_POINTS = np.concatenate([[0.0, 1e-4, 1e-3], np.linspace(0.005, 0.995, 199), [0.999, 0.9999, 1.0]])
"""Where a Platt curve is written down; between them it is straight to within 1e-4."""


def fit_curve(
    confidence: NDArray[np.float64], right: NDArray[np.float64], method: CalibrationMethod = "isotonic"
) -> Curve:
    """Return the curve of one agent.

    Args:
        confidence: Raw confidences in [0, 1], shape (n,).
        right: Scores in [0, 1] of the answers to the same queries, shape (n,).
        method: ``isotonic`` or ``platt``.

    Raises:
        DataError: Too few queries, an unknown confidence, or answers that are all right or all wrong.
    """
    known = ~np.isnan(confidence)
    if not known.all():
        raise DataError(
            f"{int((~known).sum())} of {len(confidence)} confidences are unknown: nothing can be calibrated.",
            hint="calibrate an agent whose self_assessment is token, adapter or head",
        )
    if len(confidence) < _FEWEST:
        raise DataError(f"{len(confidence)} queries are too few to calibrate on.", hint=f"give at least {_FEWEST}")
    if np.ptp(right) == 0:
        what = "right" if right[0] >= 0.5 else "wrong"
        raise DataError(
            f"All {len(right)} answers are {what}: there is nothing to calibrate.",
            hint="calibrate on queries of more mixed difficulty",
        )
    return _fitted(confidence, right, method)


def held_out(
    confidence: NDArray[np.float64], right: NDArray[np.float64], method: CalibrationMethod, *, folds: int = 10
) -> NDArray[np.float64]:
    """Return calibrated confidences, each by a curve that its query had no part in (cross-validation), shape (n,).

    On the queries that it was fitted on, an isotonic curve is perfect by construction.
    """
    fold = np.arange(len(confidence)) % folds
    after = np.empty_like(confidence)
    for number in range(folds):
        own = fold == number
        after[own] = apply_curve(_fitted(confidence[~own], right[~own], method), confidence[own])
    return after


def apply_curve(curve: Curve, confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the calibrated confidences of a column, shape (n,)."""
    return np.interp(confidence, curve.x, curve.y)


def improvement(
    before: NDArray[np.float64], after: NDArray[np.float64], right: NDArray[np.float64]
) -> Mapping[str, float | None]:
    """Return Brier score and calibration error (15 bins) of raw and of calibrated confidences."""
    labels = right >= 0.5
    return {
        "brier_before": brier(before, labels),
        "brier_after": brier(after, labels),
        "ece_before": ece(before, labels),
        "ece_after": ece(after, labels),
    }


def _fitted(confidence: NDArray[np.float64], right: NDArray[np.float64], method: CalibrationMethod) -> Curve:
    return _isotonic(confidence, right) if method == "isotonic" else _platt(confidence, right)


def _isotonic(confidence: NDArray[np.float64], right: NDArray[np.float64]) -> Curve:
    from sklearn.isotonic import IsotonicRegression

    fitted: Any = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(confidence, right)
    return _curve(fitted.X_thresholds_, fitted.y_thresholds_)


def _platt(confidence: NDArray[np.float64], right: NDArray[np.float64]) -> Curve:
    from sklearn.linear_model import LogisticRegression

    # A score between 0 and 1 is that share of a right answer and the rest of a wrong one.
    x = np.concatenate([_logit(confidence)] * 2)[:, None]
    labels = np.repeat([1, 0], len(right))
    weights = np.concatenate([right, 1.0 - right])
    fitted: Any = LogisticRegression(C=1e6).fit(x, labels, sample_weight=weights)
    slope = max(0.0, float(fitted.coef_[0, 0]))  # a curve must not fall, whatever few queries say
    return _curve(_POINTS, 1.0 / (1.0 + np.exp(-(slope * _logit(_POINTS) + float(fitted.intercept_[0])))))


def _logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(p, 1e-6, 1.0 - 1e-6)
    return np.asarray(np.log(clipped / (1.0 - clipped)))


def _curve(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    """Return a curve through points, less those that rounding makes equal."""
    places = np.unique(np.round(x, 9), return_index=True)[1]
    rising = np.maximum.accumulate(np.clip(np.asarray(y, dtype=np.float64)[places], 0.0, 1.0))
    return Curve(tuple(np.round(x, 9)[places].tolist()), tuple(np.round(rising, 9).tolist()))
