"""``disrouter train``: agents of a recipe learn what they know, side by side."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import agents_option, examples_as_typed, json_option, seed_option
from disrouter.errors import InterruptedRunError

if TYPE_CHECKING:
    from disrouter.training.dry_run import DryRun
    from disrouter.training.fleet import Engine
    from disrouter.training.recipes import Recipe
    from disrouter.training.results import TrainedAgent

__all__ = ["train"]

RUNS = Path("runs")


@click.command(short_help="Train agents to know what they know.")
@click.option(
    "--recipe",
    "recipe_name",
    required=True,
    metavar="NAME|FILE",
    help="A recipe's file, or the name of one that ships.",
)
@agents_option("Agents to train, with commas between them, or all.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the training is kept.  [default: runs/ and the recipe's name]",
)
@seed_option(0, "Of everything drawn but the profile, whose seed is the recipe's.")
@click.option(
    "--jobs",
    "--workers",
    "jobs",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Agents trained side by side; 0: one per GPU, or else per core.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Processes on this machine, or tasks on a Ray cluster; the results are the same.",
)
@click.option("--ray-address", metavar="ADDRESS", help="Of the cluster; one is started on this machine if left out.")
@click.option(
    "--profiles",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Take AGENT.parquet from here, or make it here.",
)
@click.option("--dry-run", is_flag=True, help="Go the whole way with tiny models, in a minute or two; leaves nothing.")
@json_option("one JSON object")
@examples_as_typed
def train(
    recipe_name: str,
    agents: tuple[str, ...],
    output: Path | None,
    seed: int,
    jobs: int,
    engine: Engine,
    ray_address: str | None,
    profiles: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train agents of a recipe to judge their own chance of being right; each needs no other one.

    Can be stopped at any time: the same command goes on where it was and ends with the same bytes. What it leaves is a
    network file of the trained agents, and one for every earlier stage.

      disrouter train --recipe lab-paper --dry-run
      disrouter train --recipe lab-calibrated --agents agent-1,agent-2 --output runs/two
    """
    from disrouter.training.recipes import load_recipe

    recipe = load_recipe(recipe_name)
    if ray_address is not None and engine != "ray":
        raise click.UsageError("--ray-address goes with --engine ray only.")
    if dry_run:
        _dry_run(recipe, agents, seed, jobs, engine, ray_address, as_json)
        return
    from disrouter.cli._console import print_json
    from disrouter.training.fleet import train as train_agents
    from disrouter.training.ranks import is_first
    from disrouter.training.results import results_of

    folder = output or RUNS / recipe.name
    network = _watched(
        lambda report: train_agents(
            recipe,
            agents,
            folder,
            seed=seed,
            jobs=jobs,
            engine=engine,
            ray_address=ray_address,
            profiles=profiles,
            report=report,
        ),
        kept=f"what is finished, and every training state, is kept in '{folder}'",
    )
    if not is_first():
        return  # of several processes that train one agent, the first one speaks
    found = results_of(recipe, folder)
    if as_json:
        values = [_agent_json(agent) for agent in found]
        print_json({"schema": 1, "recipe": recipe.name, "seed": seed, "network": str(network), "agents": values})
    else:
        _print(found)
    click.echo(f"network: {network}", err=True)
    click.echo(
        f"judge it: disrouter eval --network {network} --suite {recipe.suite} --domain {recipe.domain}", err=True
    )


def _dry_run(
    recipe: Recipe,
    agents: tuple[str, ...],
    seed: int,
    jobs: int,
    engine: Engine,
    ray_address: str | None,
    as_json: bool,
) -> None:
    from disrouter.cli._console import print_json
    from disrouter.training.dry_run import dry_run

    with tempfile.TemporaryDirectory(prefix="disrouter-dry-run-") as folder:
        done = _watched(
            lambda report: dry_run(
                recipe,
                agents,
                Path(folder),
                seed=seed,
                jobs=jobs,
                engine=engine,
                ray_address=ray_address,
                report=report,
            ),
            kept="a dry run leaves nothing",
        )
    if as_json:
        print_json({"schema": 1, "dry_run": True, **asdict(done)})
    else:
        _print_dry_run(done)


def _watched(work: Callable[[Callable[[str, str, int, int, float], None]], Any], *, kept: str) -> Any:
    """Do the work with a progress bar for every agent; Ctrl-C tells what is kept."""
    from disrouter.cli._console import bars
    from disrouter.training.ranks import is_first

    with bars() as show:

        def report(agent: str, stage: str, step: int, steps: int, value: float) -> None:
            if is_first():
                show(agent, step, steps, stage if math.isnan(value) else f"{stage} {value:.3f}")

        try:
            return work(report)
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"Stopped by the user; {kept}.", hint="run the same command again to go on from there"
            ) from None


def _agent_json(agent: TrainedAgent) -> dict[str, Any]:
    values = asdict(agent)
    return {**values, "model": str(agent.model)}


def _print(found: list[TrainedAgent]) -> None:
    from rich.text import Text

    from disrouter.cli._console import results, table

    shown = table("agent", "stage", ">sampled tokens", ">trained tokens", ">FLOPs", ">seconds")
    for agent in found:
        for number, stage in enumerate(agent.stages):
            shown.add_row(
                Text("" if number else agent.name, style="bold"),
                stage.stage,
                f"{stage.sampled_tokens:,}",
                f"{stage.trained_tokens:,}",
                f"{stage.flops:.1e}",
                "-" if stage.seconds is None else f"{stage.seconds:,.0f}",
            )
    console = results()
    console.print(shown)
    abilities = table("accuracy with rejection masked", ">before", ">after", ">change")
    for agent in found:
        for domain, before in agent.ability_before.items():
            after = agent.ability_after[domain]
            abilities.add_row(f"{agent.name}, {domain}", f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}")
    if abilities.row_count:
        console.print()
        console.print(abilities)


def _print_dry_run(done: DryRun) -> None:
    from rich.text import Text

    from disrouter.cli._console import results, table

    shown = table("agent", "stands for", "as a tiny", ">weights", "went through")
    for agent in done.agents:
        shown.add_row(
            Text(agent.name, style="bold"),
            agent.model,
            agent.architecture,
            f"{agent.weights:,}",
            ", ".join(agent.stages),
        )
    console = results()
    console.print(shown)
    console.print(f"questions: {done.questions}; grades: drawn; {done.seconds:.0f} seconds", style="dim")
    console.print(f"Recipe {done.recipe} runs from end to end here; its numbers would mean nothing.")
