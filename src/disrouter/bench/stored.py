"""Stored runs: what a repository keeps of a run so that its numbers can be derived again, offline and in a moment.

record.json      configuration and how every method fared
results.parquet  what every method got and paid on every test query; no text, no id
outcomes.npz     where wanted: scores, confidences and costs of all agents, for tables about single agents
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.bench.folders import read_json
from disrouter.bench.results import Results, read_results, write_results
from disrouter.bench.runs import BenchRun
from disrouter.bench.summary import rows_of
from disrouter.bench.tables import BenchTable
from disrouter.errors import DataError
from disrouter.evaluation import metrics
from disrouter.files import replacing, write_json
from disrouter.seeds import seed_of

__all__ = ["BestAlone", "StoredRun", "read_stored", "store"]

_OUTCOMES = ("score", "confidence", "look_cost", "answer_cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class BestAlone:
    """The best agent alone, chosen with hindsight, and how much better ours is at the paper's and at full cost."""

    agent: str
    utility: float
    difference: metrics.Estimate
    difference_full: metrics.Estimate


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A stored run; its numbers are computed when asked for, from the results alone."""

    name: str
    config: Mapping[str, Any]
    outcomes: tuple[Mapping[str, Any], ...]
    results: Mapping[str, Mapping[str, Results]]
    agents: Mapping[str, NDArray[np.float64]] | None
    """Arrays of shape (S or 1, A, Q) by column; None where they are not stored."""

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One row per method and scenario, derived afresh."""
        scenarios = [(str(name), float(alpha)) for name, alpha in self.config["scenarios"]]
        return rows_of(self.results, scenarios, reference=self.config["reference"], seed=self.config["seeds"][0])

    def against_best_alone(self, scenario: str) -> BestAlone:
        """Return ours against the best of the agents asked alone, chosen on these very queries.

        Raises:
            DataError: The run does not hold the outcomes of its agents, or no network of ours.
        """
        if self.agents is None or "ours" not in self.results:
            raise DataError(f"Stored run '{self.name}' holds no outcomes of single agents, or nothing of ours.")
        names = [name for name, _ in self.config["scenarios"]]
        index, alpha = names.index(scenario), float(dict(self.config["scenarios"])[scenario])
        s = index if len(self.agents["score"]) > 1 else 0
        alone = self.agents["score"][s] - alpha * self.agents["answer_cost"][s]
        best = int(alone.mean(axis=1).argmax())
        ours = self.results["ours"][scenario]
        seed = seed_of(self.config["seeds"][0], "bootstrap", scenario)
        paper, full = (
            metrics.paired_difference(metrics.utilities(ours.score, cost, alpha), alone[best], seed=seed)
            for cost in (ours.cost, ours.cost_full)
        )
        agent = list(self.config["agents"])[best]
        return BestAlone(agent=agent, utility=float(alone[best].mean()), difference=paper, difference_full=full)

    def number(self, method: str, scenario: str, key: str) -> float:
        """Return one number of a row; of ours also ``best_alone``, ``over_best_alone`` and ``over_best_alone_full``.

        Raises:
            DataError: There is no such number.
        """
        if method == "ours" and "best_alone" in key:
            found = self.against_best_alone(scenario)
            extra = {
                "best_alone": found.utility,
                "over_best_alone": found.difference.value,
                "over_best_alone_full": found.difference_full.value,
            }
            if key in extra:
                return extra[key]
        value = self.row(method, scenario).get(key)
        if not isinstance(value, int | float):
            raise DataError(f"A row of stored run '{self.name}' has no number '{key}'.")
        return float(value)

    def row(self, method: str, scenario: str) -> dict[str, Any]:
        """Return one row.

        Raises:
            DataError: The run has no such method or scenario.
        """
        for row in self.rows:
            if (row["method"], row["scenario"]) == (method, scenario):
                return row
        raise DataError(f"Stored run '{self.name}' has no row of method '{method}' in scenario '{scenario}'.")


def store(run: BenchRun, folder: Path, table: BenchTable | None = None) -> None:
    """Write a run as a repository keeps it; with its table, also what every agent did.

    Raises:
        DataError: The table is another one than the run's.
    """
    if table is not None:
        from disrouter.bench.runs import fingerprint

        if fingerprint(table) != run.config["table_digest"]:
            raise DataError("The bench table is not the one of the run.", hint="give the table that was compared on")
        held = table.of("test", domain=run.config["domain"]).table
        kept = 1 if table.rows.scenario_free else held.shape[0]
        arrays: dict[str, Any] = {
            name: getattr(held, name)[:kept].astype(np.float32 if name == "confidence" else np.float64)
            for name in _OUTCOMES
        }
        with replacing(folder / "outcomes.npz") as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **arrays)
    write_results(run.results, folder / "results.parquet")
    # Seconds differ from machine to machine: they are no result.
    outcomes = [{k: v for k, v in asdict(o).items() if not k.endswith("_seconds")} for o in run.outcomes]
    write_json(folder / "record.json", {"schema": 1, "config": _short(run.config), "outcomes": outcomes})


def _short(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration with a fingerprint in place of each method's settings: a network's cards are long."""
    methods = {
        name: {
            "class": made["made_by"].partition(" ")[0],
            "settings": blake2b(made["made_by"].encode(), digest_size=8).hexdigest(),
            "needs": made["needs"],
        }
        for name, made in config["methods"].items()
    }
    return {**config, "methods": methods}


def read_stored(folder: Path) -> StoredRun:
    """Return a stored run.

    Raises:
        DataError: The folder holds none, or a damaged one.
    """
    record = read_json(folder / "record.json")
    agents = None
    if (folder / "outcomes.npz").is_file():
        try:
            with np.load(folder / "outcomes.npz", allow_pickle=False) as arrays:
                agents = {name: np.asarray(arrays[name], dtype=np.float64) for name in _OUTCOMES}
        except (ValueError, KeyError, OSError) as exc:
            raise DataError(f"'{folder / 'outcomes.npz'}' is damaged: {exc}.") from exc
    return StoredRun(
        name=folder.name,
        config=record["config"],
        outcomes=tuple(record["outcomes"]),
        results=read_results(folder / "results.parquet"),
        agents=agents,
    )
