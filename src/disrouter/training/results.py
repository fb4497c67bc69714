"""Results of a training, read back from its folder: what each agent took, and what became of its ability."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disrouter.training.pipeline import stage_path
from disrouter.training.recipes import Recipe

__all__ = ["StageCost", "TrainedAgent", "results_of"]


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one stage of one agent took."""

    stage: str
    sampled_tokens: int
    trained_tokens: int
    flops: float
    seconds: float | None
    """None where it is not known."""


@dataclass(frozen=True, slots=True)
class TrainedAgent:
    """One agent that has been through all its stages."""

    name: str
    model: Path
    stages: tuple[StageCost, ...]
    ability_before: Mapping[str, float]
    """Accuracy in [0, 1] with rejection masked, by domain."""

    ability_after: Mapping[str, float]


def results_of(recipe: Recipe, output: Path) -> list[TrainedAgent]:
    """Return the agents of a recipe that are finished in a training's folder."""
    return [
        _agent(agent.name, stage_path(output, agent.name, recipe.stages[-1]), output / agent.name)
        for agent in recipe.agents
        if (output / agent.name / "ability.json").is_file()
    ]


def _agent(name: str, model: Path, folder: Path) -> TrainedAgent:
    ledger, ability = _read(folder / "ledger.json"), _read(folder / "ability.json")
    stages = tuple(
        StageCost(stage, took["sampled_tokens"], took["trained_tokens"], took["flops"], took["seconds"])
        for stage, took in ledger["stages"].items()
    )
    return TrainedAgent(name, model, stages, ability["before"], ability["after"])


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
