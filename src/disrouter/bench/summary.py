"""Every number of a bench run, from its results: one row per method and scenario, with intervals.

The main rows (:func:`rows_of`) need the results alone, so that a stored run can be checked without its table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from disrouter.baselines.contract import Rows
from disrouter.baselines.ledger import Decisions
from disrouter.bench.results import BOUNDS, Results
from disrouter.evaluation import curves, metrics
from disrouter.seeds import seed_of

if TYPE_CHECKING:
    from disrouter.bench.runs import Outcome

__all__ = ["rows_of", "summarise_run"]

RESAMPLES = 2000
COVERAGES = 101
"""Points of a risk–coverage curve that are kept."""

ByScenario = Mapping[str, Results]


def rows_of(
    results: Mapping[str, ByScenario], scenarios: Sequence[tuple[str, float]], *, reference: str, seed: int
) -> list[dict[str, Any]]:
    """Return one row per method and scenario: means, 95 % intervals, and the paired difference to the reference.

    A difference is method − reference at equal queries; all of a scenario's methods share their resamples.
    """
    rows = []
    for scenario, alpha in scenarios:
        held = {m: by[scenario] for m, by in results.items()}
        paper = np.stack([metrics.utilities(r.score, r.cost, alpha) for r in held.values()])
        full = np.stack([metrics.utilities(r.score, r.cost_full, alpha) for r in held.values()])
        series = [
            paper,
            full,
            np.stack([r.score for r in held.values()]),
            np.stack([r.cost_full for r in held.values()]),
        ]
        means = None
        if paper.shape[1] >= 2:
            sampled = metrics.bootstrap_means(
                np.concatenate(series), resamples=RESAMPLES, seed=seed_of(seed, "bootstrap", scenario)
            )
            means = sampled.reshape(RESAMPLES, len(series), len(held))
        names = list(held)
        at = names.index(reference) if reference in names else None
        best = float(paper[names.index("oracle")].mean()) if "oracle" in names else None
        for m, (name, r) in enumerate(held.items()):
            row: dict[str, Any] = {
                "method": name,
                "scenario": scenario,
                "alpha": alpha,
                "accuracy": float(r.score.mean()),
                "cost": float(r.cost.mean()),
                "cost_full": float(r.cost_full.mean()),
                "utility": float(paper[m].mean()),
                "utility_full": float(full[m].mean()),
                "utility_ci": _interval(means, 0, m),
                "utility_full_ci": _interval(means, 1, m),
                "accuracy_ci": _interval(means, 2, m),
                "cost_full_ci": _interval(means, 3, m),
                "oracle_share": None if best is None else metrics.oracle_share(float(paper[m].mean()), best),
                "overhead_share": curves.overhead_share(r.cost_full, r.cost),
                "looks": float(r.looks.mean()),
                "unanswered": float((r.agent < 0).mean()),
            }
            if at is not None:
                for key, values, c in (("difference", paper, 0), ("difference_full", full, 1)):
                    row[key] = float((values[m] - values[at]).mean())
                    row[f"{key}_ci"] = _interval(means, c, m, at)
            rows.append(row)
    return rows


def _interval(means: NDArray[np.float64] | None, c: int, m: int, minus: int | None = None) -> list[float] | None:
    if means is None:
        return None
    values = means[:, c, m] if minus is None else means[:, c, m] - means[:, c, minus]
    return list(metrics.interval(values))


def summarise_run(
    config: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    results: Mapping[str, ByScenario],
    *,
    test: Rows,
    decisions: Mapping[str, Mapping[str, Decisions]],
    swept: Mapping[str, Sequence[tuple[float, Results]]],
    others: Mapping[str, Sequence[ByScenario]],
) -> dict[str, Any]:
    """Return every number of a run as plain JSON values (schema 1)."""
    scenarios = [(str(name), float(alpha)) for name, alpha in config["scenarios"]]
    rows = rows_of(results, scenarios, reference=config["reference"], seed=config["seeds"][0])
    for row in rows:
        _add_seeds(row, others)
        _add_separation(row, results, test)
    _add_distances(rows)
    return {
        "schema": 1,
        "outcomes": [asdict(o) for o in outcomes],
        "rows": rows,
        "sweep": {m: _sweep_of(points) for m, points in swept.items()},
        "areas": _areas(swept, test),
        "answers": {m: _answers(by, test) for m, by in results.items()},
        "flow": {m: {s: _flow(d) for s, d in by.items() if s in dict(scenarios)} for m, by in decisions.items()},
        "agents": _agents(test),
    }


def _add_seeds(row: dict[str, Any], others: Mapping[str, Sequence[ByScenario]]) -> None:
    """Add the utilities of the other seeds' fits, as far as there are any."""
    row["utility_of_seeds"] = [row["utility"]] + [
        float(metrics.utilities(by[row["scenario"]].score, by[row["scenario"]].cost, row["alpha"]).mean())
        for by in others.get(row["method"], ())
    ]


def _add_separation(row: dict[str, Any], results: Mapping[str, ByScenario], test: Rows) -> None:
    """Add what queries cost that the cheapest agent gets right (easy), and wrong (hard)."""
    s = [x.name for x in test.table.scenarios].index(row["scenario"])
    cheapest = int(np.argmin(test.table.answer_cost[s].mean(axis=1)))
    hard = ~metrics.right(test.table.score[s, cheapest])
    cost = results[row["method"]][row["scenario"]].cost
    row["cost_easy"] = float(cost[~hard].mean()) if not hard.all() else None
    row["cost_hard"] = float(cost[hard].mean()) if hard.any() else None
    row["separation"] = curves.cost_separation(cost, hard)


def _add_distances(rows: list[dict[str, Any]]) -> None:
    """Add every method's distance to the front that all other methods (no bounds) draw in its scenario."""
    for row in rows:
        peers = [r for r in rows if r["scenario"] == row["scenario"] and r["method"] not in (*BOUNDS, row["method"])]
        row["pareto_distance"] = (
            curves.pareto_distance(
                row["cost_full"],
                row["accuracy"],
                np.array([p["cost_full"] for p in peers]),
                np.array([p["accuracy"] for p in peers]),
            )
            if peers
            else 0.0
        )


def _sweep_of(points: Sequence[tuple[float, Results]]) -> list[dict[str, float]]:
    return [
        {
            "alpha": alpha,
            "accuracy": float(r.score.mean()),
            "cost": float(r.cost.mean()),
            "cost_full": float(r.cost_full.mean()),
            "utility": float(metrics.utilities(r.score, r.cost, alpha).mean()),
            "utility_full": float(metrics.utilities(r.score, r.cost_full, alpha).mean()),
        }
        for alpha, r in points
    ]


def _areas(swept: Mapping[str, Sequence[tuple[float, Results]]], test: Rows) -> dict[str, dict[str, float | None]]:
    """Return, per method, numbers about its whole curve of (cost, accuracy) points over alpha."""
    if not swept:
        return {}
    cost, score = test.table.answer_cost[0].mean(axis=1), test.table.score[0].mean(axis=1)
    low, high = int(np.argmin(cost)), int(np.argmax(cost))
    found = {}
    for name, points in swept.items():
        alphas = np.array([alpha for alpha, _ in points])
        spent = np.array([r.cost_full.mean() for _, r in points])
        quality = np.array([r.score.mean() for _, r in points])
        share = (spent - cost[low]) / (cost[high] - cost[low]) if cost[high] > cost[low] else np.zeros_like(spent)
        worth = quality - alphas * spent
        found[name] = {
            "utility_area": curves.utility_area(alphas, worth),
            "apgr": curves.apgr(share, quality, float(score[low]), float(score[high])),
            "cpt50": curves.cpt(share, quality, float(score[low]), float(score[high]), target=0.5),
            "cpt80": curves.cpt(share, quality, float(score[low]), float(score[high]), target=0.8),
            "aiq": curves.aiq(spent, quality, float(cost[low]), float(cost[high])) if cost[high] > cost[low] else None,
        }
    return found


def _answers(by: ByScenario, test: Rows) -> dict[str, Any]:
    """Return which share of queries each agent answers, in all and by dataset."""
    datasets = np.array([d or "" for d in test.table.datasets])
    agents = len(test.table.agents)

    def shares(agent: NDArray[np.int64]) -> list[float]:
        counted = np.bincount(agent[agent >= 0], minlength=agents)
        return [float(x) for x in counted / max(1, len(agent))]

    return {
        scenario: {
            "all": shares(r.agent),
            "by_dataset": {str(d): shares(r.agent[datasets == d]) for d in np.unique(datasets)}
            if len(np.unique(datasets)) > 1
            else {},
        }
        for scenario, r in by.items()
    }


def _flow(decisions: Decisions) -> dict[str, list[float]]:
    """Return which share of queries reached each agent, and which share it answered."""
    reached = (decisions.looked | decisions.asked).mean(axis=1)
    answered = [float((decisions.agent == a).mean()) for a in range(len(decisions.looked))]
    return {"reached": [float(x) for x in reached], "answered": answered}


def _agents(test: Rows) -> list[dict[str, Any]]:
    """Return what is known of every agent: price, accuracy, and how well it knows itself."""
    table, found = test.table, []
    for a, name in enumerate(table.agents):
        score, confidence = table.score[0, a], table.confidence[0, a]
        labels = metrics.right(score)
        by_bin = metrics.reliability(confidence, labels)
        agent: dict[str, Any] = {
            "agent": name,
            "cost": float(table.answer_cost[0, a].mean()),
            "accuracy": float(score.mean()),
            "auroc": metrics.auroc(confidence, labels),
            "brier": metrics.brier(confidence, labels),
            "ece": metrics.ece(confidence, labels),
            "reliability": [by_bin.confidence.tolist(), by_bin.accuracy.tolist(), by_bin.count.tolist()],
            "risk_coverage": None,
            "aurc": None,
            "e_aurc": None,
        }
        if not np.isnan(confidence).all():
            curve = curves.risk_coverage(confidence, 1 - score)
            kept = np.unique(np.linspace(0, len(curve.x) - 1, COVERAGES).astype(int))
            agent["risk_coverage"] = [curve.x[kept].tolist(), curve.y[kept].tolist()]
            agent["aurc"] = curves.aurc(confidence, 1 - score)
            agent["e_aurc"] = curves.e_aurc(confidence, 1 - score)
        found.append(agent)
    return found
