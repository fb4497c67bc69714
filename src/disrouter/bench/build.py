"""Bench tables of our own agents: every agent of a network looks at and answers queries of all three splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from disrouter.baselines.contract import Features, Rows, normalised
from disrouter.bench.tables import BenchTable, Split
from disrouter.engines.contract import Engine
from disrouter.errors import DataError, UsageError
from disrouter.evaluation.build import CHUNK, build, progress_bar
from disrouter.evaluation.outcomes import CELLS, OutcomeTable
from disrouter.evaluation.suites import Suite
from disrouter.network import Network
from disrouter.types import Query, Scenario
from disrouter.utility import SCENARIOS

__all__ = ["build_bench_table"]


def build_bench_table(
    network: Network,
    suite: Suite,
    *,
    counts: Mapping[Split, int],
    train_domain: str = "in",
    test_domains: Sequence[str] = ("in",),
    seed: int,
    parts: Path,
    scenarios: Sequence[Scenario] = tuple(SCENARIOS.values()),
    features: bool = True,
    progress: bool = True,
    engine: Engine | None = None,
) -> BenchTable:
    """Return the outcomes of a network's agents on queries to train, to tune and to test routing methods on.

    Args:
        network: Its agents and their prices; it is not routed here.
        suite: Where the queries come from.
        counts: Number of queries per split; of the test split, per test domain.
        train_domain: Domain of the training and validation queries.
        test_domains: Domains of the test queries.
        seed: Seed of the queries.
        parts: Folder of finished parts: what is there is not run again.
        scenarios: Under which scenarios.
        features: Record the prefill states of the network's entry agent, where it shows them.
        progress: Show a bar on stderr.
        engine: Runs parts side by side, with the same result; None runs one after the other in this process.

    Raises:
        UsageError: A count is below 1.
        DataError: The suite gives too few different queries.
    """
    sets = _queries(suite, counts, train_domain, test_domains, seed)
    total = sum(len(q) for _, _, q in sets) * len(network.agents) * len(scenarios)
    tables: list[OutcomeTable] = []
    session = engine.session() if engine is not None else nullcontext()
    with session, progress_bar(total, f"asking {network.name}", shown=progress) as advance:
        for split, domain, queries in sets:
            table = build(
                network.agents,
                queries,
                suite.grade,
                scenarios,
                domain=domain,
                seed=seed,
                parts=parts / f"{split}-{domain}",
                chunk=CHUNK,
                advance=advance,
                engine=engine,
            )
            tables.append(table)
    queries = [q for _, _, some in sets for q in some]
    rows = Rows(
        table=_stacked(tables),
        texts=tuple(q.text for q in queries),
        features=_features(network, queries, scenarios[0]) if features else None,
    )
    splits = tuple(s for s, _, some in sets for _ in some)
    return BenchTable(rows=rows, split=splits)


def _queries(
    suite: Suite, counts: Mapping[Split, int], train_domain: str, test_domains: Sequence[str], seed: int
) -> list[tuple[Split, str, list[Query]]]:
    """Return the queries of every split and domain; no question occurs twice."""
    found: list[tuple[Split, str, list[Query]]] = []
    seen: set[str] = set()
    wanted: list[tuple[Split, str]] = [("train", train_domain), ("validation", train_domain)]
    wanted += [("test", domain) for domain in test_domains]
    for split, domain in wanted:
        if counts[split] < 1:
            raise UsageError(f"{counts[split]} {split} queries are too few: give at least 1.")
        # Suites know the train split too, though evaluations never ask for it.
        drawn: list[Query] = suite.queries(domain, seed, counts[split], split=split)  # type: ignore[arg-type]
        fresh = []
        for query in drawn:
            if normalised(query.text) not in seen:
                seen.add(normalised(query.text))
                fresh.append(query)
        if not fresh:
            raise DataError(f"Suite '{suite.name}' has no {split} queries of domain '{domain}' that are not used yet.")
        found.append((split, domain, fresh))
    return found


def _stacked(tables: Sequence[OutcomeTable]) -> OutcomeTable:
    """Return one table of the queries of several, one after the other; seconds are left out."""
    first = tables[0]
    cells: dict[str, Any] = {name: np.concatenate([getattr(t, name) for t in tables], axis=2) for name in CELLS}
    for name in ("look_seconds", "answer_seconds"):
        cells[name] = np.zeros_like(cells[name])  # measured time is the one thing in which two builds differ
    return replace(
        first,
        query_ids=tuple(q for t in tables for q in t.query_ids),
        datasets=tuple(d for t in tables for d in t.datasets),
        domains=tuple(d for t in tables for d in t.domains),
        levels=tuple(level for t in tables for level in t.levels),
        **cells,
    )


def _features(network: Network, queries: Sequence[Query], scenario: Scenario) -> Features | None:
    """Return the entry agent's prefill states, one row per query; None if it does not show them."""
    entry = network.agents[network.entry]
    states = getattr(entry, "states_many", None)
    if states is None:
        return None
    values = np.asarray(states(queries, scenario), dtype=np.float64)
    return Features(agent=network.entry, values=values.reshape(len(queries), -1))
