"""How agents behind servers judge themselves, and that nothing is shown before they have."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from disrouter.network import Network
from disrouter.policies import Threshold
from gateway.mock_backend import MockBackend
from gateway.running import Running, behind, running


@pytest.fixture
async def small() -> AsyncIterator[MockBackend]:
    async with MockBackend() as backend:
        yield backend


@pytest.fixture
async def large() -> AsyncIterator[MockBackend]:
    async with MockBackend() as backend:
        yield backend


def decisions(gateway: Running) -> list[tuple[str, str, float | None]]:
    return [(hop.agent, hop.decision, hop.confidence) for hop in gateway.kept.routes[-1].hops]


def model_of(events: list[str]) -> set[str]:
    return {json.loads(event)["model"] for event in events if event != "[DONE]"}


@pytest.mark.parametrize("stream", [False, True])
async def test_token_asks_for_one_token_and_reads_the_confidence_from_its_log_probabilities(
    stream: bool, small: MockBackend, large: MockBackend
) -> None:
    small.confidence = 0.2
    agents = (
        behind("small", small.url, 0.1, self_assessment="token", rejection=small.rejection_token),
        behind("large", large.url, 0.9),
    )
    async with running(network=Network("n", agents, policy=Threshold(0.5))) as gateway:
        await (gateway.events() if stream else gateway.post())
        small.confidence = 0.9
        await (gateway.events() if stream else gateway.post())
        sure = decisions(gateway)

    look = small.received[0].body
    assert (look["max_tokens"], look["logprobs"], look["stream"]) == (1, True, False)
    first = gateway.kept.routes[0]
    assert [(hop.agent, hop.decision) for hop in first.hops] == [("small", "reject"), ("large", "answer")]
    assert first.hops[0].confidence == pytest.approx(0.2, abs=1e-3)
    assert [(agent, decision) for agent, decision, _ in sure] == [("small", "answer")]
    assert sure[0][2] == pytest.approx(0.9, abs=1e-3)
    assert len(small.received) == 3  # two looks and one answer


async def test_the_log_probabilities_of_a_look_do_not_reach_the_client(small: MockBackend) -> None:
    small.confidence = 0.9
    async with running(behind("small", small.url, self_assessment="token")) as gateway:
        _, body, _ = await gateway.post()

    assert body["choices"][0]["logprobs"] is None


async def test_token_without_log_probabilities_is_a_failure_that_says_what_to_change(
    small: MockBackend, large: MockBackend
) -> None:
    small.fault = "not-openai"
    agents = (behind("small", small.url, 0.1, self_assessment="token"), behind("large", large.url, 0.9))
    async with running(*agents) as gateway:
        status, body, _ = await gateway.post()

    assert (status, body["model"]) == (200, "large")
    assert "gives no log-probabilities" in str(gateway.kept.routes[0].hops[0].reason)


@pytest.mark.parametrize("stream", [False, True])
async def test_text_stops_the_server_at_a_rejection_and_nothing_of_it_is_shown(
    stream: bool, small: MockBackend, large: MockBackend
) -> None:
    small.reply = lambda body: "I don't know, and I could go on about that for a long time"
    small.pause = 0.02
    agents = (behind("small", small.url, 0.1, self_assessment="text"), behind("large", large.url, 0.9))
    async with running(*agents) as gateway:
        if stream:
            events = await gateway.events()
            assert model_of(events) == {"large"}
            assert "know" not in "".join(events)
        else:
            _, body, _ = await gateway.post()
            assert body["model"] == "large"
        await small.idle()

    assert decisions(gateway) == [("small", "reject", None), ("large", "answer", None)]
    assert small.received[0].cancelled
    assert small.received[0].chunks < 10


@pytest.mark.parametrize("stream", [False, True])
async def test_text_goes_on_with_the_answer_that_has_begun(
    stream: bool, small: MockBackend, large: MockBackend
) -> None:
    small.reply = lambda body: "I do know: it is four."  # begins like the rejection
    agents = (behind("small", small.url, 0.1, self_assessment="text"), behind("large", large.url, 0.9))
    async with running(*agents) as gateway:
        if stream:
            events = await gateway.events(stream_options={"include_usage": True})
            chunks = [json.loads(event) for event in events[:-1]]
            text = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
            usage = chunks[-1]["usage"]
        else:
            _, body, _ = await gateway.post()
            text, usage = body["choices"][0]["message"]["content"], body["usage"]
            assert body["choices"][0]["finish_reason"] == "stop"

    assert text == "I do know: it is four."
    assert usage["completion_tokens"] > 0
    assert len(small.received) == 1
    assert large.received == []


async def test_text_lets_tool_calls_through_whole(small: MockBackend) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    async with running(behind("small", small.url, self_assessment="text")) as gateway:
        _, body, _ = await gateway.post(tools=[tool], tool_choice="required")

    (call,) = body["choices"][0]["message"]["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "weather")
    assert "city" in json.loads(call["function"]["arguments"])
    assert body["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("said", "confidence"),
    [("85", 0.85), ("Confidence: 40 %", 0.4), ("0.7", 0.7), ("I cannot say.", None), ("100", 1.0), ("250", None)],
)
async def test_prompt_asks_in_words_with_the_scenario_and_reads_a_number(
    said: str, confidence: float | None, small: MockBackend, large: MockBackend
) -> None:
    def reply(body: dict[str, Any]) -> str:
        return said if "Judge only" in body["messages"][-1]["content"] else "four"

    small.reply = reply
    agents = (behind("small", small.url, 0.1, self_assessment="prompt"), behind("large", large.url, 0.9))
    async with running(network=Network("n", agents, policy=Threshold(0.5))) as gateway:
        await gateway.post(model="disrouter/cost-first")

    asked = small.received[0].body
    assert "cost-first" in asked["messages"][-1]["content"]
    assert asked["messages"][0]["content"] == "What is 2 + 2?"
    answers = confidence is None or confidence > 0.5
    assert decisions(gateway)[0] == ("small", "answer" if answers else "reject", confidence)


async def test_the_scenario_stands_in_the_prompt_of_agents_trained_to_read_it(small: MockBackend) -> None:
    agent = behind("small", small.url, scenario_prompt=True)
    async with running(agent) as gateway:
        await gateway.post(alpha=0.75)
        await gateway.post(
            body={
                "model": "disrouter",
                "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
            }
        )

    assert small.bodies[0]["messages"][0] == {"role": "system", "content": "cost-first"}
    assert small.bodies[1]["messages"][0] == {"role": "system", "content": "balance\nBe brief."}
