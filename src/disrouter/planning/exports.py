"""Workloads of traces: what went through a gateway, exported as JSON lines or read from its store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

from disrouter.errors import DataError
from disrouter.network import Network
from disrouter.planning.workload import Behaviour, Route, Visit, Workload

__all__ = ["read_lines", "read_store", "workload_of_traces"]

MOST_TRACES = 200_000
MOST_SAMPLES = 1_000
LONGEST_LINE = 32 * 1024 * 1024


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the traces of a file of JSON lines, as `disrouter traces --export` and `disrouter eval` write them.

    Raises:
        DataError: The file is missing, a line is no JSON object, or there are too many.
    """
    if not path.is_file():
        raise DataError(f"There are no traces at '{path}'.", hint="export them with `disrouter traces --export`")
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), ""), start=1):
            if number > MOST_TRACES:
                raise DataError(f"'{path}' has more than {MOST_TRACES:,} traces.", hint="export fewer: --since 1d")
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (json.JSONDecodeError, RecursionError):
                value = None
            if not isinstance(value, dict):
                raise DataError(
                    f"'{path}', line {number}: not a trace.", hint="give what `disrouter traces --export` wrote"
                )
            yield value


def read_store(address: str) -> Iterator[dict[str, Any]]:
    """Yield the traces of a gateway's store.

    Raises:
        DataError: There is no store, it cannot be used, or holds too many.
    """
    from disrouter.gateway.store import open_store
    from disrouter.gateway.store_reading import every_route, json_of

    store = open_store(address, create=False)
    try:
        for number, kept in enumerate(every_route(store), start=1):
            if number > MOST_TRACES:
                raise DataError(
                    f"The store has more than {MOST_TRACES:,} traces.",
                    hint="export a part of them: `disrouter traces --export --since 1d > traces.jsonl`",
                )
            yield json_of(kept)
    finally:
        store.close()


def workload_of_traces(
    traces: Iterable[Mapping[str, Any]], network: Network, *, source: str, alpha: float | None = None
) -> Workload:
    """Return the routes of answered traces; of one alpha only, if it is named.

    A trace says how long an agent took in all. Where it looked and answered, the look is taken to have lasted as its
    rejections do (their median).

    Raises:
        DataError: A trace is not whole, or names agents that the network does not have.
    """
    kept, left_out = [], 0
    for number, trace in enumerate(traces, start=1):
        try:
            scenario = trace.get("scenario")
            asked = scenario["alpha"] if isinstance(scenario, dict) else trace.get("alpha")
            if alpha is not None and (asked is None or abs(asked - alpha) > 1e-9):
                continue
            hops = [hop for hop in trace["hops"] if hop["decision"] != "failure"]
            if not hops or hops[-1]["decision"] != "answer":
                left_out += 1
                continue
            kept.append(_whole(trace, hops))
        except (KeyError, TypeError, AttributeError, ValueError) as exc:
            raise DataError(
                f"Trace {number} of {source} is not whole: {exc!r}.", hint="export the traces again"
            ) from exc
    _require_agents(kept, network, source)
    looks = _looks(kept, network)
    routes = tuple(sorted((_route(trace, looks) for trace in kept), key=lambda r: 0.0 if r.time is None else r.time))
    notes = [f"{left_out} traces without an answer are left out"] if left_out else []
    return Workload(routes=routes, source=source, behaviours=_behaviours(routes), given={}, notes=tuple(notes))


def _whole(trace: Mapping[str, Any], hops: list[Any]) -> dict[str, Any]:
    """Return what a plan needs of a trace, as numbers; anything else there raises."""
    time, seconds, first = trace.get("time"), trace.get("seconds"), trace.get("first_token_seconds")
    return {
        "time": None if time is None else float(time),
        "cost": sum(float(hop["cost"]) for hop in hops),
        "score": None if trace.get("score") is None else float(trace["score"]),
        # How long the answer went on after its first word, where it streamed.
        "rest": None if first is None or seconds is None else max(0.0, float(seconds) - float(first)),
        "hops": [
            {
                "agent": str(hop["agent"]),
                "answers": hop["decision"] == "answer",
                "seconds": max(0.0, float(hop.get("seconds") or 0.0)),
                "tokens": int(hop.get("completion_tokens") or hop.get("usage", {}).get("completion_tokens") or 0),
                "looked": hop.get("reason") in ("recall", "fallback"),
            }
            for hop in hops
        ],
    }


def _require_agents(kept: list[dict[str, Any]], network: Network, source: str) -> None:
    named = dict.fromkeys(hop["agent"] for trace in kept for hop in trace["hops"])
    unknown = [name for name in named if name not in network.agents]
    if unknown:
        raise DataError(
            f"The traces of {source} are of another network: they name {_listed(unknown)}, which network "
            f"'{network.name}' does not have. It has {_listed(network.agents)}.",
            hint="give the network file that the traces were made with",
        )


def _looks(kept: list[dict[str, Any]], network: Network) -> dict[str, float]:
    """Return how long a look of each agent lasts."""
    found = {}
    for name in network.agents:
        rejected = [h["seconds"] for t in kept for h in t["hops"] if h["agent"] == name and not h["answers"]]
        found[name] = median(rejected) if rejected else 0.0
    return found


def _route(trace: dict[str, Any], looks: Mapping[str, float]) -> Route:
    visits: list[Visit] = []
    for hop in trace["hops"]:
        seconds, name = hop["seconds"], hop["agent"]
        if not hop["answers"]:
            visits.append(Visit(name, "look", seconds))
            continue
        look = 0.0 if hop["looked"] else min(looks[name], seconds)
        answer = seconds - look
        if look:
            visits.append(Visit(name, "look", look))
        rest = trace["rest"]
        # A server reads the prompt again to answer, which takes about as long as a look; then come the tokens.
        first = looks[name] + answer / max(1, hop["tokens"]) if rest is None else answer - rest
        visits.append(Visit(name, "answer", answer, min(max(first, 0.0), answer), hop["tokens"] + 1))
    return Route(visits=tuple(visits), time=trace["time"], cost=trace["cost"], score=trace["score"])


def _behaviours(routes: Iterable[Route]) -> dict[str, Behaviour]:
    looks: dict[str, list[float]] = {}
    answers: dict[str, list[float]] = {}
    turns: dict[str, list[int]] = {}
    seen: dict[str, int] = {}
    for route in routes:
        for name in {visit.agent for visit in route.visits}:
            seen[name] = seen.get(name, 0) + 1
        for visit in route.visits:
            kind = looks if visit.step == "look" else answers
            if len(kind.setdefault(visit.agent, [])) < MOST_SAMPLES and visit.seconds > 0:
                kind[visit.agent].append(visit.seconds)
            if visit.step == "answer":
                turns.setdefault(visit.agent, []).append(visit.turns)
    answered: dict[str, int] = {}
    for route in routes:
        answered[route.visits[-1].agent] = answered.get(route.visits[-1].agent, 0) + 1
    return {
        name: Behaviour(
            looks=tuple(looks.get(name, ())),
            answers=tuple(answers.get(name, ())),
            answer_share=answered.get(name, 0) / count,
            turns=fmean(turns.get(name, [1])),
        )
        for name, count in seen.items()
    }


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
