"""Recorded outcomes in the formats that others publish, read into entries. Nothing is unpickled or downloaded.

plain        JSONL, CSV or Parquet; wide (one row per query) or long (one row per query and model)
routerbench  the wide table of RouterBench (arXiv 2403.12031), exported as CSV or Parquet
routellm     CSV files of RouteLLM's evaluations (arXiv 2406.18665)
llmrouter    routing data of LLMRouter, JSONL
routerdc     JSON files of RouterDC (arXiv 2409.19886)
"""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disrouter.bench.entries import Entry
from disrouter.errors import DataError, UnknownNameError

__all__ = ["FORMATS", "Source", "entries_of", "prices_of", "read_rows"]

csv.field_size_limit(2**27)  # recorded answers are long


@dataclass(frozen=True, slots=True)
class Source:
    """A file or folder, and the split that all its queries belong to, if that is known."""

    path: Path
    split: str | None = None


Row = dict[str, Any]


def entries_of(source: Source, format: str, *, prices: Mapping[str, tuple[float, float]] | None = None) -> list[Entry]:
    """Return the queries of a file, or of all files of a folder.

    Args:
        source: What to read.
        format: One of :data:`FORMATS`.
        prices: Money per million input and output tokens by model, for formats that record tokens instead of costs.

    Raises:
        DataError: A file is missing, damaged or of another format.
        UnknownNameError: There is no such format.
    """
    if format not in FORMATS:
        raise UnknownNameError.of("format", format, FORMATS)
    read: list[Entry] = []
    for path in _files(source.path):
        rows = read_rows(path)
        try:
            read += FORMATS[format](rows, path.stem, source.split, prices or {})
        except DataError as exc:
            raise DataError(f"'{path}': {exc.message}", hint=exc.hint) from exc
    return read


def _files(path: Path) -> list[Path]:
    if path.suffix in (".pkl", ".pickle", ".pt"):
        raise DataError(
            f"'{path}' is a pickle, which could run any code when it is read: it is not read.",
            hint="export the same columns as Parquet or CSV, on a machine where you trust the file: "
            "`pandas.read_pickle(path).to_parquet(...)`",
        )
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix in (".csv", ".json", ".jsonl", ".parquet"))
        if not found:
            raise DataError(f"Folder '{path}' has no .csv, .json, .jsonl or .parquet file.")
        return found
    if not path.is_file():
        raise DataError(f"There is no file or folder at '{path}'.", hint="check the path")
    return [path]


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a CSV, JSON, JSONL or Parquet file.

    Raises:
        DataError: The file is missing, damaged or of another kind.
    """
    if not path.is_file():
        raise DataError(f"There is no file at '{path}'.", hint="check the path")
    try:
        if path.suffix == ".parquet":
            return _parquet(path)
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                return [dict(row) for row in csv.DictReader(file)]
            if path.suffix == ".jsonl":
                return [_object(json.loads(line), n) for n, line in enumerate(file, 1) if line.strip()]
            if path.suffix == ".json":
                loaded = json.load(file)
                if not isinstance(loaded, list):
                    raise DataError("The JSON file holds no list of rows.")
                return [_object(row, n) for n, row in enumerate(loaded, 1)]
    except DataError as exc:
        raise DataError(f"'{path}': {exc.message}", hint=exc.hint) from exc
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as exc:
        raise DataError(f"'{path}' is damaged or of another kind than its name says: {exc}.") from exc
    raise DataError(f"'{path}' ends in '{path.suffix}'.", hint="known: .csv, .json, .jsonl, .parquet")


def _parquet(path: Path) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[Row] = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as exc:
        raise DataError(f"'{path}' is not a readable Parquet file (cut off or damaged?): {exc}") from exc
    return rows


def _object(value: Any, line: int) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"Row {line} is no object but {type(value).__name__}.")
    return value


def _need(row: Row, key: str, n: int) -> Any:
    if row.get(key) in (None, ""):
        raise DataError(f"Row {n} has no '{key}'.", hint=f"its columns: {', '.join(map(str, list(row)[:12]))}")
    return row[key]


def _number(value: Any, what: str) -> float:
    """Return a score or a cost; true and false count as 1 and 0."""
    if isinstance(value, str):
        word = value.strip().lower()
        value = {"true": 1.0, "false": 0.0}.get(word, word)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{what} is {value!r}, not a number.") from None


def _plain(rows: list[Row], name: str, split: str | None, _prices: Any) -> list[Entry]:
    """Wide rows hold objects by model (``scores``, …) or flat columns ``score:MODEL``; long rows name ``agent``."""
    if rows and ("agent" in rows[0] or "model" in rows[0]):
        return _long(rows, name, split)
    return [_wide(row, name, split, n) for n, row in enumerate(rows, 1)]


_WIDE = {
    "score": "scores",
    "cost": "costs",
    "look_cost": "look_costs",
    "confidence": "confidences",
    "response": "responses",
    "verification": "verifications",
    "verification_cost": "verification_costs",
    "prompt_tokens": "prompt_tokens",
    "answer_tokens": "answer_tokens",
}
"""Column of a long row, or prefix of a flat wide one → field of an entry."""


def _value(key: str, value: Any, query: str) -> Any:
    return str(value) if key == "response" else _number(value, f"The {key.replace('_', ' ')} of query '{query}'")


def _wide(row: Row, name: str, split: str | None, n: int) -> Entry:
    query = str(row.get("id") or row.get("query_id") or f"{name}-{n:06}")
    held: dict[str, dict[str, Any]] = {field: {} for field in _WIDE.values()}
    for key, field in _WIDE.items():
        by_model = row.get(field) or {}
        if not isinstance(by_model, dict):
            raise DataError(f"Row {n}: '{field}' is no object of values by model.")
        flat = {k.partition(":")[2]: v for k, v in row.items() if k and k.startswith(f"{key}:")}
        held[field] = {m: _value(key, v, query) for m, v in {**by_model, **flat}.items() if v not in (None, "")}
    if not held["scores"]:
        raise DataError(
            f"Row {n} has no scores.", hint='write {"query": …, "scores": {"model": 0.5, …}}, or columns score:MODEL'
        )
    return Entry(
        id=query,
        text=str(_need(row, "query", n)),
        split=row.get("split") or split,
        dataset=row.get("dataset"),
        domain=row.get("domain"),
        level=None if row.get("level") in (None, "") else int(row["level"]),
        **held,
    )


def _long(rows: list[Row], name: str, split: str | None) -> list[Entry]:
    model = "agent" if "agent" in rows[0] else "model"
    found: dict[str, tuple[Row, dict[str, dict[str, Any]]]] = {}
    for n, row in enumerate(rows, 1):
        query = str(row.get("query_id") or row.get("id") or _need(row, "query", n))
        _, held = found.setdefault(query, (row, {field: {} for field in _WIDE.values()}))
        agent = str(_need(row, model, n))
        _need(row, "score", n)
        if agent in held["scores"]:
            raise DataError(f"Query '{query}' has two rows of model '{agent}'.", hint="keep one")
        for key, field in _WIDE.items():
            if row.get(key) not in (None, ""):
                held[field][agent] = _value(key, row[key], query)
    return [
        Entry(
            id=query if len(query) <= 80 else f"{name}-{n:06}",
            text=str(_need(row, "query", n)),
            split=row.get("split") or split,
            dataset=row.get("dataset"),
            domain=row.get("domain"),
            level=None if row.get("level") in (None, "") else int(row["level"]),
            **held,
        )
        for n, (query, (row, held)) in enumerate(found.items(), 1)
    ]


_COST, _RESPONSE = "|total_cost", "|model_response"


def _routerbench(rows: list[Row], name: str, split: str | None, _prices: Any) -> list[Entry]:
    """One column per model, and MODEL|total_cost (in dollars), MODEL|model_response beside it."""
    models = [key.removesuffix(_COST) for key in (rows[0] if rows else {}) if key and key.endswith(_COST)]
    if rows and not models:
        raise DataError(f"There is no column that ends in '{_COST}'.", hint="is this RouterBench's wide table?")
    return [
        Entry(
            id=str(row.get("sample_id") or f"{name}-{n:06}"),
            text=_unlisted(_need(row, "prompt", n)),
            split=split,
            dataset=row.get("eval_name"),
            scores={m: _number(row.get(m), f"Row {n}: the score of '{m}'") for m in models},
            costs={m: _number(row.get(m + _COST), f"Row {n}: the cost of '{m}'") for m in models},
            responses={m: _unlisted(row[m + _RESPONSE]) for m in models if row.get(m + _RESPONSE) is not None},
        )
        for n, row in enumerate(rows, 1)
    ]


def _unlisted(value: Any) -> str:
    """Return the text of a cell that holds a list of messages, as RouterBench writes them (``['…']``)."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return str(value)
    return "\n\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _routellm(rows: list[Row], name: str, split: str | None, _prices: Any) -> list[Entry]:
    """``prompt`` and a column of True and False per model, MODEL_response beside it in some files."""
    keys = [key for key in (rows[0] if rows else {}) if key and key != "prompt"]
    models = [key for key in keys if not key.endswith("_response")]
    return [
        Entry(
            id=f"{name}-{n:06}",
            text=str(_need(row, "prompt", n)),
            split=split,
            dataset=name.removesuffix("_responses"),
            scores={m: _number(row.get(m), f"Row {n}: the score of '{m}'") for m in models},
            responses={m: str(row[f"{m}_response"]) for m in models if row.get(f"{m}_response") is not None},
        )
        for n, row in enumerate(rows, 1)
    ]


def _llmrouter(rows: list[Row], name: str, split: str | None, prices: Mapping[str, tuple[float, float]]) -> list[Entry]:
    """One row per query and model; costs follow from recorded tokens and prices."""
    found: dict[tuple[str, str], list[tuple[int, Row]]] = {}
    for n, row in enumerate(rows, 1):
        for key in ("query", "model_name", "performance"):
            _need(row, key, n)
        found.setdefault((str(row.get("task_name")), str(row["query"])), []).append((n, row))
    entries = []
    for index, ((task, text), group) in enumerate(found.items()):
        by_model: dict[str, Row] = {}
        for n, row in group:
            if str(row["model_name"]) in by_model:
                raise DataError(f"Row {n} is the second one of model '{row['model_name']}' for one query.")
            by_model[str(row["model_name"])] = row
        read = {m: int(r.get("input_tokens") or 0) for m, r in by_model.items()}
        wrote = {m: int(r.get("output_tokens") or 0) for m, r in by_model.items()}
        priced = {m: prices[m] for m in by_model if m in prices}
        entries.append(
            Entry(
                id=f"{name}-{index:06}",
                text=text,
                split=split,
                dataset=task,
                scores={m: _number(r["performance"], f"The score of '{m}'") for m, r in by_model.items()},
                costs={m: (i * read[m] + o * wrote[m]) / 1e6 for m, (i, o) in priced.items()},
                look_costs={},
                responses={m: str(r["response"]) for m, r in by_model.items() if r.get("response") is not None},
                prompt_tokens=read,
                answer_tokens=wrote,
            )
        )
    return entries


def _routerdc(rows: list[Row], name: str, split: str | None, _prices: Any) -> list[Entry]:
    """``question`` and ``scores`` by model: shares of right answers among several."""
    return [
        Entry(
            id=f"{name}-{n:06}",
            text=str(_need(row, "question", n)),
            split=split,
            dataset=name,
            scores={
                str(m): _number(v, f"Row {n}: the score of '{m}'")
                for m, v in _object(_need(row, "scores", n), n).items()
            },
        )
        for n, row in enumerate(rows, 1)
    ]


FORMATS: dict[str, Callable[[list[Row], str, str | None, Mapping[str, tuple[float, float]]], list[Entry]]] = {
    "plain": _plain,
    "routerbench": _routerbench,
    "routellm": _routellm,
    "llmrouter": _llmrouter,
    "routerdc": _routerdc,
}
"""Readers by name."""


def prices_of(path: Path) -> dict[str, tuple[float, float]]:
    """Return LLMRouter's price list (its ``llm_data`` file): money per million input and output tokens.

    Raises:
        DataError: The file is missing or no such list.
    """
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return {str(m): (float(v["input_price"]), float(v["output_price"])) for m, v in listed.items()}
    except FileNotFoundError:
        raise DataError(f"There is no price list at '{path}'.", hint="check the path") from None
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as exc:
        raise DataError(
            f"'{path}' is no price list: {exc!r}.",
            hint='write {"model": {"input_price": 0.2, "output_price": 0.2}, …}',
        ) from exc
