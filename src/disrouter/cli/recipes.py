"""``disrouter recipes``: the training plans that come with the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import examples_as_typed, json_option

if TYPE_CHECKING:
    from disrouter.training.recipes import Recipe

__all__ = ["recipes"]


@click.command()
@json_option("one JSON object")
@examples_as_typed
def recipes(as_json: bool) -> None:
    """List the recipes that come with the package: training plans for `disrouter train`.

    disrouter recipes
    disrouter train --recipe lab-paper --dry-run
    """
    from disrouter.cli._console import print_json
    from disrouter.training.recipes import embedded_recipes, load_recipe

    found = [load_recipe(name) for name in embedded_recipes()]
    if as_json:
        print_json({"schema": 1, "recipes": [_recipe_json(recipe) for recipe in found]})
    else:
        _print(found)


def _recipe_json(recipe: Recipe) -> dict[str, Any]:
    from disrouter.training.recipes import file_of

    return {
        "name": recipe.name,
        "mode": recipe.mode,
        "suite": recipe.suite,
        "device": recipe.device,
        "stages": _stages(recipe),
        "agents": [{"name": a.name, "model": a.model, "train": a.train} for a in recipe.agents],
        "file": str(file_of(recipe.name)),
    }


def _stages(recipe: Recipe) -> list[str]:
    return ["profile", *recipe.stages, *(["calibration"] if recipe.calibration is not None else [])]


def _print(found: list[Recipe]) -> None:
    from rich.text import Text

    from disrouter.cli._console import results, table

    shown = table("recipe", "mode", "stages", "suite", "needs", "trains")
    for recipe in found:
        shown.add_row(
            Text(recipe.name, style="bold"),
            recipe.mode,
            ", ".join(_stages(recipe)),
            recipe.suite,
            "a GPU" if recipe.device == "gpu" else "-",
            ", ".join(agent.name for agent in recipe.agents if agent.train),
        )
    results().print(shown)
