"""Fleets: what a training leaves, what it goes on from, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from disrouter.agents.transformers import TransformersAgent
from disrouter.config import load
from disrouter.errors import ConfigError, DataError, ModelError, UnknownNameError, UsageError
from disrouter.lab.skills import Split
from disrouter.lab.suite import LabSuite
from disrouter.training import fleet
from disrouter.training.bases import base_folder
from disrouter.training.fleet import train
from disrouter.training.profiling import profile, read_profile
from disrouter.training.recipes import Recipe, embedded_recipes, load_recipe, plain
from disrouter.training.rehearsal import RehearsalSuite, rehearsed
from disrouter.training.results import results_of
from disrouter.types import Completion, Query

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

PAPER = """
name: two
mode: paper
suite: lab
max_tokens: 16
agents:
  - {name: small, model: "lab:agent-1", price: {cost: 0.1}}
  - {name: other, model: "lab:agent-1", price: {cost: 0.2}}
  - {name: last, model: "lab:agent-5", price: {cost: 0.9}, train: false}
sft: {rate: 1.0e-3}
rl: {rate: 1.0e-4}
"""
CALIBRATED = PAPER.replace("paper", "calibrated").split("sft:")[0] + "head: {}\ncalibration: {}\n"


def recipe_of(text: str, folder: Path) -> Recipe:
    path = folder / "recipe-file.yaml"
    path.write_text(text)
    return rehearsed(load_recipe(path))


def train_here(recipe: Recipe, output: Path, *agents: str, **more: Any) -> Path:
    return train(recipe, agents, output, suite=RehearsalSuite(LabSuite()), **more)


def same_head(first: Path, second: Path) -> bool:
    """Whether two confidence heads have the same weights; what is said of them may stand in another order."""
    one, other = (load_file(folder / "confidence_head.safetensors") for folder in (first, second))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.usefixtures("in_this_process")
def test_a_training_leaves_a_network_for_every_stage_that_can_be_used(tmp_path: Path) -> None:
    recipe = recipe_of(PAPER, tmp_path)

    network = train_here(recipe, tmp_path / "out", "small")

    after_rl, after_sft = load(network), load(tmp_path / "out" / "network-sft.yaml")
    assert after_rl.chain == ("small", "last")  # the other one has not been trained yet
    assert [agent.stages[-1].stage for agent in results_of(recipe, tmp_path / "out")] == ["rl"]
    for stage, found in (("rl", after_rl), ("sft", after_sft)):
        small, last = found.agents["small"], found.agents["last"]
        assert isinstance(small, TransformersAgent) and isinstance(last, TransformersAgent)
        assert small.model_path == tmp_path / "out" / "small" / stage
        assert (small.self_assessment, small.scenario_prompt) == ("token", True)
        assert (last.self_assessment, last.scenario_prompt) == ("none", False)
    assert after_rl.policy.name == "own-word"


@pytest.mark.usefixtures("in_this_process")
def test_decisions_are_reinforced_on_queries_that_were_not_profiled(tmp_path: Path) -> None:
    fresh = PAPER.replace("sft: {rate: 1.0e-3}", "sft: {replay: 4, lora: {decides: prompt}}").replace(
        "rl: {rate: 1.0e-4}", "rl: {rate: 1.0e-4, fresh: true, replay: 2}"
    )

    train_here(recipe_of(fresh, tmp_path), tmp_path / "out", "small")

    folder = tmp_path / "out" / "small"
    profiled, asked = (read_profile(folder / name).rollouts for name in ("profile.parquet", "rl-answers.parquet"))
    assert not {r.query.messages for r in profiled} & {r.query.messages for r in asked}
    assert len(asked) == 4  # of 12 decisions, under three scenarios each
    (recited,) = folder.glob("recited-*.parquet")
    assert len(read_profile(recited).rollouts) == 4  # once for both stages


@pytest.mark.usefixtures("in_this_process")
def test_a_head_learns_from_queries_that_were_not_profiled_too(tmp_path: Path) -> None:
    more = CALIBRATED.replace("head: {}", "head: {queries: 4}")

    train_here(recipe_of(CALIBRATED, tmp_path), tmp_path / "few", "small")
    train_here(recipe_of(more, tmp_path), tmp_path / "more", "small")

    few, folder = tmp_path / "few" / "small", tmp_path / "more" / "small"
    profiled, asked = (read_profile(folder / name).rollouts for name in ("profile.parquet", "head-answers.parquet"))
    assert not {r.query.messages for r in profiled} & {r.query.messages for r in asked}
    assert len(asked) == 4
    assert not same_head(few / "head", folder / "head")


@pytest.mark.usefixtures("in_this_process")
def test_a_suite_whose_training_queries_were_all_profiled_has_none_left(tmp_path: Path) -> None:
    recipe = recipe_of(PAPER.replace("rl: {rate: 1.0e-4}", "rl: {rate: 1.0e-4, fresh: true}"), tmp_path)

    class Small(LabSuite):
        def queries(self, domain: str, seed: int, n: int, *, split: Split = "test") -> list[Query]:
            return LabSuite.queries(self, domain, 0, n, split=split)

    with pytest.raises(DataError, match="All training queries of suite 'lab' were profiled"):
        train(recipe, ["small"], tmp_path / "out", suite=RehearsalSuite(Small()))


@pytest.mark.usefixtures("in_this_process")
def test_agents_trained_one_by_one_are_those_trained_together(tmp_path: Path) -> None:
    recipe = recipe_of(CALIBRATED, tmp_path)

    train_here(recipe, tmp_path / "together")
    train_here(recipe, tmp_path / "apart", "other")
    network = train_here(recipe, tmp_path / "apart", "small")

    for agent in ("small", "other"):
        apart, together = (tmp_path / name / agent / "head" for name in ("apart", "together"))
        assert same_head(apart, together)
        for file in ("calibration.json", "calibration.png"):
            assert (apart / file).read_bytes() == (together / file).read_bytes()
    calibrated = load(network)
    small = calibrated.agents["small"]
    assert isinstance(small, TransformersAgent)
    assert (small.self_assessment, small.scenario_prompt) == ("head", False)
    assert calibrated.policy.name == "paper"


@pytest.mark.usefixtures("in_this_process")
def test_a_finished_profile_is_taken_as_it_is_whoever_made_it(tmp_path: Path) -> None:
    recipe = recipe_of(CALIBRATED, tmp_path)
    train_here(recipe, tmp_path / "first", "small")
    found = read_profile(tmp_path / "first" / "small" / "profile.parquet")

    class Elsewhere:
        @property
        def identity(self) -> Mapping[str, Any]:
            return {"model": "a server's name of it"}

        def sample(self, queries: Any, samples: int) -> Any:
            texts = {rollouts.query.id: rollouts.texts for rollouts in found.rollouts}
            yield from ((query, [Completion(text=text) for text in texts[query.id]]) for query in queries)

    queries = [rollouts.query for rollouts in found.rollouts]
    grade = RehearsalSuite(LabSuite()).grade
    profile("small", Elsewhere(), queries, grade, tmp_path / "profiles" / "small.parquet", recipe.profile)

    train_here(recipe, tmp_path / "second", "small", profiles=tmp_path / "profiles")

    assert same_head(tmp_path / "second" / "small" / "head", tmp_path / "first" / "small" / "head")
    assert not (tmp_path / "second" / "small" / "profile.parquet").exists()


@pytest.mark.usefixtures("in_this_process")
def test_the_recipe_that_a_training_writes_down_is_the_one_it_was_given(tmp_path: Path) -> None:
    recipe = recipe_of(CALIBRATED, tmp_path)

    train_here(recipe, tmp_path / "out", "small")

    assert load_recipe(tmp_path / "out" / "recipe.yaml") == recipe
    assert json.loads((tmp_path / "out" / "run.json").read_text())["versions"]["python"]


@pytest.mark.usefixtures("in_this_process")
def test_a_folder_with_another_training_is_refused_and_the_differences_are_named(tmp_path: Path) -> None:
    recipe = recipe_of(CALIBRATED, tmp_path)
    train_here(recipe, tmp_path / "out", "small")
    longer = recipe.model_copy(update={"max_tokens": 17})

    with pytest.raises(DataError, match="another training: max_tokens is 16 there and 17 here; seed is 0 there and 1"):
        train_here(longer, tmp_path / "out", "small", seed=1)


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mum.txt").write_text("…")

    with pytest.raises(DataError, match=r"is not empty and holds no training"):
        train_here(recipe_of(CALIBRATED, tmp_path), tmp_path / "letters")


def test_an_agent_that_the_recipe_does_not_train_is_refused(tmp_path: Path) -> None:
    recipe = recipe_of(PAPER, tmp_path)

    with pytest.raises(UsageError, match="does not train agent 'last': it always answers"):
        train_here(recipe, tmp_path / "out", "last")
    with pytest.raises(UnknownNameError, match="Unknown agent 'smal' in recipe 'two'"):
        train_here(recipe, tmp_path / "out", "smal")


@pytest.mark.usefixtures("in_this_process")
def test_several_processes_for_one_agent_want_its_profile_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # as a launcher does
    monkeypatch.setenv("RANK", "1")

    with pytest.raises(UsageError, match="Several processes train agent 'small' together"):
        train_here(recipe_of(CALIBRATED, tmp_path), tmp_path / "out", "small")
    assert not (tmp_path / "out").exists()


def test_a_recipe_for_a_gpu_is_refused_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(UsageError, match="needs a GPU") as error:
        train(load_recipe("qwen2.5-paper"), [], tmp_path / "out")
    assert error.value.hint is not None and "--dry-run" in error.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("lab:agent-9", "Unknown lab model 'agent-9'"),
        ("/no/such/folder", "does not exist"),
        ("models/small", "no folder 'models/small', and the model hub does not give a model of that name"),
    ],
)
def test_a_model_that_is_nowhere_is_named(model: str, message: str) -> None:
    with pytest.raises((ModelError, UnknownNameError), match=message):
        base_folder(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("sft: {rate", "sft: {speed"), "sft.speed: unknown key"),
        (("mode: paper", "mode: papre"), "mode: 'papre' is not allowed; give 'paper' or 'calibrated'"),
        (("sft: {rate: 1.0e-3}\nrl: {rate: 1.0e-4}", ""), "no stage: give at least one of sft, rl, head"),
        (("rl: {rate: 1.0e-4}", "rl: {rate: 1.0e-4}\nhead: {}"), "head: a head knows no scenario"),
        (("sft: {rate: 1.0e-3}", "sft: {kl: 1.0}"), "sft.kl: the base model never read a scenario"),
        (("name: other", "name: small"), "agents: the name 'small' is given twice"),
        (("price: {cost: 0.1}", "price: {input: 1.0}"), "agents.small.price: output is missing"),
        (
            ("price: {cost: 0.1}", "price: {input: 1.0, output: 4.0}"),
            "small.price: prices per token need a cost_unit",
        ),
        (("rl: {rate: 1.0e-4}", "rl: {group: 3}"), "rl.group: 3 is not allowed; give an even number"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(PAPER.replace(*change))

    with pytest.raises(ConfigError) as error:
        load_recipe(path)
    assert message in error.value.message


@pytest.mark.parametrize("name", embedded_recipes())
def test_an_embedded_recipe_begins_with_its_command_and_survives_being_written_down(name: str, tmp_path: Path) -> None:
    text = (Path(fleet.__file__).parents[1] / "recipes" / f"{name}.yaml").read_text()
    recipe = load_recipe(name)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(plain(recipe)))

    assert text.startswith("#")
    assert f"disrouter train --recipe {name}" in text
    assert load_recipe(tmp_path / "again.yaml") == recipe
