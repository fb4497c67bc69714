"""Bench runs on the command line: which methods there are, comparing them, and the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import (
    examples_as_typed,
    json_option,
    network_of,
    policy_option,
)
from disrouter.errors import UsageError

if TYPE_CHECKING:
    from disrouter.bench.runs import BenchRun
    from disrouter.bench.tables import BenchTable

__all__ = ["methods", "report", "run"]

RUNS = Path("runs")


@click.command()
@json_option("one JSON object")
@examples_as_typed
def methods(as_json: bool) -> None:
    """List the methods that can be compared, and what each may look at.

    disrouter bench methods
    disrouter bench methods --json
    """
    from disrouter.bench.methods import known_methods, method_of
    from disrouter.cli._console import print_json, results, table
    from disrouter.errors import MissingExtraError

    found: list[dict[str, Any]] = []
    for name in known_methods():
        try:
            made = method_of(name)
            first = (type(made).__doc__ or "").strip().partition("\n")[0]
            found.append({"method": name, "needs": sorted(made.needs), "what": first})
        except MissingExtraError as exc:
            found.append({"method": name, "needs": None, "what": f"not installed: {exc.hint}"})
    if as_json:
        print_json({"schema": 1, "methods": found})
        return
    shown = table("method", "may ask for", "what it is")
    for row in found:
        shown.add_row(row["method"], ", ".join(row["needs"] or ()) or "–", row["what"])
    results().print(shown)


@click.command(short_help="Compare methods on a bench table.")
@click.argument("table_path", type=click.Path(path_type=Path), metavar="TABLE")
@click.option("--methods", "names", default="all", show_default=True, metavar="NAME,…|all", help="See `bench methods`.")
@click.option(
    "--baseline",
    "own",
    multiple=True,
    metavar="FILE.py:NAME",
    help="A method of your own; the file is run. May be repeated.",
)
@click.option(
    "--features",
    metavar="NAME",
    help="What built-in methods read of texts: tfidf, or sentence-transformers:FOLDER.  [default: tfidf]",
)
@click.option(
    "--network", "network_name", metavar="FILE|NAME", help="Our network over the table's agents, compared as 'ours'."
)
@policy_option
@click.option("--domain", metavar="in|out", help="Test on queries of this domain only.")
@click.option("--seeds", default="0", show_default=True, metavar="N,…", help="Fit every method once per seed.")
@click.option("--reference", metavar="METHOD", help="Compare all others with it.  [default: ours, else best-single]")
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the run is kept.  [default: runs/bench-TABLE]",
)
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="Go on with what the folder holds of this comparison."
)
@json_option("one JSON object")
@examples_as_typed
def run(
    table_path: Path,
    names: str,
    own: tuple[str, ...],
    features: str | None,
    network_name: str | None,
    policy: str | None,
    domain: str | None,
    seeds: str,
    reference: str | None,
    run_dir: Path | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Fit every method on train, tune it on validation, report it on test, with intervals and paired differences.

    disrouter bench run table.parquet --methods best-single,carrot-knn
    disrouter bench run lab.parquet --network lab --domain out --baseline my_router.py:MyRouter
    """
    from disrouter.bench.methods import methods_of
    from disrouter.bench.ours import Ours
    from disrouter.bench.runs import compare
    from disrouter.bench.tables import read_bench_table
    from disrouter.cli._console import print_json

    table = read_bench_table(table_path)
    chosen: list[Any] = [] if network_name is None else [Ours(_over(network_name, policy, table))]
    if policy and network_name is None:
        raise UsageError("--policy decides for a network, and none is given.", hint="add --network lab")
    chosen += methods_of([name.strip() for name in names.split(",") if name.strip()], own, features=features)
    made = compare(
        table,
        chosen,
        run_dir=run_dir or RUNS / "-".join(["bench", table_path.stem, *([domain] if domain else [])]),
        name=table_path.stem,
        domain=domain,
        seeds=_seeds(seeds),
        reference=reference,
        resume=resume,
    )
    if as_json:
        print_json({"run": str(made.folder), "config": dict(made.config), **made.metrics})
    else:
        _print(made)
    click.echo(f"run folder: {made.folder}", err=True)


@click.command(short_help="Make the page and the figures of a run.")
@click.argument("run_dir", type=click.Path(path_type=Path), metavar="RUN")
@examples_as_typed
def report(run_dir: Path) -> None:
    """Write report.html, one page that needs nothing else, and figures as PNG and SVG into a run's folder.

    disrouter bench report runs/bench-table
    """
    from disrouter.bench.html import write_report
    from disrouter.bench.runs import read_bench_run

    click.echo(str(write_report(read_bench_run(run_dir))))


def _over(network_name: str, policy: str | None, table: BenchTable) -> Any:
    """Return a network whose agents the table has outcomes of."""
    network = network_of(network_name, policy=policy)
    missing = [name for name in network.agents if name not in table.rows.table.agents]
    if missing:
        raise UsageError(
            f"The table has no outcomes of {', '.join(repr(m) for m in missing)} of network '{network.name}'.",
            hint=f"make the table with `disrouter bench build --network {network_name}`",
        )
    return network


def _print(made: BenchRun) -> None:
    from disrouter.bench.text import outcomes_text, table_of
    from disrouter.cli._console import results

    console = results()
    for scenario, _ in made.config["scenarios"]:
        console.print(table_of(made, scenario))
        console.print()
    console.print(outcomes_text(made))


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) != len(seeds):
        raise UsageError(f"--seeds '{text}' is not usable.", hint="give different whole numbers, say 0,1,2")
    return seeds
