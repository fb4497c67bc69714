"""A DiSRouter as an agent of another one: what is carried along, and how circles end."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import pytest

from disrouter.agents import ScriptedAgent
from disrouter.agents.hops import HOP, MOST_GATEWAYS, VIA, Signer, Travel, via_of
from disrouter.gateway.app import Settings
from disrouter.network import Network
from disrouter.policies import PaperThreshold
from gateway.mock_backend import MockBackend
from gateway.running import Running, behind, running

SECRET = "a secret that both sides know"


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOP_SECRET", SECRET)
    return "HOP_SECRET"


@pytest.fixture
async def inner() -> AsyncIterator[Running]:
    async with running(ScriptedAgent("inside", reply="from within")) as gateway:
        yield gateway


@pytest.mark.parametrize("stream", [False, True])
async def test_a_gateway_is_an_agent_like_any_other(stream: bool, inner: Running) -> None:
    agent = behind("remote", inner.url + "/v1")
    agent.model = "disrouter/cost-first"
    async with running(agent) as outer:
        if stream:
            events = await outer.events()
            assert events[-1] == "[DONE]"
        else:
            _, body, _ = await outer.post()
            assert body["choices"][0]["message"]["content"] == "from within"
            assert body["disrouter"]["agent"] == "remote"

    assert inner.kept.routes[0].scenario == "cost-first"
    assert outer.kept.routes[0].agent == "remote"


@pytest.mark.parametrize("stream", [False, True])
async def test_gateways_that_pass_on_to_each_other_decide_as_one_that_asks_every_agent(stream: bool) -> None:
    def agent(name: str, cost: float, confidence: float) -> ScriptedAgent:
        return ScriptedAgent(name, cost=cost, confidence=confidence, reply=f"{name} says so")

    small, middle, large = agent("small", 0.1, 0.6), agent("middle", 0.4, 0.75), agent("large", 0.9, 0.9)
    rule = PaperThreshold()  # the bar is (1 - alpha)^0.5

    async def said(gateway: Running, alpha: float) -> str:
        if not stream:
            _, body, _ = await gateway.post(alpha=alpha)
            return str(body["choices"][0]["message"]["content"])
        chunks = [json.loads(event) for event in (await gateway.events(alpha=alpha))[:-1]]
        return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])

    def passing_on(agent: ScriptedAgent, to: Running) -> Network:
        rest = behind("rest", to.url + "/v1", 0.95)
        rest.model = "disrouter"
        return Network("chain", [agent, rest], policy=rule)

    async with (
        running(network=Network("star", [small, middle, large], policy=rule)) as star,
        running(network=Network("end", [large], policy=rule)) as end,
        running(network=passing_on(middle, end)) as between,
        running(network=passing_on(small, between)) as chain,
    ):
        answers = [(await said(star, alpha), await said(chain, alpha)) for alpha in (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 1.0)]

    assert [one for one, _ in answers] == [other for _, other in answers]
    assert {one for one, _ in answers} == {"small says so", "middle says so", "large says so"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_circle_of_gateways_ends_at_once(stream: bool) -> None:
    looped = behind("itself", "http://127.0.0.1:9/v1")
    async with running(looped) as gateway:
        looped._server.base_url = gateway.url + "/v1"
        looped.model = "disrouter"
        status, body, _ = await gateway.post(stream=stream)

    assert (status, body["error"]["code"]) == (502, "agents_failed")
    assert [route.code for route in gateway.kept.routes] == [508, 502]


async def test_a_circle_is_no_harm_where_another_agent_can_answer() -> None:
    looped = behind("itself", "http://127.0.0.1:9/v1", 0.1)
    async with running(looped, ScriptedAgent("last", cost=0.9)) as gateway:
        looped._server.base_url = gateway.url + "/v1"
        looped.model = "disrouter"
        status, body, _ = await gateway.post()

    assert (status, body["model"]) == (200, "last")


async def test_the_time_that_is_left_is_carried_along_to_a_gateway_with_the_same_secret(
    secret: str, backend: MockBackend
) -> None:
    backend.first = 30.0
    async with running(behind("slow", backend.url), settings=Settings(hop_secret_env=secret)) as within:
        remote = behind("remote", within.url + "/v1", hop_secret_env=secret)
        remote.model = "disrouter"
        async with running(remote, settings=Settings(deadline=0.5)) as outer:
            status, _, _ = await outer.post()
            await backend.idle()

    assert status == 504
    assert backend.received[0].cancelled


@pytest.fixture
async def backend() -> AsyncIterator[MockBackend]:
    async with MockBackend() as backend:
        yield backend


async def test_headers_of_a_client_never_reach_a_backend(backend: MockBackend) -> None:
    async with running(behind("a", backend.url)) as gateway:
        sent = {"x-secret": "mine", "cookie": "a=b", "x-forwarded-for": "1.2.3.4", HOP: "1.1.x", VIA: "somebody"}
        await gateway.post(headers=sent)

    received = {name.lower(): value for name, value in backend.received[0].headers.items()}
    assert not {"x-secret", "cookie", "x-forwarded-for", HOP} & set(received)
    assert received[VIA] == f"somebody,{gateway.gateway.id}"


@pytest.mark.parametrize("text", ["", ",", "A B", "x" * 5000, "\x00", "é"])
def test_a_header_that_names_no_gateway_names_none(text: str) -> None:
    assert via_of({VIA: text}) == ()


async def test_more_gateways_in_a_row_than_anybody_needs_are_a_circle(inner: Running) -> None:
    status, body, _ = await inner.post(headers={VIA: ",".join(f"g{i}" for i in range(MOST_GATEWAYS))})

    assert (status, body["error"]["code"]) == (508, "loop_detected")


async def test_a_gateway_with_a_secret_refuses_hop_headers_that_are_not_signed(secret: str) -> None:
    forged = Signer(lambda: "another secret").headers("chat/completions", b"", Travel(via=("one",), seconds=1.0))
    async with running(ScriptedAgent("a"), settings=Settings(hop_secret_env=secret)) as gateway:
        no_headers = await gateway.post()
        unsigned = await gateway.post(headers={VIA: "one"})
        wrong = await gateway.post(headers=forged)

    assert no_headers[0] == 200
    assert [(status, body["error"]["code"]) for status, body, _ in (unsigned, wrong)] == [
        (401, "hop_unsigned"),
        (401, "hop_signature"),
    ]
    assert [route.error for route in gateway.kept.routes] == [None, "caller_key", "caller_key"]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_left_of_a_budget_is_kept_by_the_network_behind(secret: str, stream: bool) -> None:
    settings = Settings(hop_secret_env=secret)
    first, dear = ScriptedAgent("first", cost=0.1, accepts=False), ScriptedAgent("dear", cost=0.8)
    cheap = ScriptedAgent("cheap", cost=0.2, accepts=False, reply="cheap says so")
    async with running(cheap, dear, settings=settings) as within:
        remote = behind("remote", within.url + "/v1", 0.3, hop_secret_env=secret)
        remote.model = "disrouter"
        async with running(first, remote, settings=settings) as outer:
            for limits in ({}, {"max_cost": 0.5}, {"max_hops": 2}):
                await (outer.events(**limits) if stream else outer.post(**limits))

    # 0.5 less the look of `first` buys no answer of `dear`; of two hops one is left for the network behind.
    assert [route.agent for route in within.kept.routes] == ["dear", "cheap", "cheap"]


async def test_a_clock_an_hour_off_stops_no_query(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(ScriptedAgent("inside"), settings=Settings(hop_secret_env=secret)) as within:
        within.gateway._verifier._clock = lambda: time.time() + 3600.0
        remote = behind("remote", within.url + "/v1", hop_secret_env=secret)
        remote.model = "disrouter"
        async with running(remote) as outer:
            answers = [await outer.post() for _ in range(3)]

    assert [status for status, _, _ in answers] == [200, 200, 200]
    assert [route.code for route in within.kept.routes] == [401, 200, 200, 200]
