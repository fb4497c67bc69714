"""Stations: replicas with a bounded number at work and a bounded queue before them, as events of simpy.

A replica works on all its jobs at once. With n at work each goes on at 1/slowdown(n) of the speed it has alone, so a
replica keeps one clock of work done per job, and a job ends when that clock has gone on by the job's own work.

Models in one process are one thread that takes turns, some tokens of one answer after some of another; turns are not
equally long. There the clock counts rounds: a round lasts as long as a turn of each job at work, and a job ends after
as many rounds as it has turns. A look is one turn, however long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Literal

import simpy

from disrouter.planning.site import Host

__all__ = ["Done", "Job", "Station"]

Done = Literal["done", "busy", "broken", "late"]
"""How a visit ends: served; turned away at a full queue; its replica broke; its query was given up."""


class Job(simpy.Event):
    """One visit on its way through a station; the event happens when it is over, with how it ended."""

    def __init__(self, env: simpy.Environment, place: int, work: float, turns: float) -> None:
        super().__init__(env)
        self.place = place
        """Which agent of the station it asks."""
        self.work, self.turns = work, turns
        self.began = -1.0
        self.machine: _Machine | None = None
        self.over = False

    def end(self, how: Done) -> None:
        self.over = True
        self.succeed(how)


class _Machine:
    """One replica."""

    __slots__ = (
        "alarm",
        "at",
        "clock",
        "env",
        "inside",
        "jobs",
        "load",
        "number",
        "over",
        "round",
        "slowness",
        "turns",
        "up",
    )

    def __init__(
        self, env: simpy.Environment, number: int, host: Host, slowness: list[float], over: Callable[[Job], None]
    ) -> None:
        self.env, self.number, self.slowness, self.over = env, number, slowness, over
        self.turns = host.turn is not None
        self.up = True
        self.load, agents = 0, len(host.agents)
        self.round = 0.0
        """Seconds of one turn of each job at work."""
        self.inside = [0] * agents
        self.clock = 0.0
        self.at = 0.0
        self.alarm = 0
        self.jobs: list[tuple[float, int, Job]] = []

    def start(self, job: Job, order: int) -> None:
        self._go_on()
        job.began, job.machine = self.env.now, self
        heappush(self.jobs, (self.clock + (job.turns if self.turns else job.work), order, job))
        self._count(job, 1)
        # Where nobody is in anybody's way, only a new first one changes when the next job ends.
        if self.jobs[0][2] is job or self.slowness[self.load] != self.slowness[self.load - 1]:
            self._aim()

    def leave(self, job: Job) -> None:
        """Take a job out before its end."""
        self._go_on()
        self._count(job, -1)
        self._aim()

    def clear(self) -> list[Job]:
        """Take every job out."""
        left = [job for _, _, job in self.jobs if not job.over]
        self.jobs.clear()
        self.alarm += 1
        self.load, self.round, self.inside = 0, 0.0, [0] * len(self.inside)
        return left

    def _count(self, job: Job, step: int) -> None:
        """Count a job that comes (1) or goes (-1)."""
        self.load += step
        self.inside[job.place] += step
        self.round = self.round + step * job.work / job.turns if self.load else 0.0

    def _pace(self) -> float:
        """Return the seconds in which the clock goes on by one."""
        return self.round * self.slowness[self.load] / self.load if self.turns else self.slowness[self.load]

    def _go_on(self) -> None:
        now: float = self.env.now
        if self.load:
            pace = self._pace()
            self.clock += (now - self.at) / pace if pace > 0 else 0.0
        self.at = now

    def _aim(self) -> None:
        """Set the alarm to the end of the job that ends next."""
        jobs = self.jobs
        while jobs and jobs[0][2].over:
            heappop(jobs)
        self.alarm += 1
        if jobs:
            delay = max(0.0, (jobs[0][0] - self.clock) * self._pace())
            timeout = simpy.Timeout(self.env, delay, self.alarm)
            timeout.callbacks.append(self._ring)

    def _ring(self, event: simpy.Event) -> None:
        if event.value != self.alarm:
            return  # something has come or gone since it was set
        finish, _, job = heappop(self.jobs)
        self._go_on()
        self.clock = finish  # no rounding adds up
        self._count(job, -1)
        self._aim()
        job.end("done")
        self.over(job)


class Station:
    """The replicas of a host, with a queue for each of its agents: first come, first served, by the least busy one."""

    def __init__(self, env: simpy.Environment, host: Host, replicas: int) -> None:
        self.env = env
        self.host = host
        self.most = [agent.concurrency for agent in host.agents]
        self.queues: list[deque[Job]] = [deque() for _ in host.agents]
        self.waiting = [0] * len(host.agents)
        self._room = [agent.queue for agent in host.agents]
        slowness = host.slowdown.table(host.room)
        self.machines = [_Machine(env, n, host, slowness, self._next) for n in range(replicas)]
        self._up = replicas
        self._ranking = [(0, n) for n in range(replicas)]
        self._order = 0

    def enter(self, place: int, work: float, turns: float = 1.0) -> Job:
        """Return the visit of a query that has come to one of the agents."""
        if self.host.turn:
            # An answer takes a turn to begin and one for its first word, then what fits into each.
            turns = max(1.0, min(turns, 2 + work / self.host.turn))
        job = Job(self.env, place, work, turns)
        if not self._up:
            job.end("broken")
        elif not self.waiting[place] and (machine := self._pick(place)) is not None:
            self._start(machine, job)
        elif self.waiting[place] < self._room[place]:
            self.waiting[place] += 1
            self.queues[place].append(job)
        else:
            job.end("busy")
        return job

    def leave(self, job: Job) -> None:
        """Let a visit end now, wherever it is."""
        if job.over:
            return
        machine = job.machine
        job.end("late")
        if machine is None:
            self.waiting[job.place] -= 1
        else:
            machine.leave(job)
            self._next(job)

    def stop(self, number: int) -> None:
        """Let a replica break: what it works on is lost, and where it was the last one, what waits as well."""
        machine = self.machines[number]
        machine.up = False
        self._up -= 1
        lost = machine.clear()
        if not self._up:
            for place, queue in enumerate(self.queues):
                lost.extend(job for job in queue if not job.over)
                queue.clear()
                self.waiting[place] = 0
        for job in lost:
            job.end("broken")

    def restart(self, number: int) -> None:
        """Let a replica come back."""
        machine = self.machines[number]
        machine.up = True
        self._up += 1
        heappush(self._ranking, (0, number))
        for place, most in enumerate(self.most):
            while machine.inside[place] < most and (job := self._first(place)) is not None:
                self._start(machine, job)

    def _start(self, machine: _Machine, job: Job) -> None:
        self._order += 1
        machine.start(job, self._order)
        heappush(self._ranking, (machine.load, machine.number))

    def _next(self, job: Job) -> None:
        """Fill the place that a job has left."""
        machine = job.machine
        assert machine is not None
        waits = self._first(job.place)
        if waits is not None:
            self._start(machine, waits)
        else:
            heappush(self._ranking, (machine.load, machine.number))

    def _first(self, place: int) -> Job | None:
        """Return who waits longest, taken out of the queue."""
        queue = self.queues[place]
        while queue:
            job = queue.popleft()
            if not job.over:
                self.waiting[place] -= 1
                return job
        return None

    def _pick(self, place: int) -> _Machine | None:
        """Return the least busy replica with a place for an agent."""
        ranking, machines = self._ranking, self.machines
        while ranking:
            load, number = ranking[0]
            machine = machines[number]
            if machine.load != load or not machine.up:
                heappop(ranking)  # as it was at an earlier time
                continue
            if machine.inside[place] < self.most[place]:
                return machine
            break
        if len(self.most) == 1:
            return None
        free = [m for m in machines if m.up and m.inside[place] < self.most[place]]
        return min(free, key=lambda m: m.load, default=None)
