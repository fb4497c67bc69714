"""Trials: a plan simulated under a load, without its beginning and end, as often as asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from disrouter.errors import DataError, UsageError
from disrouter.planning.measures import Measured, measured
from disrouter.planning.simulation import Arrivals, Passed, simulate
from disrouter.planning.site import Replicas, Site
from disrouter.planning.workload import Workload
from disrouter.seeds import seed_of

__all__ = ["FINAL", "QUICK", "Effort", "Load", "Report", "alone", "settles", "trial"]

MOST = 60_000
"""Queries of one simulation, those that are not counted included."""

Report = Callable[[str, int], None]
"""Told of what is being done, and of every query simulated."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is simulated."""

    queries: int
    """Counted in each repetition."""

    repetitions: int


QUICK, FINAL = Effort(8_000, 1), Effort(8_000, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What comes: which queries, how many a second, in which rhythm.

    Raises:
        UsageError: The rate is not above 0.
        DataError: The rhythm shall be that of traces which do not say when queries came.
    """

    workload: Workload
    qps: float
    arrivals: Literal["poisson", "traces"] = "poisson"
    """Independent of each other, or at the times of the traces, brought to the rate: bursts stay bursts."""

    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.qps < 1e6:
            raise UsageError(f"{self.qps:g} queries a second are not usable: give a rate above 0 and below a million.")
        if self.arrivals == "traces" and not self.workload.timed:
            raise DataError(
                f"It is not known when the queries of {self.workload.source} came.",
                hint="use --arrivals poisson, or the traces of a gateway (`disrouter traces --export`)",
            )

    def gaps(self, count: int, random: np.random.Generator, offset: int) -> Arrivals:
        """Return the seconds before each of so many queries."""
        if self.arrivals == "poisson":
            return random.exponential(1 / self.qps, count)
        times = np.array([route.time for route in self.workload.routes], dtype=np.float64)
        between = np.diff(times)
        mean = float(between.mean())
        if mean <= 0:
            raise DataError(
                f"All queries of {self.workload.source} came at the same moment.", hint="--arrivals poisson"
            )
        ring = np.concatenate([[mean], between]) / (mean * self.qps)
        return np.asarray(ring[(np.arange(count) + offset) % len(ring)])


def alone(load: Load, share: float = 0.95) -> float:
    """Return the seconds within which a share of the queries would be answered if nobody ever waited."""
    random = np.random.default_rng(seed_of(load.seed, "alone"))
    given = load.workload.given
    seconds = np.zeros(len(load.workload.routes))
    for n, route in enumerate(load.workload.routes):
        seconds[n] = sum(visit.seconds for visit in route.visits)
    if any(value.variation for value in given.values()):
        picks = random.integers(len(seconds), size=20_000)
        routes = load.workload.routes
        seconds = np.array(
            [sum(_drawn(v.seconds, given.get(v.agent), random) for v in routes[n].visits) for n in picks]
        )
    return float(np.quantile(seconds, share))


def trial(site: Site, replicas: Replicas, load: Load, effort: Effort, report: Report | None = None) -> Measured:
    """Return what a plan does under a load.

    The first queries of each repetition meet an empty network and are not counted; the last ones are not either, as
    nobody follows them.
    """
    warm, tail = _warm(load, effort), _tail(load, effort)
    warm = min(warm, MOST - effort.queries - tail)
    runs: list[tuple[Passed, slice]] = []
    for repetition in range(effort.repetitions):
        random = np.random.default_rng(seed_of(load.seed, "plan", str(repetition)))
        coming = np.random.default_rng(seed_of(load.seed, "arrivals", str(repetition)))
        in_order = load.arrivals == "traces"
        offset = int(coming.integers(len(load.workload.routes))) if in_order else 0
        gaps = load.gaps(warm + effort.queries + tail, coming, offset)
        passed = simulate(site, replicas, load.workload, gaps, random, in_order=in_order, offset=offset)
        runs.append((passed, slice(warm, warm + effort.queries)))
        if report is not None:
            report("", len(gaps))
    return measured(site, replicas, runs)


def settles(load: Load, effort: Effort) -> bool:
    """Return whether a simulation is long enough to fill an empty network before it counts."""
    return _warm(load, effort) <= MOST - effort.queries - _tail(load, effort)


def _warm(load: Load, effort: Effort) -> int:
    return max(effort.queries // 10, math.ceil(2 * load.qps * alone(load)))


def _tail(load: Load, effort: Effort) -> int:
    return min(effort.queries // 2, math.ceil(load.qps * alone(load) / 2))


def _drawn(mean: float, given: object, random: np.random.Generator) -> float:
    variation = getattr(given, "variation", None)
    if not variation or mean <= 0:
        return mean
    return float(random.gamma(1 / variation**2, mean * variation**2))
