"""What rejections take: the paper's rule passing on step by step, against the value of forwarding with skipping.

    python benchmarks/lab_tables.py --split validation --seed 77 --queries 6300 --out tables/
    python benchmarks/lab_tables.py --seed 2026 --out tables/
    python benchmarks/lab_tables.py --seed 2026 --domain out --out tables/
    python benchmarks/rejections.py --measured tables/in-validation-77.parquet --judged tables/*-test-2026.parquet

Any outcome tables of the lab's agents serve. Utility is at the full cost; intervals: 95 %, paired bootstrap.
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
from disrouter.evaluation.overhead import latency, rejections
from disrouter.evaluation.replay import fitted, replay
from disrouter.network import Network
from disrouter.policies import policy_of
from disrouter.utility import SCENARIOS

FORWARDING = "value-of-forwarding"
POLICIES: dict[str, dict[str, object]] = {
    "paper, step by step": {"name": "paper", "gamma": 0.25},
    "value of forwarding": {"name": FORWARDING, "skip": False, "grades": False, "recall": False},
    "+ skip": {"name": FORWARDING, "skip": True, "grades": False, "recall": False},
    "+ skip, grades": {"name": FORWARDING, "skip": True, "grades": True, "recall": False},
    "+ skip, grades, recall": {"name": FORWARDING},
    "skip, grades, looks x 4": {"name": FORWARDING, "recall": False, "look_weight": 4.0},
    "skip, grades, looks x 6": {"name": FORWARDING, "recall": False, "look_weight": 6.0},
    "skip, grades, looks x 8": {"name": FORWARDING, "recall": False, "look_weight": 8.0},
}


def main() -> None:
    """Measure, replay, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, required=True, help="outcomes that the agent cards are measured on")
    parser.add_argument("--judged", type=Path, nargs="+", required=True, help="outcomes of other queries")
    parser.add_argument("--network", default="lab")
    arguments = parser.parse_args()

    known = disrouter.load(arguments.network)
    cards = measure(OutcomeTable.read(arguments.measured))
    agents = [RecordedAgent(replace(agent.card, competence=cards[name]), ()) for name, agent in known.agents.items()]
    scenarios = list(SCENARIOS.values())
    for path in arguments.judged:
        table = OutcomeTable.read(path).in_scenarios(scenarios)
        print(f"\n{path.stem}: {len(table.query_ids)} queries; alpha = .2/.5/.8")
        print("                             asked in vain  cost  tokens  FLOPs  [time, where measured]  utility")
        base = None
        for name, policy in POLICIES.items():
            network = Network("pool", agents, policy=policy_of(policy))
            own = fitted(table, network)
            routed = replay(own, network)
            spent, timed = rejections(own, network, routed), latency(own, network)
            worth = [
                metrics.utilities(routed.choice.score[s], routed.choice.cost_full[s], scenario.alpha)
                for s, scenario in enumerate(scenarios)
            ]
            base = worth if base is None else base
            print(
                f"  {name:26}",
                "/".join(f"{row.per_query:.2f}" for row in spent),
                *(percents([getattr(row, f"{what}_share") for row in spent]) for what in ("cost", "tokens", "flops")),
                *([percents([row.rejection_share for row in timed])] if timed[0].seconds else []),
                "/".join(f"{values.mean():.3f}" for values in worth),
            )
            if worth is not base:
                gains = [metrics.paired_difference(ours, theirs) for ours, theirs in zip(worth, base, strict=True)]
                print(" " * 29 + "gain over the first row: " + ", ".join(interval(gain) for gain in gains))


def percents(shares: list[float | None]) -> str:
    """Return shares as percents with slashes between them."""
    return "/".join("–" if share is None else f"{100 * share:.1f}" for share in np.array(shares, dtype=object)) + " %"


def interval(gain: metrics.Estimate) -> str:
    """Return a gain with its interval."""
    low, high = gain.interval or (float("nan"), float("nan"))
    return f"{gain.value:+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    main()
