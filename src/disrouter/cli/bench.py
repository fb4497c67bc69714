"""``disrouter bench``: routing methods compared on the same queries, ours among them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import (
    examples_as_typed,
    json_option,
    network_of,
    network_option,
    policy_option,
    seed_option,
)
from disrouter.errors import RunError, UsageError

if TYPE_CHECKING:
    from disrouter.bench.runs import BenchRun
    from disrouter.bench.tables import BenchTable
    from disrouter.network import Network

__all__ = ["bench"]

RUNS = Path("runs")


@click.group(short_help="Compare routing methods, ours and others'.")
@examples_as_typed
def bench() -> None:
    """The bench: every routing method on the same queries, decisions sealed before a score is looked at.

    disrouter bench import outcomes.jsonl --costs "small=0.1,large=1" -o table.parquet
    disrouter bench run table.parquet --methods all
    """


@bench.command()
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


@bench.command("import", short_help="Make a bench table of recorded outcomes.")
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


@bench.command(short_help="Make a bench table of our own agents.")
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
    as_json: bool,
) -> None:
    """Let every agent of a network answer queries of a suite. Can be stopped: the same command goes on.

    disrouter bench build --network lab --test-domain in --test-domain out -o lab.parquet
    """
    from disrouter.bench.build import build_bench_table
    from disrouter.bench.tables import write_bench_table
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
        )
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Stopped by the user; the outcomes finished so far are kept in '{parts}'.",
            hint="run the same command again to go on from there",
        ) from None
    write_bench_table(table, output)
    _tell_table(table, output, as_json)


@bench.command(short_help="Compare methods on a bench table.")
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


@bench.command(short_help="Make the page and the figures of a run.")
@click.argument("run_dir", type=click.Path(path_type=Path), metavar="RUN")
@examples_as_typed
def report(run_dir: Path) -> None:
    """Write report.html, one page that needs nothing else, and figures as PNG and SVG into a run's folder.

    disrouter bench report runs/bench-table
    """
    from disrouter.bench.html import write_report
    from disrouter.bench.runs import read_bench_run

    click.echo(str(write_report(read_bench_run(run_dir))))


@bench.command(short_help="Judge rules that accept or reject answers.")
@click.argument("answers", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--agent", metavar="NAME", help="FILE is a bench table: judge the answers of this agent.")
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="NAME|FILE.py:NAME",
    help="confidence, log-probability, verbalised, self-consistency, or a function of yours.  [default: confidence]",
)
@seed_option(0, "Of the bootstrap.")
@json_option("one JSON object")
@examples_as_typed
def gate(answers: Path, agent: str | None, rules: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Judge rules that accept or reject recorded answers: what they let through, and what that is worth.

    disrouter bench gate answers.jsonl --rule log-probability --rule self-consistency
    disrouter bench gate lab.parquet --agent agent-2 --rule confidence
    """
    from dataclasses import asdict

    from disrouter.bench.gate import answers_of_table, judge, read_answers, rule_of
    from disrouter.bench.tables import read_bench_table
    from disrouter.cli._console import print_json, results
    from disrouter.cli._console import table as plain_table
    from disrouter.utility import SCENARIOS

    recorded = read_answers(answers) if agent is None else answers_of_table(read_bench_table(answers), agent)
    chosen = {name: rule_of(name) for name in dict.fromkeys(rules or ("confidence",))}
    found = judge(recorded, chosen, list(SCENARIOS.values()), seed=seed)
    if as_json:
        print_json({"schema": 1, "rows": [{**asdict(row), "bar": max(row.bar, -1e300)} for row in found]})
        return
    shown = plain_table(
        "scenario",
        "rule",
        ">accepted",
        ">AUROC",
        ">accuracy of accepted",
        ">of rejected",
        ">AURC",
        ">utility [95 %]",
        ">− no gate [95 %]",
        title=f"{found[0].n} answers",
    )
    for row in found:
        shown.add_row(
            row.scenario,
            row.rule,
            f"{row.coverage:.0%}",
            _number(row.auroc),
            _number(row.accuracy_accepted),
            _number(row.accuracy_rejected),
            _number(row.aurc),
            f"{row.utility:.3f}" + _ends(row.utility_ci),
            f"{row.difference:+.3f}" + _ends(row.difference_ci, "+"),
        )
    results().print(shown)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _ends(ends: tuple[float, float] | None, sign: str = "") -> str:
    return "" if ends is None else f" [{ends[0]:{sign}.3f}, {ends[1]:{sign}.3f}]"


@bench.command(short_help="Run the paper's experiments on the lab.")
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


@bench.command(short_help="Keep a run as a repository should.")
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


@bench.command(short_help="Derive the documents' numbers again.")
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


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) != len(seeds):
        raise UsageError(f"--seeds '{text}' is not usable.", hint="give different whole numbers, say 0,1,2")
    return seeds
