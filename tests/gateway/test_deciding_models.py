"""Agents whose decision is asked of one model of a server, and whose answer of another."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from disrouter.agents._listing import names_in, not_listed
from disrouter.agents.faults import FaultError
from disrouter.agents.openai_compatible import OpenAICompatibleAgent
from disrouter.network import Network
from disrouter.policies import Threshold
from disrouter.types import AgentCard, Query, TokenPrice, Usage
from disrouter.utility import BALANCE
from gateway.mock_backend import MockBackend
from gateway.running import Running, ask, behind, running

ADAPTER = "agent-decides"
BASE = "model-of-small"
QUESTION = "What is 2 + 2?"


@pytest.fixture
async def small() -> AsyncIterator[MockBackend]:
    async with MockBackend(listed=(BASE, ADAPTER)) as backend:
        yield backend


@pytest.fixture
async def large() -> AsyncIterator[MockBackend]:
    async with MockBackend() as backend:
        yield backend


def deciding(backend: MockBackend, assessment: str = "token", **settings: Any) -> OpenAICompatibleAgent:
    rejection = backend.rejection_token if assessment == "token" else "I don't know"
    return behind(
        "small",
        backend.url,
        0.1,
        self_assessment=assessment,
        decides_with=ADAPTER,
        rejection=rejection,
        **{"scenario_prompt": True, **settings},
    )


def network(small: OpenAICompatibleAgent, large: MockBackend) -> Network:
    return Network("n", [small, behind("large", large.url, 0.9)], policy=Threshold(0.5))


def by_adapter(said: str) -> Any:
    """Say something else as the adapter than as the model it is laid over."""
    return lambda body: said if body["model"] == ADAPTER else "four"


async def sent(gateway: Running, stream: bool, **fields: Any) -> str:
    """Ask, and return the text that a client reads."""
    if not stream:
        _, body, _ = await gateway.post(**fields)
        return str(body["choices"][0]["message"]["content"])
    chunks = [json.loads(event) for event in await gateway.events(**fields) if event != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@pytest.mark.parametrize("stream", [False, True])
async def test_the_adapter_is_asked_for_the_decision_and_the_model_for_the_answer(
    stream: bool, small: MockBackend, large: MockBackend
) -> None:
    small.confidence = 0.9
    small.reply = lambda body: "four" if body["model"] == BASE else None
    async with running(network=network(deciding(small), large)) as gateway:
        text = await sent(gateway, stream)

    look, answer = small.bodies
    assert (look["model"], look["max_tokens"], look["logprobs"]) == (ADAPTER, 1, True)
    assert (answer["model"], text) == (BASE, "four")
    assert "logprobs" not in answer
    assert gateway.kept.routes[0].hops[0].confidence == pytest.approx(0.9, abs=1e-3)


async def test_an_unsure_adapter_passes_the_query_on_and_the_model_is_not_asked(
    small: MockBackend, large: MockBackend
) -> None:
    small.confidence = 0.2
    async with running(network=network(deciding(small), large)) as gateway:
        await gateway.post()

    assert [body["model"] for body in small.bodies] == [ADAPTER]
    assert [(hop.agent, hop.decision) for hop in gateway.kept.routes[0].hops] == [
        ("small", "reject"),
        ("large", "answer"),
    ]


@pytest.mark.parametrize("assessment", ["token", "text"])
async def test_the_scenario_is_told_to_the_adapter_alone(
    assessment: str, small: MockBackend, large: MockBackend
) -> None:
    small.confidence = 0.9
    own = ask(alpha=0.75)
    own["messages"].insert(0, {"role": "system", "content": "Be brief."})
    async with running(network=network(deciding(small, assessment), large)) as gateway:
        await gateway.post(alpha=0.75)
        await gateway.post(body=own)

    first, answered, second, answered_again = (body["messages"] for body in small.bodies)
    assert first[0] == {"role": "system", "content": "cost-first"}
    assert second[0] == {"role": "system", "content": "cost-first\nBe brief."}
    assert answered == [{"role": "user", "content": QUESTION}]
    assert answered_again == own["messages"]


async def test_without_a_gateway_the_scenario_is_told_to_the_adapter_alone_as_well(small: MockBackend) -> None:
    small.confidence = 0.9
    await Network("n", [deciding(small)]).route(Query.from_text(QUESTION), BALANCE)

    assert [body["messages"][0]["content"] for body in small.bodies] == ["balance", QUESTION]


@pytest.mark.parametrize("stream", [False, True])
async def test_words_of_the_adapter_are_read_up_to_the_decision_and_shown_to_nobody(
    stream: bool, small: MockBackend, large: MockBackend
) -> None:
    small.reply = by_adapter("I do know: " + "and so on " * 50)
    small.pause = 0.002
    async with running(network=network(deciding(small, "text"), large)) as gateway:
        text = await sent(gateway, stream, temperature=1.5, response_format={"type": "json_object"})
        await small.idle()

    look, answer = small.received
    assert text == "four"
    assert look.cancelled
    assert look.chunks < 20
    assert (look.body["model"], look.body["temperature"], look.body["max_tokens"]) == (ADAPTER, 0, 20)
    assert "response_format" not in look.body  # it would forbid the rejection
    assert (answer.body["model"], answer.body["temperature"]) == (BASE, 1.5)


async def test_a_rejection_in_words_of_the_adapter_passes_the_query_on(small: MockBackend, large: MockBackend) -> None:
    small.reply = by_adapter("I don't know.")
    async with running(network=network(deciding(small, "text"), large)) as gateway:
        _, body, _ = await gateway.post()

    assert body["model"] == "large"
    assert [sent["model"] for sent in small.bodies] == [ADAPTER]


async def test_tools_are_known_to_whoever_decides(small: MockBackend, large: MockBackend) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    small.confidence = 0.9
    async with running(network=network(deciding(small), large)) as gateway:
        await gateway.post(tools=[tool])

    assert [body["tools"] for body in small.bodies] == [[tool], [tool]]


async def test_an_agent_asked_by_its_name_answers_without_a_decision(small: MockBackend, large: MockBackend) -> None:
    async with running(network=network(deciding(small), large)) as gateway:
        await gateway.post(model="small")

    assert [body["model"] for body in small.bodies] == [BASE]
    assert small.bodies[0]["messages"][0]["content"] == QUESTION


# What it costs


async def test_a_prompt_that_two_models_read_is_paid_for_twice(small: MockBackend) -> None:
    small.confidence = 0.9
    small.reply = lambda body: "it is four" if body["model"] == BASE else None
    look = await deciding(small).look(Query.from_text(QUESTION), BALANCE)
    trace = await Network("n", [deciding(small)]).route(Query.from_text(QUESTION), BALANCE)

    read = look.usage.prompt_tokens - 1  # the scenario's name is one word more
    assert look.usage == Usage(read + 1, 1)
    assert trace.completion is not None
    assert trace.completion.usage == Usage(read, 3)
    assert trace.hops[0].usage == Usage(2 * read + 1, 1 + 3)


async def test_what_was_saved_supposes_that_the_dearest_agent_reads_the_prompt_once(small: MockBackend) -> None:
    small.confidence = 0.9
    small.reply = lambda body: "it is four" if body["model"] == BASE else None
    cheap = TokenPrice(input=1_000_000, output=1_000_000, unit=100)  # .01 a token
    dear = TokenPrice(input=5_000_000, output=5_000_000, unit=100)  # .05 a token

    def priced(name: str, price: TokenPrice, **settings: Any) -> OpenAICompatibleAgent:
        card = AgentCard(name=name, price=price, details={"backend": "openai"})
        return OpenAICompatibleAgent(card, model=BASE, base_url=small.url, **settings)

    decided = priced("small", cheap, self_assessment="token", decides_with=ADAPTER, rejection=small.rejection_token)
    async with running(decided, priced("large", dear)) as gateway:
        _, body, _ = await gateway.post()

    read = body["usage"]["prompt_tokens"]
    assert body["usage"]["completion_tokens"] == 3
    assert body["disrouter"]["cost"] == pytest.approx(0.01 * (2 * read + 1 + 3))
    assert body["disrouter"]["saved"] == pytest.approx(0.05 * (read + 3) - 0.01 * (2 * read + 1 + 3))


# What the server has


async def test_a_model_that_the_server_does_not_list_is_named_and_the_next_agent_asked(
    small: MockBackend, large: MockBackend
) -> None:
    small.listed = ("other", BASE)
    async with running(network=network(deciding(small), large)) as gateway:
        _, body, _ = await gateway.post()
        small.listed, small.confidence = (BASE, ADAPTER), 0.9  # loaded in the meantime
        _, later, _ = await gateway.post()
        await gateway.post()

    assert (body["model"], later["model"]) == ("large", "small")
    assert gateway.kept.routes[0].hops[0].reason == (
        "FaultError: The server of agent 'small' lists 2 models, but not 'agent-decides' (decides_with)."
    )
    assert small.listings == 2  # until it once has both


async def test_the_answering_model_must_be_listed_as_well(small: MockBackend) -> None:
    small.listed = (ADAPTER,)

    with pytest.raises(FaultError, match=r"lists one model, but not 'model-of-small' \(model\)\.") as refused:
        await deciding(small).look(Query.from_text(QUESTION), BALANCE)

    assert not refused.value.own  # the operator's mistake: no breaker opens for it


async def test_a_server_that_is_not_there_is_asked_for_its_models_again(small: MockBackend) -> None:
    small.confidence = 0.9
    agent = deciding(small)
    await small.stop()

    with pytest.raises(FaultError, match="cannot be reached"):
        await agent.look(Query.from_text(QUESTION), BALANCE)
    await small.start()
    await agent.look(Query.from_text(QUESTION), BALANCE)

    assert small.listings == 1


async def test_a_server_that_does_not_say_which_models_it_has_is_believed(small: MockBackend) -> None:
    small.confidence, small.listed = 0.9, ()

    look = await deciding(small).look(Query.from_text(QUESTION), BALANCE)

    assert look.confidence == pytest.approx(0.9, abs=1e-3)


async def test_no_server_is_asked_for_its_models_where_one_model_does_both(small: MockBackend) -> None:
    small.confidence = 0.9
    agent = behind("small", small.url, self_assessment="token", rejection=small.rejection_token)
    await Network("n", [agent]).route(Query.from_text(QUESTION), BALANCE)

    assert [body["model"] for body in small.bodies] == [BASE, BASE]
    assert small.listings == 0


@pytest.mark.parametrize(
    ("listing", "names"),
    [
        ({"data": [{"id": "a"}, {"id": 5}, {}, "b"]}, {"a"}),
        ({"data": []}, set()),
        ({"data": {"id": "a"}}, set()),
        ({"models": ["a"]}, set()),
        (["a"], set()),
        (None, set()),
    ],
)
def test_whatever_is_no_list_of_models_names_none(listing: Any, names: set[str]) -> None:
    assert names_in(listing) == names


def test_names_are_known_as_the_servers_write_them() -> None:
    listed = {"base", "adapter", "small:latest", "exact:7b"}

    assert not_listed({"model": "base", "decides_with": "base:adapter"}, listed) == ""  # SGLang
    assert not_listed({"model": "small", "decides_with": "exact:7b"}, listed) == ""  # Ollama
    assert (
        not_listed({"decides_with": "base:other", "model": "exact"}, listed)
        == "'base:other' (decides_with) or 'exact' (model)"
    )
