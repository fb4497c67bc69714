"""Loads: queries that come at Poisson times or over so many workers, and what a plan says of the very same queries."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.planning import Effort, Site, Workload
from disrouter.planning.simulation import Passed, simulate

__all__ = [
    "EFFORT",
    "Ask",
    "Numbers",
    "Seen",
    "append",
    "closed_loop",
    "open_loop",
    "poisson",
    "read",
    "replayed",
]

EFFORT = Effort(20_000, 5)

Ask = Callable[[int], Awaitable[bool]]
"""Sends a query of this number; whether it was answered."""


Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of an open-loop load, in order of arrival."""

    due: Numbers
    """When queries came, in seconds from the beginning."""

    took: Numbers
    """Seconds until the answer; NaN where there was none."""

    @property
    def seconds(self) -> Numbers:
        """Seconds of the answered queries."""
        return self.took[np.isfinite(self.took)]

    @property
    def unanswered(self) -> float:
        """Share of the queries that nobody answered."""
        return 1 - len(self.seconds) / len(self.took)

    @property
    def rate(self) -> float:
        """Answers a second while queries came."""
        return float((self.due + self.took <= self.due[-1]).sum() / self.due[-1])


def poisson(qps: float, seconds: float, seed: int) -> Numbers:
    """Return gaps between queries that come independently of each other."""
    return np.random.default_rng(seed).exponential(1 / qps, int(qps * seconds))


async def open_loop(ask: Ask, gaps: Numbers, first: int = 0) -> Seen:
    """Send queries after these gaps, whatever becomes of them; time runs from when a query should have been sent."""
    due, took = np.cumsum(gaps), np.full(len(gaps), np.nan)

    async def one(number: int, at: float) -> None:
        if await ask(first + number):
            took[number] = time.perf_counter() - at

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, at in enumerate((began + due).tolist()):
            if (left := at - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            group.create_task(one(number, at))
    return Seen(due, took)


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


def replayed(site: Site, workload: Workload) -> Passed:
    """Return what is predicted of queries that came when the traces say, in their order."""
    times = np.array([route.time for route in workload.routes], dtype=np.float64)
    gaps = np.diff(times, prepend=times[0])
    ones = {host.name: 1 for host in site.hosts}
    return simulate(site, ones, workload, gaps, np.random.default_rng(0), in_order=True)


def read(file: Path) -> list[dict[str, Any]]:
    """Return the parts so far, the one without load first."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def append(file: Path, part: dict[str, Any]) -> None:
    """Keep one more part."""
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(part) + "\n")
