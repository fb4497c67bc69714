"""Confidence heads: trained on the frozen model's hidden states, read by the agent, tied to their model."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from disrouter.agents._head import HEAD_FILE, ConfidenceHead
from disrouter.agents.transformers import TransformersAgent
from disrouter.errors import DataError, ModelError
from disrouter.lab.family import checkpoint_path
from disrouter.lab.suite import LabSuite
from disrouter.training.heads import save_with_head, train_head
from disrouter.training.settings import HeadSettings
from disrouter.types import AgentCard, QueryPrice, Sampling
from disrouter.utility import BALANCE

BASE = checkpoint_path("agent-1", "base")
QUERIES = LabSuite().queries("in", 3, 40)


def agent_in(folder: Path, **options: object) -> TransformersAgent:
    card = AgentCard(name="a", price=QueryPrice(cost=0.1))
    return TransformersAgent(card, folder, scenario_prompt=False, max_tokens=64, **options)  # type: ignore[arg-type]  # any of its options


def separable(
    n: int = 400,
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Hidden states whose first feature tells the success rate: 0.9 where it is positive, 0.1 where not."""
    states = np.random.default_rng(1).normal(size=(n, 2, 3)).astype(np.float32)
    return states, np.where(states[:, 0, 0] > 0, 0.9, 0.1)


def test_a_head_learns_success_rates_and_says_them_as_confidences() -> None:
    states, rates = separable()

    head = train_head(states, rates, HeadSettings(hidden=16, epochs=60, batch=32))

    said = np.array(head.confidences(torch.from_numpy(states)))
    clear = np.abs(states[:, 0, 0]) > 0.5
    assert np.abs(said - rates)[clear].mean() < 0.07


def test_the_same_seed_trains_the_same_head_and_leaves_the_global_draws_alone() -> None:
    states, rates = separable(100)
    settings = HeadSettings(hidden=4, epochs=2, batch=32, seed=5)

    torch.manual_seed(0)
    first = train_head(states, rates, settings).state_dict()
    drawn = torch.rand(1)
    second = train_head(states, rates, settings).state_dict()
    torch.manual_seed(0)

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(drawn, torch.rand(1))


def test_success_rates_that_are_all_alike_teach_nothing() -> None:
    states, _ = separable(50)

    with pytest.raises(DataError, match=r"All 50 profiled queries have the success rate 0\.3"):
        train_head(states, np.full(50, 0.3), HeadSettings())


def untrained(folder: Path) -> Path:
    """agent-1 with a head that says something, though nothing true."""
    torch.manual_seed(3)
    save_with_head(ConfidenceHead(4, 32, 8), BASE, folder)
    return folder


def test_an_agent_reads_its_head_alone_and_in_a_batch_alike(tmp_path: Path) -> None:
    agent = agent_in(untrained(tmp_path / "agent"), self_assessment="head")

    many = agent.look_many(QUERIES, BALANCE)
    alone = [asyncio.run(agent.look(query, BALANCE)) for query in QUERIES[:10]]

    assert [look.confidence for look in alone] == [look.confidence for look in many[:10]]
    assert len({look.confidence for look in many}) > 10
    assert all(look.accepts is None for look in many)  # whether to answer is the policy's word


def test_a_head_changes_no_answer(tmp_path: Path) -> None:
    with_head = agent_in(untrained(tmp_path / "agent"), self_assessment="head")
    plain = agent_in(BASE, calibrated=False)

    answers = [c.text for c in with_head.answer_many(QUERIES, BALANCE, sampling=Sampling(temperature=1.0, seed=4))]

    assert answers == [c.text for c in plain.answer_many(QUERIES, BALANCE, sampling=Sampling(temperature=1.0, seed=4))]


def test_hidden_states_come_one_for_every_layer_and_do_not_depend_on_the_batch() -> None:
    agent = agent_in(BASE)

    states = agent.states_many(QUERIES, BALANCE)

    assert states.shape == (len(QUERIES), 4, 32)
    np.testing.assert_array_equal(agent.states_many(QUERIES[5:6], BALANCE)[0], states[5])


def test_an_agent_without_a_head_is_told_how_to_get_one(tmp_path: Path) -> None:
    agent = agent_in(checkpoint_path("agent-1", "paper"), self_assessment="head")

    with pytest.raises(ModelError, match="has no confidence head") as caught:
        agent.look_many(QUERIES[:1], BALANCE)

    assert "disrouter train" in str(caught.value)


def test_a_head_beside_another_model_is_refused(tmp_path: Path) -> None:
    folder = untrained(tmp_path / "agent")
    weights = folder / "model.safetensors"
    other = {name: value + 1 for name, value in load_file(weights).items()}
    weights.unlink()  # it may be a link to the base's own
    save_file(other, weights, metadata={"format": "pt"})

    with pytest.raises(ModelError, match="belongs to another model"):
        agent_in(folder, self_assessment="head").look_many(QUERIES[:1], BALANCE)


@pytest.mark.parametrize("damage", [b"", b"not safetensors", None])
def test_a_damaged_head_is_refused(tmp_path: Path, damage: bytes | None) -> None:
    folder = untrained(tmp_path / "agent")
    head = folder / HEAD_FILE
    head.write_bytes(head.read_bytes()[:-40] if damage is None else damage)

    with pytest.raises(ModelError, match="cannot be read"):
        agent_in(folder, self_assessment="head").look_many(QUERIES[:1], BALANCE)


def test_a_folder_with_a_head_holds_the_models_weights_unchanged(tmp_path: Path) -> None:
    folder = untrained(tmp_path / "agent")

    ours, theirs = (load_file(path / "model.safetensors") for path in (folder, BASE))

    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
