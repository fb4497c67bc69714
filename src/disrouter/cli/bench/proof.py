"""The paper's experiments, runs that a repository keeps, and documents held against them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from disrouter.cli._options import (
    examples_as_typed,
    json_option,
    network_of,
    policy_option,
    seed_option,
)
from disrouter.errors import RunError, UsageError

if TYPE_CHECKING:
    from disrouter.network import Network

__all__ = ["paper", "store", "verify"]

RUNS = Path("runs")


@click.command(short_help="Run the paper's experiments on the lab.")
@click.option("--methods", "names", default="all", show_default=True, metavar="NAME,…|all", help="See `bench methods`.")
@policy_option
@click.option(
    "--beside",
    multiple=True,
    metavar="FILE",
    help="May be repeated: another network for the ablation, say the network-sft.yaml of a training.",
)
@click.option("--train", "train", type=int, default=2000, show_default=True, help="Queries to fit on.")
@click.option("--validation", type=int, default=500, show_default=True, help="Queries to tune on.")
@click.option("--test", "test", type=int, default=2100, show_default=True, help="Queries to report on, per domain.")
@seed_option(2026, "Of queries and fits.")
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    default=RUNS / "paper",
    metavar="DIR",
    help="Where it is kept.  [default: runs/paper]",
)
@json_option("one JSON object")
@examples_as_typed
def paper(
    names: str,
    policy: str | None,
    beside: tuple[str, ...],
    train: int,
    validation: int,
    test: int,
    seed: int,
    run_dir: Path,
    as_json: bool,
) -> None:
    """Run the paper's experiments on the lab and write them beside the paper's numbers. Goes on where it stopped.

    disrouter bench paper
    disrouter bench paper --methods best-single,carrot-knn --test 400
    disrouter bench paper --beside runs/lab-paper/network-sft.yaml
    """
    from disrouter.bench.methods import methods_of
    from disrouter.bench.paper import run_paper
    from disrouter.cli._console import print_json
    from disrouter.errors import InterruptedRunError

    try:
        found = run_paper(
            run_dir,
            methods_of([name.strip() for name in names.split(",") if name.strip()]),
            counts={"train": train, "validation": validation, "test": test},
            seed=seed,
            policy=network_of("lab", policy=policy).policy if policy else None,
            beside=_others(beside),
        )
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Stopped by the user; what is finished is kept in '{run_dir}'.",
            hint="run the same command again to go on from there",
        ) from None
    if as_json:
        print_json(found)
    else:
        click.echo((run_dir / "paper.md").read_text(encoding="utf-8"))
    click.echo(f"run folder: {run_dir}", err=True)


def _others(files: tuple[str, ...]) -> list[Network]:
    """Return the networks to show beside ours; their names name what is kept of them."""
    others = [network_of(file) for file in files]
    names = ["lab", "lab-paper", *(other.name for other in others)]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"Two networks are called '{name}'.", hint="give the file's network another name")
    return others


@click.command(short_help="Keep a run as a repository should.")
@click.argument("run_dir", type=click.Path(path_type=Path), metavar="RUN")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where to keep it.")
@click.option(
    "--table", "table_path", type=click.Path(path_type=Path), metavar="FILE", help="Keep every agent's outcomes too."
)
@examples_as_typed
def store(run_dir: Path, output: Path, table_path: Path | None) -> None:
    """Write what numbers can be derived from again: small files without a text or an id of a query.

    disrouter bench store runs/bench-lab-in -o benchmarks/runs/lab-in --table lab.parquet
    """
    from disrouter.bench import stored
    from disrouter.bench.runs import read_bench_run
    from disrouter.bench.tables import read_bench_table

    table = None if table_path is None else read_bench_table(table_path)
    stored.store(read_bench_run(run_dir), output, table)
    size = sum(p.stat().st_size for p in output.iterdir() if p.is_file())
    click.echo(f"{output}: {size / 1000:.0f} kB")


@click.command(short_help="Derive the documents' numbers again.")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="A checkout: README.md, docs/ and benchmarks/runs/ in it.  [default: here]",
)
@click.option("--write", is_flag=True, help="Correct the documents instead of only telling.")
@json_option("one JSON object")
@examples_as_typed
def verify(root: Path, write: bool, as_json: bool) -> None:
    """Derive every marked number of README and docs again from stored runs, offline, and fail where one differs.

    disrouter bench verify
    disrouter bench verify --root ~/disrouter --json
    """
    from disrouter.bench.verify import documents, summary_of
    from disrouter.bench.verify import verify as check
    from disrouter.cli._console import print_json

    if not documents(root):
        raise UsageError(
            f"'{root}' has no README.md and no docs.", hint="name a checkout of the repository with --root"
        )
    findings = check(root, root / "benchmarks" / "runs", write=write)
    said = summary_of(findings)
    if as_json:
        print_json(
            {
                "schema": 1,
                **said,
                "findings": [
                    {
                        "document": str(f.document),
                        "line": f.line,
                        "what": f.what,
                        "numbers": f.numbers,
                        "problem": f.problem,
                    }
                    for f in findings
                ],
            }
        )
    else:
        for finding in findings:
            state = "ok" if finding.problem is None else "corrected" if write else f"WRONG: {finding.problem}"
            click.echo(f"{finding.document}:{finding.line}: {finding.what}, {finding.numbers} numbers: {state}")
        click.echo(f"{said['numbers']} numbers in {said['places']} places, {said['differing']} places differ")
    if said["differing"] and not write:
        raise RunError(
            f"{said['differing']} places of the documents say something else than the stored runs.",
            hint="look at them, then correct them with `disrouter bench verify --write`",
        )
