"""Models in one process: all on one thread, ten milliseconds each, or any free thread for each token?

    python benchmarks/local_turns.py        about two minutes

The lab's network answers the same queries both ways in turn, with so many at work at a time. Rates are comparable
within one run only. The traces must be equal.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from statistics import median
from typing import Any, TypeVar

from plan_loads import closed_loop

from disrouter.agents import transformers
from disrouter.agents.turns import TURN_SECONDS, take_turn, take_turns
from disrouter.config import load as load_network
from disrouter.evaluation.suites import suite_of
from disrouter.evaluation.traces import trace_line
from disrouter.gateway.service import Service

T = TypeVar("T")
WORKERS = (1, 2, 4, 16)


async def any_thread(device: str, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Return what a function returns, on any free thread."""
    return await asyncio.to_thread(function, *args, **kwargs)


async def any_threads(device: str, function: Callable[[], tuple[T, bool]]) -> AsyncGenerator[T, None]:
    """Yield what a function returns, each time on any free thread."""
    last = False
    while not last:
        value, last = await asyncio.to_thread(function)
        yield value


WAYS: dict[str, Any] = {
    "a thread for each token": (any_thread, any_threads, 0.0),
    "turns on one thread": (take_turn, take_turns, TURN_SECONDS),
}


async def compare(queries: int, rounds: int) -> None:
    """Print answers a second and processor time both ways."""
    service = Service(load_network("lab"))
    await service.warm()
    asked = suite_of("lab").queries("in", 7, queries)
    rates: dict[tuple[str, int], list[float]] = {(way, workers): [] for workers in WORKERS for way in WAYS}
    spent: dict[tuple[str, int], list[float]] = {key: [] for key in rates}
    lines: dict[tuple[str, int], set[str]] = {(way, n): set() for way in WAYS for n in range(queries)}
    for _ in range(rounds):
        for workers in WORKERS:
            for way, ways in WAYS.items():
                transformers.take_turn, transformers.take_turns, transformers.TURN_SECONDS = ways  # type: ignore

                async def ask(number: int, way: str = way) -> bool:
                    trace = await service.network.route(asked[number])
                    lines[way, number].add(trace_line(trace))
                    return True

                began = time.process_time()
                rates[way, workers].append(await closed_loop(ask, workers, queries, 0))
                spent[way, workers].append((time.process_time() - began) / queries)
    one, other = WAYS
    print("at work | answers/s: " + ", ".join(WAYS) + "           | processor time of an answer (ms)")
    for workers in WORKERS:
        before, after = (median(rates[way, workers]) for way in WAYS)
        costs = [1000 * median(spent[way, workers]) for way in WAYS]
        print(f"{workers:7} | {before:6.2f} {after:6.2f}  x {after / before:.2f} | {costs[0]:5.0f} {costs[1]:5.0f}")
    same = sum(lines[one, n] == lines[other, n] and len(lines[one, n]) == 1 for n in range(queries))
    print(f"{same} of {queries} traces are equal")


def main() -> None:
    """Read the arguments and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(compare(arguments.queries, arguments.rounds))


if __name__ == "__main__":
    main()
