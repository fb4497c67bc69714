"""Network files of a training: its agents as a network, after the last stage and after every earlier one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from disrouter.files import write_text
from disrouter.training.bases import LAB, with_stage
from disrouter.training.pipeline import stage_path
from disrouter.training.recipes import AgentRecipe, Recipe, StageName

__all__ = ["NETWORK_FILE", "write_networks"]


NETWORK_FILE = "network.yaml"


def write_networks(recipe: Recipe, output: Path, bases: Mapping[str, Path]) -> None:
    """Write ``network.yaml`` and, for every earlier stage, a file such as ``network-sft.yaml``.

    Trained agents that have not reached a stage yet are left out of its file; untrained ones always answer.

    Args:
        recipe: What was trained.
        output: Folder of the training.
        bases: Folder of each untrained agent's model, by its name.
    """
    *earlier, last = recipe.stages
    for stage in earlier:
        _write(recipe, output, bases, stage, output / f"network-{stage}.yaml")
    _write(recipe, output, bases, last, output / NETWORK_FILE)


def _write(recipe: Recipe, output: Path, bases: Mapping[str, Path], stage: StageName, path: Path) -> None:
    network = {
        "name": recipe.name,
        **({} if recipe.cost_unit is None else {"cost_unit": recipe.cost_unit}),
        "agents": list(_agents(recipe, output, bases, stage)),
        # In paper mode every agent is taken at its own word, as it was trained.
        "policy": "own-word" if recipe.mode == "paper" else "paper",
        "scenario": "balance",
    }
    header = (
        f"# The agents of recipe {recipe.name} after {stage}.\n"
        f"#   disrouter eval --network {path} --suite {recipe.suite} --domain {recipe.domain}\n"
    )
    write_text(path, header + yaml.safe_dump(network, sort_keys=False, allow_unicode=True, width=120))


def _agents(recipe: Recipe, output: Path, bases: Mapping[str, Path], stage: StageName) -> Iterator[dict[str, Any]]:
    for agent in recipe.agents:
        folder = stage_path(output, agent.name, stage)
        if not agent.train:
            model = _named(agent, bases[agent.name])
            own: dict[str, Any] = {"self_assessment": "none", "scenario_prompt": False, "always_answers": True}
        elif (folder / "config.json").is_file():
            model = os.path.relpath(folder, output)  # so that the folder can be moved
            own = {
                "self_assessment": "head" if stage == "head" else "adapter" if recipe.only_decides else "token",
                "scenario_prompt": recipe.mode == "paper",
            }
        else:
            continue
        yield {
            "name": agent.name,
            "backend": "transformers",
            "model": model,
            "price": _price(agent),
            "rejection": recipe.rejection,
            "max_tokens": recipe.max_tokens,
            **own,
        }


def _price(agent: AgentRecipe) -> dict[str, float | None]:
    price = agent.price
    if price.cost is not None:
        return {"cost": price.cost, "look_share": price.look_share}
    return {"input": price.input, "output": price.output}


def _named(agent: AgentRecipe, base: Path) -> str:
    """Return an untrained model as a network file names it."""
    return with_stage(agent.model) if agent.model.startswith(LAB) else str(base.resolve())
