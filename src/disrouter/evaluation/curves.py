"""Metrics of trade-offs: what a method is worth over a range of prices, confidences or budgets.

Pure functions over arrays, formulas and sources in the docstrings; single numbers are in
:mod:`disrouter.evaluation.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disrouter.errors import DataError

__all__ = [
    "Curve",
    "aiq",
    "apgr",
    "aurc",
    "cost_separation",
    "cpt",
    "deferral_curve",
    "e_aurc",
    "overhead_share",
    "pareto_distance",
    "pareto_front",
    "pgr",
    "risk_coverage",
    "utility_area",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Points of a curve, x rising."""

    x: Floats
    y: Floats

    @property
    def area(self) -> float:
        """Area under the curve by the trapezoidal rule, divided by the width of its x range."""
        width = float(self.x[-1] - self.x[0])
        return _trapezoid(self.y, self.x) / width if width > 0 else float(self.y.mean())


def utility_area(alphas: Floats, utilities: Floats) -> float:
    """Return ∫ U(α) dα / (α_max − α_min): the mean utility if every α of the range is equally likely.

    Raises:
        DataError: Fewer than two alphas, or they do not rise.
    """
    if len(alphas) < 2 or not np.all(np.diff(alphas) > 0):
        raise DataError("An area over alpha needs at least 2 rising alphas.", hint="for example 0, 0.1, … 1")
    return Curve(alphas, utilities).area


def risk_coverage(confidence: Floats, losses: Floats) -> Curve:
    """Return mean loss over coverage when queries are answered from the most to the least confident one.

    Coverage k/n, risk = mean loss of the k most confident (El-Yaniv and Wiener 2010). Equal confidences are one step
    whose loss is spread evenly, so that the order of rows does not matter. Unknown (NaN) confidences come last.

    Raises:
        DataError: No queries.
    """
    if len(confidence) == 0:
        raise DataError("There is no risk–coverage curve of no queries.", hint="evaluate at least one query")
    _, group = np.unique(-np.where(np.isnan(confidence), -np.inf, confidence), return_inverse=True)
    mean_of_group = np.bincount(group, weights=losses) / np.bincount(group)
    ordered = mean_of_group[np.sort(group)]
    count = np.arange(1, len(losses) + 1)
    return Curve(count / len(losses), np.cumsum(ordered) / count)


def aurc(confidence: Floats, losses: Floats) -> float:
    """Return the area under the risk–coverage curve, 1/n Σ_k risk(k/n) (Geifman et al. 2019, arXiv 1805.08206)."""
    return float(risk_coverage(confidence, losses).y.mean())


def e_aurc(confidence: Floats, losses: Floats) -> float:
    """Return AURC minus that of the best possible order of the same losses, 0 the best (arXiv 1805.08206, eq. 4)."""
    return aurc(confidence, losses) - aurc(-losses, losses)


def deferral_curve(confidence: Floats, small: Floats, large: Floats) -> Curve:
    """Return mean score over the share of queries deferred to a larger agent, the least confident first.

    Jitkrittum et al. 2023 (arXiv 2307.02764, §5). Equal confidences are one step, as in :func:`risk_coverage`.
    """
    order = np.argsort(np.where(np.isnan(confidence), -np.inf, confidence), kind="stable")
    _, group = np.unique(np.where(np.isnan(confidence), -np.inf, confidence), return_inverse=True)
    gain = large - small
    spread = (np.bincount(group, weights=gain) / np.bincount(group))[group][order]
    scores = small.mean() + np.concatenate([[0.0], np.cumsum(spread)]) / len(small)
    return Curve(np.linspace(0.0, 1.0, len(small) + 1), scores)


def pgr(quality: Floats, weak: float, strong: float) -> Floats | None:
    """Return the performance gap recovered, (quality − weak) / (strong − weak) (RouteLLM, arXiv 2406.18665, eq. 2).

    None where the strong agent is not better than the weak one: there is no gap.
    """
    return (quality - weak) / (strong - weak) if strong > weak else None


def apgr(share: Floats, quality: Floats, weak: float, strong: float) -> float | None:
    """Return ∫₀¹ PGR d(share) (RouteLLM, arXiv 2406.18665, eq. 3).

    ``share`` is the share of the strong agent's calls; with more than two agents, take the cost a router spends above
    always-weak as a share of what always-strong spends above it. Points outside the given shares follow from the two
    ends that every router has: nothing to the strong agent, and everything.
    """
    recovered = pgr(quality, weak, strong)
    if recovered is None:
        return None
    curve = _between_the_ends(share, recovered)
    return _trapezoid(curve.y, curve.x)


def cpt(share: Floats, quality: Floats, weak: float, strong: float, *, target: float = 0.5) -> float | None:
    """Return the call-performance threshold: the least share of strong calls with PGR ≥ ``target`` (arXiv 2406.18665).

    Linear between neighbouring points. None where there is no gap to recover.
    """
    recovered = pgr(quality, weak, strong)
    if recovered is None:
        return None
    curve = _between_the_ends(share, recovered)
    best = np.maximum.accumulate(curve.y)
    at = int(np.argmax(best >= target))
    if at == 0 or best[at] == best[at - 1]:
        return float(curve.x[at])
    step = (target - best[at - 1]) / (best[at] - best[at - 1])
    return float(curve.x[at - 1] + step * (curve.x[at] - curve.x[at - 1]))


def _between_the_ends(share: Floats, recovered: Floats) -> Curve:
    """Return the curve from (0, 0) to (1, 1) through the points; of several at one share the best."""
    x = np.concatenate([[0.0], share, [1.0]])
    y = np.concatenate([[0.0], recovered, [1.0]])
    inside = (x >= 0) & (x <= 1)
    xs, group = np.unique(x[inside], return_inverse=True)
    ys = np.full(len(xs), -np.inf)
    np.maximum.at(ys, group, y[inside])
    return Curve(xs, ys)


def aiq(costs: Floats, qualities: Floats, lowest: float, highest: float) -> float:
    """Return the average improvement in quality: ∫ R̃ dc / (c_max − c_min) (RouterBench, arXiv 2403.12031, §3.3).

    R̃ is the non-decreasing convex hull of a router's (cost, quality) points over the costs that all compared routers
    share: below its cheapest point nothing is earned, above its dearest the quality stays.

    Raises:
        DataError: No points, or an empty range of costs.
    """
    if len(costs) == 0 or not highest > lowest:
        raise DataError("AIQ needs at least one point and a range of costs.", hint="route at several alphas")
    hull = _hull(costs, qualities)
    grid = np.unique(np.clip(np.concatenate([[lowest, highest], hull.x]), lowest, highest))
    y = np.interp(grid, hull.x, hull.y)
    started = grid >= hull.x[0]
    if not started.any():
        return 0.0
    return _trapezoid(y[started], grid[started]) / (highest - lowest)


def _hull(costs: Floats, qualities: Floats) -> Curve:
    """Return the upper, non-decreasing convex hull: what mixing the points by chance can reach at a cost."""
    order = np.lexsort((-qualities, costs))
    kept: list[tuple[float, float]] = []
    for x, y in zip(costs[order], qualities[order], strict=True):
        if kept and (x == kept[-1][0] or y <= kept[-1][1]):
            continue
        while len(kept) >= 2 and _turns_left(kept[-2], kept[-1], (x, y)):
            kept.pop()
        kept.append((float(x), float(y)))
    points = np.array(kept)
    return Curve(points[:, 0], points[:, 1])


def _turns_left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def pareto_front(costs: Floats, qualities: Floats) -> Bools:
    """Return which points no other beats, that is: costs no more, is at least as good, and differs."""
    cheaper = costs[:, None] <= costs[None, :]
    better = qualities[:, None] >= qualities[None, :]
    strictly = (costs[:, None] < costs[None, :]) | (qualities[:, None] > qualities[None, :])
    beaten = np.asarray(cheaper & better & strictly, dtype=np.bool_).any(axis=0)
    return np.asarray(~beaten, dtype=np.bool_)


def pareto_distance(cost: float, quality: float, costs: Floats, qualities: Floats) -> float:
    """Return how far a (cost, quality) point must move until none of the others beats it: 0 on the front.

    The Euclidean distance to the staircase that the others' Pareto front draws.
    """
    front = pareto_front(costs, qualities)
    c, order = np.unique(costs[front], return_index=True)
    q = qualities[front][order]
    if not np.any((c <= cost) & (q >= quality)):
        return 0.0
    below = np.concatenate([[-np.inf], q[:-1]])
    beyond = np.concatenate([c[1:], [np.inf]])
    flat = np.hypot(np.maximum(0, np.maximum(c - cost, cost - beyond)), q - quality)
    steep = np.hypot(c - cost, np.maximum(0, np.maximum(below - quality, quality - q)))
    return float(min(flat.min(), steep.min()))


def cost_separation(costs: Floats, hard: Bools) -> float | None:
    """Return mean cost of hard queries − mean cost of easy ones: what a router spends where it matters.

    The paper compares both (arXiv 2510.19208, §4.4). None if all are hard or all easy.
    """
    if hard.all() or not hard.any():
        return None
    return float(costs[hard].mean() - costs[~hard].mean())


def overhead_share(cost_full: Floats, cost: Floats) -> float | None:
    """Return the share of all that was spent that did not pay for the given answers; None if nothing was spent."""
    total = float(cost_full.sum())
    return float((cost_full - cost).sum()) / total if total > 0 else None


def _trapezoid(y: Floats, x: Floats) -> float:
    return float(np.sum((y[1:] + y[:-1]) * np.diff(x)) / 2)
