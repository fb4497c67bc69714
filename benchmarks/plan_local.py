"""The lab's models in this process under load, and what the plan says of it: measured in parts, reported from a file.

The first part measures every query alone, and once more in a short calibration with four at work. Every further part is
one load of open arrivals. Parts are short, so that a machine can be kept quiet for them. Machines are
faster at one moment than at another, though, and near capacity a few per cent of it double the waits. So all along a
probe, a short answer that is no part of the load, is decoded now and then: how long its turns take tells how fast the
machine was. Nothing is fitted on the queries that are predicted.

Arrivals are drawn until they are typical: of forty draws the one whose p95 is predicted to be nearest to that of
endless arrivals, since near capacity luck alone makes the p95 of a minute half as long or twice as long.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from plan_base import AT_WORK, PROBES, Base, report, typical_probe
from plan_loads import Ask, append, closed_loop, open_loop, read

from disrouter.agents import transformers
from disrouter.agents.recarded import innermost
from disrouter.agents.turns import take_turn, take_turns
from disrouter.config import load as load_network
from disrouter.evaluation.suites import suite_of
from disrouter.evaluation.traces import trace_to_json
from disrouter.gateway.service import Service
from disrouter.types import Query, Sampling

T = TypeVar("T")

DIFFERENT = 200
"""Queries of the lab; each is measured alone once."""

PAUSE, BEFORE = 0.5, 20
"""Seconds between probes under load, and how many are made just before one."""


class Process:
    """The lab's models in this process, behind the guards that a gateway gives them."""

    def __init__(self) -> None:
        self.network = load_network("lab")
        self.service = Service(self.network)
        self.queries = suite_of("lab").queries("in", 7, DIFFERENT)
        self.visits: dict[str, dict[tuple[str, str], list[Any]]] = {}
        """Seconds of turns, and how many there were, by query and visit."""
        # To see the turns.
        transformers.take_turn, transformers.take_turns = self._turn, self._turns  # type: ignore[attr-defined,assignment]

    def _timed(self, visit: tuple[str, str, str], function: Callable[..., T]) -> Callable[..., T]:
        def timed(*args: Any, **kwargs: Any) -> T:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                query, *step = visit
                found = self.visits.setdefault(query, {}).setdefault((step[0], step[1]), [0.0, 0])
                found[0] += time.perf_counter() - began
                found[1] += 1

        return timed

    async def _turn(self, device: str, function: Any, /, query: Query, *args: Any) -> Any:
        step = "look" if function.__name__ == "_look" else "answer"
        timed = self._timed((query.id, function.__self__.card.name, step), function)
        return await take_turn(device, timed, query, *args)

    def _turns(self, device: str, function: Any) -> AsyncGenerator[Any, None]:
        query = next(value.id for value in function.args if isinstance(value, Query))
        return take_turns(device, self._timed((query, function.func.__self__.card.name, "answer"), function))

    def asking(self, places: Sequence[int], kept: list[dict[str, Any]]) -> Ask:
        """Return how a query of a number is sent; what became of it is kept."""

        async def ask(number: int) -> bool:
            query, came, began = self.queries[places[number]], time.time(), time.perf_counter()
            trace = await self.service.network.route(Query(id=f"{query.id}-{number}", messages=query.messages))
            seconds, visits = time.perf_counter() - began, self.visits.pop(f"{query.id}-{number}")
            kept.append({**trace_to_json(trace, timings=True), "time": came, "whole": seconds, "number": number})
            kept[-1]["visits"] = [[*visit, *found] for visit, found in visits.items()]
            return trace.answer is not None

        return ask

    async def probe(self, number: int) -> float:
        """Return the seconds of a probe's turn, without the wait for it."""
        name, tokens = PROBES[number % len(PROBES)]
        return await take_turn("cpu", self._decode, innermost(self.network.agents[name]), tokens)

    def _decode(self, agent: Any, tokens: int) -> float:
        began, query = time.perf_counter(), self.queries[0]
        with agent._running(query) as runtime:
            stream = runtime.open(query, self.network.scenario, None, Sampling())
            for _ in range(tokens):
                stream.next()
        return time.perf_counter() - began

    async def probing(self, found: list[list[float]]) -> None:
        """Probe for ever, and keep when it was and how long each took."""
        began = time.perf_counter()
        for number in itertools.count():
            await asyncio.sleep(PAUSE)
            at = time.perf_counter() - began
            found.append([at, await self.probe(number)])


async def measure(file: Path, loads: Sequence[float], seconds: float) -> None:
    """Measure the process alone if that is not in the file yet, else under these loads; append it to the file."""
    process = Process()
    await process.service.warm()
    await closed_loop(process.asking(range(DIFFERENT), []), 1, 20, 0)
    if not file.is_file():
        append(file, await _alone(process))
        return
    base, parts = Base(read(file)[0], process.network), read(file)
    for share in loads:
        gaps, places = base.typical(share, seconds, seed=1000 * len(parts) + round(100 * share))
        speed = base.idle / typical_probe([await process.probe(number) for number in range(BEFORE)])
        qps = share * base.bears * speed
        kept: list[dict[str, Any]] = []
        probes: list[list[float]] = []
        aside = asyncio.create_task(process.probing(probes))
        seen = await open_loop(process.asking(places, kept), gaps / qps)
        aside.cancel()
        part = {"load": share, "qps": qps, "probes": probes, "places": places, "visits": _visits(kept)}
        append(file, {**part, "due": seen.due.tolist(), "took": [None if t != t else t for t in seen.took.tolist()]})
        print(
            f"{share}: {len(places)} queries, the machine at {speed:.2f} before, {base.speed(part):.2f} then",
            flush=True,
        )


async def _alone(process: Process) -> dict[str, Any]:
    kept: list[dict[str, Any]] = []
    await closed_loop(process.asking(range(DIFFERENT), kept), 1, DIFFERENT, 0)
    busy: list[dict[str, Any]] = []
    probes: list[list[float]] = []
    aside = asyncio.create_task(process.probing(probes))
    rate = await closed_loop(process.asking(range(DIFFERENT), busy), AT_WORK, DIFFERENT, 0)
    aside.cancel()
    idle = [await process.probe(number) for number in range(BEFORE)]
    return {"traces": kept, "rate": rate, "visits": _visits(busy), "probes": probes, "idle": idle}


def _visits(kept: Sequence[dict[str, Any]]) -> list[Any]:
    return [trace["visits"] for trace in sorted(kept, key=lambda trace: trace["number"])]


def check_local(file: Path, loads: Sequence[float], seconds: float) -> None:
    """Measure one part, or with no loads report all."""
    if loads or not file.is_file():
        asyncio.run(measure(file, loads, seconds))
    else:
        for line in report(file):
            print(line)
