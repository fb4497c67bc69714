"""Dry runs: a recipe's whole way with tiny models of the same architectures, in a minute or two on a CPU.

A dry run shows that the recipe, the libraries and this machine go together; its numbers mean nothing. It downloads
nothing: where a suite of the hub is not at hand, questions are made up in its datasets' schemas.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disrouter.agents.folders import count_weights
from disrouter.engines.jobs import JobReport
from disrouter.evaluation.hub.suite import SUITES
from disrouter.training.bases import LAB, base_folder
from disrouter.training.fleet import Engine, agents_of, train
from disrouter.training.made_up import MadeUpSuite
from disrouter.training.recipes import AgentRecipe, Recipe
from disrouter.training.rehearsal import RehearsalSuite, rehearsed
from disrouter.training.suites import TrainingSuite, training_suite
from disrouter.training.tiny_models import architecture_of, write_tiny_model

__all__ = ["DryAgent", "DryRun", "dry_run"]


@dataclass(frozen=True, slots=True)
class DryAgent:
    """What a dry run took one agent through."""

    name: str
    model: str
    """As the recipe names it."""

    architecture: str
    weights: int
    """Numbers in the tiny model."""

    stages: tuple[str, ...]
    """What ran, in order."""

    seconds: float
    """That the stages took, profile, calibration and loading aside."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a dry run did."""

    recipe: str
    questions: str
    """Where they came from."""

    agents: tuple[DryAgent, ...]
    seconds: float
    """From beginning to end."""


def dry_run(
    recipe: Recipe,
    agents: Sequence[str],
    folder: Path,
    *,
    seed: int = 0,
    jobs: int = 0,
    engine: Engine = "local",
    ray_address: str | None = None,
    report: JobReport = lambda agent, stage, step, steps, value: None,
) -> DryRun:
    """Take agents of a recipe through all its stages as tiny models; what it makes lies in ``folder``.

    Args:
        recipe: The recipe.
        agents: Names of agents; all that the recipe trains if empty.
        folder: An empty folder, of which nothing needs to be kept.
        seed: As in training.
        jobs: As in training.
        engine: As in training.
        ray_address: As in training.
        report: Called as the work goes on.

    Raises:
        DisrouterError: Something of the recipe does not work.
    """
    started = time.monotonic()
    chosen = agents_of(recipe, agents)
    suite, questions = _suite(recipe)
    texts = [query.text for query in suite.queries(recipe.domain, 0, 200, split="train")]
    needed = [*chosen, *(agent for agent in recipe.agents if not agent.train)]
    shapes = {agent.name: _write_tiny(agent, texts, folder / "models" / agent.name) for agent in needed}
    tiny = rehearsed(recipe)
    tiny = tiny.model_copy(
        update={
            "agents": [a.model_copy(update={"model": str(folder / "models" / a.name)}) for a in tiny.agents],
        }
    )
    training = folder / "training"
    train(
        tiny,
        [agent.name for agent in chosen],
        training,
        seed=seed,
        jobs=jobs,
        engine=engine,
        ray_address=ray_address,
        suite=RehearsalSuite(suite),
        report=report,
    )
    done = tuple(
        DryAgent(
            name=agent.name,
            model=agent.model,
            architecture=shapes[agent.name],
            weights=count_weights(folder / "models" / agent.name),
            stages=tuple(_ran(agent, recipe)),
            seconds=_seconds(training / agent.name / "ledger.json"),
        )
        for agent in chosen
    )
    return DryRun(recipe.name, questions, done, time.monotonic() - started)


def _suite(recipe: Recipe) -> tuple[TrainingSuite, str]:
    """Return where questions come from, without reaching any hub, and how to say so."""
    if recipe.suite in SUITES:
        return MadeUpSuite(
            recipe.suite
        ), f"made up in the schema of '{recipe.suite}', which a dry run does not download"
    return training_suite(recipe.suite), f"of suite '{recipe.suite}'"


def _write_tiny(agent: AgentRecipe, texts: Sequence[str], folder: Path) -> str:
    """Write the tiny model that stands for an agent's; return its architecture."""
    local = base_folder(agent.model) if agent.model.startswith(LAB) or Path(agent.model).is_dir() else None
    architecture = architecture_of(agent.model, local)
    write_tiny_model(architecture, texts, folder, tokenizer_of=local)
    return architecture


def _ran(agent: AgentRecipe, recipe: Recipe) -> list[str]:
    """Return the stages of an agent, with how its weights were touched."""
    said = ["profile"]
    for stage in recipe.stages:
        settings: Any = getattr(agent, stage, None) or getattr(recipe, stage)
        adapter = "deciding LoRA" if getattr(settings, "only_decides", False) else "LoRA"
        said.append(f"{stage} ({adapter})" if getattr(settings, "lora", None) is not None else stage)
    return [*said, *(["calibration"] if recipe.calibration is not None else []), "ability"]


def _seconds(ledger: Path) -> float:
    stages = json.loads(ledger.read_text(encoding="utf-8"))["stages"]
    return sum(stage["seconds"] or 0.0 for stage in stages.values())
