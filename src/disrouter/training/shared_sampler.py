"""Profiles drawn side by side: batches of answers that an engine runs, with the bytes of one process."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from disrouter.engines.contract import Engine
from disrouter.engines.jobs import Job, Progress
from disrouter.training.profiling import TOGETHER, LocalSampler
from disrouter.types import Completion, Query

__all__ = ["SharedSampler"]


@dataclass(frozen=True, slots=True)
class SharedSampler:
    """The same answers, drawn in batches that an engine runs side by side."""

    inner: LocalSampler
    engine: Engine

    @property
    def identity(self) -> Mapping[str, Any]:
        """That of the sampler itself: where answers are drawn changes none."""
        return self.inner.identity

    def sample(self, queries: Sequence[Query], samples: int) -> Iterator[tuple[Query, Sequence[Completion]]]:
        """Yield every query with its answers as its batch is finished."""
        batches = {str(start): queries[start : start + TOGETHER] for start in range(0, len(queries), TOGETHER)}
        key = f"{_SELF} {id(self)}"
        jobs = [
            Job(name, partial(_sample, key, self.inner, some, samples), pure=True) for name, some in batches.items()
        ]
        for job, found in self.engine.work_off(jobs, lambda *_: None) if jobs else ():
            yield from zip(batches[job.name], found, strict=True)


_SELF = secrets.token_hex(8)
"""Tells this process from others."""

_here: dict[str, LocalSampler] = {}
"""The sampler that this process has loaded last, for batches that come from elsewhere."""


def _sample(
    key: str, sampler: LocalSampler, queries: Sequence[Query], samples: int, progress: Progress
) -> list[Sequence[Completion]]:
    """Draw one batch in a process of an engine."""
    if key not in _here:
        _here.clear()
        _here[key] = sampler
    return [answers for _, answers in _here[key].sample(queries, samples)]
