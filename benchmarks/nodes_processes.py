"""32 agents in one network, each its own process: start, route, stop; what that takes.

    python benchmarks/nodes_processes.py --agents 32

Recorded agents, so that what is measured is the processes and not their models. Memory is the proportional share (PSS)
of the nodes: what they have in common counts once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from disrouter.config import load
from disrouter.evaluation.outcomes import Outcome, OutcomeTable
from disrouter.evaluation.traces import trace_line
from disrouter.network import Network
from disrouter.nodes.fleet import Fleet
from disrouter.types import Query
from disrouter.utility import BALANCE

SECRET = "DISROUTER_HOP_SECRET"


def main() -> None:
    """Start, route, stop; print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=32)
    parser.add_argument("--queries", type=int, default=20)
    options = parser.parse_args()
    os.environ.setdefault(SECRET, "of this run only")
    with tempfile.TemporaryDirectory() as folder:
        file = write_network(Path(folder), options.agents, options.queries)
        one = measure(file, ["agent-01"], [])
        all_of_them = measure(file, [f"agent-{i:02}" for i in range(1, options.agents + 1)], queries(options.queries))
    print(f"{'agents':>7} {'ready after':>12} {'memory each':>12} {'route':>10} {'ended after':>12}")
    for agents, row in ((1, one), (options.agents, all_of_them)):
        started, memory, route, ended = row
        shown = f"{1e3 * route:.1f} ms" if route is not None else "-"
        print(f"{agents:>7} {started:>10.1f} s {memory:>9.0f} MiB {shown:>10} {ended:>10.1f} s")


def queries(count: int) -> list[Query]:
    """Return queries that were recorded."""
    return [Query.from_text(f"query {i}", id=f"q{i}") for i in range(count)]


def write_network(folder: Path, agents: int, count: int) -> Path:
    """Write a network of recorded agents of which the last one answers every query; return its file."""
    rows = [
        Outcome(
            query_id=f"q{i}",
            dataset="made-up",
            domain="in",
            level=1,
            agent=f"agent-{agent:02}",
            scenario=BALANCE.name,
            alpha=BALANCE.alpha,
            confidence=0.0,
            accepts=agent == agents,
            answer=f"answer {i} of {agent}",
            score=1.0,
            prompt_tokens=10,
            answer_tokens=20,
            look_cost=0.001,
            answer_cost=0.01,
            look_seconds=0.0,
            answer_seconds=0.0,
            failure=None,
        )
        for agent in range(1, agents + 1)
        for i in range(count)
    ]
    OutcomeTable.of(rows).write(folder / "table.parquet")
    entries = [
        f"  - {{name: agent-{agent:02}, backend: recorded, model: table.parquet, price: {{cost: {agent / agents}}}}}"
        for agent in range(1, agents + 1)
    ]
    file = folder / "network.yaml"
    file.write_text("name: many\nagents:\n" + "\n".join(entries) + "\n", encoding="utf-8")
    return file


def measure(file: Path, names: Sequence[str], asked: Sequence[Query]) -> tuple[float, float, float | None, float]:
    """Return seconds until ready, MiB of a node, seconds of a route through all, seconds until all have ended."""
    began = time.perf_counter()
    fleet = Fleet(file, names, hop_secret_env=SECRET)
    with fleet:
        started = time.perf_counter() - began
        memory = statistics.mean(pss(process.pid) for process in fleet.processes.values())
        route = asyncio.run(routes(load(file, nodes=fleet.urls, hop_secret_env=SECRET), load(file), asked))
        ending = time.perf_counter()
    assert all(process.returncode == 0 for process in fleet.processes.values()), "a node did not end well"
    return started, memory, route, time.perf_counter() - ending


async def routes(far: Network, near: Network, asked: Sequence[Query]) -> float | None:
    """Return the median seconds of a route, having seen that it is the one that is taken in one process."""
    if not asked:
        return None
    seconds = []
    for agent in far.agents.values():
        agent.open()  # type: ignore[attr-defined]  # they are nodes
    try:
        for query in asked:
            began = time.perf_counter()
            trace = await far.route(query)
            seconds.append(time.perf_counter() - began)
            assert trace_line(trace) == trace_line(await near.route(query))
            assert len(trace.hops) == len(far.agents)
    finally:
        for agent in far.agents.values():
            with contextlib.suppress(Exception):
                await agent.aclose()  # type: ignore[attr-defined]
    return statistics.median(seconds)


def pss(pid: int) -> float:
    """Return the proportional share of memory of a process, in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"nothing is known of process {pid}")


if __name__ == "__main__":
    main()
