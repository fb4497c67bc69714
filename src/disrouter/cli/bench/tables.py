"""Bench tables on the command line: made of recorded outcomes, or of our own agents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import (
    SHARDED,
    engine_options,
    examples_as_typed,
    json_option,
    network_of,
    network_option,
    seed_option,
)
from disrouter.errors import UsageError

if TYPE_CHECKING:
    from disrouter.bench.tables import BenchTable
    from disrouter.engines import EngineName

__all__ = ["build", "import_"]


@click.command("import", short_help="Make a bench table of recorded outcomes.")
@click.argument("sources", nargs=-1, required=True, metavar="[SPLIT=]PATH…")
@click.option(
    "--format",
    "format_",
    default="plain",
    show_default=True,
    metavar="NAME",
    help="plain, routerbench, routellm, llmrouter or routerdc.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The table, a .parquet file."
)
@click.option("--models", metavar="NAME,…", help="Only these models, in this order; the part after a slash will do.")
@click.option(
    "--costs", metavar="NAME=COST,…", help="Normalised cost of an answer, from 0 to 1, instead of recorded ones."
)
@click.option("--prices", type=click.Path(path_type=Path), metavar="FILE", help="Price list of LLMRouter (llm_data).")
@click.option(
    "--fractions",
    metavar="A,B,C",
    help="Shares of train, validation and test where the file names no split.  [default: 0.6,0.1,0.3]",
)
@click.option("--deduplicate", is_flag=True, help="Keep the first of queries that ask the same, instead of refusing.")
@seed_option(0, "Of drawn splits.")
@json_option("one JSON object")
@examples_as_typed
def import_(
    sources: tuple[str, ...],
    format_: str,
    output: Path,
    models: str | None,
    costs: str | None,
    prices: Path | None,
    fractions: str | None,
    deduplicate: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Make a bench table of outcomes that others recorded. Nothing is downloaded or unpickled.

    disrouter bench import outcomes.jsonl --costs "small=0.1,large=1" -o table.parquet
    disrouter bench import train=a.json test=b.json --format routerdc --costs "x=0.2,y=1" -o table.parquet
    """
    from disrouter.bench.entries import assemble
    from disrouter.bench.formats import Source, entries_of, prices_of
    from disrouter.bench.tables import SPLITS, write_bench_table

    listed = None if prices is None else prices_of(prices)
    given, shares = None if costs is None else _costs(costs), None if fractions is None else _fractions(fractions)
    entries = []
    for text in sources:
        split, equals, path = text.partition("=")
        source = Source(Path(path), split) if equals and split in SPLITS else Source(Path(text))
        entries += entries_of(source, format_, prices=listed)
    table = assemble(
        entries,
        agents=[name.strip() for name in models.split(",")] if models else (),
        costs=given,
        fractions=shares,
        deduplicate=deduplicate,
        seed=seed,
    )
    table.of("test")  # an empty split is told now, not by every later run
    write_bench_table(table, output)
    _tell_table(table, output, as_json)


@click.command(short_help="Make a bench table of our own agents.")
@network_option
@click.option("--suite", default="lab", show_default=True, metavar="NAME|FILE", help="Where the queries come from.")
@click.option("--train", "train", type=int, default=2000, show_default=True, help="Queries to fit on, in-domain.")
@click.option("--validation", type=int, default=500, show_default=True, help="Queries to tune on, in-domain.")
@click.option("--test", "test", type=int, default=1000, show_default=True, help="Queries to report on, per domain.")
@click.option(
    "--test-domain",
    "domains",
    multiple=True,
    metavar="in|out",
    help="Domain of test queries; may be repeated.  [default: in]",
)
@seed_option(0, "Another seed gives other queries.")
@click.option("--no-features", is_flag=True, help="Do not record the first agent's prefill states.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The table, a .parquet file."
)
@engine_options(SHARDED)
@json_option("one JSON object")
@examples_as_typed
def build(
    network_name: str,
    suite: str,
    train: int,
    validation: int,
    test: int,
    domains: tuple[str, ...],
    seed: int,
    no_features: bool,
    output: Path,
    engine_name: EngineName,
    ray_address: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Let every agent of a network answer queries of a suite. Can be stopped: the same command goes on.

    disrouter bench build --network lab --test-domain in --test-domain out -o lab.parquet
    """
    from disrouter.bench.build import build_bench_table
    from disrouter.bench.tables import write_bench_table
    from disrouter.engines import engine_of
    from disrouter.errors import InterruptedRunError
    from disrouter.evaluation.suites import suite_of

    parts = output.with_name(f"{output.stem}.parts")
    try:
        table = build_bench_table(
            network_of(network_name),
            suite_of(suite),
            counts={"train": train, "validation": validation, "test": test},
            test_domains=domains or ("in",),
            seed=seed,
            parts=parts,
            features=not no_features,
            engine=engine_of(engine_name, address=ray_address, workers=workers),
        )
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Stopped by the user; the outcomes finished so far are kept in '{parts}'.",
            hint="run the same command again to go on from there",
        ) from None
    write_bench_table(table, output)
    _tell_table(table, output, as_json)


def _tell_table(table: BenchTable, path: Path, as_json: bool) -> None:
    from disrouter.cli._console import print_json

    held = table.rows.table
    if as_json:
        print_json(
            {
                "schema": 1,
                "table": str(path),
                "queries": dict(table.counts),
                "agents": {n: float(held.answer_cost[:, a].mean()) for a, n in enumerate(held.agents)},
                "scenarios": [s.name for s in held.scenarios],
                "records": sorted(table.available),
            }
        )
        return
    counts = ", ".join(f"{n} {split}" for split, n in table.counts.items())
    click.echo(f"{path}: {counts} queries; agents by cost: {', '.join(held.agents)}")
    click.echo(f"records scores, costs{''.join(f', {what}' for what in sorted(table.available))}")


def _costs(text: str) -> dict[str, float]:
    found = {}
    for part in text.split(","):
        name, equals, value = part.strip().rpartition("=")
        try:
            cost = float(value)
        except ValueError:
            equals = ""
            cost = -1.0
        if not equals or not 0 <= cost <= 1:
            raise UsageError(
                f"--costs has the part '{part.strip()}'.",
                hint="write NAME=COST with a cost from 0 to 1, commas between",
            )
        found[name] = cost
    return found


def _fractions(text: str) -> dict[Any, float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) != 3 or min(shares) <= 0:
        raise UsageError(f"--fractions '{text}' is not usable.", hint="give three numbers above 0, say 0.6,0.1,0.3")
    return dict(zip(("train", "validation", "test"), shares, strict=True))
