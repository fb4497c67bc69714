"""Does `disrouter plan` predict what happens? Predicted and measured seconds and throughput, at rising loads.

    python benchmarks/plan_check.py gateway                     a gateway before models that sleep, about seven minutes
    python benchmarks/plan_check.py local --json FILE           the lab's models in this process: measures them alone
    python benchmarks/plan_check.py local --json FILE --loads 0.9    one load more, a minute each time
    python benchmarks/plan_check.py local --json FILE           what was predicted and measured so far

First the network is measured while nobody waits. From those traces alone the plan predicts what rising loads will do
(*from the load*). Then queries come at Poisson times that do not wait for answers, and are measured. *Same arrivals* is
a second prediction: the very queries of the measured run, at the times they came, so that both have the same luck.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import aiohttp
import numpy as np
from plan_loads import EFFORT, Ask, Numbers, Seen, closed_loop, open_loop, poisson, replayed
from processes import HERE, free_port, started

from disrouter.config import load as load_network
from disrouter.planning import Load, Site, Workload, open_source, site_of, trial
from disrouter.planning.measures import Measured

LOADS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.2)
MODELS = {"small": (0.015, 0.06, 0.6), "medium": (0.015, 0.1, 0.5), "large": (0.0, 0.15, 0.0)}
PLACES = {"small": 4, "medium": 4, "large": 5}
QUEUE = 32
DIFFERENT = 200
"""Queries of the lab; each is measured alone once."""

WORKERS, ROUNDS = (1, 2, 4, 8, 16), 2


def line(share: float, qps: float, seen: Seen, predicted: Measured, same: Numbers | None) -> str:
    """Return one row of the result."""
    p50, p95 = np.quantile(seen.seconds, (0.5, 0.95))
    assert predicted.end is not None and predicted.end.p95_interval is not None
    low, high = predicted.end.p95_interval
    error = predicted.end.p95 / p95 - 1
    again = "" if same is None else np.nanquantile(same, 0.95)
    if same is not None:
        again = f"{again:7.3f} ({again / p95 - 1:+4.0%})"
    offered = len(seen.due) / seen.due[-1]
    answered = predicted.answered / predicted.offered * offered
    real = len(seen.seconds) / seen.due[-1]
    return (
        f"{share:4.1f} {qps:7.1f} {p50:7.3f} {p95:7.3f}   {predicted.end.p50:7.3f} {predicted.end.p95:7.3f} "
        f"[{low:.3f}, {high:.3f}] ({error:+4.0%})  {again:15}   {real:6.1f} {answered:6.1f} "
        f"({answered / real - 1:+4.0%})   {seen.unanswered:6.2%} {predicted.unanswered:6.2%}"
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


async def check_gateway(loads: Sequence[float], seconds: float, folder: Path) -> None:
    """Measure a gateway whose models sleep."""
    port, at = free_port(), free_port()
    arguments = [f"{name}={look},{answer},{rejects}" for name, (look, answer, rejects) in MODELS.items()]
    command = [sys.executable, str(HERE / "timed_backend.py"), str(port), *arguments]
    health = f"http://127.0.0.1:{port}/v1/models"
    with started(command, port, health, name="backend", folder=folder) as backend:
        file = folder / "timed.yaml"
        file.write_text(network_text(backend.url))
        stores = [str(folder / f"store{n}.db") for n in range(len(loads) + 1)]

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
        for place, share in enumerate(loads, start=1):
            qps = share * most(site, quiet)
            loaded = partial(open_loop, gaps=poisson(qps, seconds, place), first=100_000 * place)
            seen = await run(stores[place], loaded)
            assert isinstance(seen, Seen)
            ones = {host.name: 1 for host in site.hosts}
            predicted = trial(site, ones, Load(workload=quiet, qps=qps), EFFORT)
            # Where queries are turned away, the routes of the run are no longer those that would have been.
            same = replayed(site, open_source(stores[place]).workload(network)).end if share < 1 else None
            print(line(share, qps, seen, predicted, same), flush=True)


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
    parser.add_argument("--seconds", type=float, default=45.0, help="of each load")
    parser.add_argument("--loads", type=lambda text: [float(part) for part in text.split(",")], default=[])
    parser.add_argument("--json", type=Path, help="local: where parts are kept; without --loads they are reported")
    arguments = parser.parse_args()
    if arguments.what == "local":
        from plan_local import check_local

        check_local(arguments.json or parser.error("local needs --json"), arguments.loads, arguments.seconds)
        return
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check_gateway(arguments.loads or LOADS, arguments.seconds, Path(folder)))


if __name__ == "__main__":
    main()
