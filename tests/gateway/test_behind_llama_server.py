"""Lab models behind llama.cpp's server, behind the gateway. `LLAMA_SERVER=…/llama-server` runs these."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from disrouter.agents.faults import FaultError
from disrouter.agents.openai_compatible import OpenAICompatibleAgent, Patience
from disrouter.agents.transformers import TransformersAgent
from disrouter.conformance import Target, cases_named, run
from disrouter.lab.suite import LabSuite
from disrouter.types import AgentCard, Query, QueryPrice, Sampling
from disrouter.utility import BALANCE
from gateway.running import running
from llama_server import llama_serving, llama_serving_two

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("LLAMA_SERVER"), reason="LLAMA_SERVER does not name llama.cpp's server"),
]

QUESTIONS = [query.text for query in LabSuite().queries("in", 3, 4, split="train")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with llama_serving(tmp_path_factory.mktemp("llama")) as url:
        yield url


def agent_of(url: str, model: str = "any", **settings: Any) -> OpenAICompatibleAgent:
    patience = Patience(connect=10.0, first_token=60.0, stall=60.0, total=120.0, retries=0)
    card = AgentCard(name="small", price=QueryPrice(cost=0.1))
    return OpenAICompatibleAgent(card, model=model, base_url=url, patience=patience, max_tokens=48, **settings)


async def test_a_lab_model_answers_the_same_directly_and_through_the_gateway(served: str) -> None:
    async def answers(url: str) -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
            return [
                (
                    await client.chat.completions.create(
                        model="disrouter", messages=[{"role": "user", "content": text}], temperature=0, max_tokens=48
                    )
                )
                .choices[0]
                .message.content
                for text in QUESTIONS
            ]

    async with running(agent_of(served)) as gateway:
        direct, routed = await answers(served), await answers(f"{gateway.url}/v1")

    assert routed == direct
    assert all(routed)


async def test_it_says_what_the_same_model_says_in_this_process(served: str) -> None:
    import disrouter

    here = disrouter.load("lab").agents["agent-1"]
    there = agent_of(served)
    for text in QUESTIONS:
        query = Query.from_text(text)
        said = [
            [piece async for piece in agent.answer(query, BALANCE, None, Sampling(max_tokens=48))][-1]
            for agent in (here, there)
        ]

        assert said[0].text == said[1].text  # type: ignore[union-attr]


async def test_its_log_probabilities_make_a_confidence(served: str) -> None:
    look = await agent_of(served, self_assessment="token").look(Query.from_text(QUESTIONS[0]), BALANCE)

    assert look.confidence is not None
    assert 0.0 <= look.confidence <= 1.0
    assert look.usage.prompt_tokens > 0


async def test_a_server_of_one_model_that_takes_every_name_is_not_believed_to_decide_with_another(served: str) -> None:
    agent = agent_of(served, self_assessment="token", decides_with="agent-decides")

    with pytest.raises(FaultError, match="lists one model, but not 'agent-decides'"):
        await agent.look(Query.from_text(QUESTIONS[0]), BALANCE)


async def test_one_model_decides_and_another_answers_as_the_two_do_in_this_process(tmp_path: Path) -> None:
    import disrouter

    answering = disrouter.load("lab").agents["agent-1"]  # a head beside the base model, which it does not change
    with llama_serving_two(tmp_path) as url:
        deciding = TransformersAgent(answering.card, tmp_path / "merged", scenario_prompt=True, device="cpu")
        there = agent_of(url, "base", self_assessment="token", decides_with="decides", scenario_prompt=True)
        for text in QUESTIONS:
            query = Query.from_text(text)
            looked, expected = await there.look(query, BALANCE), await deciding.look(query, BALANCE)
            told, same = [
                [piece async for piece in agent.answer(query, BALANCE, None, Sampling(max_tokens=48))][-1]
                for agent in (there, answering)
            ]

            assert looked.confidence == pytest.approx(expected.confidence, abs=1e-3)
            assert looked.accepts == expected.accepts
            assert told.text == same.text  # type: ignore[union-attr]


async def test_the_gateway_gives_its_streams_the_shape_that_clients_expect(served: str) -> None:
    async with running(agent_of(served)) as gateway:
        names = ["chat-shape", "chat-usage", "stream-done", "stream-one-id", "stream-role-first", "stream-finish-last"]
        target = Target(f"{gateway.url}/v1", "disrouter", timeout=120.0)
        report = await run(
            target, cases_named([*names, "stream-usage-last", "response-shape"]), abilities=[], at_once=2
        )

    assert {outcome.case.name: outcome.detail for outcome in report.of("failed")} == {}
