"""Bench tables: outcomes with the texts and the splits that routing methods need, in one Parquet file.

The schema is that of an outcome table (one row per scenario, agent and query) and the columns of :data:`EXTRA`. Where
outcomes do not depend on the scenario, the file holds them once, under the scenario ``any``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from disrouter.baselines.contract import Features, Need, Rows, Verifications, normalised
from disrouter.errors import DataError
from disrouter.evaluation.outcome_files import SCHEMA as OUTCOMES
from disrouter.evaluation.outcome_files import read_versioned, table_of
from disrouter.evaluation.outcomes import CELLS, OutcomeTable
from disrouter.files import replacing
from disrouter.types import Scenario
from disrouter.utility import SCENARIOS

__all__ = ["EXTRA", "SPLITS", "BenchTable", "Split", "read_bench_table", "write_bench_table"]

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

SCHEMA_VERSION = 1
ANY = "any"

_VERSION_KEY = b"disrouter.bench.version"
_SCENARIOS_KEY = b"disrouter.bench.scenarios"

EXTRA = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),  # the query, as a router sees it
        pa.field("split", pa.string(), nullable=False),  # train, validation or test
        pa.field("verification", pa.float64()),  # share of samples that call the own answer right; null: not asked
        pa.field("verification_cost", pa.float64()),  # normalised cost of those samples; null: not asked
        pa.field("features", pa.list_(pa.float32())),  # prefill features, in the rows of one agent; null elsewhere
    ]
)
"""Columns of a bench table beyond those of an outcome table."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BenchTable:
    """All queries of a comparison, and which split each of them is in.

    Raises:
        DataError: A split is unknown or a text occurs in two of them.
    """

    rows: Rows
    split: tuple[Split, ...]
    """Of every query, in the table's order."""

    def __post_init__(self) -> None:
        if len(self.split) != len(self.rows.texts):
            raise DataError(f"There are {len(self.split)} splits for {len(self.rows.texts)} queries.")
        for query, split in zip(self.rows.table.query_ids, self.split, strict=True):
            if split not in SPLITS:
                raise DataError(
                    f"Query '{query}' is in the unknown split '{split}'. Known: {', '.join(SPLITS)}.",
                    hint="name one of them, or leave the split out to have one drawn by a hash of the text",
                )
        _refuse_leaks(self)

    def of(self, split: Split, *, domain: str | None = None) -> Rows:
        """Return the rows of a split, of one domain where it is named.

        Raises:
            DataError: There are none.
        """
        wanted = np.array([s == split for s in self.split])
        if domain is not None:
            wanted &= np.array([d == domain for d in self.rows.table.domains])
        if not wanted.any():
            which = f"{split} split" + ("" if domain is None else f" of domain '{domain}'")
            raise DataError(
                f"The {which} of the bench table is empty.",
                hint="every comparison needs queries to train, to tune and to test on",
            )
        return self.rows.select(wanted)

    @property
    def available(self) -> frozenset[Need]:
        """What the table records beyond texts, scores and costs."""
        table = self.rows.table
        held: dict[Need, bool] = {
            "confidences": bool(np.any(~np.isnan(table.confidence))),
            "responses": any(answer for answer in table.answer.flat),
            "features": self.rows.features is not None,
            "verifications": self.rows.verifications is not None,
        }
        return frozenset(need for need, there in held.items() if there)

    @property
    def counts(self) -> Mapping[Split, int]:
        """Number of queries per split."""
        return {name: self.split.count(name) for name in SPLITS}


def _refuse_leaks(table: BenchTable) -> None:
    """Refuse a question that stands in two splits, however it is spaced or capitalised."""
    first: dict[str, tuple[str, Split]] = {}
    for query, text, split in zip(table.rows.table.query_ids, table.rows.texts, table.split, strict=True):
        other, where = first.setdefault(normalised(text), (query, split))
        if where != split:
            raise DataError(
                f"Query '{query}' of split '{split}' asks what query '{other}' of split '{where}' asks: {_short(text)}",
                hint="a method would be judged on what it was fitted on; keep one of them (`--deduplicate`)",
            )


def _short(text: str, limit: int = 80) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= limit else line[: limit - 1] + "…")


def write_bench_table(table: BenchTable, path: Path) -> None:
    """Write a bench table whole or not at all; equal tables give equal bytes."""
    rows = table.rows
    once = rows.scenario_free and rows.verifications is None
    source = _one_scenario(rows.table) if once else rows.table
    scenarios, agents, queries = source.shape
    columns: dict[str, Any] = {
        "query_id": np.tile(np.array(source.query_ids, dtype=object), scenarios * agents),
        "dataset": np.tile(np.array(source.datasets, dtype=object), scenarios * agents),
        "domain": np.tile(np.array(source.domains, dtype=object), scenarios * agents),
        "level": np.tile(np.array(source.levels, dtype=object), scenarios * agents),
        "agent": np.tile(np.repeat(np.array(source.agents, dtype=object), queries), scenarios),
        "scenario": np.repeat(np.array([s.name for s in source.scenarios], dtype=object), agents * queries),
        "alpha": np.repeat(np.array([s.alpha for s in source.scenarios]), agents * queries),
        **{name: getattr(source, name).ravel() for name in CELLS},
        "text": np.tile(np.array(rows.texts, dtype=object), scenarios * agents),
        "split": np.tile(np.array(table.split, dtype=object), scenarios * agents),
    }
    if rows.verifications is not None:
        columns["verification"] = rows.verifications.share.ravel()
        columns["verification_cost"] = rows.verifications.cost.ravel()
    arrays = [_array(field, columns, scenarios * agents * queries) for field in [*OUTCOMES, *EXTRA]]
    if rows.features is not None:
        arrays[-1] = _features_column(rows.features, source.agents, scenarios)
    schema = pa.schema(
        [*OUTCOMES, *EXTRA],
        metadata={
            _VERSION_KEY: str(SCHEMA_VERSION).encode(),
            _SCENARIOS_KEY: json.dumps([[s.name, s.alpha] for s in rows.table.scenarios]).encode(),
        },
    )
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), temporary, compression="zstd")


def _one_scenario(table: OutcomeTable) -> OutcomeTable:
    cells: dict[str, Any] = {name: getattr(table, name)[:1] for name in CELLS}
    return replace(table, scenarios=(Scenario(name=ANY, alpha=0.0),), **cells)


def _array(field: Any, columns: Mapping[str, Any], length: int) -> Any:
    if field.name not in columns:
        return pa.nulls(length, type=field.type)
    column = columns[field.name]
    if field.name == "accepts":
        return pa.array(column == 1, type=field.type, mask=column < 0)
    return pa.array(column, type=field.type, from_pandas=True)  # NaN becomes null


def _features_column(features: Features, agents: Sequence[str], scenarios: int) -> Any:
    values = [row.tolist() for row in features.values.astype(np.float32)]
    empty: list[Any] = [None] * len(values)
    column = [v for _ in range(scenarios) for name in agents for v in (values if name == features.agent else empty)]
    return pa.array(column, type=pa.list_(pa.float32()))


def read_bench_table(path: Path) -> BenchTable:
    """Read a bench table.

    Raises:
        DataError: The file is missing, damaged, of another schema or version, or holds an unusable table.
    """
    made = "make one with `disrouter bench import`"
    read = read_versioned(
        path,
        "bench table",
        schema="bench schema",
        key=_VERSION_KEY,
        version=SCHEMA_VERSION,
        hints=(made, "import it again with `disrouter bench import`", made),
    )
    try:
        return _table_of(read)
    except DataError as exc:
        raise DataError(f"'{path}': {exc.message}", hint=exc.hint) from exc


def _table_of(read: pa.Table) -> BenchTable:
    missing = [field.name for field in EXTRA if field.name not in read.schema.names]
    if missing:
        raise DataError(f"Missing columns: {', '.join(repr(name) for name in missing)}.")
    table = table_of(read)
    place = {query: i for i, query in enumerate(table.query_ids)}
    ids = read.column("query_id").to_pylist()
    texts, splits = ([""] * len(place) for _ in range(2))
    for query, text, split in zip(ids, read.column("text").to_pylist(), read.column("split").to_pylist(), strict=True):
        texts[place[query]], splits[place[query]] = text, split
    verifications = _cubes(read, table)
    wanted = json.loads((read.schema.metadata or {}).get(_SCENARIOS_KEY, b"[]"))
    features = _features_of(read, place)
    if [s.name for s in table.scenarios] == [ANY]:
        named = tuple(Scenario(name=name, alpha=alpha) for name, alpha in wanted) or tuple(SCENARIOS.values())
        shape = (len(named), *table.shape[1:])
        cells: dict[str, Any] = {name: np.broadcast_to(getattr(table, name), shape) for name in CELLS}
        table = replace(table, scenarios=named, **cells)
    rows = Rows(table=table, texts=tuple(texts), features=features, verifications=verifications)
    return BenchTable(rows=rows, split=tuple(splits))  # type: ignore[arg-type]  # checked there


def _cubes(read: pa.Table, table: OutcomeTable) -> Verifications | None:
    """Return the verifications in the order of the table, if the file holds any."""
    if read.column("verification").null_count == read.num_rows:
        return None
    columns = {name: read.column(name).to_numpy(zero_copy_only=False) for name in ("scenario", "agent", "query_id")}
    s, a, q = (
        _places(columns[name], known)
        for name, known in (
            ("scenario", [x.name for x in table.scenarios]),
            ("agent", table.agents),
            ("query_id", table.query_ids),
        )
    )
    cubes = []
    for name, empty in (("verification", np.nan), ("verification_cost", 0.0)):
        cube = np.full(table.shape, empty)
        values = read.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
        cube[s, a, q] = np.where(np.isnan(values), empty, values)
        cubes.append(cube)
    if np.any((cubes[0] < 0) | (cubes[0] > 1)):
        raise DataError("Column 'verification' of the bench table has values outside 0 to 1.")
    return Verifications(share=cubes[0], cost=cubes[1])


def _places(column: NDArray[Any], known: Sequence[str]) -> NDArray[np.int64]:
    place = {name: i for i, name in enumerate(known)}
    return np.array([place[name] for name in column], dtype=np.int64)


def _features_of(read: pa.Table, place: Mapping[str, int]) -> Features | None:
    column = read.column("features")
    if column.null_count == read.num_rows:
        return None
    rows = [
        (agent, query, values)
        for agent, query, values in zip(
            read.column("agent").to_pylist(), read.column("query_id").to_pylist(), column.to_pylist(), strict=True
        )
        if values is not None
    ]
    agents = {agent for agent, _, _ in rows}
    widths = {len(values) for _, _, values in rows}
    held = {query for _, query, _ in rows}
    if len(agents) != 1 or len(widths) != 1 or held != set(place):
        raise DataError("Column 'features' must hold vectors of one length, in every row of one agent.")
    values = np.empty((len(place), widths.pop()))
    for _, query, vector in rows:
        values[place[query]] = vector
    return Features(agent=agents.pop(), values=values)
