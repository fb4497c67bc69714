"""Small sites and workloads that tests of planning share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from disrouter.planning import (
    SIDE_BY_SIDE,
    Behaviour,
    Faults,
    Given,
    Host,
    Route,
    Served,
    Site,
    Slowdown,
    Visit,
    Workload,
)
from disrouter.planning.simulation import Passed, simulate

ENDLESS = 10**9


def host(
    name: str,
    concurrency: int = 1,
    *,
    queue: int = ENDLESS,
    slowdown: Slowdown = SIDE_BY_SIDE,
    cost: float | None = None,
    rank: float = 0.0,
    turn: float | None = None,
) -> Host:
    """A host with one agent of its own name."""
    served = Served(name=name, concurrency=concurrency, queue=queue, rank=rank)
    return Host(name=name, agents=(served,), slowdown=slowdown, turn=turn, cost=cost)


def site(*hosts: Host, faults: Faults | None = None, deadline: float = 1e9, gateway_seconds: float = 0.0) -> Site:
    """Hosts one after the other: each is followed by the next."""
    names = [h.name for h in hosts]
    after = {name: tuple(names[n + 1 : n + 2]) for n, name in enumerate(names)}
    return Site(
        hosts=hosts, successors=after, faults=faults or Faults(), deadline=deadline, gateway_seconds=gateway_seconds
    )


def answers(agent: str, seconds: float = 1.0, **given: float) -> Workload:
    """Every query is answered by one agent; ``variation=1`` makes its times exponential."""
    spread = {agent: Given(look=0.0, answer=seconds, variation=given["variation"])} if given else {}
    return workload([[Visit(agent, "answer", seconds)]], spread)


def workload(
    routes: Sequence[Sequence[Visit]],
    given: Mapping[str, Given] | None = None,
    behaviours: Mapping[str, Behaviour] | None = None,
    times: Sequence[float] | None = None,
) -> Workload:
    """Routes as they stand there."""
    made = tuple(Route(visits=tuple(v), time=None if times is None else times[n]) for n, v in enumerate(routes))
    return Workload(routes=made, source="the test", behaviours=behaviours or {}, given=given or {})


def passed(
    where: Site, work: Workload, gaps: Sequence[float] | np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    seed: int = 0, **replicas: int,
) -> Passed:  # fmt: skip
    """Queries at given gaps, the routes in their own order."""
    counts = {h.name: replicas.get(h.name.replace("-", "_"), 1) for h in where.hosts}
    return simulate(where, counts, work, np.asarray(gaps, dtype=float), np.random.default_rng(seed), in_order=True)
