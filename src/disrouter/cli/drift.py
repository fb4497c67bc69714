"""``disrouter drift``: what changing conditions cost a network, and what learning online wins back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from disrouter.cli._options import (
    examples_as_typed,
    json_option,
    limit_option,
    network_of,
    network_option,
    scenario_named,
    seed_option,
)
from disrouter.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from disrouter.evaluation.outcomes import OutcomeTable
    from disrouter.network import Network
    from disrouter.online.study import Study
    from disrouter.types import Scenario

__all__ = ["drift"]

RUNS = Path("runs")

SPARE = 1.5
"""In-domain queries recorded per query of a stream: streams of harder queries pick among them."""


@click.command(short_help="Let conditions change under a network.")
@network_option
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE|RUN",
    help="Recorded outcomes, or a run folder; may be repeated. The lab's agents are run if left out.",
)
@click.option(
    "--drift",
    "drifts",
    multiple=True,
    metavar="NAME",
    help="none, harder, elsewhere, dearer, degraded, dead, joins, overclaims; may be repeated.  [default: all]",
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    metavar="NAME|ALPHA",
    callback=lambda _context, _parameter, values: [scenario_named(value) for value in values or ("balance",)],
    help="Price of cost under which utilities are compared; may be repeated.  [default: balance]",
)
@click.option("--budget", type=float, default=0.25, show_default=True, help="Mean full cost per query to be kept.")
@limit_option(3000, "Queries per stream; the change comes in the middle.")
@click.option("--fit", type=int, default=3000, show_default=True, help="Other queries that the cards are measured on.")
@click.option("--streams", type=int, default=3, show_default=True, help="Streams per drift.")
@seed_option(0, "Another seed is other streams (and, without --table, other queries).")
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where outcomes, study.json and figures are kept.  [default: runs/drift and a name made of the options]",
)
@json_option("one JSON object")
@examples_as_typed
def drift(
    network_name: str,
    tables: tuple[Path, ...],
    drifts: tuple[str, ...],
    scenarios: list[Scenario],
    budget: float,
    limit: int,
    fit: int,
    streams: int,
    seed: int,
    run_dir: Path | None,
    as_json: bool,
) -> None:
    """Let conditions change in the middle of a stream of queries: harder or other queries, an agent that gets dearer,
    worse, dies, joins or overclaims.

    One network stays as it is; the other keeps its cards true by feedback, audits what agents claim, and keeps a
    budget. Both begin with the same cards and learn nothing from what is still to come.

      disrouter drift --drift degraded --limit 1000
      disrouter drift --table runs/lab-lab-in-seed0-n300 --fit 150 --limit 200 --drift dearer
    """
    from disrouter.cli._console import print_json
    from disrouter.evaluation.build import progress_bar
    from disrouter.files import write_json
    from disrouter.online.budget import check_budget
    from disrouter.online.drifts import DRIFTS
    from disrouter.online.figures import draw_all
    from disrouter.online.study import joined, study

    names = drifts or tuple(DRIFTS)
    for name in names:
        if name not in DRIFTS:
            raise UnknownNameError.of("drift", name, DRIFTS)
    for option, value, least in (("--fit", fit, 50), ("--streams", streams, 1), ("--limit", limit, 200)):
        if value < least:
            raise UsageError(f"{option} {value} is too few: give at least {least}.")
    network = network_of(network_name)
    check_budget(budget, network)
    folder = run_dir or RUNS / f"drift-{network.name}-seed{seed}-n{limit}"
    table = joined(_read(tables)) if tables else _recorded(network, folder, fit, limit, seed)
    served = len(names) * streams * limit
    total = served * (2 * len(scenarios) + 3) + ("overclaims" in names) * streams * limit * 2 * len(scenarios)
    with progress_bar(total, "serving streams") as advance:
        found = study(
            table,
            network,
            fit=fit,
            limit=limit,
            alphas=[scenario.alpha for scenario in scenarios],
            budget=budget,
            drifts=names,
            seeds=range(seed, seed + streams),
            advance=advance,
        )
    write_json(folder / "study.json", found.to_json())
    draw_all(found, folder / "figures")
    if as_json:
        print_json(found.to_json())
    else:
        _print(found)
    click.echo(f"run folder: {folder}", err=True)


def _read(paths: tuple[Path, ...]) -> list[OutcomeTable]:
    """Return the tables of files, and both tables of run folders."""
    from disrouter.evaluation.outcome_files import read_table

    files = [
        file
        for path in paths
        for file in ([path / "table.parquet", path / "validation.parquet"] if path.is_dir() else [path])
    ]
    return [read_table(file) for file in files]


def _recorded(network: Network, folder: Path, fit: int, limit: int, seed: int) -> OutcomeTable:
    """Return the outcomes of a network on queries of the lab in and out of domain, kept in a folder and resumable."""
    from disrouter.evaluation.build import build, progress_bar
    from disrouter.evaluation.suites import suite_of
    from disrouter.online.study import joined
    from disrouter.utility import BALANCE

    suite, tables = suite_of("lab"), []
    for domain, count in (("in", fit + int(SPARE * limit)), ("out", limit - limit // 2)):
        queries = suite.queries(domain, seed, count)
        with progress_bar(len(queries) * len(network.agents), f"recording {domain}-domain") as advance:
            tables.append(
                build(
                    network.agents,
                    queries,
                    suite.grade,
                    [BALANCE],
                    domain=domain,
                    seed=seed,
                    parts=folder / f"outcomes-{domain}-n{count}",
                    advance=advance,
                )
            )
    return joined(tables)


def _print(study: Study) -> None:
    from rich.text import Text

    from disrouter.cli._console import results, table
    from disrouter.online.drifts import DRIFTS

    console = results()
    drifts = table(
        "drift", ">alpha", ">static", ">online", ">online - static [95 %]", ">later", title="Utility after the change"
    )
    for row in study.rows:
        low, high = row.difference_ci
        values = f"{row.static:.3f}", f"{row.online:.3f}", f"{row.difference:+.4f} [{low:+.4f}, {high:+.4f}]"
        drifts.add_row(DRIFTS[row.drift].words, f"{row.alpha:g}", *values, f"{row.settled:+.4f}")
    console.print(drifts)
    console.print()
    budgets = table(
        "drift",
        ">fixed alpha",
        ">paced",
        ">worst",
        ">end",
        ">accuracy",
        ">only paced",
        title=f"Mean cost after the change, budget {study.budgets[0].budget:g}",
    )
    for held in study.budgets:
        budgets.add_row(
            DRIFTS[held.drift].words,
            f"{held.static_cost:.3f}",
            f"{held.online_cost:.3f}",
            f"{held.worst:.1%}",
            f"{held.end:+.1%}",
            f"{held.accuracy:.3f}",
            f"{held.paced_accuracy:.3f}",
        )
    console.print(budgets)
    for lost in study.overclaims:
        console.print()
        console.print(
            Text(
                f"overclaiming by {', '.join(lost.agents)} (alpha {lost.alpha:g}): utility lost "
                f"{_with_ci(lost.lost_unaudited, lost.lost_unaudited_ci)} without the audit, "
                f"{_with_ci(lost.lost_audited, lost.lost_audited_ci)} with it"
            )
        )
    if study.events:
        console.print()
        console.print("what the audit found", style="bold")
        for name, seed, event in study.events:
            console.print(f"  {name}, stream {seed}, {event}", soft_wrap=True)
    console.print()
    console.print(
        f"per drift {len(study.seeds)} x {study.queries} queries, the change after {study.turn}; cards "
        f"measured on {study.fitted_on} others. later: the difference over the last half of what came after the "
        "change. worst: furthest that the running mean cost was from the budget after the first 1000 queries.",
        soft_wrap=True,
    )


def _with_ci(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.4f} [{interval[0]:.4f}, {interval[1]:.4f}]"
