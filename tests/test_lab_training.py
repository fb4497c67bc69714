"""Building the lab's checkpoints: text to learn from, pretraining, self-awareness training; resumable, same bytes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import Qwen3ForCausalLM

from disrouter.lab.build import Task, build, tasks_of
from disrouter.lab.corpus import ROW, build_corpus, training_problems
from disrouter.lab.family import FAMILY, lab_model
from disrouter.lab.muon import orthogonalised
from disrouter.lab.pretraining import grow, new_model, pretrain
from disrouter.lab.skills import split_of
from disrouter.lab.tokenizer import REJECTION, build_tokenizer

TINY = replace(FAMILY[0], steps=40, batch=4)


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


def test_an_agent_that_goes_the_whole_way_in_a_rehearsal_loads_and_can_reject(
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

    assert folders == [tmp_path / stage / "agent-1" for stage in ("base", "calibrated", "paper")]
    assert list(dict.fromkeys(stages)) == ["base", "profile", "head", "sample", "recite", "calibrate", "sft", "rl"]
    ledger = json.loads((tmp_path / "training" / "paper" / "agent-1" / "ledger.json").read_text())
    assert list(ledger["stages"]) == ["profile", "sft", "rl"]
    base, calibrated, paper = (Qwen3ForCausalLM.from_pretrained(folder).state_dict() for folder in folders)
    assert all(torch.equal(base[name], stage[name]) for name in base for stage in (calibrated, paper))
    assert {"confidence_head.safetensors", "calibration.json"} <= {file.name for file in folders[1].iterdir()}
    assert (folders[2] / "adapter" / "adapter_model.safetensors").is_file()


def test_tasks_come_with_what_they_need() -> None:
    tasks = tasks_of(["agent-5"], ["base"])

    assert set(tasks) == {Task("agent-4", "base"), Task("agent-5", "base")}


def test_the_largest_agent_has_no_self_awareness_stage() -> None:
    assert Task("agent-5", "paper") not in tasks_of([], [])
