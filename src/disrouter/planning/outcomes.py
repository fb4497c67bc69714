"""Workloads of outcome tables: every query routed by the network's policy, at any alpha, with and without skipping."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from disrouter.errors import DataError
from disrouter.evaluation.ladder import at_alphas
from disrouter.evaluation.outcome_files import read_table, with_timings
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.evaluation.replay import accepted, fitted, traces
from disrouter.network import Network
from disrouter.planning.workload import Behaviour, Route, Visit, Workload
from disrouter.policies import policy_of, spec_of
from disrouter.types import Scenario, Trace

__all__ = ["read_outcomes", "skipping", "workload_of_table"]

MOST_QUERIES = 5_000
"""Queries of a table that are routed; more make no plan better."""

MOST_SAMPLES = 1_000


def read_outcomes(path: Path) -> OutcomeTable:
    """Return the outcomes of a run folder with its seconds, or those of a Parquet file.

    Raises:
        DataError: There are none, or they cannot be used.
    """
    if not path.is_dir():
        return read_table(path)
    if not (path / "table.parquet").is_file():
        raise DataError(
            f"'{path}' is no finished run: it has no table.parquet.", hint="make one with `disrouter eval --run-dir`"
        )
    table, timings = read_table(path / "table.parquet"), path / "timings.parquet"
    return with_timings(table, timings) if timings.is_file() else table


def workload_of_table(table: OutcomeTable, network: Network, scenario: Scenario, *, source: str) -> Workload:
    """Return the routes of a table's queries through the network under a scenario.

    Raises:
        DataError: The table has no outcomes of an agent of the network, or none that hold for this scenario.
    """
    few = np.linspace(0, table.shape[2] - 1, min(table.shape[2], MOST_QUERIES)).astype(int)
    there = replace(at_alphas(fitted(table.select(queries=few), network), [scenario.alpha]), scenarios=(scenario,))
    routes = []
    failed = 0
    for place, trace in enumerate(traces(there, network)):
        failed += any(hop.decision == "failure" for hop in trace.hops)
        if trace.agent is not None:
            routes.append(Route(visits=_visits(trace, there, place), cost=trace.cost_full, score=trace.score))
    notes = []
    if failed:
        notes.append(f"{failed} of {there.shape[2]} queries met a broken agent; in the plan these visits take no time")
    return Workload(
        routes=tuple(routes), source=source, behaviours=_behaviours(there, network), given={}, notes=tuple(notes)
    )


def skipping(network: Network, skip: bool) -> Network | None:
    """Return the network with a policy that skips agents, or does not; None if its policy knows no such setting."""
    spec = spec_of(network.policy)
    return network.replace(policy=policy_of({**spec, "skip": skip})) if "skip" in spec else None


def _visits(trace: Trace, table: OutcomeTable, query: int) -> tuple[Visit, ...]:
    visits: list[Visit] = []
    for hop in trace.hops:
        if hop.decision == "failure":
            continue
        at = (0, table.agent_index(hop.agent), query)
        if hop.reason not in ("recall", "fallback"):
            visits.append(Visit(hop.agent, "look", float(table.look_seconds[at])))
        if hop.decision == "answer":
            seconds, tokens = float(table.answer_seconds[at]), int(table.answer_tokens[at])
            # The answer goes on from the look's prefill: its first word takes one of its tokens.
            visits.append(Visit(hop.agent, "answer", seconds, seconds / max(1, tokens), tokens + 1))
    return tuple(visits)


def _behaviours(table: OutcomeTable, network: Network) -> dict[str, Behaviour]:
    answers = accepted(table, network)[0]
    found = {}
    for name in network.agents:
        a = table.agent_index(name)
        found[name] = Behaviour(
            looks=_some(table.look_seconds[0, a]),
            answers=_some(table.answer_seconds[0, a]),
            answer_share=float(answers[a].mean()),
            turns=float(table.answer_tokens[0, a].mean()) + 1,
        )
    return found


def _some(seconds: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, ...]:
    """Return seconds to draw from; none where nothing was measured."""
    above = seconds[seconds > 0][:MOST_SAMPLES]
    return tuple(float(x) for x in above)
