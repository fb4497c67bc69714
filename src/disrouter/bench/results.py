"""Results: what every method got and paid on every test query, joined from sealed decisions and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from disrouter.baselines.contract import Rows
from disrouter.baselines.ledger import Decisions
from disrouter.errors import DataError
from disrouter.evaluation.methods import oracle, rate_aware_oracle
from disrouter.evaluation.outcomes import CELLS
from disrouter.files import replacing
from disrouter.types import Scenario

__all__ = ["BOUNDS", "Results", "bounds", "join", "read_results", "write_results"]

BOUNDS = ("oracle", "rate-aware-oracle")
"""What no method can beat: they see the scores."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Results:
    """Arrays of one method in one scenario, one entry per test query."""

    agent: NDArray[np.int64]
    """Place of the agent that answered, -1 if none."""

    score: Floats
    cost: Floats
    """The paper's cost: that of the agent that answered."""

    cost_full: Floats
    """Everything that was paid for: looks, consulted agents, verification, embedding."""

    looks: NDArray[np.int64]
    """Agents that were asked in vain."""


def join(decisions: Decisions, rows: Rows, scenario: Scenario) -> Results:
    """Return what sealed decisions get and pay."""
    s = rows.column(scenario)
    table = rows.table
    n = np.arange(len(rows.texts))
    answered = decisions.agent >= 0
    at = np.where(answered, decisions.agent, 0)
    spent = np.where(decisions.asked, table.answer_cost[s], np.where(decisions.looked, table.look_cost[s], 0.0))
    consulted = (decisions.asked | decisions.looked).sum(axis=0)
    return Results(
        agent=decisions.agent,
        score=np.where(answered, table.score[s][at, n], 0.0),
        cost=np.where(answered, table.answer_cost[s][at, n], 0.0),
        cost_full=spent.sum(axis=0) + decisions.overhead,
        looks=consulted - answered,
    )


def bounds(rows: Rows, scenarios: Sequence[Scenario]) -> dict[str, dict[str, Results]]:
    """Return what the two oracles get in every scenario; they look at the scores."""
    found: dict[str, dict[str, Results]] = {name: {} for name in BOUNDS}
    for scenario in scenarios:
        s = rows.column(scenario)
        cells: dict[str, Any] = {name: getattr(rows.table, name)[s : s + 1] for name in CELLS}
        one = replace(rows.table, scenarios=(scenario,), **cells)
        for name, pick in (("oracle", oracle), ("rate-aware-oracle", rate_aware_oracle)):
            agent = np.asarray(pick(one)[0], dtype=np.int64)
            asked = np.zeros(one.shape[1:], dtype=bool)
            asked[agent, np.arange(len(agent))] = True
            free = Decisions(agent=agent, looked=np.zeros_like(asked), asked=asked, overhead=np.zeros(len(agent)))
            found[name][scenario.name] = join(free, rows, scenario)
    return found


_SCHEMA = pa.schema(
    [
        pa.field("method", pa.dictionary(pa.int32(), pa.string())),
        pa.field("scenario", pa.dictionary(pa.int32(), pa.string())),
        pa.field("agent", pa.int8()),
        pa.field("score", pa.float64()),
        pa.field("cost", pa.float64()),
        pa.field("cost_full", pa.float64()),
        pa.field("looks", pa.int8()),
    ]
)


def write_results(results: Mapping[str, Mapping[str, Results]], path: Path) -> None:
    """Write results by method and scenario, queries in their own order; no text and no id of a query is in the file."""
    columns: dict[str, list[object]] = {name: [] for name in _SCHEMA.names}
    for method, by_scenario in results.items():
        for scenario, held in by_scenario.items():
            columns["method"].append(np.full(len(held.score), method, dtype=object))
            columns["scenario"].append(np.full(len(held.score), scenario, dtype=object))
            for name in ("agent", "score", "cost", "cost_full", "looks"):
                columns[name].append(getattr(held, name))
    arrays = [pa.array(np.concatenate(columns[field.name])).cast(field.type) for field in _SCHEMA]  # type: ignore[arg-type]
    with replacing(path) as temporary:
        pq.write_table(
            pa.Table.from_arrays(arrays, schema=_SCHEMA), temporary, compression="zstd", compression_level=19
        )


def read_results(path: Path) -> dict[str, dict[str, Results]]:
    """Return results by method and scenario.

    Raises:
        DataError: The file is missing, damaged or something else.
    """
    try:
        read = pq.read_table(path)
        columns = {name: np.asarray(read.column(name).to_pylist()) for name in _SCHEMA.names}
    except FileNotFoundError:
        raise DataError(
            f"There are no results at '{path}'.", hint="finish the run with `disrouter bench run`"
        ) from None
    except (pa.ArrowException, OSError, KeyError) as exc:
        raise DataError(f"'{path}' holds no readable results (cut off or damaged?): {exc}") from exc
    found: dict[str, dict[str, Results]] = {}
    for method in dict.fromkeys(columns["method"].tolist()):
        of_method = columns["method"] == method
        for scenario in dict.fromkeys(columns["scenario"][of_method].tolist()):
            at = of_method & (columns["scenario"] == scenario)
            found.setdefault(str(method), {})[str(scenario)] = Results(
                agent=columns["agent"][at].astype(np.int64),
                score=columns["score"][at].astype(np.float64),
                cost=columns["cost"][at].astype(np.float64),
                cost_full=columns["cost_full"][at].astype(np.float64),
                looks=columns["looks"][at].astype(np.int64),
            )
    return found
