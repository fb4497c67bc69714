"""Simulation: queries walk through stations as they walk through a gateway, and are timed.

What happens when an agent breaks or turns a query away is what routing does: if the agent would have passed on, the
query goes on; if it should have answered, its successor is asked, and what that one does is drawn from what it usually
does; if nobody is left, the dearest agent that looked answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from disrouter.planning.site import GATEWAY, Replicas, Site
from disrouter.planning.stations import Job, Station
from disrouter.planning.steps import Step, steps
from disrouter.planning.workload import Behaviour, Workload

__all__ = ["Arrivals", "Passed", "simulate"]

Walk = Generator[simpy.Event, Any, None]
Arrivals = NDArray[np.float64]
"""Seconds from one query to the next."""


@dataclass(frozen=True, slots=True, eq=False)
class Passed:
    """What became of every query, in order of arrival; times in seconds."""

    arrived: NDArray[np.float64]
    first: NDArray[np.float64]
    """Until the first word; NaN where nobody answered."""

    end: NDArray[np.float64]
    """Until the whole answer; NaN where nobody answered."""

    refused: NDArray[np.int64]
    """Which agent turned it away at a full queue, the last one if several did; -1: none."""

    broken: NDArray[np.bool_]
    """Whether an agent broke on it."""

    late: NDArray[np.bool_]
    """Whether it was given up at the deadline."""

    delay: NDArray[np.float64]
    """Seconds beyond the work itself, shape (queries, agents): waiting, and being slowed down."""

    work: NDArray[np.float64]
    """Seconds of work done, shape (queries, agents), by the query that brought them."""


def simulate(
    site: Site,
    replicas: Replicas,
    workload: Workload,
    gaps: Arrivals,
    random: np.random.Generator,
    *,
    in_order: bool = False,
    offset: int = 0,
) -> Passed:
    """Send queries through the network and return what became of them.

    Args:
        site: How the network is served.
        replicas: How many of each host there are.
        workload: The routes to draw from.
        gaps: Seconds before each query; their number is that of the queries.
        random: Where every draw comes from; equal generators give equal results.
        in_order: Take the routes in their own order instead of drawing them, beginning at ``offset``.
        offset: The first route.
    """
    return _Run(site, replicas, workload, gaps, random, in_order, offset).run()


class _Run:
    def __init__(
        self,
        site: Site,
        replicas: Replicas,
        workload: Workload,
        gaps: Arrivals,
        random: np.random.Generator,
        in_order: bool,
        offset: int,
    ) -> None:
        self.env = simpy.Environment()
        self.site, self.random, self.gaps = site, random, gaps
        self.stations = {host.name: Station(self.env, host, replicas[host.name]) for host in site.hosts}
        self.at: list[tuple[Station, int]] = [
            (self.stations[host.name], place)
            for host in site.hosts
            if host.name != GATEWAY
            for place in range(len(host.agents))
        ]
        served = [agent for host in site.hosts if host.name != GATEWAY for agent in host.agents]
        self.names = [agent.name for agent in served]
        self.ranks = [agent.rank for agent in served]
        self.number = {name: n for n, name in enumerate(self.names)}
        self.gateway = self.stations.get(GATEWAY)
        self.successors = [[self.number[to] for to in site.successors[name]] for name in self.names]
        self.behaviours = [workload.behaviours.get(name) for name in self.names]
        count, agents = len(gaps), len(self.names) + 1  # the last column is the gateway's
        self.steps = list(steps(workload, site, self.number, random, count, in_order, offset))
        self.passed = Passed(
            arrived=np.cumsum(gaps),
            first=np.full(count, np.nan),
            end=np.full(count, np.nan),
            refused=np.full(count, -1),
            broken=np.zeros(count, dtype=np.bool_),
            late=np.zeros(count, dtype=np.bool_),
            delay=np.zeros((count, agents)),
            work=np.zeros((count, agents)),
        )
        self.current: dict[int, tuple[Station, Job]] = {}
        """Where every query under way is."""
        self.underway: deque[tuple[float, int]] = deque()
        """Deadlines, the earliest first."""
        self.left = count
        self.over = self.env.event()

    def run(self) -> Passed:
        self.env.process(self._come())
        self.env.process(self._watch())
        if self.site.faults.down:
            for station in self.stations.values():
                for number in range(len(station.machines)):
                    self.env.process(self._break(station, number))
        self.env.run(until=self.over)
        return self.passed

    def _come(self) -> Walk:
        walk, process, timeout = self._walk, self.env.process, self.env.timeout
        for query, gap in enumerate(self.gaps.tolist()):
            yield timeout(gap)
            process(walk(query))

    def _break(self, station: Station, number: int) -> Walk:
        """Let one replica break and come back for ever; at first it is up."""
        faults, random = self.site.faults, self.random
        while True:
            yield self.env.timeout(float(random.exponential(faults.between)))
            station.stop(number)
            yield self.env.timeout(float(random.exponential(faults.repair)))
            station.restart(number)

    def _walk(self, query: int) -> Walk:
        began = self.env.now
        self.underway.append((began + self.site.deadline, query))
        looked: list[int] = []
        route, before = list(self.steps[query]), -1
        while route:
            step = route.pop(0)
            how = yield from self._visit(query, began, step, hop=before != step.agent)
            if how == "late" or (how == "done" and step.answers):
                break
            if how == "done":
                looked.append(step.agent)
            else:
                # What it should have passed on is passed on; what it should have answered has no recorded way.
                route = [] if step.answers else [later for later in route if later.agent != step.agent]
            if not route:
                recalled = step.answers and step.agent in looked and before != step.agent
                yield from self._beyond(query, began, step.agent, looked, recalled)
            before = step.agent
        del self.current[query]
        self.left -= 1
        if not self.left:
            self.over.succeed()

    def _visit(self, query: int, began: float, step: Step, *, hop: bool = True) -> Generator[simpy.Event, Any, str]:
        """Make one visit and return how it ended; the gateway works once for every hop."""
        passed, env = self.passed, self.env
        if passed.late[query]:
            return "late"
        if self.gateway is not None and hop:
            work, came = self.site.gateway_seconds, env.now
            job = self.gateway.enter(0, work)
            self.current[query] = self.gateway, job
            how = yield job
            if how != "done":
                passed.broken[query] |= how == "broken"
                return "late"  # a gateway that broke takes its queries with it
            passed.delay[query, -1] += env.now - came - work
            passed.work[query, -1] += work
        station, place = self.at[step.agent]
        came = env.now
        job = station.enter(place, step.work, step.turns)
        self.current[query] = station, job
        how = yield job
        if how == "done":
            passed.delay[query, step.agent] += env.now - came - step.work
            passed.work[query, step.agent] += step.work
            if step.answers:
                share = step.first / step.work if step.work > 0 else 1.0
                passed.first[query] = job.began + share * (env.now - job.began) - began
                passed.end[query] = env.now - began
        elif how == "busy":
            passed.refused[query] = step.agent
        elif how == "broken":
            passed.broken[query] = True
        return str(how)

    def _watch(self) -> Walk:
        """Give up what is not done at its deadline; queries reach theirs in the order in which they came."""
        underway, current, env = self.underway, self.current, self.env
        while True:
            while underway and (underway[0][1] not in current or underway[0][0] <= env.now):
                _, query = underway.popleft()
                if query in current:
                    self.passed.late[query] = True
                    station, job = current[query]
                    station.leave(job)
            # Whoever comes while nobody is under way reaches the deadline later than this.
            yield env.timeout(underway[0][0] - env.now if underway else self.site.deadline)

    def _beyond(self, query: int, began: float, agent: int, looked: list[int], recalled: bool) -> Walk:
        """Go on where no recorded route says how: to the successors, then back to whoever looked."""
        to: int | None = None if recalled else self._successor(agent)
        while to is not None:
            behaviour = self.behaviours[to]
            assert behaviour is not None
            look = _drawn(self.random, behaviour.looks)
            if look:
                how = yield from self._visit(query, began, Step(to, False, look, 0.0))
                if how == "late":
                    return
                if how != "done":
                    to = self._successor(to)
                    continue
            if not self.successors[to] or self.random.random() < behaviour.answer_share:
                how = yield from self._visit(query, began, self._answer(to, behaviour), hop=not look)
                if how in ("done", "late"):
                    return
            else:
                looked.append(to)
            to = self._successor(to)
        # Of equally dear ones the last that looked goes first, as in routing.
        left = [other for other in looked if other != agent]
        for other in sorted(reversed(left), key=lambda n: self.ranks[n], reverse=True):
            behaviour = self.behaviours[other]
            if behaviour is not None and behaviour.answers:
                how = yield from self._visit(query, began, self._answer(other, behaviour))
                if how in ("done", "late"):
                    return

    def _successor(self, agent: int) -> int | None:
        """Return the first successor of which is known how long it takes."""
        for to in self.successors[agent]:
            behaviour = self.behaviours[to]
            if behaviour is not None and behaviour.answers:
                return to
        return None

    def _answer(self, agent: int, behaviour: Behaviour) -> Step:
        work = _drawn(self.random, behaviour.answers)
        return Step(agent, True, work, min(work, _drawn(self.random, behaviour.looks)), behaviour.turns)


def _drawn(random: np.random.Generator, values: Sequence[float]) -> float:
    return values[int(random.integers(len(values)))] if values else 0.0
