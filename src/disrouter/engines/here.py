"""The local engine, and engines by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from disrouter.engines.contract import Engine, EngineName, Reader
from disrouter.engines.jobs import Done, Job, JobReport, check_jobs
from disrouter.errors import UsageError
from disrouter.network import Network

__all__ = ["LocalEngine", "engine_of"]


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Agents in this process, work in processes beside it."""

    workers: int = 1
    """Jobs side by side; 0: one per GPU, or else per core."""

    @property
    def name(self) -> EngineName:
        """What it is called."""
        return "local"

    def work_off(self, jobs: Sequence[Job], report: JobReport) -> Iterator[Done]:
        """Run jobs in processes of this machine."""
        from disrouter.engines.processes import work_off

        yield from work_off(jobs, self.workers, report)

    def session(self) -> AbstractContextManager[None]:
        """Keep nothing: processes start with their work."""
        return nullcontext()

    @contextmanager
    def hosting(self, read: Reader) -> Iterator[Callable[[], Network]]:
        """Leave the agents where they are."""
        yield lambda: read()[0]


def engine_of(name: EngineName, *, address: str | None = None, workers: int | None = None) -> Engine | None:
    """Return the engine that options name; None where this process alone does the work.

    Args:
        name: Of the engine.
        address: Of a Ray cluster; None starts one on this machine.
        workers: Jobs side by side; 0: as many as there is room for. None: one on this machine, else all there is.

    Raises:
        UsageError: The options contradict each other.
    """
    if workers is not None:
        check_jobs(workers, "--workers")
    if name == "ray":
        from disrouter.engines.ray_engine import RayEngine

        return RayEngine(address, workers or 0)
    if address is not None:
        raise UsageError("--ray-address goes with --engine ray only.")
    return None if workers in (None, 1) else LocalEngine(workers)
