"""What the plan says of the lab's models in this process, from what was measured of them; measured by plan_local.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from plan_loads import EFFORT, Numbers, Seen, read, replayed

from disrouter.config import load as load_network
from disrouter.network import Network
from disrouter.planning import Effort, Load, Route, Site, Visit, Workload, site_of, trial
from disrouter.planning.exports import workload_of_traces
from disrouter.planning.measures import Measured

AT_WORK = 4
"""Queries at work in the calibration."""

PROBES = (("agent-2", 6), ("agent-4", 2))
"""Whose answer is begun, and how many tokens of it: 15 ms or so."""

CUTS = (0.5, 0.95, 0.99)
DRAWS = 40
BLOCK = 20
"""Queries that the bootstrap draws together: neighbours wait for the same reasons."""


class Base:
    """What is known before any load."""

    def __init__(self, part: dict[str, Any], network: Network) -> None:
        traces = [{**trace, "scenario": None, "alpha": 0.5} for trace in part["traces"]]
        self.alone = replace(workload_of_traces(traces, network, source="the queries alone"), notes=())
        """As traces tell it: every query alone."""
        self.workload = replace(self.alone, routes=tuple(Route(visits=_visits(some)) for some in part["visits"]))
        """As the turns of the calibration tell it."""
        self.probe = typical_probe([seconds for _, seconds in part["probes"]])
        self.idle = typical_probe(part["idle"])
        self.site: Site = site_of(network)
        (host,) = self.site.hosts
        self.host = host.name
        self.bears: float = part["rate"]
        """Answers a second with four at work."""

    def trial(
        self, qps: float, speed: float = 1.0, effort: Effort = EFFORT, workload: Workload | None = None
    ) -> Measured:
        """Return what a load alone lets expect."""
        load = Load(workload=slower(workload or self.workload, 1 / speed), qps=qps)
        return trial(self.site, {self.host: 1}, load, effort)

    def speed(self, part: dict[str, Any]) -> float:
        """Return how fast the machine was under a load, against the calibration."""
        return self.probe / typical_probe([seconds for _, seconds in part["probes"]])

    def same(self, part: dict[str, Any]) -> Numbers:
        """Return the seconds of these queries, coming at these times, on a machine as fast as it was."""
        routes = slower(self.workload, 1 / self.speed(part)).routes
        return self._replayed([routes[place].visits for place in part["places"]], part, self.site)

    def turns(self, part: dict[str, Any]) -> Numbers:
        """Return the seconds of queries whose every visit took as long as it did, in as many turns: what queueing
        makes of it.
        """
        visits = [_visits(some) for some in part["visits"]]
        return self._replayed(visits, part, replace(self.site, hosts=(replace(self.site.hosts[0], turn=0.0),)))

    def _replayed(self, visits: Sequence[Sequence[Visit]], part: dict[str, Any], site: Site) -> Numbers:
        """Return the seconds of queries beside the probes."""
        routes = [Route(visits=tuple(v), time=at) for v, at in zip(visits, part["due"], strict=True)]
        aside = [Route(visits=(Visit(PROBES[0][0], "answer", s),), time=at) for at, s in part["probes"]]
        order = sorted(range(len(routes) + len(aside)), key=lambda n: (routes + aside)[n].time or 0.0)
        end = replayed(site, replace(self.workload, routes=tuple((routes + aside)[n] for n in order))).end
        return end[np.argsort(order)[: len(routes)]]

    def typical(self, share: float, seconds: float, seed: int) -> tuple[Numbers, list[int]]:
        """Return gaps, of mean 1, and queries whose p95 is that of a load in the long run."""
        qps = share * self.bears
        count = int(qps * seconds)
        long = self.trial(qps, effort=Effort(20_000, 2)).end
        assert long is not None
        found: list[tuple[float, Numbers, list[int]]] = []
        for draw in range(DRAWS if share < 1 else 1):
            random = np.random.default_rng([seed, draw])
            gaps, places = (
                random.exponential(1.0, count),
                random.integers(len(self.workload.routes), size=count).tolist(),
            )
            gaps *= count / gaps.sum()
            part = {"due": (np.cumsum(gaps) / qps).tolist(), "places": places, "probes": [[0.0, self.probe]] * 2}
            end = self.same(part)
            found.append((abs(np.log(np.nanquantile(end, 0.95) / long.p95)), gaps, places))
        _, gaps, places = min(found, key=lambda one: one[0])
        return gaps, places


def _visits(measured: Sequence[Any]) -> tuple[Visit, ...]:
    return tuple(Visit(name, step, work, 0.0, turns) for name, step, work, turns in measured)


def typical_probe(seconds: Sequence[float]) -> float:
    """Return how long probes take: the mean over their kinds of what half of them take."""
    return float(np.mean([np.median(seconds[kind :: len(PROBES)]) for kind in range(len(PROBES))]))


def slower(workload: Workload, times: float) -> Workload:
    """Return the workload with every visit so many times as long."""
    routes = (
        replace(route, visits=tuple(replace(v, seconds=v.seconds * times, first=v.first * times) for v in route.visits))
        for route in workload.routes
    )
    return replace(workload, routes=tuple(routes))


def report(file: Path) -> Iterator[str]:
    """Yield the lines of what was predicted and measured."""
    parts = read(file)
    base = Base(parts[0], load_network("lab"))
    whole = [trace["whole"] for trace in parts[0]["traces"]]
    turns = sum(visit.seconds for route in base.workload.routes for visit in route.visits)
    p50, p95 = np.quantile(whole, (0.5, 0.95))
    yield f"alone: p50 {p50:.3f}, p95 {p95:.3f} s, {len(whole) / sum(whole):.2f} answers a second"
    yield f"four at work: {base.bears:.2f} answers a second; turns take {turns / sum(whole):.1%} of the time alone"
    yield (
        "load  queries  answers/s            p50     p95 [95 % interval]          p99\n"
        "A: the same arrivals.  B: the same arrivals, with the turns of the run itself.  C: from the load.\n"
        "D: from the load and the traces of the queries alone, without the calibration."
    )
    for share in sorted({part["load"] for part in parts[1:]}):
        yield from _rows(base, [part for part in parts[1:] if part["load"] == share])


def _rows(base: Base, runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    seen = [Seen(np.array(run["due"]), np.array(run["took"], dtype=np.float64)) for run in runs]
    same = [Seen(one.due, base.same(run)) for one, run in zip(seen, runs, strict=True)]
    turns = [Seen(one.due, base.turns(run)) for one, run in zip(seen, runs, strict=True)]
    share = [sum(s for _, s in run["probes"]) / run["due"][-1] for run in runs]
    speeds = [base.speed(run) * (1 - probes) for run, probes in zip(runs, share, strict=True)]
    loads, traced = (
        [base.trial(run["qps"], speed, Effort(20_000, 2), work) for run, speed in zip(runs, speeds, strict=True)]
        for work in (base.workload, base.alone)
    )
    borne = np.mean([run["qps"] / base.speed(run) / base.bears for run in runs])
    real, rate = _of(seen)
    low, high = _interval(seen)
    yield (
        f"{runs[0]['load']:4.2f} ({borne:4.2f}) {sum(len(one.due) for one in seen):6} {rate:8.2f}   "
        f"measured {real[0]:7.3f} {real[1]:7.3f} [{low:.3f}, {high:.3f}] {real[2]:7.3f}"
    )
    said = {"A": _of(same), "B": _of(turns), "C": _long(loads), "D": _long(traced)}
    for name, (cuts, answered) in said.items():
        errors = "   ".join(f"{cut:7.3f} {cut / at - 1:+5.0%}" for cut, at in zip(cuts, real, strict=True))
        yield f"            {name} {answered:8.2f} {answered / rate - 1:+5.0%}        {errors}"


def _of(runs: Sequence[Seen]) -> tuple[list[float], float]:
    """Return the quantiles of runs, and answers a second while queries came."""
    seconds = np.concatenate([run.seconds for run in runs])
    return np.quantile(seconds, CUTS).tolist(), float(np.mean([run.rate for run in runs]))


def _long(loads: Sequence[Measured]) -> tuple[list[float], float]:
    """Return the same of endless loads, the mean over the runs."""
    ends = [load.end for load in loads if load.end is not None]
    cuts = np.mean([[end.p50, end.p95, end.p99] for end in ends], axis=0)
    return cuts.tolist(), float(np.mean([load.answered for load in loads]))


def _interval(runs: Sequence[Seen]) -> tuple[float, float]:
    """Return the 95 % interval of the measured p95: blocks of neighbours, drawn again a thousand times."""
    random = np.random.default_rng(0)
    blocks = [run.took[at : at + BLOCK] for run in runs for at in range(0, len(run.took), BLOCK)]
    drawn = [
        np.nanquantile(np.concatenate([blocks[n] for n in random.integers(len(blocks), size=len(blocks))]), 0.95)
        for _ in range(1000)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)
