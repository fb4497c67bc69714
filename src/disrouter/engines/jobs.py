"""Jobs: pieces of work that need no more than each other's results, and how they are driven to their end.

Who runs them (processes of this machine, tasks of a cluster) only has to start one and say how it ended. A job that
fails leaves the others running: what went wrong is told when they are done.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

from disrouter.errors import DisrouterError, RunError, UsageError

__all__ = ["FAILED", "Channel", "Done", "Job", "JobReport", "LostError", "Progress", "alone", "check_jobs", "drive"]

Progress = Callable[[str, int, int, float], None]
"""Called with the stage, step, steps and the loss or reward (NaN where there is none)."""

JobReport = Callable[[str, str, int, int, float], None]
"""A :data:`Progress` that begins with the job's name."""

Said = tuple[str, str, int, int, float]
"""What a job reports, with its name."""

Done = tuple["Job", Any]
"""A finished job and what it returned."""


class Channel(Protocol):
    """A queue of what jobs report."""

    def empty(self) -> bool: ...

    def get(self) -> Said: ...


FAILED = "failed"
"""The stage that is reported of a job that failed."""

KEPT = "what is finished is kept; the same command goes on from there"

RETRIES = 2
"""A pure job whose process or machine was lost is begun again so many times."""

SLOW = (3.0, 20.0)
"""A pure job that takes so many times the median, and at least so many seconds, is run once more beside itself."""

_LOST = ("WorkerCrashedError", "RayActorError", "NodeDiedError", "ObjectLostError", "OutOfMemoryError")
"""How Ray says that what ran a job, or held its result, is gone."""


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work that can be sent to another process."""

    name: str
    work: Callable[[Progress], Any]
    """A function at the top of a module, or a partial of one."""

    needs: tuple[str, ...] = ()
    """Names of the jobs that must be finished before."""

    pure: bool = False
    """Whether it only returns a value: such a job may be run again or twice at once, and one process runs several."""


class LostError(Exception):
    """What ran a job ended without a word."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    job: Job
    place: int
    started: float


def check_jobs(at_once: int, option: str = "--jobs") -> None:
    """Refuse a number of jobs that means nothing.

    Raises:
        UsageError: It is negative.
    """
    if at_once < 0:
        raise UsageError(f"{option} {at_once} is out of range: it must be 0 (what the machine can bear) or more.")


def drive(
    jobs: Sequence[Job],
    places: int,
    submit: Callable[[Job, int], Future[Any]],
    channel: Channel,
    report: JobReport,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Done]:
    """Submit every job as soon as what it needs is finished and one of the places is free, in the order given.

    Yields each finished job with what it returned. A pure job that was lost is begun again; one that takes far longer
    than the others is run a second time where a place is free, and the first to finish counts.

    Raises:
        DisrouterError: A job failed; those that did not need it are finished.
    """
    free, waiting, done = list(range(places)), list(jobs), set[str]()
    running: dict[Future[Any], _Attempt] = {}
    failures: dict[str, BaseException] = {}
    lost, took = Counter[str](), list[float]()
    while True:
        ready = [job for job in waiting if done.issuperset(job.needs)]
        slow = [] if ready else _stragglers([a for a in running.values() if a.job.name not in done], took, clock())
        for job in [*ready, *slow][: len(free)]:
            if job in waiting:
                waiting.remove(job)
            place = free.pop(0)
            running[submit(job, place)] = _Attempt(job, place, clock())
        if all(attempt.job.name in done for attempt in running.values()):
            break  # what still runs are copies that came second
        finished, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
        while not channel.empty():
            report(*channel.get())
        for future in finished:
            attempt = running.pop(future)
            job = attempt.job
            free.append(attempt.place)
            error = future.exception()
            if job.name in done or (error and any(other.job is job for other in running.values())):
                continue
            if error is None:
                done.add(job.name)
                took.append(clock() - attempt.started)
                yield job, future.result()
            elif job.pure and is_lost(error) and lost[job.name] < RETRIES:
                lost[job.name] += 1
                waiting.insert(0, job)
            else:
                failures[job.name] = error
                report(job.name, FAILED, 0, 0, float("nan"))
    if failures:
        raise _failure(failures)


def is_lost(error: BaseException) -> bool:
    """Return whether a job did not fail by itself, but what ran it is gone."""
    return isinstance(error, LostError) or any(kind.__name__ in _LOST for kind in type(error).__mro__)


def alone(job: Job, progress: Progress) -> Any:
    """Run a job in this process, on one thread and without what libraries say to their developers."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar of ours is on the screen already
    warnings.simplefilter("ignore", FutureWarning)
    torch.set_num_threads(1)
    return job.work(progress)


def _stragglers(running: Sequence[_Attempt], took: Sequence[float], now: float) -> list[Job]:
    """Return the jobs to run a second time, the slowest first."""
    if not took:
        return []
    times, seconds = SLOW
    bound = max(times * median(took), seconds)
    attempts = sorted(running, key=lambda attempt: attempt.started)
    names = Counter(attempt.job.name for attempt in attempts)
    return [a.job for a in attempts if a.job.pure and names[a.job.name] == 1 and now - a.started > bound]


def _failure(failures: dict[str, BaseException]) -> BaseException:
    """Return the error of the first of some failed jobs, with a word on the others."""
    (name, error), *others = failures.items()
    error = getattr(error, "cause", error)  # Ray wraps what a task raised
    also = f" So did {', '.join(other for other, _ in others)}." if others else ""
    if isinstance(error, DisrouterError):
        # Of the same kind, so that a user's mistake stays one.
        return type(error)(f"{name}: {error.message}{also}", hint=error.hint or KEPT)
    if isinstance(error, OSError):
        return error  # it names the file, and what is wrong with it
    if is_lost(error):
        reason = "its process was killed, perhaps because memory ran out; fewer at once take less"
    elif isinstance(error, SurpriseError):
        reason = str(error)
    else:
        reason = f"{type(error).__name__}: {error}"
    failed = RunError(f"{name} failed: {reason}.{also}", hint=KEPT)
    failed.__cause__ = error
    return failed


class SurpriseError(Exception):
    """What an error of a kind that nobody foresaw says: its type and message."""
