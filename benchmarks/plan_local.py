"""The lab's models in this process under load, and what the plan says of it: measured in parts, reported from a file.

The first part measures every query alone, and in one short calibration how much longer things take with four at work.
Every further part is one load: how fast the machine is, then open arrivals, then how fast the machine is now. Parts are
short, so that a machine can be kept quiet for them. Nothing is fitted on the runs that are predicted.

Arrivals are drawn until they are typical: of forty draws the one whose p95 is predicted to be nearest to that of
endless arrivals, since near capacity luck alone makes the p95 of a minute half as long or twice as long.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from plan_loads import EFFORT, Ask, Numbers, Seen, closed_loop, open_loop, replayed

from disrouter.agents import transformers
from disrouter.agents.turns import take_turn
from disrouter.config import load as load_network
from disrouter.evaluation.suites import suite_of
from disrouter.evaluation.traces import trace_to_json
from disrouter.gateway.service import Service
from disrouter.network import Network
from disrouter.planning import (
    TAKING_TURNS,
    Effort,
    Load,
    Route,
    Site,
    Slowdown,
    Visit,
    Workload,
    site_of,
    trial,
)
from disrouter.planning.exports import workload_of_traces
from disrouter.planning.measures import Measured
from disrouter.types import Query

T = TypeVar("T")

DIFFERENT = 200
"""Queries of the lab; each is measured alone once."""

FIRST = 40
"""Of them tell how fast the machine is just now."""

AT_WORK, ROUNDS = 4, 3
STEADY = 0.1
"""Speeds before and after a load that differ by more are of no steady machine: such a part is not counted."""

CUTS = (0.5, 0.95, 0.99)
DRAWS = 40
BLOCK = 20
"""Queries that the bootstrap draws together: neighbours wait for the same reasons."""


class Process:
    """The lab's models in this process, behind the guards that a gateway gives them."""

    def __init__(self) -> None:
        self.network = load_network("lab")
        self.service = Service(self.network)
        self.queries = suite_of("lab").queries("in", 7, DIFFERENT)
        self.visits: dict[str, dict[tuple[str, str], list[Any]]] = {}
        """Seconds of turns, and how many there were, by query and visit."""
        transformers.take_turn = self._timed  # type: ignore[attr-defined,assignment]  # to see the turns

    async def _timed(self, device: str, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        query = next(value.id for value in args if isinstance(value, Query))
        visit = function.__self__.card.name, "look" if function.__name__ == "_look" else "answer"  # type: ignore[attr-defined]

        def timed() -> T:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                found = self.visits.setdefault(query, {}).setdefault(visit, [0.0, 0])
                found[0] += time.perf_counter() - began
                found[1] += 1

        return await take_turn(device, timed)

    def asking(self, places: Sequence[int], kept: list[dict[str, Any]]) -> Ask:
        """Return how a query of a number is sent; what became of it is kept."""

        async def ask(number: int) -> bool:
            query, came, began = self.queries[places[number]], time.time(), time.perf_counter()
            trace = await self.service.network.route(Query(id=f"{query.id}-{number}", messages=query.messages))
            seconds, visits = time.perf_counter() - began, self.visits.pop(f"{query.id}-{number}")
            kept.append({**trace_to_json(trace, timings=True), "time": came, "whole": seconds, "number": number})
            kept[-1]["visits"] = [[*visit, *found] for visit, found in visits.items()]
            return trace.answer is not None

        return ask

    async def speed(self, workers: int = 1) -> float:
        """Return answers a second to the first queries."""
        return await closed_loop(self.asking(range(DIFFERENT), []), workers, FIRST, 0)


async def measure(file: Path, loads: Sequence[float], seconds: float) -> None:
    """Measure the process alone if that is not in the file yet, else under these loads; append it to the file."""
    process = Process()
    await process.service.warm()
    await closed_loop(process.asking(range(DIFFERENT), []), 1, 20, 0)
    if not file.is_file():
        append(file, await _alone(process))
        return
    base, parts = Base(read(file)[0], process.network), read(file)
    drawn = [base.typical(share, seconds, seed=1000 * len(parts) + n) for n, share in enumerate(loads)]
    before = await process.speed()
    for share, (gaps, places) in zip(loads, drawn, strict=True):
        qps = share * base.bears * before / base.first
        kept: list[dict[str, Any]] = []
        seen = await open_loop(process.asking(places, kept), gaps / qps)
        after = await process.speed()
        visits = [trace["visits"] for trace in sorted(kept, key=lambda trace: trace["number"])]
        part = {"load": share, "qps": qps, "before": before, "after": after, "places": places, "visits": visits}
        append(file, {**part, "due": seen.due.tolist(), "took": [None if t != t else t for t in seen.took.tolist()]})
        steady = "" if abs(after / before - 1) <= STEADY else ": NOT STEADY, not counted"
        print(
            f"{share}: {len(places)} queries, {before:.2f} answers a second alone before, {after:.2f} after{steady}",
            flush=True,
        )
        before = after


async def _alone(process: Process) -> dict[str, Any]:
    kept: list[dict[str, Any]] = []
    everything = process.asking(range(DIFFERENT), kept)
    first = await closed_loop(everything, 1, FIRST, 0)
    await closed_loop(everything, 1, DIFFERENT - FIRST, FIRST)
    rates: dict[int, list[float]] = {1: [], AT_WORK: []}
    for _ in range(ROUNDS):  # in turn, so that what else happens on the machine falls on both
        for workers in rates:
            rates[workers].append(await process.speed(workers))
    return {"traces": kept, "first": first, "rates": {str(n): values for n, values in rates.items()}}


class Base:
    """What is known before any load."""

    def __init__(self, part: dict[str, Any], network: Network) -> None:
        traces = [{**trace, "scenario": None, "alpha": 0.5} for trace in part["traces"]]
        # Routing between the visits is the process's work as well: every visit gets its share.
        inside = sum(hop["seconds"] for trace in traces for hop in trace["hops"])
        self.outside = sum(trace["whole"] for trace in traces) / inside
        workload = workload_of_traces(traces, network, source="the queries alone")
        self.workload = slower(replace(workload, notes=()), self.outside)
        one, many = (sum(1 / rate for rate in part["rates"][str(n)]) for n in (1, AT_WORK))
        self.times = max(1.0, AT_WORK * many / one)
        self.first = part["first"]
        (host,) = site_of(network).hosts
        curve = Slowdown(((1, 1.0), (AT_WORK, self.times)))
        self.site: Site = replace(site_of(network), hosts=(replace(host, slowdown=curve),))
        self.host = host.name
        self.bears = AT_WORK / self.times / sum(self.workload.work(agent.name) for agent in host.agents)
        """Answers a second with four at work."""

    def trial(self, qps: float, speed: float = 1.0, effort: Effort = EFFORT) -> Measured:
        """Return what a load alone lets expect."""
        load = Load(workload=slower(self.workload, 1 / speed), qps=qps)
        return trial(self.site, {self.host: 1}, load, effort)

    def same(self, due: Sequence[float], places: Sequence[int], speed: float = 1.0) -> Numbers:
        """Return the seconds of these queries, coming at these times."""
        routes = tuple(replace(self.workload.routes[place], time=at) for at, place in zip(due, places, strict=True))
        return replayed(self.site, slower(replace(self.workload, routes=routes), 1 / speed)).end

    def turns(self, due: Sequence[float], visits: Sequence[Sequence[Any]]) -> Numbers:
        """Return the seconds of queries whose every visit took so long, in so many turns: what queueing makes of it."""
        routes = tuple(
            Route(visits=tuple(Visit(agent, step, work, 0.0, turns) for agent, step, work, turns in some), time=at)
            for at, some in zip(due, visits, strict=True)
        )
        hosts = tuple(replace(host, slowdown=TAKING_TURNS, turn=0.0) for host in self.site.hosts)
        return replayed(replace(self.site, hosts=hosts), replace(self.workload, routes=routes)).end

    def typical(self, share: float, seconds: float, seed: int) -> tuple[Numbers, list[int]]:
        """Return gaps, of mean 1, and queries whose p95 is that of a load in the long run."""
        qps = share * self.bears
        count = int(qps * seconds)
        long = self.trial(qps, effort=Effort(20_000, 2)).end
        assert long is not None
        found: list[tuple[float, Numbers, list[int]]] = []
        for draw in range(DRAWS if share < 1 else 1):
            random = np.random.default_rng([seed, draw])
            gaps, places = random.exponential(1.0, count), random.integers(DIFFERENT, size=count).tolist()
            gaps *= count / gaps.sum()
            end = self.same((np.cumsum(gaps) / qps).tolist(), places)
            found.append((abs(np.log(np.nanquantile(end, 0.95) / long.p95)), gaps, places))
        _, gaps, places = min(found, key=lambda one: one[0])
        return gaps, places


def slower(workload: Workload, times: float) -> Workload:
    """Return the workload with every visit so many times as long."""
    routes = (
        replace(route, visits=tuple(replace(v, seconds=v.seconds * times, first=v.first * times) for v in route.visits))
        for route in workload.routes
    )
    return replace(workload, routes=tuple(routes))


def report(file: Path) -> Iterator[str]:
    """Yield the lines of what was predicted and measured."""
    parts = read(file)
    base = Base(parts[0], load_network("lab"))
    alone = base.trial(0.001).end
    assert alone is not None
    yield f"alone: p50 {alone.p50:.3f}, p95 {alone.p95:.3f} s; routing and waking up: {base.outside - 1:.1%} more"
    yield f"four at work: everything takes {base.times:.2f} times as long; {base.bears:.2f} answers a second"
    runs = [part for part in parts[1:] if abs(part["after"] / part["before"] - 1) <= STEADY]
    yield f"{len(parts) - 1 - len(runs)} of {len(parts) - 1} parts are not counted: the machine was not steady"
    yield (
        "load  queries  answers/s            p50     p95 [95 % interval]          p99\n"
        "A: the same arrivals.  B: the same arrivals, with the turns of the run itself.  C: from the load alone."
    )
    for share in sorted({run["load"] for run in runs}):
        yield from _rows(base, [run for run in runs if run["load"] == share])


def _rows(base: Base, runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    seen = [Seen(np.array(run["due"]), np.array(run["took"], dtype=np.float64)) for run in runs]
    speeds = [(run["before"] + run["after"]) / 2 / base.first for run in runs]
    same, turns = (
        [Seen(one.due, end) for one, end in zip(seen, ends, strict=True)]
        for ends in (
            [base.same(run["due"], run["places"], speed) for run, speed in zip(runs, speeds, strict=True)],
            [base.turns(run["due"], run["visits"]) for run in runs],
        )
    )
    qps = float(np.mean([run["qps"] for run in runs]))
    load = base.trial(qps, float(np.mean(speeds)))
    assert load.end is not None
    real, rate = _of(seen)
    low, high = _interval(seen)
    yield (
        f"{runs[0]['load']:4.2f} {sum(len(one.due) for one in seen):8} {rate:8.2f}     measured {real[0]:7.3f} "
        f"{real[1]:7.3f} [{low:.3f}, {high:.3f}] {real[2]:7.3f}"
    )
    said = {"A": _of(same), "B": _of(turns), "C": ([load.end.p50, load.end.p95, load.end.p99], load.answered)}
    for name, (cuts, answered) in said.items():
        errors = "   ".join(f"{cut:7.3f} {cut / at - 1:+5.0%}" for cut, at in zip(cuts, real, strict=True))
        yield f"            {name} {answered:8.2f} {answered / rate - 1:+5.0%}        {errors}"


def _of(runs: Sequence[Seen]) -> tuple[list[float], float]:
    """Return the quantiles of runs, and answers a second while queries came."""
    seconds = np.concatenate([run.seconds for run in runs])
    return np.quantile(seconds, CUTS).tolist(), float(np.mean([run.rate for run in runs]))


def _interval(runs: Sequence[Seen]) -> tuple[float, float]:
    """Return the 95 % interval of the measured p95: blocks of neighbours, drawn again a thousand times."""
    random = np.random.default_rng(0)
    blocks = [run.took[at : at + BLOCK] for run in runs for at in range(0, len(run.took), BLOCK)]
    drawn = [
        np.nanquantile(np.concatenate([blocks[n] for n in random.integers(len(blocks), size=len(blocks))]), 0.95)
        for _ in range(1000)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def read(file: Path) -> list[dict[str, Any]]:
    """Return the parts so far, the one without load first."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def append(file: Path, part: dict[str, Any]) -> None:
    """Keep one more part."""
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(part) + "\n")


def check_local(file: Path, loads: Sequence[float], seconds: float) -> None:
    """Measure one part, or with no loads report all."""
    if loads or not file.is_file():
        asyncio.run(measure(file, loads, seconds))
    else:
        for line in report(file):
            print(line)
