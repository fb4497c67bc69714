"""Fleets: several agents of a recipe trained side by side, for none of them needs another one.

    <output>/recipe.yaml         the recipe with every default written out
    <output>/run.json            seed, versions and commit
    <output>/<agent>/…           what :mod:`disrouter.training.pipeline` leaves of every agent
    <output>/network.yaml        the trained agents as a network; network-sft.yaml, …: after earlier stages

Training goes on from what the folder holds and ends with the same files, however it was cut into pieces, whichever
engine ran it, and whether agents were trained together or one by one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from disrouter.agents.folders import count_weights
from disrouter.engines.contract import EngineName as Engine
from disrouter.engines.jobs import Job, JobReport, Progress, check_jobs
from disrouter.engines.processes import run_jobs
from disrouter.errors import DataError, UnknownNameError, UsageError
from disrouter.evaluation.records import commit, versions
from disrouter.files import write_json, write_text
from disrouter.training.bases import base_folder
from disrouter.training.network_files import NETWORK_FILE, write_networks
from disrouter.training.pipeline import train_agent
from disrouter.training.ranks import is_first
from disrouter.training.recipes import AgentRecipe, Recipe, plain
from disrouter.training.suites import TrainingSuite, training_suite

__all__ = ["Engine", "agents_of", "check_device", "train"]


def train(
    recipe: Recipe,
    agents: Sequence[str],
    output: Path,
    *,
    seed: int = 0,
    jobs: int = 0,
    engine: Engine = "local",
    ray_address: str | None = None,
    profiles: Path | None = None,
    suite: TrainingSuite | None = None,
    report: JobReport = lambda agent, stage, step, steps, value: None,
) -> Path:
    """Train agents of a recipe in ``output``, going on from what it holds; return the file of their network.

    Args:
        recipe: The recipe.
        agents: Names of agents to train; all that it trains if empty.
        output: Folder of this training.
        seed: Of everything drawn but the profile, which has a seed of its own.
        jobs: Agents trained side by side; 0: one per GPU, or else per core.
        engine: ``local`` (processes on this machine) or ``ray`` (tasks on a Ray cluster).
        ray_address: Of the cluster; None starts one on this machine.
        profiles: Folder of profiles to use or make, in place of each agent's own folder.
        suite: In place of the one that the recipe names.
        report: Called as the work goes on.

    Raises:
        UsageError: The recipe cannot be trained here, or the folder is another training's.
        DisrouterError: An agent could not be trained; what is finished is kept, and the other agents are trained.
    """
    check_jobs(jobs)
    chosen = agents_of(recipe, agents)
    if engine == "local" or ray_address is None:
        check_device(recipe)
    asked = suite or training_suite(recipe.suite)
    untrained = [agent for agent in recipe.agents if not agent.train]
    bases = {agent.name: base_folder(agent.model) for agent in (*chosen, *untrained)}
    if is_first():
        _open(output, recipe, seed)
    # The largest take longest: they begin.
    chosen = sorted(chosen, key=lambda agent: count_weights(bases[agent.name]), reverse=True)
    work = [
        Job(agent.name, partial(_train_one, recipe, agent, bases[agent.name], asked, output, seed, profiles))
        for agent in chosen
    ]
    try:
        if engine == "ray":
            from disrouter.engines.ray_tasks import run_jobs_on_ray

            gpus = 1 if recipe.device == "gpu" else 0
            run_jobs_on_ray(work, jobs, report, address=ray_address, gpus=gpus)
        else:
            run_jobs(work, jobs, report)
    finally:
        if is_first():
            write_networks(recipe, output, bases)
    return output / NETWORK_FILE


def agents_of(recipe: Recipe, names: Sequence[str]) -> list[AgentRecipe]:
    """Return the agents of these names, or all that the recipe trains.

    Raises:
        UnknownNameError: The recipe has no such agent.
        UsageError: The recipe does not train it.
    """
    trained = [agent.name for agent in recipe.agents if agent.train]
    for name in names:
        if name not in {agent.name for agent in recipe.agents}:
            raise UnknownNameError.of("agent", name, trained, where=f"recipe '{recipe.name}'")
        if name not in trained:
            raise UsageError(
                f"Recipe '{recipe.name}' does not train agent '{name}': it always answers.",
                hint=f"it trains {', '.join(trained)}",
            )
    return [recipe.agent(name) for name in dict.fromkeys(names or trained)]


def check_device(recipe: Recipe) -> None:
    """Refuse a recipe that this machine cannot train.

    Raises:
        UsageError: It needs a GPU, and there is none.
    """
    import torch

    if recipe.device == "gpu" and not torch.cuda.is_available():
        raise UsageError(
            f"Recipe '{recipe.name}' needs a GPU, and torch finds none on this machine.",
            hint="see whether the whole way works with --dry-run, which needs none",
        )


def _train_one(
    recipe: Recipe,
    agent: AgentRecipe,
    base: Path,
    suite: TrainingSuite,
    output: Path,
    seed: int,
    profiles: Path | None,
    progress: Progress,
) -> None:
    """Train one agent in this process."""
    train_agent(recipe, agent, base, suite, output, seed=seed, profiles=profiles, report=progress)


def _open(output: Path, recipe: Recipe, seed: int) -> None:
    """Write down what is trained in a folder, or check that it is what has been trained there."""
    values = {"recipe": plain(recipe), "seed": seed}
    path = output / "run.json"
    if path.is_file():
        differences = list(_differences(_read(path), values))
        if differences:
            raise DataError(
                f"'{output}' holds another training: " + "; ".join(differences[:5]) + ".",
                hint="give another --output, or the recipe and the seed that it was begun with",
            )
        return
    if output.is_dir() and any(output.iterdir()):
        raise DataError(
            f"'{output}' is not empty and holds no training: it has no run.json.",
            hint="give an empty or a new folder as --output",
        )
    write_text(output / "recipe.yaml", yaml.safe_dump(values["recipe"], sort_keys=False, allow_unicode=True))
    write_json(path, {"schema": 1, **values, "versions": versions(), "commit": commit()})


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"recipe": found["recipe"], "seed": found["seed"]}
    except (ValueError, KeyError, TypeError) as exc:
        raise DataError(f"'{path}' cannot be read: {exc}.", hint="give another --output") from exc


def _differences(there: Any, here: Any, place: str = "") -> Iterator[str]:
    """Yield where two recipes differ, each as a few words."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in dict.fromkeys((*there, *here)):
            yield from _differences(there.get(key), here.get(key), f"{place}.{key}" if place else str(key))
    elif there != here:
        yield f"{place.removeprefix('recipe.')} is {_short(there)} there and {_short(here)} here"


def _short(value: object) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
