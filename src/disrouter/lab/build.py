"""Building the lab's checkpoints: which stage of which agent, side by side, resumable.

Every agent is built in a process of its own with one thread. What is finished is never made again: an interrupted
build goes on where it was and ends with the same bytes.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from disrouter.errors import RunError, UnknownNameError, UsageError
from disrouter.lab.family import FAMILY, Stage, lab_model

__all__ = ["Report", "Task", "build", "tasks_of"]

Report = Callable[[str, str, int, int, float], None]
"""Called with agent, stage ("base", "profile", "sft"), step, steps and loss (NaN where there is none)."""


@dataclass(frozen=True, slots=True)
class Task:
    """One stage of one agent."""

    agent: str
    stage: Stage

    def folder(self, output: Path) -> Path:
        """Return where the finished checkpoint lies."""
        return output / self.stage / self.agent

    def needs(self) -> tuple[Task, ...]:
        """Return the tasks that must be finished before this one."""
        if self.stage == "aware":
            return (Task(self.agent, "base"),)
        parent = lab_model(self.agent).grown_from
        return (Task(parent, "base"),) if parent else ()


def tasks_of(agents: Sequence[str], stages: Sequence[str]) -> list[Task]:
    """Return the tasks that build ``stages`` of ``agents`` (all if empty), needed earlier ones included, in order.

    Raises:
        UnknownNameError: An agent or a stage is not one of the lab's.
    """
    for name in agents:
        lab_model(name)
    for stage in stages:
        if stage not in get_args(Stage):
            raise UnknownNameError.of("stage", stage, get_args(Stage))
    ordered: list[Task] = []

    def add(task: Task) -> None:
        if task not in ordered:
            for needed in task.needs():
                add(needed)
            ordered.append(task)

    for model in FAMILY:
        for stage in get_args(Stage):
            last = stage == "aware" and model is FAMILY[-1]  # always answers: there is nothing to train
            if not last and model.name in (agents or [m.name for m in FAMILY]) and stage in (stages or get_args(Stage)):
                add(Task(model.name, stage))
    # The largest take longest: begin with them, so that the small ones fill the gaps.
    return sorted(ordered, key=lambda task: (-_weight(task), task.agent, task.stage))


def build(
    output: Path,
    *,
    agents: Sequence[str] = (),
    stages: Sequence[str] = (),
    jobs: int = 0,
    compiled: bool = False,
    quick: bool = False,
    report: Report = lambda agent, stage, step, steps, loss: None,
) -> list[Path]:
    """Build checkpoints under ``output`` (``base/agent-1``, ``aware/agent-1``, …) and return their folders.

    Args:
        output: Where the checkpoints go; what is there already is not made again.
        agents: Names; all if empty. What they need (base before aware, the fourth before the fifth) is built too.
        stages: "base", "aware"; both if empty.
        jobs: Agents built side by side; one per core if 0.
        compiled: Compile models for pretraining (needs a C++ compiler; about three times as fast).
        quick: A rehearsal in about a minute per agent: the whole way, far too short to be any good.
        report: Called as the work goes on.

    Raises:
        UnknownNameError: An agent or a stage is not one of the lab's.
        UsageError: ``jobs`` is negative.
        RunError: A build failed.
    """
    if jobs < 0:
        raise UsageError(f"--jobs {jobs} is out of range: it must be 0 (one per core) or more.")
    tasks = tasks_of(agents, stages)
    done = {task for task in tasks if (task.folder(output) / "model.safetensors").is_file()}
    waiting = [task for task in tasks if task not in done]
    if waiting:
        output.mkdir(parents=True, exist_ok=True)
        _run(waiting, done, output, jobs or os.cpu_count() or 1, compiled, quick, report)
    return [task.folder(output) for task in tasks]


def _run(
    waiting: list[Task], done: set[Task], output: Path, jobs: int, compiled: bool, quick: bool, report: Report
) -> None:
    with multiprocessing.Manager() as manager:
        channel: queue.Queue[tuple[str, str, int, int, float]] = manager.Queue()
        with _pool(jobs) as pool:
            running: dict[Future[None], Task] = {}
            while waiting or running:
                for task in [task for task in waiting if done.issuperset(task.needs())]:
                    if len(running) < jobs:
                        waiting.remove(task)
                        running[pool.submit(_build_one, task, output, compiled, quick, channel)] = task
                finished, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                while not channel.empty():
                    report(*channel.get())
                for future in finished:
                    task = running.pop(future)
                    if error := future.exception():
                        raise RunError(
                            f"Building {task.stage} of {task.agent} failed: {error}",
                            hint="what is finished is kept; the same command goes on from there",
                        ) from error
                    done.add(task)


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool that is killed, not waited for, when its block is left by an error or Ctrl-C."""
    # spawn: a forked child of a threaded torch process may dead-lock. One task each: a fresh process per agent.
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    try:
        yield pool
    except BaseException:
        pool.kill_workers() if hasattr(pool, "kill_workers") else _kill(pool)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _kill(pool: ProcessPoolExecutor) -> None:
    for process in list((pool._processes or {}).values()):  # before Python 3.14 there is no public way
        process.kill()


def _weight(task: Task) -> int:
    model = lab_model(task.agent)
    return model.layers * model.hidden**2 * (model.steps if task.stage == "base" else model.steps // 4)


def _build_one(
    task: Task,
    output: Path,
    compiled: bool,
    quick: bool,
    channel: queue.Queue[tuple[str, str, int, int, float]],
) -> None:
    """Build one task in this process."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends us; our files are always whole
    import torch

    torch.set_num_threads(1)
    spec = lab_model(task.agent)
    base = Task(task.agent, "base").folder(output)
    if task.stage == "base":
        from disrouter.lab.pretraining import pretrain

        if quick:
            spec = replace(spec, steps=60, batch=16)
        pretrain(
            spec,
            task.folder(output),
            start_from=Task(spec.grown_from, "base").folder(output) if spec.grown_from else None,
            compiled=compiled,
            report=lambda p: channel.put((task.agent, "base", p.step, p.steps, p.loss)),
            checkpoint_every=20 if quick else 200,
        )
    else:
        from disrouter.lab.awareness import AwarenessPlan, settings_of, train_awareness

        plan = AwarenessPlan(queries=140, samples=2, targets=60, replay=60) if quick else AwarenessPlan()
        train_awareness(
            spec,
            base,
            task.folder(output),
            output / ".work" / task.agent,
            plan,
            settings_of(spec),
            report=lambda stage, step, steps, loss: channel.put((task.agent, stage, step, steps, loss)),
        )
