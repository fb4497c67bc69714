"""The experiment: steady load, one fault on one host, its end; and what that did, against what the policy predicts."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from cluster import DEADLINE, Cluster, faketime
from hosts import CLEAR, Weather
from load import Asked, Load
from pool import Pool

from disrouter.types import Trace

__all__ = ["FAULTS", "VICTIM", "Fault", "Finding", "Phases", "judge", "run"]

VICTIM = "agent-3"
GRACE = 0.5
"""Seconds over its deadline after which a query counts as hanging."""

SETTLING = 0.5
"""Seconds around a change in which queries are on their way through both."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to a host."""

    name: str
    begin: Callable[[Cluster], None]
    end: Callable[[Cluster], None]
    gone: bool
    """Whether its agent cannot be asked meanwhile; else everything is expected to go on as ever, only slower."""
    needs: str | None = None
    """What is missing for it here."""


@dataclass(frozen=True, slots=True)
class Phases:
    """Seconds before, with and after a fault."""

    before: float
    during: float
    after: float


def _restart(cluster: Cluster) -> None:
    cluster.start(VICTIM)
    cluster.wait(VICTIM)


def _weather(weather: Weather) -> Callable[[Cluster], None]:
    return lambda cluster: cluster.hosts.set_weather(VICTIM, weather)


def _signal(number: signal.Signals) -> Callable[[Cluster], None]:
    return lambda cluster: cluster.signal(VICTIM, number)


def _clock(seconds: int) -> Callable[[Cluster], None]:
    return lambda cluster: cluster.set_clock(VICTIM, seconds)


FAULTS = (
    Fault("killed", lambda cluster: cluster.kill(VICTIM), _restart, gone=True),
    Fault("frozen", _signal(signal.SIGSTOP), _signal(signal.SIGCONT), gone=True),
    Fault("partition", _weather(Weather(cut=True)), _weather(CLEAR), gone=True),
    Fault("garbage", _signal(signal.SIGUSR1), _signal(signal.SIGUSR2), gone=True),
    Fault("30 % loss", _weather(Weather(loss=0.3)), _weather(CLEAR), gone=False),
    Fault("200 ms delay", _weather(Weather(delay=0.2)), _weather(CLEAR), gone=False),
    Fault(
        "clock +1 h",
        _clock(3600),
        _clock(0),
        gone=False,
        needs=None if faketime() else "libfaketime is not installed",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one fault did."""

    fault: str
    dispatch: str
    queries: int
    during: int
    """Queries asked while it lasted."""
    lost: int
    """Queries without an answer."""
    hanging: int
    """Queries that took longer than their deadline."""
    slowest: float
    """Seconds."""
    as_predicted: float
    """Share of all queries whose route is one that the policy makes with the agent there, or gone."""
    wrong_answers: int
    """Queries whose text is not what the agent named in the trace says."""
    utility: float
    """While it lasted."""
    predicted: float
    """By a replay of the same queries, with the agent gone where the fault takes it away."""
    healthy: float
    """By a replay of the same queries, with every agent there."""
    passed_over: float
    """Share of the queries that would ask the agent in which it failed, while it lasted."""
    p50: float
    p95: float
    recovery: float | None
    """Seconds from the fault's end to the first query that asked the agent with success; None if none did."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def run(cluster: Cluster, fault: Fault, phases: Phases, *, rate: float) -> tuple[list[Asked], float, float]:
    """Do it; return what became of every query, and when the fault began and ended."""
    load = Load(cluster.url, cluster.pool.queries, rate, DEADLINE)
    stop = asyncio.Event()
    asking = asyncio.create_task(load.run(stop))
    await asyncio.sleep(phases.before)
    began = load.now
    fault.begin(cluster)
    try:
        await asyncio.sleep(phases.during)
    finally:
        await asyncio.to_thread(fault.end, cluster)  # a restart takes its time, and the load goes on
    ended = load.now
    await asyncio.sleep(phases.after)
    stop.set()
    await asking
    return sorted(load.asked, key=lambda asked: asked.at), began, ended


def judge(
    fault: Fault, pool: Pool, asked: list[Asked], began: float, ended: float, *, dispatch: str,
    predicted: tuple[dict[str, Trace], dict[str, Trace]],
) -> Finding:  # fmt: skip
    """Return what a fault did, against the replays with every agent there and with its agent gone."""
    there, gone = predicted
    answers = {name: pool.outcomes.answer[0, pool.outcomes.agent_index(name)] for name in pool.cards}
    place = {query_id: index for index, query_id in enumerate(pool.outcomes.query_ids)}
    during = [one for one in asked if began + SETTLING <= one.at < ended - SETTLING]
    expected = gone if fault.gone else there
    asking = [one for one in during if VICTIM in {hop[0] for hop in one.hops}]
    recovered = [
        one.at - ended
        for one in asked
        if one.at >= ended and any(hop[0] == VICTIM and hop[1] != "failure" for hop in one.hops)
    ]
    seconds = sorted(one.seconds for one in during) or [0.0]
    return Finding(
        fault=fault.name,
        dispatch=dispatch,
        queries=len(asked),
        during=len(during),
        lost=sum(one.status != 200 for one in asked),
        hanging=sum(one.seconds > DEADLINE + GRACE for one in asked),
        slowest=max(one.seconds for one in asked),
        as_predicted=_share(one.route in (_route(there[one.query_id]), _route(gone[one.query_id])) for one in asked),
        wrong_answers=sum(
            one.status == 200 and one.text != answers[str(one.agent)][place[one.query_id]] for one in asked
        ),
        utility=_mean(pool.utility(one.query_id, one.agent, one.cost) for one in during),
        predicted=_mean(
            pool.utility(one.query_id, expected[one.query_id].agent, expected[one.query_id].cost_full) for one in during
        ),
        healthy=_mean(
            pool.utility(one.query_id, there[one.query_id].agent, there[one.query_id].cost_full) for one in during
        ),
        passed_over=_share((VICTIM, "failure") in one.route for one in asking),
        p50=seconds[len(seconds) // 2],
        p95=seconds[int(len(seconds) * 0.95)],
        recovery=min(recovered, default=None),
    )


def _route(trace: Trace) -> tuple[tuple[str, str], ...]:
    return tuple((hop.agent, hop.decision) for hop in trace.hops)


def _share(values: Any) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def _mean(values: Any) -> float:
    return _share(values)
