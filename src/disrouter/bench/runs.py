"""A bench run: every method fitted on the same rows, its decisions sealed, then scores joined; kept in a folder.

config.json          what was asked: table and its fingerprint, splits, methods, scenarios, seeds
environment.json     versions and commit
decisions/           of every method and seed: what it decided and asked for (.npz), how it went (.json)
sealed.json          the hash of every decision, written before a score was looked at
results.parquet      what every method got and paid on every test query
metrics.json         every number that the report shows
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from disrouter.baselines.contract import Router, Rows, Seen, digest_of
from disrouter.baselines.decide import decide
from disrouter.baselines.ledger import Decisions
from disrouter.bench.folders import open_run, read_json
from disrouter.bench.results import Results, bounds, join, read_results, write_results
from disrouter.bench.tables import BenchTable
from disrouter.errors import DataError, DisrouterError, InterruptedRunError, UsageError
from disrouter.evaluation.build import progress_bar
from disrouter.files import replacing, write_json
from disrouter.types import Scenario

__all__ = ["ALPHAS", "BenchRun", "Outcome", "compare", "fingerprint", "read_bench_run", "read_decisions"]

SCHEMA = 1

ALPHAS = tuple(round(0.1 * i, 1) for i in range(11))
"""Alphas of the sweep, where outcomes do not depend on the scenario."""

ARRAYS = ("agent", "looked", "asked", "overhead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a method fared in a run."""

    method: str
    status: str
    """``done``, ``failed`` (it broke) or ``skipped`` (the table lacks what it needs)."""

    reason: str | None = None
    fit_seconds: float = 0.0
    route_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BenchRun:
    """A finished comparison."""

    folder: Path
    config: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    results: Mapping[str, Mapping[str, Results]]
    """By method and scenario, bounds included."""

    metrics: Mapping[str, Any]


def compare(
    table: BenchTable,
    methods: Sequence[Router],
    *,
    run_dir: Path,
    name: str = "table",
    domain: str | None = None,
    train_domain: str | None = None,
    seeds: Sequence[int] = (0,),
    reference: str | None = None,
    resume: bool = True,
    progress: bool = True,
) -> BenchRun:
    """Fit every method on train, tune it on validation, route test, seal, and only then look at the test scores.

    A method that breaks is reported as failed. A run that was interrupted goes on with the methods that are not done.

    Args:
        table: Outcomes, texts and splits.
        methods: What is compared; names differ.
        run_dir: The run folder; made if it does not exist.
        name: What the table is called in reports.
        domain: Test on queries of this domain only.
        train_domain: Fit and tune on queries of this domain only.
        seeds: Every method is fitted and routed once per seed; the first one's decisions are the ones reported.
        reference: Method that all others are compared with, query by query. Default: ours, else the best single agent.
        resume: Go on with what the folder holds of this very comparison; otherwise start afresh.
        progress: Show a bar on stderr.

    Raises:
        DataError: A split is empty; the folder holds another comparison.
        UsageError: No methods, or an unknown reference.
        InterruptedRunError: Stopped by the user; finished methods are kept.
    """
    if not methods:
        raise UsageError("There is nothing to compare: no method is named.", hint="name some, or all")
    train, validation = table.of("train", domain=train_domain), table.of("validation", domain=train_domain)
    test = table.of("test", domain=domain)
    names = [m.name for m in methods]
    chosen = reference or next((n for n in ("ours", "best-single") if n in names), names[0])
    if chosen not in names:
        raise UsageError(f"The reference '{chosen}' is none of the methods.", hint=f"name one of: {', '.join(names)}")
    config = {
        "schema": SCHEMA,
        "table": name,
        "table_digest": fingerprint(table),
        "domain": domain,
        "train_domain": train_domain,
        "queries": {"train": len(train.texts), "validation": len(validation.texts), "test": len(test.texts)},
        "seen": {"train": digest_of(train.texts), "validation": digest_of(validation.texts)},
        "test": digest_of(test.texts),
        "agents": {n: float(test.table.answer_cost[:, a].mean()) for a, n in enumerate(test.table.agents)},
        "scenarios": [[s.name, s.alpha] for s in test.table.scenarios],
        "sweep": list(ALPHAS) if table.rows.scenario_free else [],
        "methods": {m.name: {"made_by": _made_by(m), "needs": sorted(m.needs)} for m in methods},
        "seeds": list(seeds),
        "reference": chosen,
    }
    open_run(run_dir, config, resume=resume)
    asked = [*test.table.scenarios, *_sweep(config)]
    try:
        with progress_bar(len(methods) * len(seeds), f"comparing on {name}", shown=progress) as advance:
            for method in methods:
                for seed in seeds:
                    _run_method(run_dir, method, table, train, validation, test, asked, seed, advance)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Stopped by the user; the methods finished so far are kept in '{run_dir}'.",
            hint="run the same command again to go on from there",
        ) from None
    _seal(run_dir, names, seeds)
    return _finish(run_dir, config, test)


def _run_method(
    folder: Path,
    method: Router,
    table: BenchTable,
    train: Rows,
    validation: Rows,
    test: Rows,
    scenarios: Sequence[Scenario],
    seed: int,
    advance: Callable[[int], None],
) -> None:
    """Leave one method's decisions and how it went in the folder, unless they are there."""
    record = folder / "decisions" / f"{method.name}.seed{seed}.json"
    if not record.is_file():
        missing = sorted(method.needs - table.available)
        status: dict[str, Any] = {"status": "skipped", "reason": f"the table records no {' and no '.join(missing)}"}
        if not missing:
            status = _decided(record.with_suffix(".npz"), method, train, validation, test, scenarios, seed)
        write_json(record, {"method": method.name, "seed": seed, **status})
    advance(1)


def _decided(
    path: Path,
    method: Router,
    train: Rows,
    validation: Rows,
    test: Rows,
    scenarios: Sequence[Scenario],
    seed: int,
) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        fitted = method.fit(train, validation, seed=seed)
        if fitted.seen != Seen.of(train, validation):
            raise DataError("it was fitted on other rows than it was given")
        ready = time.perf_counter()
        decisions = {s.name: decide(method, fitted, test, s) for s in scenarios}
    except Exception as exc:  # whatever a method raises, it is the method that failed, and never a number
        said = exc.message if isinstance(exc, DisrouterError) else str(exc)
        return {"status": "failed", "reason": f"{type(exc).__name__}: {said}".strip().rstrip(":")}
    arrays = {f"{name}/{field}": getattr(d, field) for name, d in decisions.items() for field in ARRAYS}
    with replacing(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)
    return {
        "status": "done",
        "digests": {name: d.digest() for name, d in decisions.items()},
        "fit_seconds": ready - began,
        "route_seconds": time.perf_counter() - ready,
    }


def _seal(folder: Path, methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Write the hash of every decision; from here on they cannot change unnoticed."""
    sealed = {}
    for name in methods:
        for seed in seeds:
            record = read_json(folder / "decisions" / f"{name}.seed{seed}.json")
            if record["status"] == "done":
                sealed[f"{name}.seed{seed}"] = record["digests"]
    write_json(folder / "sealed.json", sealed)


def read_decisions(folder: Path, method: str, seed: int) -> dict[str, Decisions]:
    """Return a method's decisions by scenario.

    Raises:
        DataError: They are not those that were sealed.
    """
    path = folder / "decisions" / f"{method}.seed{seed}.npz"
    sealed = read_json(folder / "sealed.json")[f"{method}.seed{seed}"]
    found = {}
    with np.load(path, allow_pickle=False) as arrays:
        for scenario, digest in sealed.items():
            decisions = Decisions(**{field: arrays[f"{scenario}/{field}"] for field in ARRAYS})
            if decisions.digest() != digest:
                raise DataError(
                    f"The decisions of '{method}' in scenario '{scenario}' are not those that were sealed.",
                    hint="somebody changed them after the run: run the comparison again",
                )
            found[scenario] = decisions
    return found


def _finish(folder: Path, config: Mapping[str, Any], test: Rows) -> BenchRun:
    """Join scores to the sealed decisions, and write results and metrics."""
    from disrouter.bench.summary import summarise_run

    named, sweep = list(test.table.scenarios), _sweep(config)
    done = [o.method for o in _outcomes(folder, config) if o.status == "done"]
    decisions = {name: read_decisions(folder, name, config["seeds"][0]) for name in done}
    every = {
        **bounds(test, [*named, *sweep]),
        **{name: {s.name: join(held[s.name], test, s) for s in [*named, *sweep]} for name, held in decisions.items()},
    }
    results = {m: {s.name: held[s.name] for s in named} for m, held in every.items()}
    write_results(results, folder / "results.parquet")
    others = {
        name: [
            {s.name: join(d, test, s) for s in named for d in [read_decisions(folder, name, seed)[s.name]]}
            for seed in config["seeds"][1:]
        ]
        for name in done
    }
    swept = {m: [(s.alpha, held[s.name]) for s in sweep] for m, held in every.items()} if sweep else {}
    outcomes = _outcomes(folder, config)
    metrics = summarise_run(config, outcomes, results, test=test, decisions=decisions, swept=swept, others=others)
    write_json(folder / "metrics.json", metrics)
    return BenchRun(folder=folder, config=config, outcomes=outcomes, results=results, metrics=metrics)


def read_bench_run(run_dir: Path) -> BenchRun:
    """Return a finished comparison from its folder, without its table.

    Raises:
        DataError: The folder is no bench run, or an unfinished one.
    """
    config = read_json(run_dir / "config.json")
    if "reference" not in config or "methods" not in config:
        raise DataError(f"'{run_dir}' is not the folder of a bench run.", hint="make one with `disrouter bench run`")
    if not (run_dir / "metrics.json").is_file():
        raise DataError(f"Bench run '{run_dir}' is not finished.", hint="run the same command again")
    metrics = read_json(run_dir / "metrics.json")
    return BenchRun(
        folder=run_dir,
        config=config,
        outcomes=tuple(Outcome(**o) for o in metrics["outcomes"]),
        results=read_results(run_dir / "results.parquet"),
        metrics=metrics,
    )


def _outcomes(folder: Path, config: Mapping[str, Any]) -> tuple[Outcome, ...]:
    """Return how every method fared: it is done only if it is with every seed."""
    found = []
    for name in config["methods"]:
        records = [read_json(folder / "decisions" / f"{name}.seed{seed}.json") for seed in config["seeds"]]
        worst = next((r for r in records if r["status"] != "done"), records[0])
        found.append(
            Outcome(
                method=name,
                status=worst["status"],
                reason=worst.get("reason"),
                fit_seconds=records[0].get("fit_seconds", 0.0),
                route_seconds=records[0].get("route_seconds", 0.0),
            )
        )
    return tuple(found)


def _sweep(config: Mapping[str, Any]) -> list[Scenario]:
    return [Scenario(name=f"alpha={alpha:g}", alpha=alpha) for alpha in config["sweep"]]


def _made_by(method: Router) -> str:
    made = f"{type(method).__module__}:{type(method).__qualname__}"
    settings = {f: getattr(method, f, None) for f in getattr(type(method), "__dataclass_fields__", {})}
    network = settings.pop("network", None)
    if network is not None:
        from disrouter.evaluation.records import network_to_json

        settings["network"] = network_to_json(network)
    return f"{made} {json.dumps(settings, sort_keys=True, default=repr)}"


def fingerprint(table: BenchTable) -> str:
    """Return a hash of all that a comparison depends on."""
    hashed = blake2b(digest_size=16)
    held = table.rows.table
    for array in (held.score, held.look_cost, held.answer_cost, held.confidence):
        hashed.update(np.ascontiguousarray(array).tobytes())
    hashed.update(json.dumps([held.query_ids, table.rows.texts, table.split, held.agents]).encode())
    return hashed.hexdigest()
