"""Reinforcement learning of the decision, on tiny models of random weights."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from disrouter.agents.transformers import TransformersAgent
from disrouter.errors import RunError
from disrouter.lab.family import FAMILY
from disrouter.lab.pretraining import new_model, save_checkpoint
from disrouter.lab.suite import LabSuite
from disrouter.lab.tokenizer import REJECTION, build_tokenizer
from disrouter.training.profiling import Grade
from disrouter.training.recipes import load_recipe
from disrouter.training.rl import reinforce
from disrouter.training.settings import RlSettings
from disrouter.types import AgentCard, Query, QueryPrice, Scenario
from disrouter.utility import BALANCE

QUERIES = LabSuite().queries("in", 0, 16, split="train")
SETTINGS = RlSettings(queries=16, epochs=12, group=4, rate=3e-2, batch=8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt nothing: every token is about as likely as any other."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = build_tokenizer()
    save_checkpoint(new_model(replace(FAMILY[0], hidden=16, heads=1, layers=1, mlp=16), tokenizer), tokenizer, folder)
    return folder


def confidences(folder: Path, *, scenario_prompt: bool) -> list[float]:
    card = AgentCard(name="tiny", price=QueryPrice(cost=0.1))
    agent = TransformersAgent(card, folder, scenario_prompt=scenario_prompt, max_tokens=4)
    return [look.confidence or 0.0 for look in agent.look_many(QUERIES, BALANCE)]


def trained(tiny: Path, folder: Path, grade: Grade, scenario: Scenario | None, settings: RlSettings = SETTINGS) -> Path:
    queries = [(query, scenario) for query in QUERIES]
    reinforce(tiny, queries, grade, folder / "rl", folder / "work", settings, rejection=REJECTION, max_tokens=4)
    return folder / "rl"


def test_an_agent_whose_answers_are_all_wrong_learns_to_reject(tiny: Path, tmp_path: Path) -> None:
    before = confidences(tiny, scenario_prompt=True)

    after = confidences(trained(tiny, tmp_path, lambda query, text: 0.0, BALANCE), scenario_prompt=True)

    assert min(before) > 0.9
    assert max(after) < 0.5


def test_a_scenario_may_have_an_exponent_of_its_own() -> None:
    settings = RlSettings(gamma=0.5, gammas={"cost-first": 0.3})

    assert (settings.gamma_in("balance"), settings.gamma_in("cost-first")) == (0.5, 0.3)


def test_an_agent_may_have_exponents_of_its_own_and_keeps_all_other_settings() -> None:
    recipe = load_recipe("lab-paper")
    shared = recipe.rl
    assert shared is not None

    of_two = [recipe.rl_of(recipe.agent(name)) for name in ("agent-3", "agent-5")]

    assert of_two == [shared.model_copy(update={"gammas": recipe.agent("agent-3").gammas}), shared]


def test_an_agent_that_rejects_everything_learns_to_answer_once_its_answers_are_right(
    tiny: Path, tmp_path: Path
) -> None:
    # Its own choice would never show it an answer: half of every group is one.
    rejecting = trained(tiny, tmp_path / "first", lambda query, text: 0.0, BALANCE)
    answering = trained(rejecting, tmp_path / "second", lambda query, text: 1.0, BALANCE)

    assert max(confidences(rejecting, scenario_prompt=True)) < 0.5
    assert min(confidences(answering, scenario_prompt=True)) > 0.5


def test_in_calibrated_mode_the_confidence_moves_towards_the_success_rate(tiny: Path, tmp_path: Path) -> None:
    # Answers to words are right in two cases of three, answers to numbers never.
    words = {"sort", "reverse", "count", "facts"}

    def grade(query: Query, text: str) -> float:
        return float(query.dataset in words and sum(map(ord, text)) % 3 > 0)

    settings = SETTINGS.model_copy(update={"epochs": 60.0, "group": 8, "rate": 1e-2})
    after = confidences(trained(tiny, tmp_path, grade, None, settings), scenario_prompt=False)

    on_words = [q for q, query in zip(after, QUERIES, strict=True) if query.dataset in words]
    on_numbers = [q for q, query in zip(after, QUERIES, strict=True) if query.dataset not in words]
    assert sum(on_numbers) / len(on_numbers) < 0.3
    assert 0.45 < sum(on_words) / len(on_words) < 0.9


@pytest.mark.parametrize("grade", [lambda query, text: math.nan, lambda query, text: 2.0])
def test_a_grade_that_is_no_score_stops_the_run(tiny: Path, tmp_path: Path, grade: Grade) -> None:
    with pytest.raises(RunError, match="no score from 0 to 1"):
        trained(tiny, tmp_path, grade, BALANCE)

    assert not (tmp_path / "rl").exists()


def test_a_grader_that_raises_stops_the_run(tiny: Path, tmp_path: Path) -> None:
    def broken(query: Query, text: str) -> float:
        raise KeyError("reference")

    with pytest.raises(KeyError, match="reference"):
        trained(tiny, tmp_path, broken, BALANCE)


def test_whole_answers_can_learn_from_the_reward_too(tiny: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"learn": "all", "epochs": 1.0})

    folder = trained(tiny, tmp_path, lambda query, text: float("a" in text), BALANCE, settings)

    assert (folder / "model.safetensors").is_file()
