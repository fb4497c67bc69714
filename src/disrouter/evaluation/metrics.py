"""Metrics: pure functions over arrays, formulas and sources in the docstrings.

Scores are qualities in [0, 1], costs normalised so that they lie in [0, 1]; one entry per query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

from disrouter.errors import DataError

__all__ = [
    "RIGHT",
    "Estimate",
    "Reliability",
    "accept_f1",
    "accuracy",
    "answer_rate",
    "auroc",
    "bootstrap_means",
    "brier",
    "ece",
    "interval",
    "mean_cost",
    "oracle_share",
    "paired_difference",
    "reliability",
    "right",
    "utilities",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RIGHT = 0.5
"""An answer of at least this quality counts as right where a metric needs a yes or no."""

_BLOCK = 4_000_000
"""Numbers drawn at once while resampling: bounds memory, does not change results."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval; the interval is None where there are too few queries for one."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Confidence against accuracy, bin by bin; empty bins are left out."""

    confidence: Floats
    """Mean confidence of each bin."""

    accuracy: Floats
    """Share right in each bin."""

    count: NDArray[np.int64]


def right(scores: Floats) -> Bools:
    """Return which scores count as right."""
    return scores >= RIGHT


def utilities(scores: Floats, costs: Floats, alpha: float) -> Floats:
    """Return ``U = A − α·C`` of every query (arXiv 2510.19208, §3.1)."""
    return scores - alpha * costs


def accuracy(scores: Floats) -> float:
    """Return the mean score.

    Raises:
        DataError: No queries.
    """
    return _mean(scores, "accuracy")


def mean_cost(costs: Floats) -> float:
    """Return the mean cost per query.

    Raises:
        DataError: No queries.
    """
    return _mean(costs, "mean cost")


def answer_rate(answers: Bools) -> float:
    """Return the share of queries that are answered rather than passed on.

    Raises:
        DataError: No queries.
    """
    return _mean(answers.astype(np.float64), "answer rate")


def oracle_share(utility: float, oracle: float) -> float | None:
    """Return utility / utility of the oracle; None if the oracle earns nothing, which a share says nothing about."""
    return utility / oracle if oracle > 0 else None


def auroc(confidence: Floats, labels: Bools) -> float | None:
    """Return the chance that a right answer had more confidence than a wrong one, ties counting half.

    Queries of unknown (NaN) confidence are left out. None if what is left is all right, all wrong or nothing: then
    there is no pair to compare.
    """
    known = ~np.isnan(confidence)
    confidence, labels = confidence[known], labels[known]
    if len(np.unique(labels)) < 2:
        return None
    return float(roc_auc_score(labels, confidence))


def brier(confidence: Floats, labels: Bools) -> float | None:
    """Return the mean of (q − y)² (Brier 1950), 0 the best; None without a known confidence."""
    known = ~np.isnan(confidence)
    if not known.any():
        return None
    return float(np.mean((confidence[known] - labels[known]) ** 2))


def reliability(confidence: Floats, labels: Bools, bins: int = 15) -> Reliability:
    """Return confidence against accuracy in bins of equal width; a confidence on an edge falls into the lower bin."""
    known = ~np.isnan(confidence)
    q, y = confidence[known], labels[known].astype(np.float64)
    # Bins (0, 1/n], (1/n, 2/n], ...; 0 itself joins the first.
    place = np.clip(np.searchsorted(np.linspace(0.0, 1.0, bins + 1), q, side="left") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    held = count > 0
    return Reliability(
        confidence=np.bincount(place, weights=q, minlength=bins)[held] / count[held],
        accuracy=np.bincount(place, weights=y, minlength=bins)[held] / count[held],
        count=count[held],
    )


def ece(confidence: Floats, labels: Bools, bins: int = 15) -> float | None:
    """Return the expected calibration error: Σ n_b/n · |accuracy_b − confidence_b| over 15 bins of equal width.

    Guo et al. 2017 (arXiv 1706.04599, eq. 3). None without a known confidence.
    """
    by_bin = reliability(confidence, labels, bins)
    total = int(by_bin.count.sum())
    if total == 0:
        return None
    return float(np.sum(by_bin.count * np.abs(by_bin.accuracy - by_bin.confidence)) / total)


def accept_f1(accepts: Bools, labels: Bools) -> float | None:
    """Return F1 of "accepts" as a prediction of "would be right"; None if nothing is accepted and nothing is right."""
    if not accepts.any() and not labels.any():
        return None
    return float(f1_score(labels, accepts))


def bootstrap_means(values: Floats, *, resamples: int = 2000, seed: int = 0) -> Floats:
    """Return the means of resampled queries, shape (resamples, k), for ``values`` of shape (k, n).

    All k series share the same resamples, so differences of columns are paired by query (Efron and Tibshirani 1993,
    ch. 13; Koehn 2004).

    Raises:
        DataError: Fewer than two queries.
    """
    _, n = values.shape
    if n < 2:
        raise DataError(f"A bootstrap needs at least 2 queries, not {n}.", hint="raise --limit")
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, len(values)))
    block = max(1, _BLOCK // n)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = rng.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        means[start : start + size] = counts @ values.T / n
    return means


def interval(means: Floats, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of bootstrap means of one series, shape (resamples,)."""
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_difference(ours: Floats, theirs: Floats, *, resamples: int = 2000, seed: int = 0) -> Estimate:
    """Return mean(ours − theirs) over the same queries with its 95 % bootstrap interval.

    Raises:
        DataError: No queries, or the two differ in length.
    """
    if ours.shape != theirs.shape:
        raise DataError(f"Cannot pair {len(ours)} queries with {len(theirs)}.", hint="use the same queries for both")
    difference = ours - theirs
    value = _mean(difference, "difference")
    if len(difference) < 2:
        return Estimate(value, None)
    return Estimate(value, interval(bootstrap_means(difference[None], resamples=resamples, seed=seed)[:, 0]))


def _mean(values: NDArray[Any] | Sequence[float], what: str) -> float:
    if len(values) == 0:
        raise DataError(f"There is no {what} of no queries.", hint="evaluate at least one query")
    return float(np.mean(values))
