"""Outcome tables as Parquet files: schema, version, and what to say about a file that cannot be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from disrouter.errors import DataError
from disrouter.evaluation.outcomes import CELLS, OutcomeTable
from disrouter.files import replacing

__all__ = [
    "SCHEMA",
    "SCHEMA_VERSION",
    "read_table",
    "read_versioned",
    "table_of",
    "with_timings",
    "write_table",
    "write_timings",
]

SCHEMA_VERSION = 1

_VERSION_KEY = b"disrouter.outcomes.version"

SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("dataset", pa.string()),
        pa.field("domain", pa.string()),
        pa.field("level", pa.int64()),
        pa.field("agent", pa.string(), nullable=False),
        pa.field("scenario", pa.string(), nullable=False),
        pa.field("alpha", pa.float64(), nullable=False),
        pa.field("confidence", pa.float64()),  # null: unknown
        pa.field("accepts", pa.bool_()),  # null: the agent has no own word
        pa.field("answer", pa.string()),  # null: the agent broke
        pa.field("score", pa.float64(), nullable=False),
        pa.field("prompt_tokens", pa.int64(), nullable=False),
        pa.field("answer_tokens", pa.int64(), nullable=False),
        pa.field("look_cost", pa.float64(), nullable=False),
        pa.field("answer_cost", pa.float64(), nullable=False),
        pa.field("look_seconds", pa.float64()),  # null: not measured
        pa.field("answer_seconds", pa.float64()),  # null: not measured
        pa.field("failure", pa.string()),
    ],
    metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
"""One row per (scenario, agent, query), in that order when written here; readers accept any order."""


def write_table(table: OutcomeTable, path: Path, *, timings: bool = True) -> None:
    """Write an outcome table whole or not at all; equal tables give equal bytes.

    Without ``timings`` both columns of seconds are null: wall-clock time is the one thing two equal runs differ in.
    """
    scenarios, agents, queries = table.shape
    columns: dict[str, Any] = {
        "query_id": np.tile(np.array(table.query_ids, dtype=object), scenarios * agents),
        "dataset": np.tile(np.array(table.datasets, dtype=object), scenarios * agents),
        "domain": np.tile(np.array(table.domains, dtype=object), scenarios * agents),
        "level": np.tile(np.array(table.levels, dtype=object), scenarios * agents),
        "agent": np.tile(np.repeat(np.array(table.agents, dtype=object), queries), scenarios),
        "scenario": np.repeat(np.array([s.name for s in table.scenarios], dtype=object), agents * queries),
        "alpha": np.repeat(np.array([s.alpha for s in table.scenarios]), agents * queries),
        **{name: getattr(table, name).ravel() for name in CELLS},
    }
    arrays = []
    for field in SCHEMA:
        column = columns[field.name]
        if field.name == "accepts":
            arrays.append(pa.array(column == 1, type=field.type, mask=column < 0))
        elif field.name.endswith("_seconds") and not timings:
            arrays.append(pa.nulls(len(column), type=field.type))
        else:  # from_pandas: NaN becomes null
            arrays.append(pa.array(column, type=field.type, from_pandas=True))
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), temporary, compression="zstd")


def read_table(path: Path) -> OutcomeTable:
    """Read an outcome table.

    Raises:
        DataError: The file is missing, cut off, of another schema or version, or holds an unusable table.
    """
    read = read_versioned(
        path,
        "outcome table",
        schema="schema",
        key=_VERSION_KEY,
        version=SCHEMA_VERSION,
        hints=(
            "make one with `disrouter eval`",
            "delete it and evaluate again",
            "evaluate again, or use the release that wrote it",
        ),
    )
    try:
        return table_of(read)
    except DataError as exc:
        raise DataError(f"'{path}': {exc.message}", hint=exc.hint) from exc


def read_versioned(
    path: Path, kind: str, *, schema: str, key: bytes, version: int, hints: tuple[str, str, str]
) -> pa.Table:
    """Return the columns of a Parquet file that says of itself which version of a schema it keeps.

    Args:
        path: The file.
        kind: What it should be, for messages ("outcome table").
        schema: What its schema is called in messages ("schema").
        key: Where the metadata hold the version.
        version: The one that is read.
        hints: What to do if the file is missing, if it is damaged, and if it is of another version.

    Raises:
        DataError: The file is missing, damaged or of another version.
    """
    missing, damaged, other = hints
    if not path.is_file():
        raise DataError(f"There is no {kind} at '{path}'.", hint=missing)
    try:
        read = pq.read_table(path)
    except (pa.ArrowException, OSError) as exc:
        raise DataError(f"'{path}' is not a readable Parquet file (cut off or damaged?): {exc}", hint=damaged) from exc
    found = (read.schema.metadata or {}).get(key)
    if found != str(version).encode():
        what = f"no {schema} version" if found is None else f"{schema} version {found.decode(errors='replace')}"
        raise DataError(f"'{path}' has {what}; this release reads {kind}s of version {version}.", hint=other)
    return read


def table_of(read: pa.Table) -> OutcomeTable:
    """Return the outcome table of columns that were read, whatever else stands beside them.

    Raises:
        DataError: A column is missing or of another type, or the table is unusable.
    """
    return OutcomeTable.of_columns(_columns(read))


def _columns(read: pa.Table) -> dict[str, Any]:
    """Return the columns as numpy arrays, in the form :meth:`OutcomeTable.of_columns` takes."""
    missing = [name for name in SCHEMA.names if name not in read.schema.names]
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing)
        raise DataError(f"Missing columns: {listed}.", hint="the schema is in the documentation of outcome tables")
    columns: dict[str, Any] = {}
    for field in SCHEMA:
        column = read.column(field.name)
        try:
            column = column.cast(field.type)
        except pa.ArrowException as exc:
            raise DataError(f"Column '{field.name}' is {column.type}, not {field.type}.") from exc
        if not field.nullable and column.null_count:
            raise DataError(f"Column '{field.name}' has {column.null_count} missing values; it may have none.")
        if field.name == "accepts":
            column = pc.fill_null(column.cast(pa.int8()), -1)
        elif field.name.endswith("_seconds"):
            column = pc.fill_null(column, 0.0)
        columns[field.name] = column.to_numpy(zero_copy_only=False) if len(column) else np.array([])
    return columns


def write_timings(table: OutcomeTable, path: Path) -> None:
    """Write the seconds of a table alone, in the table's own order of rows."""
    columns = {name: pa.array(getattr(table, name).ravel()) for name in ("look_seconds", "answer_seconds")}
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def with_timings(table: OutcomeTable, path: Path) -> OutcomeTable:
    """Return the table with the seconds that :func:`write_timings` wrote.

    Raises:
        DataError: The file cannot be read, or belongs to a table of another size.
    """
    try:
        read = pq.read_table(path, columns=["look_seconds", "answer_seconds"])
    except (pa.ArrowException, OSError) as exc:
        raise DataError(f"'{path}' holds no readable timings: {exc}", hint="delete it: they are optional") from exc
    if read.num_rows != table.score.size:
        raise DataError(
            f"'{path}' holds {read.num_rows} timings for {table.score.size} outcomes.",
            hint="delete it: timings are optional",
        )
    seconds = {name: read.column(name).to_numpy().reshape(table.shape) for name in read.column_names}
    return replace(table, **seconds)
