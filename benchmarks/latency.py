"""What it is worth to plan with latency: the value of forwarding that knows beta, against the same that ignores it.

    python benchmarks/lab_tables.py --split validation --seed 77 --queries 6300 --out tables/
    python benchmarks/latency.py tables/in-validation-77.parquet

Cards are measured on every other query of the table, both plans are judged on the rest, at the full cost and with the
measured seconds. Weights are given in multiples of what makes the largest agent's mean answer worth 1.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

import disrouter
from disrouter.agents.recorded import RecordedAgent
from disrouter.evaluation import metrics
from disrouter.evaluation.difficulty import measure
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.evaluation.overhead import latency
from disrouter.evaluation.replay import fitted, replay
from disrouter.evaluation.runs import read_run
from disrouter.network import Network
from disrouter.policies import PaperThreshold, ValueOfForwarding
from disrouter.utility import SCENARIOS

WEIGHTS = (0.0, 0.05, 0.2, 0.5, 1.0)


def main() -> None:
    """Measure on one half, judge on the other, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="a run folder, or an outcome table that holds its seconds")
    parser.add_argument("--network", default="lab")
    arguments = parser.parse_args()

    path = arguments.table
    table = read_run(path).table if path.is_dir() else OutcomeTable.read(path)
    table = table.in_scenarios(table.scenarios[:1])
    halves = np.arange(len(table.query_ids)) % 2 == 0
    cards = measure(table.select(queries=halves))
    agents = [
        RecordedAgent(replace(agent.card, competence=cards[name]), ())
        for name, agent in disrouter.load(arguments.network).agents.items()
    ]
    network = Network("lab", agents, policy=ValueOfForwarding())
    judged = fitted(table.select(queries=~halves), network)
    print("share of the time that rejections take, alpha = .2/.5/.8")
    for policy in (PaperThreshold(0.25), ValueOfForwarding(recall=False), ValueOfForwarding()):
        rows = latency(judged.in_scenarios(list(SCENARIOS.values())), network.replace(policy=policy))
        print(f"  {policy}: " + "/".join(f"{100 * (row.rejection_share or 0):.1f}" for row in rows) + " %")
    unit = float(judged.answer_seconds[0].mean(axis=1).max())
    print(f"{(~halves).sum()} queries; a weight of 1 is beta = {1 / unit:.3g}/s; alpha = .2/.5/.8")
    print("weight   seconds, relative to weight 0     gain in utility over planning without latency")
    first: list[float] = []
    for weight in WEIGHTS:
        scenarios = [replace(scenario, beta=weight / unit) for scenario in SCENARIOS.values()]
        wide = judged.in_scenarios(scenarios)
        ignoring = replay(judged.in_scenarios(list(SCENARIOS.values())), network).choice
        planned = replay(wide, network).choice
        seconds = [row.seconds for row in latency(wide, network)]
        first = first or seconds
        gains = []
        for s, scenario in enumerate(scenarios):
            with_beta, without = (
                metrics.utilities(c.score[s], c.cost_full[s], scenario.alpha) - scenario.beta * c.seconds[s]
                for c in (planned, ignoring)
            )
            gains.append(metrics.paired_difference(with_beta, without))
        print(
            f"{weight:6.2f}   "
            + "/".join(f"{s / f:.2f}" for s, f in zip(seconds, first, strict=True))
            + "                   "
            + ", ".join(interval(gain) for gain in gains)
        )


def interval(gain: metrics.Estimate) -> str:
    """Return a gain with its interval."""
    low, high = gain.interval or (float("nan"), float("nan"))
    return f"{gain.value:+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    main()
