"""Building the lab's checkpoints: which stage of which agent, side by side, resumable.

Every agent is built in a process of its own with one thread. What is finished is never made again: an interrupted
build goes on where it was and ends with the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from disrouter.engines.jobs import Job, JobReport, Progress, check_jobs
from disrouter.engines.processes import run_jobs
from disrouter.errors import UnknownNameError
from disrouter.lab.family import Stage, family_of, lab_model

__all__ = ["RECIPES", "Task", "build", "tasks_of"]

RECIPES: Mapping[str, Mapping[Stage, str]] = MappingProxyType(
    {"lab": {"calibrated": "lab-calibrated", "paper": "lab-paper"}, "mixed": {"calibrated": "lab-mixed"}}
)
"""For every family, the embedded recipe whose last stage is an agent's checkpoint of a stage."""


@dataclass(frozen=True, slots=True)
class Task:
    """One stage of one agent."""

    agent: str
    stage: Stage
    family: str = "lab"

    @property
    def name(self) -> str:
        """Return what the task is called in messages."""
        return f"{self.agent} {self.stage}"

    def folder(self, output: Path) -> Path:
        """Return where the finished checkpoint lies."""
        return output / self.stage / self.agent

    def needs(self) -> tuple[Task, ...]:
        """Return the tasks that must be finished before this one."""
        if self.stage == "calibrated":
            return (replace(self, stage="base"),)
        if self.stage == "paper":  # both learn from one profile, which the calibrated stage makes
            return (replace(self, stage="calibrated"),)
        parent = lab_model(self.agent).grown_from
        return (replace(self, agent=parent),) if parent else ()


def tasks_of(agents: Sequence[str], stages: Sequence[str], family: str = "lab") -> list[Task]:
    """Return the tasks that build ``stages`` of ``agents`` (all if empty), needed earlier ones included, in order.

    Raises:
        UnknownNameError: The lab has no such family, or the family no such agent or stage.
    """
    models = {model.name: model for model in family_of(family)}
    known: list[Stage] = ["base", *RECIPES[family]]
    for name in agents:
        if name not in models:
            raise UnknownNameError.of("lab model", name, models, where=f"family '{family}'")
    for stage in stages:
        if stage not in known:
            raise UnknownNameError.of("stage", stage, known, where=f"family '{family}'")
    ordered: list[Task] = []

    def add(task: Task) -> None:
        if task not in ordered:
            for needed in task.needs():
                add(needed)
            ordered.append(task)

    largest = list(models)[-1]
    for name in models:
        for chosen in known:
            last = chosen != "base" and name == largest  # always answers: there is nothing to train
            if not last and name in (agents or models) and chosen in (stages or known):
                add(Task(name, chosen, family))
    # The largest take longest: begin with them, so that the small ones fill the gaps.
    return sorted(ordered, key=lambda task: (-_weight(task), task.agent, task.stage))


def build(
    output: Path,
    *,
    family: str = "lab",
    agents: Sequence[str] = (),
    stages: Sequence[str] = (),
    jobs: int = 0,
    compiled: bool = False,
    quick: bool = False,
    report: JobReport = lambda agent, stage, step, steps, loss: None,
) -> list[Path]:
    """Build checkpoints under ``output`` (``base/agent-1``, ``paper/agent-1``, …) and return their folders.

    What self-awareness training leaves besides, profiles and ledgers, lies under ``training``.

    Args:
        output: Where the checkpoints go; what is there already is not made again.
        family: "lab", the one that ships, or "mixed".
        agents: Names; all if empty. What they need (base before the others, the fourth before the fifth) is built too.
        stages: "base", "calibrated", "paper" (not of the mixed family); all if empty.
        jobs: Agents built side by side; one per core if 0.
        compiled: Compile models for pretraining (needs a C++ compiler; about three times as fast).
        quick: A rehearsal in about a minute per agent: the whole way, far too short to be any good.
        report: Called with agent, stage ("base", "profile", "sft", …), step, steps and loss (NaN where there is none).

    Raises:
        UnknownNameError: The lab has no such family, or the family no such agent or stage.
        UsageError: ``jobs`` is negative.
        DisrouterError: A build failed; what is finished is kept.
    """
    check_jobs(jobs)
    tasks = tasks_of(agents, stages, family)
    waiting = [task for task in tasks if not (task.folder(output) / "model.safetensors").is_file()]
    if waiting:
        output.mkdir(parents=True, exist_ok=True)
        wanted = {task.name: task for task in waiting}
        needs = {name: [needed.name for needed in task.needs()] for name, task in wanted.items()}
        run_jobs(
            [
                Job(
                    name,
                    partial(_build_one, task, output, compiled, quick),
                    tuple(n for n in needs[name] if n in wanted),
                )
                for name, task in wanted.items()
            ],
            jobs,
            lambda name, *values: report(wanted[name].agent, *values),
        )
    return [task.folder(output) for task in tasks]


def _weight(task: Task) -> int:
    model = lab_model(task.agent)
    return model.layers * model.hidden**2 * (model.steps if task.stage == "base" else model.steps // 4)


def _build_one(task: Task, output: Path, compiled: bool, quick: bool, progress: Progress) -> None:
    """Build one task in this process."""
    if task.stage == "base":
        _pretrain(task, output, compiled, quick, progress)
    else:
        _train(task, output, quick, progress)


def _pretrain(task: Task, output: Path, compiled: bool, quick: bool, progress: Progress) -> None:
    from disrouter.lab.pretraining import pretrain

    spec = lab_model(task.agent)
    if quick:
        spec = replace(spec, steps=60, batch=16)
    pretrain(
        spec,
        task.folder(output),
        start_from=replace(task, agent=spec.grown_from).folder(output) if spec.grown_from else None,
        compiled=compiled,
        report=lambda done: progress("base", done.step, done.steps, done.loss),
        checkpoint_every=20 if quick else 200,
    )


def _train(task: Task, output: Path, quick: bool, progress: Progress) -> None:
    from disrouter.lab.suite import LabSuite
    from disrouter.training.pipeline import train_agent
    from disrouter.training.recipes import load_recipe
    from disrouter.training.rehearsal import RehearsalSuite, rehearsed
    from disrouter.training.suites import TrainingSuite

    recipe = load_recipe(RECIPES[task.family][task.stage])
    suite: TrainingSuite = LabSuite()
    if quick:
        recipe, suite = rehearsed(recipe), RehearsalSuite(suite)
    base = Task(task.agent, "base").folder(output)
    last = train_agent(
        recipe,
        recipe.agent(task.agent),
        base,
        suite,
        output / "training" / task.stage,
        profiles=output / "training" / "profiles",
        report=progress,
    )
    folder = task.folder(output)
    partly = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partly, ignore_errors=True)
    shutil.copytree(last, partly, ignore=shutil.ignore_patterns("*.png", "*.svg"))
    partly.rename(folder)
