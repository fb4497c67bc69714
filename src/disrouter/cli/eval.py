"""``disrouter eval``: what a network is worth on a suite, kept in a run folder."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from disrouter.cli._options import (
    SHARDED,
    engine_options,
    examples_as_typed,
    json_option,
    latency_option,
    limit_option,
    network_of,
    network_option,
    policy_option,
    scenario_named,
    seed_option,
)
from disrouter.errors import UsageError

if TYPE_CHECKING:
    from disrouter.engines import EngineName
    from disrouter.evaluation.runs import Run
    from disrouter.types import Scenario

__all__ = ["evaluate"]

RUNS = Path("runs")


@click.command("eval", short_help="Measure what a network is worth.")
@network_option
@click.option(
    "--suite", default="lab", show_default=True, metavar="NAME|FILE", help="lab, or a .jsonl file of queries."
)
@click.option(
    "--domain",
    default="in",
    show_default=True,
    metavar="in|out",
    help="Skills that are in, or out of, the domain of self-awareness training.",
)
@seed_option(0, "Another seed is another, fresh test set.")
@limit_option(300, "Test queries.")
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    metavar="NAME|ALPHA",
    help="May be repeated; the three of the paper if left out.",
    callback=lambda _context, _parameter, values: _different([scenario_named(value) for value in values]),
)
@latency_option
@policy_option
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the run is kept.  [default: runs/ and a name made of the options]",
)
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Go on with what the run folder holds of this evaluation, or start afresh.",
)
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Make the tables and figures of this run folder again, without a model.",
)
@engine_options(SHARDED)
@json_option("one JSON object")
@click.pass_context
@examples_as_typed
def evaluate(
    context: click.Context,
    network_name: str,
    suite: str,
    domain: str,
    seed: int,
    limit: int,
    scenarios: list[Scenario],
    latency_weight: float | None,
    policy: str | None,
    run_dir: Path | None,
    resume: bool,
    source: Path | None,
    engine_name: EngineName,
    ray_address: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Measure a network on a suite and compare it with asking one agent, or any.

    Every agent answers every query once per scenario; all methods are judged on the same answers. Can be stopped at
    any time: the same command goes on where it was.

      disrouter eval --domain out --limit 1000
      disrouter eval --from runs/lab-lab-in-seed0-n300 --json
    """
    from disrouter.cli._console import print_json
    from disrouter.engines import engine_of

    engine = engine_of(engine_name, address=ray_address, workers=workers)
    if source is not None:
        _refuse_beside_from(context)
        from disrouter.evaluation.runs import remake

        run = remake(source)
    else:
        from disrouter.evaluation import runs
        from disrouter.evaluation.suites import suite_of
        from disrouter.utility import SCENARIOS

        chosen = suite_of(suite)
        network = network_of(network_name, policy=policy)
        asked = [replace(s, beta=latency_weight or 0.0) for s in scenarios or SCENARIOS.values()]
        waiting = f"latency{latency_weight:g}" if latency_weight else None
        folder = run_dir or RUNS / _run_name(
            network.name, chosen.name, domain, f"seed{seed}", f"n{limit}", policy, waiting, *(s.name for s in scenarios)
        )
        run = runs.evaluate(
            network,
            chosen,
            domain=domain,
            seed=seed,
            limit=limit,
            run_dir=folder,
            scenarios=asked,
            resume=resume,
            engine=engine,
        )
    if as_json:
        print_json(run.summary.to_json())
    else:
        _print(run)
    click.echo(f"run folder: {run.folder}", err=True)


def _different(scenarios: list[Scenario]) -> list[Scenario]:
    names = [scenario.name for scenario in scenarios]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"Scenario '{name}' is given twice.", hint="name each scenario once")
    return scenarios


def _print(run: Run) -> None:
    from disrouter.cli._console import results
    from disrouter.cli._sentences import sentences
    from disrouter.evaluation.report import latency_lines, report

    console = results()
    console.print(report(run.summary))
    console.print(latency_lines(run.latency))
    console.print()
    console.print(sentences(run.summary))
    if run.figures:
        console.print(f"\nfigures: {run.folder / 'figures'}{os.sep}", soft_wrap=True)


def _run_name(*parts: str | None) -> str:
    """Return a readable name of a folder."""
    return "-".join(re.sub(r"[^\w.]+", "-", part).strip("-.") for part in parts if part)


def _refuse_beside_from(context: click.Context) -> None:
    """Refuse options that would change what was evaluated: a finished run is what it is."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in ("source", "as_json")
        and parameter.name is not None
        and context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(
            f"--from reads a finished run, so {', '.join(given)} cannot change it.",
            hint="leave them out, or evaluate without --from",
        )
