"""Agents on a GPU: in bfloat16, as their weights are stored, they answer and judge themselves much as on a CPU."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch

from disrouter.agents.transformers import TransformersAgent
from disrouter.lab.family import checkpoint_path
from disrouter.lab.suite import LabSuite
from disrouter.types import AgentCard, Completion, Query, QueryPrice, Sampling
from disrouter.utility import BALANCE

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

SUITE = LabSuite()
QUERIES = SUITE.queries("in", 3, 200)


def agent_on(device: str, weights: str = "base", **options: object) -> TransformersAgent:
    card = AgentCard(name="agent-3", price=QueryPrice(cost=0.4))
    path = checkpoint_path("agent-3", weights)  # type: ignore[arg-type]  # one of its three
    return TransformersAgent(card, path, device=device, max_tokens=64, **options)  # type: ignore[arg-type]  # any of its options


def accuracy(agent: TransformersAgent, sampling: Sampling | None = None) -> float:
    answers = agent.answer_many(QUERIES, BALANCE, None, sampling)
    return float(np.mean([SUITE.grade(query, answer.text) for query, answer in zip(QUERIES, answers, strict=True)]))


@pytest.mark.parametrize("sampling", [None, Sampling(temperature=0.7, seed=1)])
def test_an_agent_on_a_gpu_is_right_as_often_as_on_a_cpu(sampling: Sampling | None) -> None:
    assert accuracy(agent_on("cuda"), sampling) == pytest.approx(accuracy(agent_on("cpu"), sampling), abs=0.06)


@pytest.mark.parametrize(("weights", "own"), [("calibrated", "head"), ("paper", "adapter")])
def test_confidences_on_a_gpu_are_those_of_a_cpu_but_for_rounding(weights: str, own: str) -> None:
    def said(device: str) -> list[float | None]:
        agent = agent_on(device, weights, self_assessment=own, scenario_prompt=own == "adapter")
        return [look.confidence for look in agent.look_many(QUERIES, BALANCE)]

    assert np.abs(np.array(said("cuda"), float) - np.array(said("cpu"), float)).mean() < 0.03


def test_one_query_on_a_gpu_is_looked_at_and_answered_from_the_same_reading() -> None:
    async def route(query: Query) -> Completion:
        agent = agent_on("cuda", "calibrated", self_assessment="head", scenario_prompt=False)
        look = await agent.look(query, BALANCE)
        *pieces, whole = [piece async for piece in agent.answer(query, BALANCE, look, Sampling())]
        assert isinstance(whole, Completion)
        assert "".join(str(piece) for piece in pieces) == whole.text
        return whole

    assert asyncio.run(route(QUERIES[0])).text
