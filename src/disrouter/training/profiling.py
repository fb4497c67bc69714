"""Profiling: how often an agent's own sampled answers to a query are right (paper §3.2).

Every query is answered N times at a temperature by the agent itself; the share of right answers is its success rate.
The paper publishes neither N nor the temperature; we use N=10 and T=1.0. What is sampled is kept query by query in a
journal, so an interrupted profile never asks a finished query again; the finished profile is one Parquet file, the
same bytes however often it was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from disrouter.agents.folders import weights_digest
from disrouter.agents.transformers import TransformersAgent
from disrouter.errors import DataError
from disrouter.files import replacing
from disrouter.training.settings import ProfileSettings
from disrouter.types import Completion, Message, Query, Sampling
from disrouter.utility import BALANCE

__all__ = ["TOGETHER", "Grade", "LocalSampler", "Profile", "Rollouts", "Sampler", "profile", "read_profile"]

VERSION = 2
"""Of the Parquet file's schema."""

TOGETHER = 64
"""Queries that a local agent samples together: what a kill loses at most."""

_SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])), nullable=False),
        pa.field("reference", pa.string()),
        pa.field("dataset", pa.string()),
        pa.field("level", pa.int64()),
        pa.field("texts", pa.list_(pa.string()), nullable=False),
        pa.field("scores", pa.list_(pa.float64()), nullable=False),
        pa.field("tokens", pa.list_(pa.int64()), nullable=False),
    ]
)

Grade: TypeAlias = Callable[[Query, str], float]
"""Quality in [0, 1] of an answer to a query."""


class Sampler(Protocol):
    """Whatever draws answers: a local model or a server."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Plain JSON values that say which model answers; a profile of another one is not gone on with."""
        ...

    def sample(self, queries: Sequence[Query], samples: int) -> Iterator[tuple[Query, Sequence[Completion]]]:
        """Yield every query with ``samples`` answers, in any order, as they are finished.

        Raises:
            RunError: An answer could not be had; what was yielded before is kept.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalSampler:
    """Answers of a model in this process, drawn in batches."""

    agent: TransformersAgent
    temperature: float
    seed: int

    @property
    def identity(self) -> Mapping[str, Any]:
        """The digest of the weights, and how answers are drawn."""
        return {
            "model": weights_digest(self.agent.model_path),
            "temperature": self.temperature,
            "seed": self.seed,
            "max_tokens": self.agent.max_tokens,
        }

    def sample(self, queries: Sequence[Query], samples: int) -> Iterator[tuple[Query, Sequence[Completion]]]:
        """Yield every query with its answers, batch by batch."""
        sampling = Sampling(temperature=self.temperature, seed=self.seed)
        for start in range(0, len(queries), TOGETHER):
            batch = queries[start : start + TOGETHER]
            yield from zip(batch, self.agent.sample_many(batch, BALANCE, sampling, samples), strict=True)


@dataclass(frozen=True, slots=True)
class Rollouts:
    """An agent's sampled answers to one query."""

    query: Query
    texts: tuple[str, ...]
    scores: tuple[float, ...]
    """Quality in [0, 1] of each answer."""

    tokens: tuple[int, ...] = ()
    """Tokens of each answer."""

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

    @property
    def sampled_tokens(self) -> int:
        """Tokens of all sampled answers."""
        return sum(sum(rollouts.tokens) for rollouts in self.rollouts)

    @property
    def mean_success_rate(self) -> float:
        """Mean over queries, in [0, 1]."""
        return sum(rollouts.success_rate for rollouts in self.rollouts) / len(self.rollouts)


def profile(
    name: str,
    sampler: Sampler,
    queries: Sequence[Query],
    grade: Grade,
    path: Path,
    settings: ProfileSettings,
    *,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Profile:
    """Return an agent's profile on ``queries``, kept as the Parquet file ``path``; go on with what is there already.

    ``settings.samples`` answers (N) are drawn for each query; ``report`` is called with queries done and all queries.

    Raises:
        DataError: There are no queries, two have one id, one lacks a reference, or what lies there is the profile of
            other queries or of another model.
        RunError: The sampler or the grader failed; what is done is kept.
    """
    _check(name, queries)
    identity = {"version": VERSION, "agent": name, "samples": settings.samples, **sampler.identity}
    identity = json.loads(json.dumps(identity))
    if path.is_file():
        known, found = _read(path)
        if known != identity or [rollouts.query.id for rollouts in found] != [query.id for query in queries]:
            raise DataError(f"'{path}' is the profile of another model or of other queries.", hint=_ELSEWHERE)
        report(len(queries), len(queries))
        return Profile(name, tuple(found))

    journal = path.with_suffix(".journal.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    done = _open_journal(journal, identity)
    wanted = {query.id: query for query in queries}
    if strangers := done.keys() - wanted.keys():
        raise DataError(f"'{journal}' holds answers to other queries, as '{min(strangers)}'.", hint=_ELSEWHERE)
    rest = [query for query in queries if query.id not in done]
    report(len(done), len(queries))
    with journal.open("a", encoding="utf-8") as file:
        for query, completions in sampler.sample(rest, settings.samples):
            row = {
                "query_id": query.id,
                "texts": [completion.text for completion in completions],
                "scores": [grade(query, completion.text) for completion in completions],
                "tokens": [completion.usage.completion_tokens for completion in completions],
            }
            file.write(json.dumps(row) + "\n")
            file.flush()
            done[query.id] = row
            report(len(done), len(queries))
    found = [
        Rollouts(query, tuple(row["texts"]), tuple(row["scores"]), tuple(row["tokens"]))
        for query in queries
        for row in (done[query.id],)
    ]
    _write(path, identity, found)
    journal.unlink()
    return Profile(name, tuple(found))


def read_profile(path: Path) -> Profile:
    """Return a finished profile.

    Raises:
        DataError: There is none, or it cannot be read.
    """
    identity, rollouts = _read(path)
    return Profile(str(identity["agent"]), tuple(rollouts))


_ELSEWHERE = "name another place for this profile, or delete that one"


def _check(name: str, queries: Sequence[Query]) -> None:
    if not queries:
        raise DataError(f"No queries to profile agent '{name}' on.", hint="give it at least one")
    if unknown := [query.id for query in queries if query.reference is None]:
        raise DataError(
            f"Query '{unknown[0]}' has no reference answer: whether an answer to it is right cannot be known.",
            hint="profile on a suite with references",
        )
    ids = [query.id for query in queries]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise DataError(f"Two queries to profile have the id '{twice}'.", hint="make ids unique")


def _open_journal(path: Path, identity: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the finished queries of a journal; begin one where there is none. A line cut off by a kill is dropped."""
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    whole = lines[:-1]  # what follows the last line break is not whole
    if not whole:
        path.write_text(json.dumps(identity) + "\n", encoding="utf-8")
        return {}
    try:
        head, *rows = [json.loads(line) for line in whole]
        done = {str(row["query_id"]): row for row in rows}
    except (ValueError, KeyError, TypeError) as exc:
        raise DataError(f"'{path}' is damaged: {exc}.", hint=_ELSEWHERE) from exc
    if head != identity:
        raise DataError(f"'{path}' belongs to the profile of another model or with other settings.", hint=_ELSEWHERE)
    if lines[-1]:
        with path.open("r+b") as file:
            file.truncate(sum(len(line) + 1 for line in whole))
    return done


def _write(path: Path, identity: Mapping[str, Any], found: Sequence[Rollouts]) -> None:
    rows = [
        {
            "query_id": rollouts.query.id,
            "messages": [{"role": m.role, "content": m.content} for m in rollouts.query.messages],
            "reference": rollouts.query.reference,
            "dataset": rollouts.query.dataset,
            "level": rollouts.query.level,
            **{key: list(value) for key, value in asdict(rollouts).items() if key in ("texts", "scores", "tokens")},
        }
        for rollouts in found
    ]
    schema = _SCHEMA.with_metadata({b"disrouter.profile": json.dumps(identity).encode()})
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary, compression="zstd")


def _read(path: Path) -> tuple[dict[str, Any], list[Rollouts]]:
    try:
        table = pq.read_table(path)
        identity = json.loads((table.schema.metadata or {})[b"disrouter.profile"])
        if identity["version"] != VERSION:
            raise DataError(f"Profile '{path}' has version {identity['version']}; this version reads {VERSION}.")
        rows = table.to_pylist()
        found = [
            Rollouts(
                Query(
                    id=row["query_id"],
                    messages=tuple(Message(m["role"], m["content"]) for m in row["messages"]),
                    reference=row["reference"],
                    dataset=row["dataset"],
                    level=row["level"],
                ),
                tuple(row["texts"]),
                tuple(row["scores"]),
                tuple(row["tokens"]),
            )
            for row in rows
        ]
    except FileNotFoundError:
        raise DataError(f"There is no profile at '{path}'.", hint="make one with `disrouter profile`") from None
    except (KeyError, TypeError, ValueError, OSError) as exc:  # pyarrow's errors are ValueErrors and OSErrors
        raise DataError(f"'{path}' is not a profile: {exc}.", hint="make one with `disrouter profile`") from exc
    return identity, found
