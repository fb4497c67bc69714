"""Stored runs: what a repository keeps of a run so that its numbers can be derived again, offline and in a moment.

record.json      configuration and how every method fared
results.parquet  what every method got and paid on every test query; no text, no id
outcomes.npz     where wanted: scores, confidences and costs of all agents, for tables about single agents
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.bench.results import Results, read_results, write_results
from disrouter.bench.runs import BenchRun, read_json
from disrouter.bench.summary import rows_of
from disrouter.bench.tables import BenchTable
from disrouter.errors import DataError
from disrouter.files import replacing, write_json

__all__ = ["StoredRun", "read_stored", "store"]

_OUTCOMES = ("score", "confidence", "look_cost", "answer_cost")


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
    write_json(folder / "record.json", {"schema": 1, "config": dict(run.config), "outcomes": outcomes})


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
