"""Processes of this machine: jobs side by side, each with one CPU thread and, where there are GPUs, one GPU.

Small models gain nothing from more threads, and sums stay reproducible. A job that leaves files has a process of its
own; pure jobs share one per place, so that it keeps what it has loaded.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

from disrouter.engines.jobs import Done, Job, JobReport, LostError, Said, SurpriseError, alone, check_jobs, drive
from disrouter.errors import DisrouterError

__all__ = ["run_jobs", "silent", "work_off"]

_CONTEXT = multiprocessing.get_context("spawn")
"""A forked child of a threaded torch process may dead-lock."""


def silent(name: str, stage: str, step: int, steps: int, value: float) -> None:
    """Report nothing."""


def run_jobs(jobs: Sequence[Job], at_once: int = 0, report: JobReport = silent) -> None:
    """Run jobs on this machine for what they leave behind; see :func:`work_off`."""
    for _ in work_off(jobs, at_once, report):
        pass


def work_off(jobs: Sequence[Job], at_once: int = 0, report: JobReport = silent) -> Iterator[Done]:
    """Run jobs on this machine, ``at_once`` of them side by side (0: one per GPU, or else per core); yield results.

    Left by Ctrl-C or an error, it kills what still runs: a job's files must always be whole.

    Raises:
        UsageError: ``at_once`` is negative.
        DisrouterError: A job failed; those that did not need it are finished.
    """
    check_jobs(at_once)
    places = at_once or _gpus() or os.cpu_count() or 1
    channel = queue.SimpleQueue[Said]()
    with _processes(channel) as submit:
        yield from drive(jobs, places, submit, channel, report)


@dataclass(frozen=True, slots=True)
class _Value:
    """The last word of a job that went well."""

    value: Any


class _Worker:
    """A process that runs jobs, one after the other."""

    def __init__(self, place: int) -> None:
        self.gone = False
        self._ours, theirs = _CONTEXT.Pipe()
        self.process: Any = _CONTEXT.Process(target=_work, args=(place, theirs))
        self.process.start()
        theirs.close()

    def run(self, job: Job, channel: queue.SimpleQueue[Said]) -> Future[Any]:
        """Send it a job; the future is done when the job is, or when the process is gone."""
        future: Future[Any] = Future()
        with suppress(BrokenPipeError):  # it is gone already: that is heard next
            self._ours.send(job)
        Thread(target=self._listen, args=(channel, future), daemon=True).start()
        return future

    def _listen(self, channel: queue.SimpleQueue[Said], future: Future[Any]) -> None:
        try:
            while isinstance(word := self._ours.recv(), tuple):
                channel.put(word)
        except (EOFError, OSError):
            word = LostError()
            self.gone = True  # heard before the process is seen to have ended
        except Exception as error:  # on purpose: what cannot be read here must end the wait, too
            word = SurpriseError(f"its result did not survive the way: {type(error).__name__}: {error}")
        future.set_result(word.value) if isinstance(word, _Value) else future.set_exception(word)


@contextmanager
def _processes(channel: queue.SimpleQueue[Said]) -> Iterator[Callable[[Job, int], Future[Any]]]:
    """Yield what starts a job in a process; those still running when the block is left are killed."""
    # No pool of the library: one of whose processes is killed can dead-lock.
    started: list[_Worker] = []
    shared: dict[int, _Worker] = {}

    def submit(job: Job, place: int) -> Future[Any]:
        worker = shared.pop(place, None)
        if worker is None or worker.gone or not job.pure:
            worker = _Worker(place)
            started.append(worker)
        if job.pure:
            shared[place] = worker
        return worker.run(job, channel)

    try:
        yield submit
    finally:
        for worker in started:
            worker.process.kill()
        for worker in started:
            worker.process.join()


def _work(place: int, pipe: Connection) -> None:
    """Run jobs in this process until nobody sends one, or one that wants a process of its own is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends us
    _end_with_parent()
    if (gpus := _gpus()) and "LOCAL_RANK" not in os.environ:  # a launcher has given us one
        os.environ["CUDA_VISIBLE_DEVICES"] = _visible()[place % gpus]  # read when CUDA starts, which is later
    while True:
        try:
            job: Job = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(_outcome(job, pipe))
        if not job.pure:
            return


def _outcome(job: Job, pipe: Connection) -> _Value | BaseException:
    """Run one job and return its last word."""
    try:
        value = alone(job, lambda *values: pipe.send((job.name, *values)))
    except BaseException as error:  # on purpose: whatever ends a job is for the parent to tell
        # An exception of another's class may not survive the way, and then nobody would hear of our end; its words do.
        plain_os = isinstance(error, OSError) and type(error).__module__ == OSError.__module__
        known = isinstance(error, DisrouterError) or plain_os
        return error if known else SurpriseError(f"{type(error).__name__}: {error}")
    return _Value(value if job.pure else None)


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
