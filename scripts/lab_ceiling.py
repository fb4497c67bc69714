"""How much of the oracle the lab leaves to know: a rule that is told what no agent could know by itself.

    disrouter cards fit --network lab --output runs/cards      # leaves runs/cards-lab-…/table.parquet
    disrouter eval --network lab --domain in --seed 2026 --limit 2100 --run-dir runs/in
    python scripts/lab_ceiling.py runs/cards-lab-*/table.parquet runs/in/table.parquet

For every query the rule is told every agent's share of right answers at the query's skill and level, measured on the
first table, and every agent's confidence, both for free. It answers by whoever is worth most at the paper's cost, by
shares alone and by gradient-boosted trees over both, fitted on the first table.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from disrouter.evaluation.methods import chosen, oracle
from disrouter.evaluation.outcomes import OutcomeTable

Floats = NDArray[np.float64]


def shares(table: OutcomeTable, reference: OutcomeTable) -> Floats:
    """Return every agent's share of right answers at each query's skill and level, shape (Q, A)."""
    score = reference.score[0]
    of: dict[tuple[str | None, int | None], list[int]] = {}
    for place, cell in enumerate(zip(reference.datasets, reference.levels, strict=True)):
        of.setdefault(cell, []).append(place)
    mean = score.mean(axis=1)
    cells = zip(table.datasets, table.levels, strict=True)
    return np.array([(score[:, of.get(c, [])].sum(axis=1) + mean) / (len(of.get(c, [])) + 1) for c in cells])


def main(fitted_on: str, judged_on: str) -> None:
    """Print utility and share of the oracle for every scenario."""
    first, table = OutcomeTable.read(fitted_on), OutcomeTable.read(judged_on)
    told = [np.hstack([shares(t, first), np.nan_to_num(t.confidence[0], nan=0.5).T]) for t in (first, table)]
    right = np.array(
        [
            HistGradientBoostingClassifier(
                max_depth=4, max_iter=120, learning_rate=0.06, min_samples_leaf=30, random_state=0
            )
            .fit(told[0], first.score[0, a] >= 0.5)
            .predict_proba(told[1])[:, 1]
            for a in range(len(table.agents))
        ]
    )
    best = chosen(table, oracle(table))
    for s, scenario in enumerate(table.scenarios):
        bound = float((best.score[s] - scenario.alpha * best.cost[s]).mean())
        price = scenario.alpha * table.answer_cost[s]
        for name, chance in (("shares", told[1][:, : len(table.agents)].T), ("shares and confidences", right)):
            place = np.argmax(chance - price, axis=0)[None]
            worth = np.take_along_axis(table.score[s] - price, place, axis=0).mean()
            print(f"{scenario.name:18} {name:24} utility {worth:.3f}  of the oracle {worth / bound:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
