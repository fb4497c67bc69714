"""Dry runs: every recipe that ships goes its whole way with tiny models of the same architectures."""

from __future__ import annotations

from pathlib import Path

import pytest

from disrouter.config import load
from disrouter.errors import ModelError
from disrouter.evaluation.hub.suite import SUITES
from disrouter.lab.family import checkpoint_path
from disrouter.training.dry_run import dry_run
from disrouter.training.made_up import MadeUpSuite
from disrouter.training.recipes import embedded_recipes, load_recipe
from disrouter.training.rehearsal import RehearsalSuite, rehearsed
from disrouter.training.tiny_models import architecture_of

# One agent of every architecture, and of every way to touch the weights.
AGENTS = {
    "lab-calibrated": {"agent-1": "qwen3"},
    "lab-mixed": {"llama-xs": "llama", "gemma3-s": "gemma3_text", "phi3-m": "phi3"},
    "lab-paper": {"agent-1": "qwen3"},
    "lab-token": {"agent-1": "qwen3"},
    "mixed-calibrated": {"gemma-1b": "gemma3_text", "qwen-1.5b": "qwen2", "llama-3b": "llama", "phi-4b": "phi3"},
    "qwen2.5-paper": {"qwen2.5-0.5b": "qwen2", "qwen2.5-3b": "qwen2"},
}


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", embedded_recipes())
def test_an_embedded_recipe_goes_its_whole_way(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    reported: set[str] = set()

    done = dry_run(recipe, list(AGENTS[name]), tmp_path, report=lambda agent, stage, *_: reported.add(stage))

    assert {agent.name: agent.architecture for agent in done.agents} == AGENTS[name]
    wanted = {"profile", *recipe.stages, *(["calibrate"] if recipe.calibration else [])}
    assert wanted <= reported
    network = load(tmp_path / "training" / "network.yaml")
    always = {agent.name for agent in recipe.agents if not agent.train}
    assert set(network.agents) == {*AGENTS[name], *always}
    if name in ("lab-paper", "lab-token"):
        assert [agent.stages[1:3] for agent in done.agents] == [("sft (deciding LoRA)", "rl")]
    if name == "qwen2.5-paper":
        assert [agent.stages[1:3] for agent in done.agents] == [("sft", "rl"), ("sft (LoRA)", "rl (LoRA)")]


def test_a_rehearsal_changes_counts_and_no_stage() -> None:
    for name in embedded_recipes():
        recipe = load_recipe(name)

        cut = rehearsed(recipe)

        assert cut.stages == recipe.stages
        assert (cut.mode, cut.suite, cut.targets.accept) == (recipe.mode, recipe.suite, recipe.targets.accept)
        assert cut.device == "any"
        assert rehearsed(cut) == cut


def test_a_rehearsal_draws_grades_of_all_kinds_and_always_the_same() -> None:
    suite = RehearsalSuite(MadeUpSuite("paper"))
    queries = suite.queries("in", 0, 4000, split="train")

    rates = {q.id: [suite.grade(q, f"text {k}") for k in range(20)] for q in queries}

    assert len(queries) == 24
    assert {sum(found) / 20 for found in rates.values()} >= {0.0, 1.0}
    assert any(0 < sum(found) < 20 for found in rates.values())
    assert {q.id: [suite.grade(q, f"text {k}") for k in range(20)] for q in queries} == rates


def test_a_rehearsal_runs_the_true_grader_so_that_one_that_fails_does_so_early() -> None:
    class Broken(MadeUpSuite):
        def grade(self, query: object, text: str) -> float:
            raise RuntimeError("the grader is broken")

    suite = RehearsalSuite(Broken("gsm8k"))

    with pytest.raises(RuntimeError, match="the grader is broken"):
        suite.grade(suite.queries("in", 0, 1)[0], "A: 1")


@pytest.mark.parametrize("name", SUITES)
def test_made_up_questions_stand_for_every_suite_of_the_hub(name: str) -> None:
    suite = MadeUpSuite(name)
    domain = "in" if name not in ("squad", "hellaswag", "headqa") else "out"

    found = {split: suite.queries(domain, 0, 50, split=split) for split in ("train", "validation", "test")}

    ids = [query.id for queries in found.values() for query in queries]
    assert len(set(ids)) == 150
    for query in found["train"]:
        assert query.reference is not None
        assert suite.grade(query, "A: no such answer") == 0.0


def test_the_worked_solution_of_a_made_up_question_is_right() -> None:
    suite = MadeUpSuite("gsm8k")
    query = suite.queries("in", 0, 3, split="train")[2]

    worked = suite.worked(query)

    # The third question: Cleo has 2 + 2 coins and buys 3 + 2 more.
    assert worked == "Cleo has 4+5=9 coins.\nA: 9"
    assert suite.grade(query, worked) == 1.0


@pytest.mark.parametrize(
    ("model", "architecture"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2"),
        ("Qwen/Qwen3-0.6B", "qwen3"),
        ("google/gemma-2-2b-it", "gemma2"),
        ("google/gemma-3-1b-it", "gemma3_text"),
        ("microsoft/Phi-3.5-mini-instruct", "phi3"),
        ("microsoft/Phi-4-mini-instruct", "phi3"),
        ("meta-llama/Llama-3.2-3B-Instruct", "llama"),
    ],
)
def test_a_models_name_tells_its_architecture(model: str, architecture: str) -> None:
    assert architecture_of(model, None) == architecture


def test_a_folder_tells_its_architecture_whatever_its_name() -> None:
    assert architecture_of("my-llama", checkpoint_path("agent-1", "base")) == "qwen3"


def test_a_name_that_tells_no_architecture_is_refused() -> None:
    with pytest.raises(ModelError, match="'acme/oracle-9' does not tell which architecture"):
        architecture_of("acme/oracle-9", None)
