"""Pipeline: one agent through the stages of a recipe, each resumable, with proof of what it bought and cost.

    <output>/<agent>/profile.parquet     sampled answers and success rates
    <output>/<agent>/sft, rl, head       a model folder for every stage that was run
    <output>/<agent>/ability.json        accuracy with rejection masked, before and after
    <output>/<agent>/ledger.json         tokens, FLOPs and seconds of every stage

An agent needs no other agent: any number of them can be trained side by side.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from disrouter.agents.calibrators import CALIBRATION_FILE
from disrouter.errors import UsageError
from disrouter.files import write_json
from disrouter.training.agent_calibration import Calibrated, calibrate, keep
from disrouter.training.ledger import Ledger
from disrouter.training.profiling import LocalSampler, Profile, profile, read_profile
from disrouter.training.ranks import is_first, processes
from disrouter.training.recipes import AgentRecipe, Recipe, StageName
from disrouter.training.settings import CalibrationSettings
from disrouter.training.stages import STAGES
from disrouter.training.suites import TrainingSuite
from disrouter.training.work import Report, Work, runner_of
from disrouter.utility import BALANCE

__all__ = [
    "calibrate_agent",
    "measure_ability",
    "profile_agent",
    "stage_path",
    "train_agent",
]

ABILITY_QUERIES = 1000
"""Validation queries of each domain that ability is measured on."""


def stage_path(output: Path, agent: str, stage: StageName) -> Path:
    """Return the folder of the model that a stage leaves."""
    return output / agent / stage


def train_agent(
    recipe: Recipe,
    agent: AgentRecipe,
    base: Path,
    suite: TrainingSuite,
    output: Path,
    *,
    seed: int = 0,
    profiles: Path | None = None,
    report: Report = lambda stage, step, steps, value: None,
) -> Path:
    """Take one agent through every stage of a recipe, going on from what ``output`` holds; return its last model.

    Args:
        recipe: The recipe.
        agent: Its entry for the agent.
        base: Folder of the agent's model.
        suite: Where queries and grades come from.
        output: Folder of the whole training.
        seed: Of targets, shuffles and sampled answers; the profile has a seed of its own.
        profiles: Folder whose ``<agent>.parquet`` is the profile to use or make, instead of one in ``output``. A
            finished one is taken as it is, whoever made it.
        report: Called as the work goes on.

    Raises:
        DisrouterError: A stage cannot be run; what is finished is kept.
    """
    folder = output / agent.name
    ledger = Ledger(folder / "ledger.json", base)
    known = _known(recipe, agent, base, suite, folder, profiles, report)
    if is_first():
        ledger.note("profile", sampled=known.sampled_tokens)
    current = base
    work = Work(
        recipe=recipe, agent=agent, known=known, model=base, suite=suite, folder=folder, seed=seed, report=report
    )
    for stage in recipe.stages:
        made = stage_path(output, agent.name, stage)
        if not _finished(made):
            report(stage, 0, 1, float("nan"))  # its first own word may be long in coming
            started = time.monotonic()
            spent = STAGES[stage](replace(work, model=current))
            if is_first():
                ledger.note(stage, seconds=time.monotonic() - started, **spent)
        current = made
    if not is_first():
        return current  # the first process measures
    if recipe.calibration is not None and not (current / CALIBRATION_FILE).is_file():
        calibrate_agent(recipe, agent, current, suite, recipe.calibration, seed=seed, report=report)
    if not (folder / "ability.json").is_file():
        before = measure_ability(recipe, agent, base, suite, seed=seed)
        after = measure_ability(recipe, agent, current, suite, seed=seed, trained=True)
        write_json(folder / "ability.json", {"before": before, "after": after})
    return current


def _known(
    recipe: Recipe,
    agent: AgentRecipe,
    base: Path,
    suite: TrainingSuite,
    folder: Path,
    profiles: Path | None,
    report: Report,
) -> Profile:
    """Return the profile to learn from: one that is finished, or one that is made now."""
    path = folder / "profile.parquet" if profiles is None else profiles / f"{agent.name}.parquet"
    if profiles is not None and path.is_file():
        return read_profile(path)  # made by whoever could make it fastest, say a server
    if processes() > 1 and not path.is_file():
        raise UsageError(
            f"Several processes train agent '{agent.name}' together, but none of them can profile it.",
            hint="make its profile in one process with `disrouter profile`, and name its folder with --profiles",
        )
    return profile_agent(recipe, agent, base, suite, path, report=report)


def profile_agent(
    recipe: Recipe, agent: AgentRecipe, base: Path, suite: TrainingSuite, path: Path, *, report: Report
) -> Profile:
    """Return the profile of an agent's untrained model, kept in ``path``."""
    settings = recipe.profile
    runner = runner_of(recipe, agent, base, trained=False)
    return profile(
        agent.name,
        LocalSampler(runner, settings.temperature, settings.seed),
        suite.queries(recipe.domain, settings.seed, settings.queries, split="train"),
        suite.grade,
        path,
        settings,
        report=lambda done, total: report("profile", done, total, float("nan")),
    )


def calibrate_agent(
    recipe: Recipe,
    agent: AgentRecipe,
    model: Path,
    suite: TrainingSuite,
    settings: CalibrationSettings,
    *,
    seed: int,
    report: Report = lambda stage, step, steps, value: None,
) -> Calibrated:
    """Fit a trained agent's calibration on validation queries, write it beside the model and return it.

    Raises:
        DataError: The validation queries tell nothing.
    """
    calibrated = calibrate(
        runner_of(recipe, agent, model, trained=True),
        suite,
        settings,
        domain=recipe.domain,
        seed=seed,
        report=lambda done, total: report("calibrate", done, total, float("nan")),
    )
    keep(calibrated, model, title=agent.name)
    return calibrated


def measure_ability(
    recipe: Recipe,
    agent: AgentRecipe,
    model: Path,
    suite: TrainingSuite,
    *,
    seed: int,
    trained: bool = False,
    n: int = ABILITY_QUERIES,
) -> Mapping[str, float]:
    """Return a model's accuracy by domain on validation queries, greedy, rejection masked.

    A trained model is asked as it is used: in paper mode under ``balance``.
    """
    runner = runner_of(recipe, agent, model, trained=trained)
    accuracy = {}
    for domain in dict.fromkeys((recipe.domain, "in", "out")):
        try:
            queries = suite.queries(domain, seed, n, split="validation")
        except UsageError:
            continue  # the suite has no such domain
        answers = runner.answer_many(queries, BALANCE)
        accuracy[domain] = float(
            np.mean([suite.grade(query, answer.text) for query, answer in zip(queries, answers, strict=True)])
        )
    return accuracy


def _finished(folder: Path) -> bool:
    """Whether a stage's model is there: folders appear whole or not at all."""
    return (folder / "config.json").is_file()
