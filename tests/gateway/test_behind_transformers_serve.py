"""Lab models behind a server that others wrote, behind the gateway."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from disrouter.agents.openai_compatible import OpenAICompatibleAgent, Patience
from disrouter.conformance import Target, cases_named, run
from disrouter.lab.suite import LabSuite
from disrouter.types import AgentCard, QueryPrice, Serving
from gateway.running import running
from transformers_serve import Served, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), likeliest=True) as served:
        yield served


def agent_of(served: Served) -> OpenAICompatibleAgent:
    patience = Patience(connect=10.0, first_token=60.0, stall=60.0, total=120.0, retries=0)
    card = AgentCard(name="small", price=QueryPrice(cost=0.1), serving=Serving(concurrency=2))
    return OpenAICompatibleAgent(card, model=served.model, base_url=served.url, patience=patience, max_tokens=48)


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
