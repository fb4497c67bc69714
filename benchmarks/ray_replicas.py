"""What copies of an agent on a Ray cluster bring, and how their number follows the load.

    python benchmarks/ray_replicas.py                     three to five minutes
    python benchmarks/ray_replicas.py -o docs/images      with the figure

Needs the extra `ray`. The agent sleeps for a fixed time per answer, so copies share no core as long as the messages do
not fill them: throughput should grow with the copies. All processes run on this machine, ours included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fixed_time import FixedTime

from disrouter.agents import ScriptedAgent
from disrouter.engines import Placement, engine_of
from disrouter.network import Network
from disrouter.types import Query

SECONDS = 0.25
"""Service time of an answer."""

COPIES = (1, 2, 4, 8)
QUERY = Query.from_text("what is it?")


async def answers_in(network: Network, at_once: int, seconds: float) -> float:
    """Return answers per second of a closed loop, once everybody is at work."""
    until = time.perf_counter() + seconds
    done = 0

    async def loop() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await network.route(QUERY)
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(loop() for _ in range(at_once)))
    return done / (time.perf_counter() - started)


async def follow(network: Network, app: Callable[[], int], busy: float, idle: float) -> list[tuple[float, int, int]]:
    """Return seconds, queries under way and running copies while a load comes and goes."""
    seen: list[tuple[float, int, int]] = []
    started = time.perf_counter()
    under_way = 0
    working = True

    async def loop() -> None:
        nonlocal under_way
        while working:
            under_way += 1
            await network.route(QUERY)
            under_way -= 1

    async def watch() -> None:
        nonlocal working
        while (now := time.perf_counter() - started) < busy + idle:
            working = now < busy
            copies = await asyncio.to_thread(app)
            seen.append((round(now, 1), under_way, copies))
            if not working and copies == 1:
                return
            await asyncio.sleep(0.5)

    await asyncio.gather(watch(), *(loop() for _ in range(12)))
    return seen


def copies_of(network: Network) -> int:
    """Return how many copies of the first agent run."""
    from ray import serve

    app: Any = serve.status().applications[network.agents["fixed"].app]  # type: ignore[attr-defined]
    return int(app.deployments["agent"].replica_states.get("RUNNING", 0))


def run(seconds: float, busy: float) -> dict[str, Any]:
    """Return everything measured."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    idle = Network("idle", [ScriptedAgent("idle")])
    state: dict[str, Any] = {"read": lambda: (idle, {})}
    engine = engine_of("ray")
    assert engine is not None
    found: dict[str, Any] = {"replicas": []}
    with engine.hosting(lambda: state["read"]()) as hosted, asyncio.Runner() as runner:

        def host(agents: list[Any], placement: Placement) -> Network:
            network = Network("measured", agents)
            state["read"] = lambda: (network, {agent.card.name: placement for agent in agents})
            return hosted()

        def ask(network: Network, work: Awaitable[Any]) -> Any:
            async def whole() -> Any:
                value = await work
                for agent in network.agents.values():
                    await agent.aclose()  # type: ignore[attr-defined]
                return value

            return runner.run(whole())

        for copies in COPIES:
            network = host([FixedTime("fixed", SECONDS)], Placement(replicas=copies, cpus=0.1, max_ongoing=3))
            rate = ask(network, answers_in(network, 3 * copies, seconds))
            row = {"replicas": copies, "answers per second": rate, "ideal": copies / SECONDS}
            found["replicas"].append(row)
            print(row, file=sys.stderr)

        network = host([FixedTime("fixed", SECONDS)], Placement(replicas=1, most=4, cpus=0.1, max_ongoing=4))
        found["autoscaling"] = ask(network, follow(network, lambda: copies_of(network), busy, 90.0))
    return found


def table(found: dict[str, Any]) -> str:
    """Return the measurements as Markdown."""
    first = found["replicas"][0]["answers per second"]
    lines = ["| replicas | answers per second | of linear |", "|---|---|---|"]
    for row in found["replicas"]:
        share = row["answers per second"] / (first * row["replicas"])
        lines.append(f"| {row['replicas']} | {row['answers per second']:.1f} | {100 * share:.0f} % |")
    return "\n".join(lines)


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw throughput against replicas, and replicas following the load."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    copies = [row["replicas"] for row in found["replicas"]]
    left.plot(copies, [row["ideal"] for row in found["replicas"]], "--", color="0.6", label="linear")
    left.plot(copies, [row["answers per second"] for row in found["replicas"]], "o-", color="teal", label="measured")
    left.set(xlabel="replicas", ylabel="answers per second", xticks=copies)
    left.legend(frameon=False)
    times, load, running = zip(*found["autoscaling"], strict=True)
    right.step(times, load, where="post", color="0.6", label="queries under way")
    right.step(times, running, where="post", color="darkorange", label="replicas")
    right.set(xlabel="seconds", ylim=(0, None))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Measure, print, and draw where asked to."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=8.0, help="of load per number of replicas")
    options.add_argument("--busy", type=float, default=25.0, help="seconds of load while the number follows it")
    options.add_argument("-o", "--output", type=Path, help="folder of the figure ray-replicas.svg")
    given = options.parse_args()
    found = run(given.seconds, given.busy)
    print(json.dumps(found))
    print(table(found))
    if given.output is not None:
        draw(found, given.output / "ray-replicas.svg")


if __name__ == "__main__":
    main()
