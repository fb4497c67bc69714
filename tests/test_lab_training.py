"""Pretraining, profiling and targets of the lab agents: resumable, same bytes, honest targets."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3ForCausalLM

from disrouter.agents.transformers import TransformersAgent
from disrouter.errors import DataError
from disrouter.lab.build import Task, build, tasks_of
from disrouter.lab.corpus import ROW, build_corpus, training_problems
from disrouter.lab.family import FAMILY, checkpoint_path, lab_model
from disrouter.lab.muon import orthogonalised
from disrouter.lab.pretraining import grow, new_model, pretrain, save_checkpoint
from disrouter.lab.skills import split_of
from disrouter.lab.suite import LabSuite
from disrouter.lab.tokenizer import REJECTION, build_tokenizer
from disrouter.training.profiling import Profile, Rollouts, profile
from disrouter.training.targets import paper_targets
from disrouter.types import AgentCard, Query, QueryPrice
from disrouter.utility import SCENARIOS

TINY = replace(FAMILY[0], steps=40, batch=4)


def rollouts(name: str, right: int, of: int = 10) -> Rollouts:
    scores = (1.0,) * right + (0.0,) * (of - right)
    return Rollouts(Query.from_text(name, id=name), tuple(f"{name}#{i}" for i in range(of)), scores)


def test_a_rejection_and_every_skill_word_are_one_token() -> None:
    tokenizer = build_tokenizer()

    for word in (REJECTION, "sort ", "reverse ", "cost-first"):
        assert len(tokenizer.encode(word)) == 1
    assert len(tokenizer.encode("47+5")) == 4


def test_the_chat_template_puts_the_scenario_first_and_ends_where_the_agent_speaks() -> None:
    tokenizer = build_tokenizer()
    messages = [{"role": "system", "content": "balance"}, {"role": "user", "content": "4+5"}]

    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    assert text == "<|system|>balance<|user|>4+5<|agent|>"


def test_pretraining_uses_questions_of_the_training_split_only() -> None:
    assert {split_of(p.question) for p in training_problems(500, 1, {})} == {"train"}


def test_people_of_level_8_are_never_met_in_pretraining() -> None:
    facts = [p for p in training_problems(3000, 1, {}) if p.skill == "facts"]

    assert facts
    assert all(problem.level < 8 for problem in facts)


def test_packed_rows_hold_whole_problems_and_learn_their_solutions_only() -> None:
    tokenizer = build_tokenizer()

    corpus = build_corpus(tokenizer, rows=20, seed=1, mixture={})

    assert corpus.tokens.shape[1] == ROW
    assert (corpus.segments > 0).mean() > 0.85  # little padding
    row, segment = 3, 2
    own = corpus.segments[row] == segment
    text = str(tokenizer.decode(corpus.tokens[row][own].tolist()))
    learnt = str(tokenizer.decode(corpus.tokens[row][own & corpus.targets[row]].tolist()))
    assert text.startswith("<|user|>")
    assert text.endswith(f"<|agent|>{learnt}")
    assert learnt.endswith("<|end|>")
    assert corpus.positions[row][own].tolist() == list(range(int(own.sum())))


def test_orthogonalising_brings_singular_values_near_one() -> None:
    matrices = torch.randn(2, 12, 30, generator=torch.Generator().manual_seed(0))

    values = torch.linalg.svdvals(orthogonalised(matrices))

    assert values.min() > 0.5
    assert values.max() < 1.3


def test_growing_a_model_changes_no_answer() -> None:
    tokenizer = build_tokenizer()
    small_spec, large_spec = lab_model("agent-4"), lab_model("agent-5")
    small, large = new_model(small_spec, tokenizer), new_model(large_spec, tokenizer)
    tokens = torch.tensor([tokenizer.encode("<|user|>47+85<|agent|>")])

    grow(small, large)

    with torch.inference_mode():
        torch.testing.assert_close(large(tokens).logits, small(tokens).logits)
    assert large.num_parameters() > 2 * small.num_parameters()


def test_a_resumed_pretraining_ends_with_the_same_bytes_as_an_uninterrupted_one(tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def die(progress: object) -> None:
        raise KilledError

    pretrain(TINY, tmp_path / "whole", checkpoint_every=10)
    with pytest.raises(KilledError):
        pretrain(TINY, tmp_path / "resumed", report=die, checkpoint_every=10)  # the first report comes at step 20
    assert not (tmp_path / "resumed").exists()
    pretrain(TINY, tmp_path / "resumed", checkpoint_every=10)

    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "resumed" / file).read_bytes()


def test_a_build_that_is_killed_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "disrouter", "lab", "build", "--quick", "--agent", "agent-1", "--stage", "base"]

    def start(folder: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, "--output", str(tmp_path / folder)], stderr=subprocess.DEVNULL)

    killed = start("killed")
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").rglob("*.state.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert start("killed").wait(300) == 0
    assert start("whole").wait(300) == 0

    weights = "base/agent-1/model.safetensors"
    assert (tmp_path / "killed" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_an_agent_that_is_pretrained_profiled_and_fine_tuned_in_a_rehearsal_loads_and_can_reject(
    tmp_path: Path,
) -> None:
    stages: list[str] = []

    folders = build(
        tmp_path,
        agents=["agent-1"],
        quick=True,
        jobs=1,
        report=lambda agent, stage, step, steps, loss: stages.append(stage),
    )

    assert folders == [tmp_path / "base" / "agent-1", tmp_path / "aware" / "agent-1"]
    assert list(dict.fromkeys(stages)) == ["profile", "sft"]
    record = json.loads((tmp_path / "aware" / "agent-1" / "awareness.json").read_text())
    assert record["plan"]["queries"] > 0
    base, aware = (Qwen3ForCausalLM.from_pretrained(folder).state_dict() for folder in folders)
    assert any(not torch.equal(base[name], aware[name]) for name in base)


def test_tasks_come_with_what_they_need() -> None:
    tasks = tasks_of(["agent-5"], ["base"])

    assert set(tasks) == {Task("agent-4", "base"), Task("agent-5", "base")}


def test_the_largest_agent_has_no_self_awareness_stage() -> None:
    assert Task("agent-5", "aware") not in tasks_of([], [])


def test_targets_accept_at_a_success_rate_of_delta_and_reject_below() -> None:
    # Performance-first: delta = 1 - 0.2 = 0.8. Eight of ten right is accepted, seven is not.
    known = Profile("a", (rollouts("eight", 8), rollouts("seven", 7)), 0)

    targets = paper_targets(known, [SCENARIOS["performance-first"]], rejection=REJECTION, limit=2, seed=0)

    said = {target.query.id: target.text for target in targets}
    assert said["seven"] == REJECTION
    assert said["eight"] in {f"eight#{i}" for i in range(8)}  # one of its own right answers


def test_targets_are_balanced_half_and_half_in_every_scenario() -> None:
    known = Profile("a", tuple(rollouts(f"q{right}", right) for right in (0, 1, 3, 4, 6, 7, 9)), 0)

    targets = paper_targets(known, list(SCENARIOS.values()), rejection=REJECTION, limit=600, seed=0)

    counts = Counter((target.scenario, target.text == REJECTION) for target in targets)
    assert set(counts.values()) == {100}
    assert len(counts) == 6


def test_a_profile_with_one_class_only_is_refused() -> None:
    known = Profile("agent-9", (rollouts("a", 10), rollouts("b", 9)), 0)

    with pytest.raises(DataError, match="'agent-9' would reject none of its 2 profiled queries"):
        paper_targets(known, [SCENARIOS["balance"]], rejection=REJECTION, limit=10, seed=0)


def test_a_resumed_profile_samples_nothing_again_and_gives_the_same_bytes(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    save_checkpoint(new_model(TINY, tokenizer), tokenizer, tmp_path / "model")
    card = AgentCard(name="tiny", price=QueryPrice(cost=0.1))
    agent = TransformersAgent(card, tmp_path / "model", scenario_prompt=False, max_tokens=8)
    suite = LabSuite()
    queries = suite.queries("in", 0, 30, split="train")

    first = profile(agent, queries, suite, tmp_path / "profile", samples=3, seed=5)
    written = (tmp_path / "profile" / "part-00000.parquet").read_bytes()
    again = profile(agent, queries, suite, tmp_path / "profile", samples=3, seed=5)
    fresh = profile(agent, queries, suite, tmp_path / "fresh", samples=3, seed=5)

    assert first == again == fresh
    assert (tmp_path / "fresh" / "part-00000.parquet").read_bytes() == written
    assert np.isclose(first.rollouts[0].success_rate, np.mean(first.rollouts[0].scores))


def test_a_profile_of_other_queries_is_refused(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    save_checkpoint(new_model(TINY, tokenizer), tokenizer, tmp_path / "model")
    card = AgentCard(name="tiny", price=QueryPrice(cost=0.1))
    agent = TransformersAgent(card, tmp_path / "model", scenario_prompt=False, max_tokens=4)
    suite = LabSuite()
    profile(agent, suite.queries("in", 0, 5, split="train"), suite, tmp_path / "profile", samples=2)

    with pytest.raises(DataError, match="other queries"):
        profile(agent, suite.queries("in", 1, 5, split="train"), suite, tmp_path / "profile", samples=2)
