"""Measures: what simulated queries say about a plan, over several independent repetitions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disrouter.planning.simulation import Passed
from disrouter.planning.site import GATEWAY, Replicas, Site

__all__ = ["Interval", "Measured", "Quantiles", "measured"]

Interval = tuple[float, float]
"""Ends of a 95 % interval."""

STUDENT = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Two-sided 97.5 % points of Student's t with 1 to 9 degrees of freedom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Seconds within which shares of the answered queries were done."""

    p50: float
    p95: float
    p99: float
    p95_interval: Interval | None
    """From repetition to repetition; None where there is only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One plan, simulated."""

    queries: int
    """Queries that were counted, over all repetitions."""

    offered: float
    """Queries a second that came."""

    answered: float
    """Queries a second that were answered."""

    in_flight: float
    """Queries that are on their way at a time."""

    end: Quantiles | None
    """Until the whole answer; None if nothing was answered."""

    first: Quantiles | None
    """Until the first word."""

    unanswered: float
    """Share of queries that nobody answered, for whatever reason."""

    refused: float
    """Share of queries that an agent turned away at a full queue, whoever answered in the end."""

    refusals: Mapping[str, float]
    """The same by host."""

    broken: float
    """Share of queries on which a replica broke."""

    late: float
    """Share of queries given up at the deadline."""

    utilisation: Mapping[str, float]
    """Share of what a host can do that is asked of it, by host; at most 1."""

    delay: Mapping[str, float]
    """Mean seconds of waiting and slowing down that a host adds to the slowest tenth of the queries."""


def measured(site: Site, replicas: Replicas, runs: Sequence[tuple[Passed, slice]]) -> Measured:
    """Return what runs say in the parts of them that count."""
    end = [passed.end[part] for passed, part in runs]
    first = [passed.first[part] for passed, part in runs]
    count = sum(map(len, end))
    lasted = sum(float(p.arrived[part][-1] - p.arrived[part][0]) for p, part in runs)
    # n queries are n - 1 gaps apart.
    rate = (count - len(runs)) / lasted if lasted > 0 else 0.0
    answered = sum(int(np.isfinite(values).sum()) for values in end)

    def share(name: str) -> float:
        return sum(int(getattr(p, name)[part].sum()) for p, part in runs) / count

    work = sum((p.work[part].sum(axis=0) for p, part in runs), np.zeros(runs[0][0].work.shape[1]))
    delay = _delay(runs)
    columns = _columns(site)
    by = np.concatenate([p.refused[part] for p, part in runs])
    refusals = {host.name: float(np.isin(by, columns[host.name]).mean()) for host in site.hosts if host.name != GATEWAY}
    return Measured(
        queries=count,
        offered=rate,
        answered=rate * answered / count,
        in_flight=rate / count * sum(float(np.nansum(values)) for values in end),
        end=_quantiles(end),
        first=_quantiles(first),
        unanswered=1 - answered / count,
        refused=sum(refusals.values()),
        refusals=refusals,
        broken=share("broken"),
        late=share("late"),
        utilisation={
            host.name: min(
                1.0, float(work[columns[host.name]].sum()) / count * rate / (max(1, replicas[host.name]) * host.rate)
            )
            for host in site.hosts
        },
        delay={host.name: float(delay[columns[host.name]].sum()) for host in site.hosts},
    )


def _columns(site: Site) -> dict[str, list[int]]:
    """Return where the agents of each host stand; the gateway has the last place."""
    names = list(site.agents)
    return {
        host.name: [-1] if host.name == GATEWAY else [names.index(agent.name) for agent in host.agents]
        for host in site.hosts
    }


def _delay(runs: Sequence[tuple[Passed, slice]]) -> NDArray[np.float64]:
    """Return the mean delays of the slowest tenth; queries without an answer are the slowest of all."""
    end = np.concatenate([np.nan_to_num(p.end[part], nan=math.inf) for p, part in runs])
    delay = np.concatenate([p.delay[part] for p, part in runs])
    slowest = np.argsort(end, kind="stable")[-max(1, len(end) // 10) :]
    return np.asarray(delay[slowest].mean(axis=0))


def _quantiles(values: Sequence[NDArray[np.float64]]) -> Quantiles | None:
    answered = [one[np.isfinite(one)] for one in values]
    together = np.concatenate(answered)
    if not len(together):
        return None
    p50, p95, p99 = (float(x) for x in np.quantile(together, (0.5, 0.95, 0.99)))
    each = [float(np.quantile(one, 0.95)) for one in answered if len(one)]
    return Quantiles(p50=p50, p95=p95, p99=p99, p95_interval=_interval(p95, each))


def _interval(centre: float, each: Sequence[float]) -> Interval | None:
    if len(each) < 2:
        return None
    t = STUDENT[min(len(each) - 1, len(STUDENT)) - 1]
    half = t * float(np.std(each, ddof=1)) / math.sqrt(len(each))
    return max(0.0, centre - half), centre + half
