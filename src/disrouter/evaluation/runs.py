"""Runs: an evaluation kept in a folder from which every table and figure can be remade without a model.

config.json         what was asked: network, suite, domain, seed, limit, scenarios
environment.json    versions and commit
parts/              finished parts of an unfinished run
table.parquet       the outcome table of the test queries
validation.parquet  the same of the queries on which choices are made
timings.parquet     measured seconds: the one thing in which two equal runs differ; validation-timings.parquet
timings.json        where the seconds went: how long a query takes, and what of it is spent on agents that pass on
traces.jsonl        the trace of every query in every scenario
metrics.json        the summary
figures/            PNG and SVG
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from disrouter.engines.contract import Engine
from disrouter.errors import DataError, InterruptedRunError, UsageError
from disrouter.evaluation.build import CHUNK, build, progress_bar
from disrouter.evaluation.outcome_files import read_table, with_timings, write_table, write_timings
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.evaluation.overhead import LatencyRow, latency
from disrouter.evaluation.records import commit, network_from_json, network_to_json, versions
from disrouter.evaluation.replay import fitted, traces
from disrouter.evaluation.suites import Suite
from disrouter.evaluation.summary import Summary, summarise
from disrouter.evaluation.traces import write_traces
from disrouter.files import write_json
from disrouter.network import Network
from disrouter.types import Query, Scenario
from disrouter.utility import SCENARIOS, scenario_of

__all__ = ["Run", "evaluate", "read_run", "remake"]

SCHEMA = 1

VALIDATION = (100, 500)
"""Fewest and most validation queries; between them as many as test queries."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """A finished evaluation."""

    folder: Path
    config: Mapping[str, Any]
    network: Network
    """The network that was evaluated, of agents without models: enough to replay."""

    table: OutcomeTable
    validation: OutcomeTable
    summary: Summary

    latency: tuple[LatencyRow, ...] = ()
    """What the measured seconds of the test queries say, by scenario."""

    @property
    def figures(self) -> tuple[Path, ...]:
        """The figures in the folder, PNG only."""
        return tuple(sorted((self.folder / "figures").glob("*.png")))


def evaluate(
    network: Network,
    suite: Suite,
    *,
    domain: str,
    seed: int,
    limit: int,
    run_dir: Path | str,
    scenarios: Sequence[str | float | Scenario] = tuple(SCENARIOS),
    validation_limit: int | None = None,
    resume: bool = True,
    progress: bool = True,
    figures: bool = True,
    chunk: int = CHUNK,
    engine: Engine | None = None,
) -> Run:
    """Run a network's agents over a suite's queries and return what it is worth, kept in a folder.

    Every agent looks at and answers every query, so that all methods can be compared on the same outcomes. A run that
    was interrupted goes on where it stopped and ends with the same bytes; a finished one is only read again.

    Args:
        network: The network.
        suite: Where the queries come from.
        domain: Which domain of the suite.
        seed: Seed of the queries, of the random method and of the bootstrap.
        limit: Number of test queries, at least 1.
        run_dir: The run folder; made if it does not exist.
        scenarios: Names or alphas.
        validation_limit: Number of validation queries, on which the best single agent is chosen. Default: as many as
            test queries, but at least 100 and at most 500.
        resume: Go on with what the folder holds of this very evaluation; otherwise start afresh.
        progress: Show a bar on stderr.
        figures: Draw the figures.
        chunk: Queries per part: what an interruption loses at most.
        engine: Runs parts side by side, with the same result; None runs one after the other in this process.

    Raises:
        UsageError: The limit is below 1.
        DataError: The suite gives no queries; the folder holds another evaluation or something else.
        InterruptedRunError: Stopped by the user; what is done is kept.
    """
    for name, value in (("limit", limit), ("validation limit", 1 if validation_limit is None else validation_limit)):
        if value < 1:
            raise UsageError(f"The {name} {value} leaves nothing to evaluate: give at least 1.", hint="try 200")
    wanted = [s if isinstance(s, Scenario) else scenario_of(s) for s in scenarios]
    queries, held_out = _queries(suite, domain, seed, limit, validation_limit)
    config = {
        "schema": SCHEMA,
        "network": network_to_json(network),
        "suite": suite.name,
        "domain": domain,
        "seed": seed,
        "limit": limit,
        "queries": len(queries),
        "validation_queries": len(held_out),
        "scenarios": [asdict(s) for s in wanted],
        "chunk": chunk,
    }
    folder = Path(run_dir)
    _open(folder, config, resume=resume)
    try:
        _build_tables(
            folder, network, suite, {"table": queries, "validation": held_out}, wanted, config, progress, engine
        )
        return remake(folder, figures=figures)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Stopped by the user; the outcomes finished so far are kept in '{folder}'.",
            hint="run the same command again to go on from there",
        ) from None


def read_run(run_dir: Path | str) -> Run:
    """Return a finished run from its folder, its summary computed afresh; no model is needed.

    Raises:
        DataError: The folder is no run, or an unfinished one.
    """
    folder = Path(run_dir)
    config = _read_json(folder / "config.json")
    for name in ("table", "validation"):
        if not (folder / f"{name}.parquet").is_file():
            raise DataError(f"Run '{folder}' is not finished: it has no {name}.parquet.", hint="evaluate it to its end")
    try:
        network = network_from_json(config["network"])
        seed, suite = int(config["seed"]), str(config["suite"])
        scenarios = [Scenario(**scenario) for scenario in config["scenarios"]]
    except (KeyError, TypeError, ValueError) as exc:
        raise DataError(f"'{folder / 'config.json'}' is not the record of a run: {exc}.") from exc
    table = _read_table(folder / "table.parquet", folder / "timings.parquet").weighing(scenarios)
    validation = _read_table(folder / "validation.parquet", folder / "validation-timings.parquet").weighing(scenarios)
    return Run(
        folder=folder,
        config=config,
        network=network,
        table=table,
        validation=validation,
        summary=summarise(table, validation, network, seed, suite=suite),
        latency=latency(fitted(table, network), network),
    )


def _read_table(path: Path, timings: Path) -> OutcomeTable:
    table = read_table(path)
    return with_timings(table, timings) if timings.is_file() else table


def remake(run_dir: Path | str, *, figures: bool = True) -> Run:
    """Write a finished run's traces, metrics and figures again from its tables, and return the run.

    Raises:
        DataError: The folder is no run, or an unfinished one.
    """
    run = read_run(run_dir)
    write_traces(run.folder / "traces.jsonl", traces(fitted(run.table, run.network), run.network))
    write_json(run.folder / "metrics.json", run.summary.to_json())
    write_json(run.folder / "timings.json", {"schema": 1, "latency": [asdict(row) for row in run.latency]})
    if figures:
        from disrouter.evaluation.figures import draw_all

        draw_all(run.summary, fitted(run.table, run.network), run.folder / "figures")
    return run


def _queries(
    suite: Suite, domain: str, seed: int, limit: int, validation_limit: int | None
) -> tuple[list[Query], list[Query]]:
    """Return the test and the validation queries, no question in both."""
    queries = suite.queries(domain, seed, limit)
    if not queries:
        raise DataError(f"Suite '{suite.name}' is empty: it has no queries of domain '{domain}'.")
    few, many = VALIDATION
    count = min(max(len(queries), few), many) if validation_limit is None else validation_limit
    seen = {query.messages for query in queries}
    held_out = [q for q in suite.queries(domain, seed, count, split="validation") if q.messages not in seen]
    if not held_out:
        raise DataError(
            f"Suite '{suite.name}' has no validation queries of domain '{domain}' that are not test queries too.",
            hint="the best single agent must be chosen on other queries than it is judged by",
        )
    return queries, held_out


def _build_tables(
    folder: Path,
    network: Network,
    suite: Suite,
    sets: Mapping[str, Sequence[Query]],
    scenarios: Sequence[Scenario],
    config: Mapping[str, Any],
    progress: bool,
    engine: Engine | None,
) -> None:
    """Write the table of every set of queries that the folder does not hold yet."""
    due = {name: queries for name, queries in sets.items() if not (folder / f"{name}.parquet").is_file()}
    total = sum(map(len, due.values())) * len(network.agents) * len(scenarios)
    session = engine.session() if engine is not None and due else nullcontext()
    with session, progress_bar(total, f"evaluating {network.name}", shown=progress and total > 0) as advance:
        for name, queries in due.items():
            parts = folder / "parts" / name
            table = build(
                network.agents,
                queries,
                suite.grade,
                scenarios,
                domain=config["domain"],
                seed=config["seed"],
                parts=parts,
                chunk=config["chunk"],
                advance=advance,
                engine=engine,
            )
            write_timings(table, folder / ("timings.parquet" if name == "table" else f"{name}-timings.parquet"))
            write_table(table, folder / f"{name}.parquet", timings=False)
            _remove_parts(parts)


def _open(folder: Path, config: Mapping[str, Any], *, resume: bool) -> None:
    """Make a run folder, or see that the one there is of this very evaluation."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"'{folder}' is a file, not a run folder.", hint="name another folder")
    environment = {"versions": versions(), "commit": commit()}
    if (folder / "config.json").is_file():
        if resume:
            there = {
                "config": _read_json(folder / "config.json"),
                "versions": _read_json(folder / "environment.json").get("versions"),
            }
            # Through JSON, so that tuples and lists compare equal.
            here = json.loads(json.dumps({"config": config, "versions": environment["versions"]}))
            different = _difference(there, here)
            if different is not None:
                raise DataError(
                    f"Run folder '{folder}' holds another evaluation: {different}.",
                    hint="name another folder, or start afresh without resuming",
                )
            return
        for name in ("table", "validation", "timings", "validation-timings"):
            (folder / f"{name}.parquet").unlink(missing_ok=True)
            _remove_parts(folder / "parts" / name)
    elif folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"Folder '{folder}' is not empty and no run folder.", hint="name a new or an empty folder")
    # The configuration comes last: its presence says that this is a run folder.
    write_json(folder / "environment.json", environment)
    write_json(folder / "config.json", config)


def _difference(there: Any, here: Any, path: str = "") -> str | None:
    """Return the first place where two JSON values differ, in words."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in {**there, **here}:
            found = _difference(there.get(key), here.get(key), f"{path}.{key}" if path else key)
            if found is not None:
                return found
        return None
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = (_difference(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(there, here, strict=True)))
        return next((found for found in pairs if found is not None), None)
    return None if there == here else f"{path} is {there!r} there and {here!r} now"


def _remove_parts(folder: Path) -> None:
    """Remove parts that have become part of a whole; anything else in the folder is left alone."""
    for part in folder.glob("a*-s*-c*.parquet"):
        part.unlink()
    for empty in (folder, folder.parent):
        if empty.is_dir() and not any(empty.iterdir()):
            empty.rmdir()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"'{path.parent}' is no run folder: it has no {path.name}.", hint="check the path") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise DataError(f"'{path}' is damaged: {exc}.", hint="evaluate again in another folder") from exc
    if not isinstance(value, dict):
        raise DataError(f"'{path}' is not the record of a run.", hint="evaluate again in another folder")
    return value
