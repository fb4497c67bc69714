"""Side by side: jobs that need no more than each other's files, each in a process of its own.

A job's process has one CPU thread (small models gain nothing from more, and sums stay reproducible) and, where there
are GPUs, one GPU. A job that fails leaves the others running: what went wrong is told when they are done.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, Protocol

from disrouter.errors import DisrouterError, RunError, UsageError

__all__ = ["FAILED", "Channel", "Job", "JobReport", "Progress", "alone", "check_jobs", "drive", "run_jobs"]

Progress = Callable[[str, int, int, float], None]
"""Called with the stage, step, steps and the loss or reward (NaN where there is none)."""

JobReport = Callable[[str, str, int, int, float], None]
"""A :data:`Progress` that begins with the job's name."""

Said = tuple[str, str, int, int, float]
"""What a job reports, with its name."""


class Channel(Protocol):
    """A queue of what jobs report."""

    def empty(self) -> bool: ...

    def get(self) -> Said: ...


FAILED = "failed"
"""The stage that is reported of a job that failed."""

_CONTEXT = multiprocessing.get_context("spawn")
"""A forked child of a threaded torch process may dead-lock."""

KEPT = "what is finished is kept; the same command goes on from there"


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work that can be sent to another process."""

    name: str
    work: Callable[[Progress], object]
    """A function at the top of a module, or a partial of one."""

    needs: tuple[str, ...] = ()
    """Names of the jobs that must be finished before."""


def check_jobs(at_once: int) -> None:
    """Refuse a number of jobs that means nothing.

    Raises:
        UsageError: It is negative.
    """
    if at_once < 0:
        raise UsageError(f"--jobs {at_once} is out of range: it must be 0 (what the machine can bear) or more.")


def run_jobs(
    jobs: Sequence[Job],
    at_once: int = 0,
    report: JobReport = lambda name, stage, step, steps, value: None,
) -> None:
    """Run jobs on this machine, ``at_once`` of them side by side (0: one per GPU, or else per core).

    Left by Ctrl-C or an error, it kills what still runs: a job's files must always be whole.

    Raises:
        UsageError: ``at_once`` is negative.
        DisrouterError: A job failed; those that did not need it are finished.
    """
    check_jobs(at_once)
    places = at_once or _gpus() or os.cpu_count() or 1
    channel = queue.SimpleQueue[Said]()
    with _processes(channel) as submit:
        drive(jobs, places, submit, channel, report)


def drive(
    jobs: Sequence[Job],
    places: int,
    submit: Callable[[Job, int], Future[None]],
    channel: Channel,
    report: JobReport,
) -> None:
    """Submit every job as soon as what it needs is finished and one of the places is free, in the order given.

    Raises:
        DisrouterError: A job failed; those that did not need it are finished.
    """
    free, waiting, done = list(range(places)), list(jobs), set[str]()
    running: dict[Future[None], tuple[Job, int]] = {}
    failures: dict[str, BaseException] = {}
    while True:
        for job in [job for job in waiting if done.issuperset(job.needs)][: len(free)]:
            waiting.remove(job)
            place = free.pop(0)
            running[submit(job, place)] = job, place
        if not running:
            break
        finished, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
        while not channel.empty():
            report(*channel.get())
        for future in finished:
            job, place = running.pop(future)
            free.append(place)
            if error := future.exception():
                failures[job.name] = error
                report(job.name, FAILED, 0, 0, float("nan"))
            else:
                done.add(job.name)
    if failures:
        raise _failure(failures)


def alone(job: Job, progress: Progress) -> None:
    """Run a job in this process, on one thread and without what libraries say to their developers."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar of ours is on the screen already
    warnings.simplefilter("ignore", FutureWarning)
    torch.set_num_threads(1)
    job.work(progress)


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
    if isinstance(error, _DiedError):
        reason = "its process was killed, perhaps because memory ran out; `--jobs 1` takes less"
    elif isinstance(error, _SurpriseError):
        reason = str(error)
    else:
        reason = f"{type(error).__name__}: {error}"
    failed = RunError(f"{name} failed: {reason}.{also}", hint=KEPT)
    failed.__cause__ = error
    return failed


class _DiedError(Exception):
    """A process ended without a word."""


class _SurpriseError(Exception):
    """What an error of a kind that nobody foresaw says: its type and message."""


@contextmanager
def _processes(channel: queue.SimpleQueue[Said]) -> Iterator[Callable[[Job, int], Future[None]]]:
    """Yield what starts a job in a process of its own; those still running when the block is left are killed."""
    # No pool: one that is killed can dead-lock.
    started: list[Any] = []

    def submit(job: Job, place: int) -> Future[None]:
        ours, theirs = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(target=_run_one, args=(job, place, theirs))
        process.start()
        theirs.close()
        started.append(process)
        future: Future[None] = Future()
        Thread(target=_listen, args=(ours, channel, future), daemon=True).start()
        return future

    try:
        yield submit
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.join()


def _listen(ours: Connection, channel: queue.SimpleQueue[Said], future: Future[None]) -> None:
    """Pass on what a process reports, and its last word: the error it ended with, or None."""
    try:
        while isinstance(word := ours.recv(), tuple):
            channel.put(word)
    except (EOFError, OSError):
        word = _DiedError()
    ours.close()
    future.set_result(None) if word is None else future.set_exception(word)


def _run_one(job: Job, place: int, theirs: Connection) -> None:
    """Run one job in this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends us
    _end_with_parent()
    if (gpus := _gpus()) and "LOCAL_RANK" not in os.environ:  # a launcher has given us one
        os.environ["CUDA_VISIBLE_DEVICES"] = _visible()[place % gpus]  # read when CUDA starts, which is later
    try:
        alone(job, lambda *values: theirs.send((job.name, *values)))
    except BaseException as error:  # on purpose: whatever ends a job is for the parent to tell
        # An exception of another's class may not survive the way, and then nobody would hear of our end; its words do.
        plain_os = isinstance(error, OSError) and type(error).__module__ == OSError.__module__
        known = isinstance(error, DisrouterError) or plain_os
        theirs.send(error if known else _SurpriseError(f"{type(error).__name__}: {error}"))
    else:
        theirs.send(None)


def _end_with_parent() -> None:
    """End this process when its parent is killed: whoever goes on in its place must not meet us at the same files."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this process was started by another one
    Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def _gpus() -> int:
    """Return the number of GPUs, without starting CUDA in this process."""
    import torch

    return torch.cuda.device_count()


def _visible() -> list[str]:
    """Return the GPUs' names, as ``CUDA_VISIBLE_DEVICES`` lists those that this process may use."""
    listed: Any = os.environ.get("CUDA_VISIBLE_DEVICES")
    return listed.split(",") if listed else [str(number) for number in range(_gpus())]
