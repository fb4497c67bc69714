"""What a pool's size is worth: the paper's rule against the value of forwarding, from 3 to 32 agents.

    python benchmarks/large_pool.py --out pool/
    python benchmarks/k_sweep.py pool/ --figure docs/images/k-sweep.png --json k-sweep.json

A pool of K agents is drawn from the large one, always with its largest model (several times; the numbers are means over
the draws), and asked in the order of its prices. Both rules are given the same validation queries and judged on others:

- the paper's rule, answer if p > (1 - alpha)^gamma: every agent's confidence is calibrated (isotonic) on the validation
  queries, and gamma is the best of a grid on them, for each drawn pool;
- the value of forwarding with skipping, grades and recall: the agent cards are measured once on the real agents of the
  large pool, the simulated ones as newcomers on that scale, and serve every drawn pool as they are.

Utility is at the full cost, every look included. Intervals: 95 %, paired bootstrap over the queries.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from disrouter.agents.recorded import RecordedAgent
from disrouter.competence import Competence
from disrouter.evaluation import metrics
from disrouter.evaluation.difficulty import measure
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.evaluation.replay import Replay, fitted, replay
from disrouter.network import Network
from disrouter.policies import AnyPolicy, PaperThreshold, ValueOfForwarding
from disrouter.types import AgentCard, QueryPrice
from disrouter.utility import SCENARIOS

SIZES = (3, 4, 5, 8, 12, 17, 32)
GAMMAS = (0.05, 0.1, 0.15, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)
LARGEST = "agent-5"
LOOK_SHARE = 0.062

Floats = NDArray[np.float64]


def main() -> None:
    """Read the tables, sweep, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path, help="folder that large_pool.py wrote")
    parser.add_argument("--draws", type=int, default=6, help="pools drawn per size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="PNG to draw; an SVG is written beside it")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    scenarios = list(SCENARIOS.values())
    validation, *tests = (
        OutcomeTable.read(arguments.pool / f"{name}.parquet").in_scenarios(scenarios)
        for name in ("in-validation", "in-test", "out-test")
    )
    cards = measured(validation)
    calibrated = Calibrated.on(validation)
    print(f"{len(validation.query_ids)} validation queries, {[len(t.query_ids) for t in tests]} test queries in/out")
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        pools = drawn(validation.agents, size, arguments.draws, arguments.seed)
        gains: dict[str, list[list[Floats]]] = {"in": [], "out": []}
        found: dict[str, list[dict[str, Any]]] = {"in": [], "out": []}
        for names in pools:
            gamma = best_gamma(calibrated(validation), names)
            paper, ours = (
                network(validation, names, policy, cards) for policy in (PaperThreshold(gamma), ValueOfForwarding())
            )
            for domain, test in zip(found, tests, strict=True):
                theirs, mine = routed(calibrated(test), paper), routed(test, ours)
                gains[domain].append([worth(mine, s) - worth(theirs, s) for s in range(3)])
                found[domain].append(
                    {
                        "gamma": gamma,
                        "paper": [float(worth(theirs, s).mean()) for s in range(3)],
                        "ours": [float(worth(mine, s).mean()) for s in range(3)],
                        "paper_hops": hops(theirs),
                        "ours_hops": hops(mine),
                    }
                )
        for domain in found:
            rows.extend(summed(size, domain, found[domain], np.array(gains[domain])))
    report(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if arguments.figure:
        draw(rows, arguments.figure)


def measured(validation: OutcomeTable) -> dict[str, Competence]:
    """Return cards of all agents, on the scale that the real ones set."""
    real = [name for name in validation.agents if "simulated" not in name]
    known = measure(validation.select(agents=real))
    return {**known, **measure(validation, known=known)}


class Calibrated:
    """Every agent's curve from confidence to its chance to be right."""

    def __init__(self, curves: Mapping[str, IsotonicRegression]) -> None:
        self.curves = curves

    @classmethod
    def on(cls, validation: OutcomeTable) -> Calibrated:
        """Fit the curves on a table's first scenario."""
        curves = {}
        for a, name in enumerate(validation.agents):
            confidence, score = validation.confidence[0, a], validation.score[0, a]
            if not np.isnan(confidence).any():
                curves[name] = IsotonicRegression(out_of_bounds="clip").fit(confidence, score)
        return cls(curves)

    def __call__(self, table: OutcomeTable) -> OutcomeTable:
        """Return a table with calibrated confidences."""
        confidence = table.confidence[0].copy()
        for a, name in enumerate(table.agents):
            if name in self.curves:
                confidence[a] = np.clip(self.curves[name].predict(confidence[a]), 0.0, 1.0)
        return replace(table, confidence=np.broadcast_to(confidence, table.shape))


def drawn(names: Sequence[str], size: int, draws: int, seed: int) -> list[tuple[str, ...]]:
    """Return different pools of a size; simulated agents stand only in the one that holds everybody."""
    real = [name for name in names if "simulated" not in name]
    if size > len(real):
        return [tuple(names)]
    others = [name for name in real if name != LARGEST]
    random = np.random.default_rng([seed, size])
    picks = {tuple(sorted(random.choice(others, size - 1, replace=False).tolist())) for _ in range(draws)}
    return [(*pick, LARGEST) for pick in sorted(picks)]


def network(
    table: OutcomeTable, names: Sequence[str], policy: AnyPolicy, cards: Mapping[str, Competence] | None = None
) -> Network:
    """Return a cascade by price at the table's own prices."""
    return Network(
        "pool",
        [
            RecordedAgent(
                AgentCard(
                    name=name,
                    price=QueryPrice(
                        cost=float(table.answer_cost[0, table.agent_index(name)].max()), look_share=LOOK_SHARE
                    ),
                    competence=None if cards is None else cards[name],
                ),
                (),
            )
            for name in names
        ],
        policy=policy,
    )


def best_gamma(table: OutcomeTable, names: Sequence[str]) -> float:
    """Return the gamma that earns most over the three scenarios together."""

    def earned(gamma: float) -> float:
        found = routed(table, network(table, names, PaperThreshold(gamma)))
        return sum(float(worth(found, s).mean()) for s in range(3))

    return max(GAMMAS, key=earned)


def routed(table: OutcomeTable, pool: Network) -> Replay:
    """Route a table through a pool."""
    return replay(fitted(table, pool), pool)


def worth(found: Replay, s: int) -> Floats:
    """Return each query's utility at the full cost."""
    alpha = list(SCENARIOS.values())[s].alpha
    return metrics.utilities(found.choice.score[s], found.choice.cost_full[s], alpha)


def hops(found: Replay) -> list[float]:
    """Return the agents asked per query, by scenario."""
    return [float(value) for value in found.received.sum(axis=1).mean(axis=1)]


def summed(size: int, domain: str, found: list[dict[str, Any]], gains: Floats) -> list[dict[str, Any]]:
    """Return one row per scenario: means over the draws, and the gain (draws, scenarios, queries) with its interval."""
    rows = []
    for s, scenario in enumerate(SCENARIOS.values()):
        estimate = metrics.paired_difference(gains[:, s].mean(axis=0), np.zeros(gains.shape[2]))
        rows.append(
            {
                "agents": size,
                "domain": domain,
                "alpha": scenario.alpha,
                "draws": len(found),
                "gamma": [row["gamma"] for row in found],
                **{
                    key: float(np.mean([row[key][s] for row in found]))
                    for key in ("paper", "ours", "paper_hops", "ours_hops")
                },
                "gain": estimate.value,
                "gain_ci": estimate.interval,
            }
        )
    return rows


def report(rows: Sequence[dict[str, Any]]) -> None:
    """Print a table."""
    print("agents domain alpha   paper    ours    gain [95 % interval]     hops: paper  ours")
    for row in rows:
        low, high = row["gain_ci"]
        print(
            f"{row['agents']:6} {row['domain']:6} {row['alpha']:5.1f}  {row['paper']:6.3f}  {row['ours']:6.3f}  "
            f"{row['gain']:+6.3f} [{low:+.3f}, {high:+.3f}]        {row['paper_hops']:6.2f} {row['ours_hops']:5.2f}"
        )


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw utility and hops by the number of agents."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 6.4), sharex=True, constrained_layout=True)
    colours = {0.2: "#00798c", 0.5: "#edae49", 0.8: "#d1495b"}
    for column, (domain, title) in enumerate((("in", "in-domain"), ("out", "out-of-domain"))):
        for alpha, colour in colours.items():
            mine = [row for row in rows if row["domain"] == domain and row["alpha"] == alpha]
            sizes = [row["agents"] for row in mine]
            for line, (ours, paper) in enumerate((("ours", "paper"), ("ours_hops", "paper_hops"))):
                axes[line, column].plot(
                    sizes, [r[ours] for r in mine], color=colour, marker="o", ms=3, label=f"α = {alpha:g}"
                )
                axes[line, column].plot(sizes, [r[paper] for r in mine], color=colour, ls="--", marker="o", ms=3)
        axes[0, column].set_title(title)
        axes[1, column].set_xlabel("agents")
        axes[1, column].set_xscale("log", base=2)
        axes[1, column].set_xticks(SIZES, [str(size) for size in SIZES])
        axes[1, column].minorticks_off()
    axes[0, 0].set_ylabel("utility, full cost")
    axes[1, 0].set_ylabel("agents asked per query")
    axes[0, 0].legend(title="solid: value of forwarding\ndashed: paper's rule, best γ", fontsize=8, title_fontsize=8)
    figure.savefig(path, dpi=130)
    matplotlib.rcParams["svg.hashsalt"] = "disrouter"
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
