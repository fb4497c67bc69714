"""Traces as JSON: one object per query, one line per trace in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from disrouter.errors import DataError
from disrouter.files import replacing
from disrouter.types import Hop, Scenario, Trace, Usage

__all__ = ["read_traces", "trace_from_json", "trace_line", "trace_to_json", "write_traces"]


def trace_to_json(trace: Trace, *, timings: bool = False) -> dict[str, Any]:
    """Return a trace as plain JSON values, keys always in the same order.

    Seconds are left out unless asked for: they are the one thing in which two equal runs differ.
    """
    return {
        "query_id": trace.query_id,
        "scenario": {"name": trace.scenario.name, "alpha": trace.scenario.alpha, "beta": trace.scenario.beta},
        "hops": [
            {
                "agent": hop.agent,
                "decision": hop.decision,
                "confidence": hop.confidence,
                "usage": {
                    "prompt_tokens": hop.usage.prompt_tokens,
                    "completion_tokens": hop.usage.completion_tokens,
                },
                "cost": hop.cost,
                **(_timings(hop) if timings else {}),
                "reason": hop.reason,
            }
            for hop in trace.hops
        ],
        "answer": trace.answer,
        "score": trace.score,
    }


def _timings(hop: Hop) -> dict[str, float]:
    first = hop.first_token_seconds
    return {"seconds": hop.seconds, **({} if first is None else {"first_token_seconds": first})}


def trace_from_json(value: Mapping[str, Any]) -> Trace:
    """Return the trace of :func:`trace_to_json`; seconds that were left out become 0.

    Raises:
        DataError: A key is missing or has a value of the wrong kind.
    """
    try:
        return Trace(
            query_id=value["query_id"],
            scenario=Scenario(**value["scenario"]),
            hops=tuple(Hop(**{**hop, "usage": Usage(**hop["usage"])}) for hop in value["hops"]),
            answer=value["answer"],
            score=value["score"],
        )
    except (KeyError, TypeError) as exc:
        raise DataError(f"Not a trace: {exc}.", hint="traces are written by `disrouter eval`") from exc


def trace_line(trace: Trace, *, timings: bool = False) -> str:
    """Return a trace as one line of JSON; equal traces give equal lines."""
    return json.dumps(trace_to_json(trace, timings=timings), ensure_ascii=False, allow_nan=False)


def write_traces(path: Path, traces: Iterable[Trace], *, timings: bool = False) -> None:
    """Write one trace per line, the file whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(trace_line(trace, timings=timings) + "\n" for trace in traces)


def read_traces(path: Path) -> Iterator[Trace]:
    """Yield the traces of a file.

    Raises:
        DataError: The file is missing, or a line is not a trace.
    """
    if not path.is_file():
        raise DataError(f"There are no traces at '{path}'.", hint="make them with `disrouter eval`")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield trace_from_json(json.loads(line))
            except (json.JSONDecodeError, DataError) as exc:
                raise DataError(f"'{path}', line {number}: not a trace ({exc}).") from exc
