"""Does `disrouter plan` predict what happens? Predicted and measured seconds and throughput, at rising loads.

    python benchmarks/plan_check.py gateway    a gateway before models that sleep for known times, about seven minutes
    python benchmarks/plan_check.py local      the lab's models in this process, about eight minutes on a quiet machine

First the network is measured while nobody waits. From those traces alone the plan predicts what rising loads will do
(*predicted*). Then queries come at Poisson times that do not wait for answers, and are measured. *Same arrivals* is a
second prediction: the very queries of the measured run, at the times they came, so that both have the same luck.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import aiohttp
import numpy as np
from processes import HERE, free_port, started

from disrouter.config import load as load_network
from disrouter.evaluation.suites import suite_of
from disrouter.evaluation.traces import trace_to_json
from disrouter.gateway.service import Service
from disrouter.network import Network
from disrouter.planning import Effort, Load, Site, Slowdown, Workload, open_source, site_of, trial
from disrouter.planning.exports import workload_of_traces
from disrouter.planning.measures import Measured, measured
from disrouter.planning.simulation import simulate
from disrouter.types import Query

LOADS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.2)
MODELS = {"small": (0.015, 0.06, 0.6), "medium": (0.015, 0.1, 0.5), "large": (0.0, 0.15, 0.0)}
PLACES = {"small": 4, "medium": 4, "large": 5}
QUEUE = 32
DIFFERENT = 200
"""Queries of the lab; each is measured alone once."""

WORKERS, ROUNDS = (1, 2, 4, 8, 16), 2
EFFORT = Effort(20_000, 5)

Ask = Callable[[int], Awaitable[bool]]
"""Sends a query of this number; whether it was answered."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of an open-loop load: seconds of the answered queries, and how many came."""

    seconds: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    offered: int
    lasted: float

    @property
    def rate(self) -> float:
        """Answers a second while queries came."""
        return len(self.seconds) / self.lasted


async def open_loop(ask: Ask, qps: float, seconds: float, first: int, seed: int) -> Seen:
    """Send queries at Poisson times, whatever becomes of them; time runs from when a query should have been sent."""
    gaps = np.random.default_rng(seed).exponential(1 / qps, int(qps * seconds))
    took: list[float] = []

    async def one(number: int, due: float) -> None:
        if await ask(number):
            took.append(time.perf_counter() - due)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, at in enumerate(np.cumsum(gaps).tolist()):
            due = began + at
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            group.create_task(one(first + number, due))
    return Seen(np.array(took), len(gaps), float(gaps.sum()))


async def closed_loop(ask: Ask, workers: int, queries: int, first: int) -> float:
    """Send queries over so many workers, each after the answer to its last one; return answers a second."""
    numbers = iter(range(first, first + queries))

    async def work() -> None:
        for number in numbers:
            await ask(number)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())
    return queries / (time.perf_counter() - began)


def replayed(site: Site, workload: Workload) -> Measured:
    """Return the prediction for queries that came when the traces say, in their order."""
    times = np.array([route.time for route in workload.routes], dtype=np.float64)
    gaps = np.diff(times, prepend=times[0])
    ones = {host.name: 1 for host in site.hosts}
    passed = simulate(site, ones, workload, gaps, np.random.default_rng(0), in_order=True)
    return measured(site, ones, [(passed, slice(0, len(gaps)))])


def line(share: float, qps: float, seen: Seen, predicted: Measured, same: Measured | None) -> str:
    """Return one row of the result."""
    p50, p95 = np.quantile(seen.seconds, (0.5, 0.95))
    assert predicted.end is not None and predicted.end.p95_interval is not None
    low, high = predicted.end.p95_interval
    error = predicted.end.p95 / p95 - 1
    again = "" if same is None or same.end is None else f"{same.end.p95:7.3f} ({same.end.p95 / p95 - 1:+4.0%})"
    answered = predicted.answered / predicted.offered * seen.offered / seen.lasted
    return (
        f"{share:4.1f} {qps:7.1f} {p50:7.3f} {p95:7.3f}   {predicted.end.p50:7.3f} {predicted.end.p95:7.3f} "
        f"[{low:.3f}, {high:.3f}] ({error:+4.0%})  {again:15}   {seen.rate:6.1f} {answered:6.1f} "
        f"({answered / seen.rate - 1:+4.0%})   {1 - len(seen.seconds) / seen.offered:6.2%} {predicted.unanswered:6.2%}"
    )


HEAD = (
    "load     qps     p50     p95       p50     p95 predicted              same arrivals   answers/s, predicted"
    "   unanswered, predicted"
)


def most(site: Site, workload: Workload) -> float:
    """Return the queries a second at which the busiest host has no time left."""
    rates = []
    for host in site.hosts:
        work = sum(workload.work(agent.name) for agent in host.agents)
        rates.append(host.rate / work if work else np.inf)
    return float(min(rates))


def network_text(backend: str) -> str:
    """Return the network file of the models that sleep."""
    lines = ["name: timed", "policy: {name: threshold, threshold: 0.5}", "agents:"]
    for cost, (name, places) in zip((0.1, 0.4, 0.9), PLACES.items(), strict=True):
        judges = 'self_assessment: token, rejection: "<|reject|>", ' if name != "large" else ""
        lines.append(
            f"  - {{name: {name}, backend: openai, model: {name}, base_url: {backend}/v1, {judges}"
            f"concurrency: {places}, queue: {QUEUE}, price: {{cost: {cost}}}}}"
        )
    return "\n".join(lines) + "\n"


async def check_gateway(seconds: float, folder: Path) -> None:
    """Measure a gateway whose models sleep."""
    port, at = free_port(), free_port()
    arguments = [f"{name}={look},{answer},{rejects}" for name, (look, answer, rejects) in MODELS.items()]
    command = [sys.executable, str(HERE / "timed_backend.py"), str(port), *arguments]
    health = f"http://127.0.0.1:{port}/v1/models"
    with started(command, port, health, name="backend", folder=folder) as backend:
        file = folder / "timed.yaml"
        file.write_text(network_text(backend.url))
        stores = [str(folder / f"store{n}.db") for n in range(len(LOADS) + 1)]

        async def run(store: str, load: Callable[[Ask], Awaitable[object]]) -> object:
            serve = [sys.executable, "-m", "disrouter", "serve", "--network", str(file), "--port", str(at)]
            url = f"http://127.0.0.1:{at}"
            with started([*serve, "--store", store], at, f"{url}/health", name="gateway", folder=folder):
                connector = aiohttp.TCPConnector(limit=0)
                async with aiohttp.ClientSession(connector=connector) as session:

                    async def ask(number: int) -> bool:
                        body = {"model": "disrouter", "messages": [{"role": "user", "content": f"Query {number}"}]}
                        async with session.post(f"{url}/v1/chat/completions", json=body) as reply:
                            await reply.read()
                            return reply.status == 200

                    return await load(ask)

        await run(stores[0], partial(closed_loop, workers=3, queries=1_500, first=0))
        network = load_network(file)
        quiet, site = open_source(stores[0]).workload(network), site_of(network)
        report("gateway", quiet, site)
        for place, share in enumerate(LOADS, start=1):
            qps = share * most(site, quiet)
            loaded = partial(open_loop, qps=qps, seconds=seconds, first=100_000 * place, seed=place)
            seen = await run(stores[place], loaded)
            assert isinstance(seen, Seen)
            ones = {host.name: 1 for host in site.hosts}
            predicted = trial(site, ones, Load(workload=quiet, qps=qps), EFFORT)
            # Where queries are turned away, the routes of the run are no longer those that would have been.
            same = replayed(site, open_source(stores[place]).workload(network)) if share < 1 else None
            print(line(share, qps, seen, predicted, same), flush=True)


async def check_local(seconds: float, folder: Path) -> None:
    """Measure the lab's models in this process, behind the guards that a gateway gives them."""
    network = load_network("lab")
    service = Service(network)
    await service.warm()
    queries = suite_of("lab").queries("in", 7, DIFFERENT)
    order = np.random.default_rng(1).integers(DIFFERENT, size=100_000)

    def asking(kept: list[tuple[float, int, dict[str, object]]], *, shuffled: bool) -> Ask:
        async def ask(number: int) -> bool:
            place, came = int(order[number]) if shuffled else number % DIFFERENT, time.time()
            query = queries[place]
            trace = await service.network.route(Query(id=f"{query.id}-{number}", messages=query.messages))
            kept.append((came, place, trace_to_json(trace, timings=True)))
            return trace.answer is not None

        return ask

    quiet_traces: list[tuple[float, int, dict[str, object]]] = []
    aside = asking([], shuffled=False)
    await closed_loop(aside, 1, 60, 0)
    # Rounds of all numbers of workers, so that what else happens on the machine falls on all of them.
    took = dict.fromkeys(WORKERS, 0.0)
    for part in range(ROUNDS):
        for workers in WORKERS:
            ask = asking(quiet_traces, shuffled=False) if workers == 1 else aside
            took[workers] += 1 / await closed_loop(ask, workers, DIFFERENT // ROUNDS, part * (DIFFERENT // ROUNDS))
    rates = {workers: ROUNDS / seconds for workers, seconds in took.items()}
    curve = [(1, 1.0)]
    for workers in WORKERS[1:]:
        curve.append((workers, max(curve[-1][1], workers * rates[1] / rates[workers])))
    quiet = _workload(quiet_traces, network)
    names = tuple(network.order)
    host = "+".join(names)
    site = site_of(network, together=[names], slowdowns={host: Slowdown(tuple(curve))})
    print("closed loop, answers a second by workers:", {n: round(rate, 1) for n, rate in rates.items()})
    report("local", quiet, site)
    routes = dict(zip((place for _, place, _ in quiet_traces), quiet.routes, strict=True))
    for number, share in enumerate((load for load in LOADS if load < 1), start=1):
        before = await closed_loop(aside, 1, 40, 0)
        qps = share * most(site, quiet) * before / _first(quiet_traces)
        traces: list[tuple[float, int, dict[str, object]]] = []
        seen = await open_loop(asking(traces, shuffled=True), qps, seconds, 1_000 * number, number)
        after = await closed_loop(aside, 1, 40, 0)
        # How fast this machine was just then, against when it was quiet: others work on it too.
        speed = (before + after) / 2 / _first(quiet_traces)
        slower = _slower(quiet, 1 / speed)
        predicted = trial(site, {host: 1}, Load(workload=slower, qps=qps), EFFORT)
        came = [replace(routes[place], time=at) for at, place, _ in sorted(traces, key=lambda kept: kept[0])]
        same = replayed(site, _slower(replace(quiet, routes=tuple(came)), 1 / speed))
        print(line(share, qps, seen, predicted, same), f"  machine at {speed:.2f}", flush=True)


def _first(traces: Sequence[tuple[float, int, dict[str, object]]]) -> float:
    """Return the answers a second that the first queries alone gave while it was quiet."""
    began, ended = traces[0][0], traces[40][0]
    return 40 / (ended - began)


def _slower(workload: Workload, times: float) -> Workload:
    """Return the workload with every visit so many times as long."""
    routes = (
        replace(route, visits=tuple(replace(v, seconds=v.seconds * times, first=v.first * times) for v in route.visits))
        for route in workload.routes
    )
    return replace(workload, routes=tuple(routes))


def _workload(traces: Sequence[tuple[float, int, dict[str, object]]], network: Network) -> Workload:
    found = workload_of_traces(
        [{**trace, "time": came, "scenario": None, "alpha": 0.5} for came, _, trace in traces],
        network,
        source="the run",
    )
    return replace(found, notes=())


def report(what: str, workload: Workload, site: Site) -> None:
    """Say what was measured while nobody waited."""
    for host in site.hosts:
        for agent in host.agents:
            look, answer = (workload.mean_seconds(agent.name, step) or 0.0 for step in ("look", "answer"))
            looks, answers = workload.share(agent.name, "look"), workload.share(agent.name, "answer")
            times = f"looks {looks:.0%} ({1000 * look:.1f} ms), answers {answers:.0%} ({1000 * answer:.1f} ms)"
            print(f"  {agent.name}: {times}")
        print(f"  {host.name}: slowdown {host.slowdown}")
    print(f"{what}: at most {most(site, workload):.1f} queries a second; seconds below")
    print(HEAD, flush=True)


def main() -> None:
    """Read the arguments and run one check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["gateway", "local"])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load")
    arguments = parser.parse_args()
    check = check_gateway if arguments.what == "gateway" else check_local
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check(arguments.seconds, Path(folder)))


if __name__ == "__main__":
    main()
