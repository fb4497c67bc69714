"""Work: what a stage of training goes by, and the agent that it asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from disrouter.agents.transformers import TransformersAgent
from disrouter.training.profiling import Profile
from disrouter.training.recipes import AgentRecipe, Recipe
from disrouter.training.suites import TrainingSuite
from disrouter.types import AgentCard, QueryPrice

__all__ = ["Report", "Work", "runner_of"]

Report = Callable[[str, int, int, float], None]
"""Called with the stage, step, steps and the loss or reward (NaN where there is none)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a stage works on."""

    recipe: Recipe
    agent: AgentRecipe
    known: Profile
    """Of the agent's untrained model."""

    model: Path
    """Folder of the model that the stage before left."""

    suite: TrainingSuite
    folder: Path
    """Of everything that the training leaves of this agent."""

    seed: int
    report: Report


def runner_of(recipe: Recipe, agent: AgentRecipe, model: Path, *, trained: bool) -> TransformersAgent:
    """Return the agent that runs a model as the recipe asks it: the base model never hears of scenarios."""
    return TransformersAgent(
        AgentCard(name=agent.name, price=QueryPrice(cost=0.0)),
        model,
        rejection=recipe.rejection,
        scenario_prompt=trained and recipe.mode == "paper",
        self_assessment=recipe.assessment if trained else "token",
        calibrated=False,
        max_tokens=recipe.max_tokens,
    )
