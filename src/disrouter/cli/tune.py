"""``disrouter tune``: the setting that keeps a promise about cost or accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import examples_as_typed, json_option, scenario_option, seed_option
from disrouter.errors import UsageError

if TYPE_CHECKING:
    from disrouter.evaluation.runs import Run
    from disrouter.types import Scenario

__all__ = ["tune"]


@click.command(short_help="Keep a budget, or a promised accuracy.")
@click.argument("run_dir", type=click.Path(path_type=Path, file_okay=False), metavar="RUN")
@click.option("--budget", type=float, metavar="COST", help="Most mean cost per query, every look included.")
@click.option(
    "--max-accuracy-drop",
    type=float,
    metavar="DROP",
    help="Most expected loss of accuracy against always asking the largest agent, say 0.02.",
)
@scenario_option
@seed_option(0, "Of the random splits that check the promise.")
@json_option("one JSON object")
@examples_as_typed
def tune(
    run_dir: Path,
    budget: float | None,
    max_accuracy_drop: float | None,
    scenario: Scenario | None,
    seed: int,
    as_json: bool,
) -> None:
    """Find the setting by the validation queries of a finished run, and judge it by its test queries.

    No model runs.

      disrouter eval --limit 2000 --run-dir runs/mine
      disrouter tune runs/mine --budget 0.25
      disrouter tune runs/mine --max-accuracy-drop 0.02 --scenario balance
    """
    from disrouter.cli._console import print_json, results
    from disrouter.evaluation.runs import read_run

    if (budget is None) == (max_accuracy_drop is None):
        raise UsageError("Give either --budget or --max-accuracy-drop.", hint="disrouter tune RUN --budget 0.25")
    if budget is not None and scenario is not None:
        raise UsageError("--scenario weighs cost by an alpha, which --budget finds.", hint="leave one of them out")
    run = read_run(run_dir)
    if budget is not None:
        found, lines = _budget(run, budget)
    else:
        assert max_accuracy_drop is not None
        found, lines = _floor(run, max_accuracy_drop, scenario or run.network.scenario, seed)
    if as_json:
        print_json({"schema": 1, "network": run.network.name, **found})
    else:
        results().print("\n".join(lines))


def _budget(run: Run, budget: float) -> tuple[dict[str, Any], list[str]]:
    from disrouter.evaluation.ladder import at_alphas
    from disrouter.evaluation.replay import fitted, replay
    from disrouter.evaluation.tuning import alpha_for_budget
    from disrouter.policies import policy_of, spec_of

    chosen = alpha_for_budget(run.validation, run.network, budget)
    spec = spec_of(run.network.policy)
    if "thrift" in spec:
        spec["thrift"] = chosen.thrift
    network = run.network.replace(policy=policy_of(spec))
    choice = replay(at_alphas(fitted(run.table, network), [chosen.alpha]), network).choice
    spent, accuracy = float(choice.cost_full.mean()), float(choice.score.mean())
    found = {
        "budget": budget,
        "alpha": chosen.alpha,
        "policy": spec,
        "validation_cost": chosen.cost,
        "test_cost": spent,
        "test_accuracy": accuracy,
    }
    thrift = f", thrift {chosen.thrift:.4g}" if chosen.thrift > 1 else ""
    return found, [
        f"alpha {chosen.alpha:.4g}{thrift} spends {chosen.cost:.4f} per query on "
        f"{run.validation.shape[2]} validation queries (budget {budget:g})",
        f"on {run.table.shape[2]} test queries: cost {spent:.4f}, accuracy {accuracy:.3f}",
        "",
        "in the network file:",
        f"scenario: {chosen.alpha:.4g}",
        *([f"policy: {{name: {spec['name']}, thrift: {chosen.thrift:.4g}}}"] if chosen.thrift > 1 else []),
    ]


def _floor(run: Run, drop: float, scenario: Scenario, seed: int) -> tuple[dict[str, Any], list[str]]:
    from dataclasses import replace

    from disrouter.evaluation.ladder import at_alphas
    from disrouter.evaluation.methods import chosen, largest
    from disrouter.evaluation.replay import fitted, replay
    from disrouter.evaluation.tuning import floor_for_drop, violations, with_floor

    promised = floor_for_drop(run.validation, run.network, drop, scenario)
    network = run.network.replace(policy=with_floor(run.network.policy, promised.floor))
    table = replace(at_alphas(fitted(run.table, network), [scenario.alpha]), scenarios=(scenario,))
    choice, most = replay(table, network).choice, chosen(table, largest(table))
    seen = float((most.score - choice.score).mean())
    broken, mean = violations(run.table, run.network, drop, scenario, seed=seed)
    saved = 1 - float(choice.cost_full.mean() / most.cost_full.mean())
    found = {
        "max_accuracy_drop": drop,
        "scenario": {"name": scenario.name, "alpha": scenario.alpha},
        "floor": promised.floor,
        "validation_drop": promised.drop,
        "test_drop": seen,
        "test_saved": saved,
        "splits_violated": broken,
        "splits_mean_drop": mean,
    }
    return found, [
        f"floor {promised.floor:g} keeps the expected drop in accuracy below {drop:g} "
        f"({promised.drop:+.4f} on {run.validation.shape[2]} validation queries), scenario {scenario.name}",
        f"on {run.table.shape[2]} test queries: drop {seen:+.4f} against always-largest, at {saved:.1%} less cost",
        f"over 200 random halves of the test queries: drop above {drop:g} in {broken:.1%} of them, mean {mean:+.4f}",
        "",
        "in the network file:",
        f"policy: {{name: {network.policy.name}, floor: {promised.floor:g}}}",
    ]
