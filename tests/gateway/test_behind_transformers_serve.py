"""Lab models behind a server that others wrote, behind the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from disrouter.agents.openai_compatible import OpenAICompatibleAgent, Patience
from disrouter.agents.transformers import TransformersAgent
from disrouter.conformance import Target, cases_named, run
from disrouter.lab.suite import LabSuite
from disrouter.types import AgentCard, Completion, Query, QueryPrice, Sampling, Serving
from disrouter.utility import BALANCE
from gateway.running import running
from transformers_serve import Served, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), likeliest=True, decides=True) as served:
        yield served


CARD = AgentCard(name="small", price=QueryPrice(cost=0.1), serving=Serving(concurrency=2))


def agent_of(served: Served, **settings: Any) -> OpenAICompatibleAgent:
    patience = Patience(connect=10.0, first_token=60.0, stall=60.0, total=120.0, retries=0)
    return OpenAICompatibleAgent(
        CARD, model=served.model, base_url=served.url, patience=patience, max_tokens=48, **settings
    )


async def test_a_lab_model_answers_the_same_directly_and_through_the_gateway(served: Served) -> None:
    questions = [query.text for query in LabSuite().queries("in", 3, 4, split="train")]

    async def answers(url: str, model: str) -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
            found = []
            for text in questions:
                reply = await client.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": text}], temperature=0, max_tokens=48
                )
                found.append(reply.choices[0].message.content)
            return found

    async with running(agent_of(served)) as gateway:
        direct = await answers(served.url, served.model)
        routed = await answers(f"{gateway.url}/v1", "disrouter")

    assert routed == direct
    assert all(routed)


async def test_the_gateway_gives_its_streams_the_shape_that_clients_expect(served: Served) -> None:
    async with running(agent_of(served)) as gateway:
        names = ["chat-shape", "chat-usage", "stream-done", "stream-one-id", "stream-role-first", "stream-finish-last"]
        target = Target(f"{gateway.url}/v1", "disrouter", timeout=120.0)
        report = await run(
            target, cases_named([*names, "stream-usage-last", "response-shape"]), abilities=[], at_once=2
        )

    assert {outcome.case.name: outcome.detail for outcome in report.of("failed")} == {}


async def test_a_stream_comes_token_by_token(served: Served) -> None:
    async with (
        running(agent_of(served)) as gateway,
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client,
    ):
        stream = await client.chat.completions.create(
            model="disrouter", messages=[{"role": "user", "content": "357+246"}], stream=True, temperature=0
        )
        pieces = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]

    assert len([piece for piece in pieces if piece]) > 3


async def test_one_model_decides_and_another_answers_as_the_two_do_in_this_process(served: Served) -> None:
    there = agent_of(served, self_assessment="text", decides_with=served.beside, scenario_prompt=True)
    deciding = TransformersAgent(CARD, served.beside, scenario_prompt=True, device="cpu")
    answering = TransformersAgent(
        CARD, served.model, scenario_prompt=False, self_assessment="none", max_tokens=48, device="cpu"
    )
    words = []

    for query in LabSuite().queries("in", 3, 8, split="train"):
        looked, expected = await there.look(query, BALANCE), await deciding.look(query, BALANCE)
        assert looked.accepts == expected.accepts
        words.append(looked.accepts)
        # Whatever it decided: an agent may be asked for its answer all the same.
        told, same = [await _answer(agent, query) for agent in (there, answering)]
        assert told.text == same.text
        assert told.usage.prompt_tokens == same.usage.prompt_tokens  # no scenario, and nothing left to the look

    assert set(words) == {True, False}


async def _answer(agent: OpenAICompatibleAgent | TransformersAgent, query: Query) -> Completion:
    *_, completion = [piece async for piece in agent.answer(query, BALANCE, None, Sampling(max_tokens=48))]
    assert isinstance(completion, Completion)
    return completion
