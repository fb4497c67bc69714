"""Recipes: self-awareness training as a file, read strictly, with every problem reported at once.

    name: laptop
    mode: calibrated
    suite: gsm8k
    agents:
      - {name: small, model: models/small, price: {cost: 0.1}}
      - {name: large, model: models/large, price: {cost: 0.9}, train: false}
    profile: {queries: 2000}
    head: {}
    calibration: {}

A stage is run if its key is there: profile, sft, rl, head, calibration, in this order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from disrouter.config.checks import price_problem
from disrouter.config.schema import Name, PriceSpec
from disrouter.config.sentences import Spec, problems_with
from disrouter.config.strict_yaml import read_mapping, refuse
from disrouter.errors import ConfigError
from disrouter.training.settings import (
    CalibrationSettings,
    HeadSettings,
    Mode,
    ProfileSettings,
    RlSettings,
    SftSettings,
    TargetSettings,
)
from disrouter.utility import SCENARIOS

__all__ = ["AgentRecipe", "Recipe", "StageName", "embedded_recipes", "file_of", "load_recipe", "plain"]

RECIPES = Path(__file__).parent.parent / "recipes"

StageName = Literal["sft", "rl", "head"]
"""A stage that leaves a model folder of its own."""


class AgentRecipe(Spec):
    """One agent of a recipe."""

    name: Name = Field(description="a name of up to 100 letters, digits and . _ : / -, starting with a letter or digit")
    model: str = Field(
        min_length=1, description="a local model folder, a hub's name of a model, or 'lab:agent-1' … 'lab:agent-5'"
    )
    price: PriceSpec = Field(description="{cost} per query, or {input, output} per million tokens")
    train: bool = Field(True, description="true, or false for an agent that is not trained and always answers")
    sft: SftSettings | None = Field(None, description="settings of sft in place of the recipe's, for this agent")
    rl: RlSettings | None = Field(None, description="settings of rl in place of the recipe's, for this agent")
    gammas: dict[str, float] | None = Field(
        None,
        description="a mapping from scenarios to numbers from 0, exponents of what a rejection pays this agent in "
        "place of rl's",
    )


class Recipe(Spec):
    """A training plan."""

    name: Name = Field(description="a name of up to 100 letters, digits and . _ : / -, starting with a letter or digit")
    mode: Mode = Field(description="'paper' or 'calibrated'")
    suite: str = Field(description="a suite to take queries and graders from: lab, gsm8k, paper, or a .jsonl file")
    domain: str = Field("in", description="the domain of the suite to train on")
    rejection: str = Field("I don't know", min_length=1, description="the text of a rejection")
    max_tokens: int = Field(512, ge=1, description="a whole number from 1, the most tokens of an answer")
    cost_unit: float | None = Field(None, gt=0, description="a number above 0, the money that counts as a cost of 1")
    device: Literal["any", "gpu"] = Field("any", description="'any', or 'gpu' for a recipe that needs one")
    agents: list[AgentRecipe] = Field(min_length=1, description="a list of at least one agent")
    profile: ProfileSettings = Field(
        default_factory=lambda: ProfileSettings(), description="a mapping with queries, samples, temperature, seed"
    )
    targets: TargetSettings = Field(
        default_factory=lambda: TargetSettings(), description="a mapping with limit, accept"
    )
    sft: SftSettings | None = Field(None, description="a mapping with rate, epochs, …")
    rl: RlSettings | None = Field(None, description="a mapping with queries, group, rate, …")
    head: HeadSettings | None = Field(None, description="a mapping with hidden, epochs, …")
    calibration: CalibrationSettings | None = Field(None, description="a mapping with method, queries")

    @property
    def stages(self) -> tuple[StageName, ...]:
        """The stages that leave a model, in order."""
        there: dict[StageName, object] = {"sft": self.sft, "rl": self.rl, "head": self.head}
        return tuple(name for name, settings in there.items() if settings is not None)

    @property
    def assessment(self) -> Literal["token", "adapter", "head"]:
        """How a trained agent's confidence is read."""
        if self.head is not None:
            return "head"
        return "adapter" if self.only_decides else "token"

    @property
    def only_decides(self) -> bool:
        """Whether an adapter learns that is off while the agent answers."""
        return any(stage is not None and stage.only_decides for stage in (self.sft, self.rl))

    def rl_of(self, agent: AgentRecipe) -> RlSettings | None:
        """Return how an agent is reinforced, with its own exponents; None where it is not."""
        settings = agent.rl or self.rl
        if settings is None or agent.gammas is None:
            return settings
        return settings.model_copy(update={"gammas": {**settings.gammas, **agent.gammas}})

    def agent(self, name: str) -> AgentRecipe:
        """Return the agent of a name; KeyError if there is none."""
        return next(agent for agent in self.agents if agent.name == name)


def embedded_recipes() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))


def file_of(path_or_name: str | Path) -> Path:
    """Return the file of an embedded recipe's name, or the path as it is."""
    embedded = str(path_or_name) in embedded_recipes()
    return RECIPES / f"{path_or_name}.yaml" if embedded else Path(path_or_name)


def load_recipe(path_or_name: str | Path) -> Recipe:
    """Return the recipe of a file, or of the name of an embedded one ("lab-paper").

    Local model folders that the file names relative to itself become absolute.

    Raises:
        ConfigError: The file is missing or unusable; all its problems are in one message.
    """
    path = file_of(path_or_name)
    if not path.exists():
        raise ConfigError(
            f"Recipe '{path}' does not exist.",
            hint=f"give the path of a YAML file or an embedded recipe: {', '.join(embedded_recipes())}",
        )
    content, repeated = read_mapping(path, kind="Recipe", needs="name, mode, suite and agents")
    if problems := [*repeated, *problems_with(content, Recipe)]:
        refuse(path, problems, kind="Recipe")
    recipe = Recipe.model_validate(content)
    if problems := [*_meaning(recipe)]:
        refuse(path, problems, kind="Recipe")
    return _rooted(recipe, path.parent)


def _meaning(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with a recipe as a whole."""
    names = [agent.name for agent in recipe.agents]
    yield from (f"agents: the name '{name}' is given twice" for name in dict.fromkeys(names) if names.count(name) > 1)
    for agent in recipe.agents:
        if problem := price_problem(agent.price, unit_given=recipe.cost_unit is not None):
            yield f"agents.{agent.name}.price: {problem}"
    if not any(agent.train for agent in recipe.agents):
        yield "agents: none is trained; leave `train: false` out for at least one"
    if not recipe.stages:
        yield "no stage: give at least one of sft, rl, head (`disrouter calibrate` calibrates without training)"
    if recipe.mode == "paper" and recipe.head is not None:
        yield "head: a head knows no scenario; use `mode: calibrated`"
    if recipe.mode == "paper":
        for where, sft in (("sft", recipe.sft), *((f"agents.{a.name}.sft", a.sft) for a in recipe.agents)):
            if sft is not None and sft.kl:
                yield f"{where}.kl: the base model never read a scenario; use `mode: calibrated`, or 0"
    yield from _gamma_problems(recipe)
    yield from _decider_problems(recipe)
    for agent in recipe.agents:
        for stage in ("sft", "rl"):
            if getattr(agent, stage) is not None and getattr(recipe, stage) is None:
                yield f"agents.{agent.name}.{stage}: the recipe has no stage '{stage}'; add it, or remove this"


def _gamma_problems(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with exponents of single scenarios."""
    given = {"rl.": recipe.rl and recipe.rl.gammas}
    for agent in recipe.agents:
        given |= {f"agents.{agent.name}.": agent.gammas, f"agents.{agent.name}.rl.": agent.rl and agent.rl.gammas}
        if agent.gammas is not None and recipe.rl is None:
            yield f"agents.{agent.name}.gammas: the recipe has no stage 'rl'; add it, or remove this"
    for where, gammas in given.items():
        for scenario, gamma in (gammas or {}).items():
            if scenario not in SCENARIOS:
                yield f"{where}gammas: '{scenario}' is no scenario; there are {', '.join(SCENARIOS)}"
            elif gamma < 0:
                yield f"{where}gammas.{scenario}: {gamma:g} is not allowed; give a number from 0"


def _decider_problems(recipe: Recipe) -> Iterator[str]:
    """Yield what does not go with an adapter that only decides."""
    if not recipe.only_decides:
        for where, rl in (("rl", recipe.rl), *((f"agents.{a.name}.rl", a.rl) for a in recipe.agents)):
            if rl is not None and rl.replay:
                yield f"{where}.replay: only an adapter that only decides hears pretraining problems here; give 0"
        return
    if recipe.head is not None:
        yield "head: an adapter decides already (`lora.decides`); leave one of the two out"
    stages: list[tuple[str, SftSettings | RlSettings | None]] = [("sft", recipe.sft), ("rl", recipe.rl)]
    for agent in recipe.agents:
        stages += [(f"agents.{agent.name}.sft", agent.sft), (f"agents.{agent.name}.rl", agent.rl)]
    known = {stage.lora.decides for _, stage in stages if stage is not None and stage.lora is not None}
    for where, stage in stages:
        goes_on = isinstance(stage, RlSettings) and recipe.sft is not None and stage.lora is None
        if stage is not None and not goes_on and (stage.lora is None or len(known) > 1 or stage.lora.decides is None):
            yield f"{where}.lora: where one adapter only decides, all do, and alike; give `decides` here, too"
        new = set() if stage is None or stage.lora is None else {*stage.lora.new_tokens} - {recipe.rejection}
        if new and stage is not None and stage.lora is not None and stage.lora.decides == "reply":
            yield f"{where}.lora.new_tokens: '{min(new)}' stands before the reply, where the adapter is off; remove it"
        if isinstance(stage, SftSettings) and stage.kl:
            yield f"{where}.kl: an adapter that only decides changes no answer; leave it out"
        if isinstance(stage, RlSettings) and stage.vllm:
            yield f"{where}.vllm: vLLM would answer with the adapter on; give false"
        if isinstance(stage, RlSettings) and stage.learn == "all":
            yield f"{where}.learn: an adapter that only decides learns nothing else; give decision"


def _rooted(recipe: Recipe, folder: Path) -> Recipe:
    def rooted(agent: AgentRecipe) -> AgentRecipe:
        local = folder / Path(agent.model).expanduser()
        return agent.model_copy(update={"model": str(local)}) if local.is_dir() else agent

    return recipe.model_copy(update={"agents": [rooted(agent) for agent in recipe.agents]})


def plain(recipe: Recipe) -> Mapping[str, Any]:
    """Return a recipe as plain values, with every default written out."""
    values: dict[str, Any] = recipe.model_dump(mode="json", exclude_none=True)
    for agent in values["agents"]:
        if "cost" not in agent["price"]:
            del agent["price"]["look_share"]  # it goes with a price per query only
    return values
