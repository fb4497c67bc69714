"""The mixed family: models of four architectures are pretrained, looked at and answered with alike."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from disrouter.agents._head import ConfidenceHead
from disrouter.agents.transformers import TransformersAgent
from disrouter.cli import cli
from disrouter.errors import ModelError, UnknownNameError
from disrouter.lab.build import Task, tasks_of
from disrouter.lab.corpus import build_corpus
from disrouter.lab.family import FAMILIES, FAMILY, MIXED, LabModel, checkpoint_of, checkpoint_path
from disrouter.lab.pretraining import _loss, new_model, pretrain
from disrouter.lab.suite import LabSuite
from disrouter.lab.tokenizer import build_tokenizer
from disrouter.training.heads import save_with_head
from disrouter.training.recipes import load_recipe
from disrouter.types import AgentCard, Completion, Look, Query, QueryPrice, Sampling
from disrouter.utility import BALANCE

QUERIES = LabSuite().queries("in", 3, 24)
DRAWN = Sampling(temperature=1.0, seed=7)


@pytest.fixture(scope="module", params=MIXED, ids=lambda spec: str(spec.architecture))
def spec(request: pytest.FixtureRequest) -> LabModel:
    """A member of the family, made as small as the smallest."""
    small: LabModel = replace(
        request.param, hidden=32, layers=3, heads=2, key_value_heads=1, head_dim=16, mlp=80, steps=24, batch=2
    )
    return small


@pytest.fixture(scope="module")
def folder(spec: LabModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after a few steps, with a head that says something, though nothing true."""
    home = tmp_path_factory.mktemp("mixed")
    pretrain(spec, home / "base")
    torch.manual_seed(3)
    save_with_head(ConfidenceHead(spec.layers + 1, spec.hidden, 8), home / "base", home / "agent")
    return home / "agent"


@pytest.fixture(scope="module")
def agent(folder: Path) -> TransformersAgent:
    return TransformersAgent(
        AgentCard(name="a", price=QueryPrice(cost=0.1)),
        folder,
        scenario_prompt=False,
        self_assessment="head",
        max_tokens=48,
        device="cpu",
    )


def answered(agent: TransformersAgent, query: Query, look: Look | None, sampling: Sampling) -> Completion:
    async def listen() -> Completion:
        pieces = [piece async for piece in agent.answer(query, BALANCE, look, sampling)]
        assert isinstance(pieces[-1], Completion)
        return pieces[-1]

    return asyncio.run(listen())


def reference(folder: Path) -> Any:
    """The same model as transformers itself runs it."""
    build: Any = AutoModelForCausalLM  # its methods are untyped
    return build.from_pretrained(folder, dtype=torch.float32).eval()


def prompt_of(query: Query) -> list[int]:
    tokens: list[int] = build_tokenizer().encode(f"<|user|>{query.text}<|agent|>")
    return tokens


def test_a_checkpoint_is_of_the_architecture_and_learns_something(spec: LabModel, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    record = json.loads((folder.parent / "base" / "training.json").read_text())

    assert config["model_type"] == spec.architecture
    assert record["steps"] == 24
    assert record["loss"] < 4.5  # a guess among all 115 tokens costs 4.74


@torch.inference_mode()
def test_packed_problems_cost_what_they_cost_one_by_one(spec: LabModel) -> None:
    """Segments, and windows of layers that have them, are those that the model itself keeps to."""
    tokenizer = build_tokenizer()
    model: Any = new_model(spec, tokenizer)
    model.eval()
    corpus = build_corpus(tokenizer, rows=4, seed=1, mixture={})
    rows = np.arange(4)
    losses: list[float] = []
    longest = 0
    for row in rows:
        for segment in range(1, corpus.segments[row].max() + 1):
            own = corpus.segments[row] == segment
            ids = torch.from_numpy(corpus.tokens[row][own].astype(np.int64))
            learnt = torch.from_numpy(corpus.targets[row][own])[1:]
            each = cross_entropy(model(ids[None]).logits[0, :-1], ids[1:], reduction="none")
            losses += each[learnt].tolist()
            longest = max(longest, len(ids))

    packed = _loss(model.model, model, corpus, rows).item()

    assert longest > (spec.window or 0)
    assert packed == pytest.approx(sum(losses) / len(losses), abs=1e-5)


def test_a_query_has_one_confidence_and_one_answer_alone_and_in_a_batch(agent: TransformersAgent) -> None:
    together = agent.look_and_answer_many(QUERIES, BALANCE, DRAWN)

    for query, (look, answer) in list(zip(QUERIES, together, strict=True))[::6]:
        alone = asyncio.run(agent.look(query, BALANCE))
        assert alone.confidence == look.confidence
        assert answered(agent, query, alone, DRAWN).text == answer.text
    assert len({look.confidence for look, _ in together}) > 10
    assert max(answer.usage.completion_tokens for _, answer in together) > 30  # longer than any window


def test_an_answer_goes_on_from_a_look_as_if_there_had_been_none(agent: TransformersAgent) -> None:
    for query in QUERIES[:4]:
        look = asyncio.run(agent.look(query, BALANCE))

        assert answered(agent, query, look, DRAWN).text == answered(agent, query, None, DRAWN).text


@torch.inference_mode()
def test_an_answer_is_the_one_the_model_gives_without_any_cache(agent: TransformersAgent, folder: Path) -> None:
    model, tokenizer = reference(folder), build_tokenizer()
    banned = tokenizer.convert_tokens_to_ids("I don't know")

    for query in QUERIES[:3]:
        tokens = prompt_of(query)
        begin = len(tokens)
        while len(tokens) < begin + 48 and (len(tokens) == begin or tokens[-1] != tokenizer.eos_token_id):
            scores = model(torch.tensor([tokens]), use_cache=False).logits[0, -1]
            scores[banned] = -torch.inf
            tokens.append(int(scores.argmax()))

        answer = answered(agent, query, None, Sampling())

        assert answer.usage.completion_tokens == len(tokens) - begin
        assert answer.text == tokenizer.decode(tokens[begin:], skip_special_tokens=True)


@torch.inference_mode()
def test_a_head_reads_every_layer_of_the_prompts_last_token(
    agent: TransformersAgent, spec: LabModel, folder: Path
) -> None:
    model = reference(folder)

    states = agent.states_many(QUERIES, BALANCE)

    assert states.shape == (len(QUERIES), spec.layers + 1, spec.hidden)
    np.testing.assert_array_equal(agent.states_many(QUERIES[5:6], BALANCE)[0], states[5])
    layers = model(torch.tensor([prompt_of(QUERIES[5])]), output_hidden_states=True).hidden_states
    wanted = torch.stack([layer[0, -1] for layer in layers]).numpy()
    np.testing.assert_allclose(states[5], wanted, rtol=1e-4, atol=1e-5)


def test_every_architecture_resumes_to_the_same_bytes(spec: LabModel, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def die(progress: object) -> None:
        raise KilledError

    short = replace(spec, steps=21)
    pretrain(short, tmp_path / "whole")
    with pytest.raises(KilledError):
        pretrain(short, tmp_path / "resumed", report=die, checkpoint_every=10)  # the first report comes at step 20
    pretrain(short, tmp_path / "resumed")

    first, second = (tmp_path / name / "model.safetensors" for name in ("whole", "resumed"))
    assert first.read_bytes() == second.read_bytes()


# -- the families ---------------------------------------------------------------------------------------------------


def test_the_family_that_ships_has_the_configurations_that_ship() -> None:
    for model in FAMILY:
        shipped = json.loads((checkpoint_path(model.name, "base") / "config.json").read_text())
        made = new_model(model, build_tokenizer()).config.to_dict()

        new = {"transformers_version", "dtype", "architectures"}
        assert {k: made.get(k) for k in shipped if k not in new} == {k: v for k, v in shipped.items() if k not in new}


def test_no_two_models_of_any_family_have_one_name() -> None:
    names = [model.name for family in FAMILIES.values() for model in family]

    assert len(set(names)) == len(names)


def test_the_mixed_recipe_trains_the_mixed_family_by_the_settings_of_the_one_that_ships() -> None:
    mixed, shipped = load_recipe("lab-mixed"), load_recipe("lab-calibrated")

    assert [agent.name for agent in mixed.agents] == [model.name for model in MIXED]
    assert [agent.train for agent in mixed.agents] == [True, True, True, False]
    same = {"agents", "name"}
    assert mixed.model_dump(exclude=same) == shipped.model_dump(exclude=same)


def test_mixed_tasks_are_pretraining_and_heads() -> None:
    tasks = tasks_of([], [], "mixed")

    assert Task("qwen3-l", "base", "mixed") in tasks
    assert Task("llama-xs", "calibrated", "mixed") in tasks
    assert len(tasks) == 4 + 3  # the largest always answers


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([], [], "mxed"), "Unknown family 'mxed'. Known: 'lab', 'mixed'"),
        ((["agent-1"], [], "mixed"), "Unknown lab model 'agent-1' in family 'mixed'"),
        (([], ["paper"], "mixed"), "Unknown stage 'paper' in family 'mixed'. Known: 'base', 'calibrated'"),
    ],
)
def test_what_no_family_has_is_named(arguments: tuple[list[str], list[str], str], said: str) -> None:
    with pytest.raises(UnknownNameError, match=said):
        tasks_of(*arguments)


def test_an_unknown_architecture_is_named_with_those_there_are(tmp_path: Path) -> None:
    odd = replace(MIXED[0], architecture="lama")

    with pytest.raises(UnknownNameError, match="Unknown architecture 'lama' in lab model 'llama-xs'") as caught:
        pretrain(odd, tmp_path / "odd")

    assert "did you mean 'llama'?" in str(caught.value)


def test_a_model_that_does_not_ship_is_told_how_to_be_built() -> None:
    with pytest.raises(ModelError, match="'llama-xs' does not ship") as caught:
        checkpoint_of("llama-xs@base")

    assert "disrouter lab build --family mixed" in str(caught.value)


def test_the_recipe_looks_where_the_command_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    built = tmp_path / "lab-build" / "mixed" / "base" / "llama-xs"
    built.mkdir(parents=True)
    (built / "model.safetensors").touch()  # what is there is not made again

    done = CliRunner().invoke(cli, ["lab", "build", "--family", "mixed", "--stage", "base", "--agent", "llama-xs"])

    assert done.exit_code == 0
    assert Path(done.stdout.strip()) == Path(load_recipe("lab-mixed").agent("llama-xs").model)


def test_a_training_of_what_is_not_built_says_how_to_build_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(cli, ["train", "--recipe", "lab-mixed"])

    assert done.exit_code == 2
    assert "There is no folder 'lab-build/mixed/base/llama-xs'" in done.output
    assert "disrouter lab build --family mixed" in done.output
    assert not list(tmp_path.iterdir())


def test_the_command_names_the_families_there_are() -> None:
    done = CliRunner().invoke(cli, ["lab", "build", "--family", "mxed"])

    assert done.exit_code == 2
    assert "Unknown family 'mxed'. Known: 'lab', 'mixed'." in done.output
