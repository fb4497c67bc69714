"""Profiling: how often an agent's own sampled answers to a query are right (paper §3.2).

Every query is answered N times at a temperature by the agent itself; the share of right answers is its success rate.
The paper publishes neither N nor the temperature; we use N=10 and T=1.0. Finished chunks of queries are kept as
Parquet files, so an interrupted profile goes on where it was and ends with the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from disrouter.agents.transformers import TransformersAgent
from disrouter.errors import DataError
from disrouter.types import Query, Sampling
from disrouter.utility import BALANCE

__all__ = ["Profile", "Rollouts", "profile"]

CHUNK = 512
"""Queries in one stored part."""

_SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("texts", pa.list_(pa.string()), nullable=False),
        pa.field("scores", pa.list_(pa.float64()), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
    ],
    metadata={b"disrouter.profile.version": b"1"},
)


class Grader(Protocol):
    """Whatever says how right an answer is; every suite does."""

    def grade(self, query: Query, text: str) -> float: ...


@dataclass(frozen=True, slots=True)
class Rollouts:
    """An agent's sampled answers to one query."""

    query: Query
    texts: tuple[str, ...]
    scores: tuple[float, ...]
    """Quality in [0, 1] of each answer."""

    @property
    def success_rate(self) -> float:
        """Share of right answers, in [0, 1]."""
        return sum(self.scores) / len(self.scores)

    @property
    def right(self) -> tuple[str, ...]:
        """The answers that are entirely right."""
        return tuple(text for text, score in zip(self.texts, self.scores, strict=True) if score == 1.0)


@dataclass(frozen=True, slots=True)
class Profile:
    """An agent's success rates on a set of queries."""

    agent: str
    rollouts: tuple[Rollouts, ...]
    sampled_tokens: int


def profile(
    agent: TransformersAgent,
    queries: Sequence[Query],
    grader: Grader,
    folder: Path,
    *,
    samples: int = 10,
    temperature: float = 1.0,
    seed: int = 0,
    report: Callable[[int], None] = lambda queries: None,
) -> Profile:
    """Return the agent's profile on ``queries``, from what ``folder`` holds already and new samples for the rest.

    ``samples`` answers are sampled for each query (N); ``report`` is called with the number of queries done.

    Raises:
        DataError: There are no queries, or the folder holds the profile of other queries.
    """
    if not queries:
        raise DataError(f"No queries to profile agent '{agent.card.name}' on.", hint="give it at least one")
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Rollouts] = []
    tokens = 0
    for start in range(0, len(queries), CHUNK):
        part = folder / f"part-{start // CHUNK:05}.parquet"
        chunk = queries[start : start + CHUNK]
        if not part.exists():
            sampling = Sampling(temperature=temperature, seed=seed)
            answers = agent.sample_many(chunk, BALANCE, sampling, samples)
            rows = [
                {
                    "query_id": query.id,
                    "texts": [completion.text for completion in completions],
                    "scores": [grader.grade(query, completion.text) for completion in completions],
                    "tokens": sum(completion.usage.completion_tokens for completion in completions),
                }
                for query, completions in zip(chunk, answers, strict=True)
            ]
            _write(part, rows)
        stored = pq.read_table(part).to_pylist()
        if [row["query_id"] for row in stored] != [query.id for query in chunk]:
            raise DataError(
                f"'{part}' belongs to a profile of other queries.", hint="name another folder, or delete this one"
            )
        for query, row in zip(chunk, stored, strict=True):
            found.append(Rollouts(query, tuple(row["texts"]), tuple(row["scores"])))
            tokens += row["tokens"]
        report(start + len(chunk))
    return Profile(agent.card.name, tuple(found), tokens)


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    partial = path.with_suffix(".partial")
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), partial, compression="zstd")
    os.replace(partial, path)
