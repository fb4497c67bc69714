"""What a request may ask for, and what its answer tells of the route."""

from __future__ import annotations

import json
from typing import Any

import pytest

from disrouter.agents import ScriptedAgent
from disrouter.gateway.access import Access
from disrouter.gateway.keys import Key, new_key
from disrouter.limits import Limits
from disrouter.types import TokenPrice
from gateway.mock_backend import MockBackend
from gateway.running import Running, ask, behind, running
from gateway.three_agents import network

# One gateway serves most of these tests, which ask it one thing each.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("fields", "agent"),
    [
        # The bar is (1 - alpha)^0.5; the agents are .6, .7 and 1 sure.
        ({}, "large"),  # balance: .707
        ({"model": "disrouter/performance-first"}, "large"),  # .894
        ({"model": "disrouter/balance"}, "large"),
        ({"model": "disrouter/cost-first"}, "small"),  # .447
        ({"alpha": 0.55}, "middle"),  # .671
        ({"disrouter": {"alpha": 0.55}}, "middle"),
        ({"disrouter": {"scenario": "cost-first"}}, "small"),
        ({"policy": {"name": "threshold", "threshold": 0.5}}, "small"),
        ({"disrouter": {"policy": "own-word"}}, "small"),
        ({"max_hops": 1}, "small"),
        ({"max_hops": 2}, "middle"),
        ({"max_cost": 0.5}, "middle"),
        ({"max_cost": 0.1}, "small"),
        ({"model": "middle"}, "middle"),
        ({"model": "large", "alpha": 0.9}, "large"),
    ],
)
async def test_a_request_chooses_scenario_policy_limits_or_agent(
    fields: dict[str, Any], agent: str, gateway: Running
) -> None:
    status, body, headers = await gateway.post(**fields)

    assert status == 200
    assert (body["model"], headers["x-disrouter-agent"]) == (agent, agent)
    assert body["choices"][0]["message"]["content"] == f"{agent} says so"


async def test_an_agent_asked_by_name_just_answers(gateway: Running) -> None:
    agent = gateway.gateway.service.guards["small"].agent
    assert isinstance(agent, ScriptedAgent)
    looked = len(agent.looked)

    _, body, _ = await gateway.post(model="small")

    assert len(agent.looked) == looked
    assert [hop["decision"] for hop in body["disrouter"]["hops"]] == ["answer"]


async def test_a_request_cannot_go_further_than_the_file_allows() -> None:
    async with running(network=network(limits=Limits(max_hops=2))) as gateway:
        _, body, _ = await gateway.post(max_hops=3)

    assert body["model"] == "middle"


async def test_the_route_stands_in_the_answer_in_its_headers_and_in_the_record(gateway: Running) -> None:
    _, body, headers = await gateway.post()

    trace = body["disrouter"]
    # two looks at a tenth of .1 and .4, and the answer at .9
    assert trace["cost"] == pytest.approx(0.95)
    assert trace["saved"] == pytest.approx(-0.05)
    assert [(hop["agent"], hop["decision"], hop["confidence"]) for hop in trace["hops"]] == [
        ("small", "reject", 0.6),
        ("middle", "reject", 0.7),
        ("large", "answer", 1.0),
    ]
    assert (trace["scenario"], trace["alpha"], trace["agent"]) == ("balance", 0.5, "large")
    assert float(headers["x-disrouter-cost"]) == pytest.approx(0.95)
    assert float(headers["x-disrouter-saved"]) == pytest.approx(-0.05)
    assert headers["x-disrouter-hops"] == "3"
    assert headers["x-disrouter-trace-id"] == trace["trace_id"] == gateway.kept.routes[-1].trace_id
    assert gateway.kept.routes[-1].cost == pytest.approx(0.95)


async def test_usage_is_that_of_the_agent_that_answered_and_the_trace_has_the_rest(gateway: Running) -> None:
    _, body, _ = await gateway.post()

    # every agent reads five words; the large one writes three
    assert body["usage"] == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    assert (body["disrouter"]["prompt_tokens"], body["disrouter"]["completion_tokens"]) == (15, 3)


async def test_saving_under_token_prices_is_what_the_dearest_agent_would_have_charged_for_the_same_tokens() -> None:
    cheap = TokenPrice(input=1_000_000, output=1_000_000, unit=100)  # .01 a token
    dear = TokenPrice(input=5_000_000, output=5_000_000, unit=100)  # .05 a token
    small = ScriptedAgent("small", price=cheap, reply="it is four")
    async with running(small, ScriptedAgent("large", price=dear)) as gateway:
        _, body, _ = await gateway.post()

    # five tokens read and three written: .08 instead of .4
    assert body["disrouter"]["cost"] == pytest.approx(0.08)
    assert body["disrouter"]["saved"] == pytest.approx(0.32)


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_last_chunk_of_a_stream_holds_the_route_if_it_is_asked_for(wanted: bool, gateway: Running) -> None:
    events = await gateway.events(disrouter={"trace": wanted})

    traces = [json.loads(event)["disrouter"] for event in events[:-1] if "disrouter" in json.loads(event)]
    assert [trace["agent"] for trace in traces] == (["large"] if wanted else [])


async def test_the_headers_of_a_stream_name_the_agent_that_speaks(gateway: Running) -> None:
    async with gateway.http.post(gateway.url + "/v1/chat/completions", json=ask(stream=True)) as reply:
        headers = {name.lower(): value for name, value in reply.headers.items()}
        await reply.read()

    assert (headers["x-disrouter-agent"], headers["x-disrouter-hops"]) == ("large", "3")
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache"


async def test_no_field_of_ours_reaches_a_model_and_every_other_does(backend: MockBackend) -> None:
    fields = {
        "alpha": 0.3,
        "max_cost": 1.0,
        "disrouter": {"max_hops": 1},
        "temperature": 0.5,
        "seed": 7,
        "user": "somebody",
        "metadata": {"a": "b"},
        "never_heard_of": [1, {"x": None}],
        "response_format": {"type": "json_object"},
    }
    async with running(behind("a", backend.url)) as gateway:
        status, _, _ = await gateway.post(**fields)

    ours = ("alpha", "max_cost", "disrouter")
    expected = {k: v for k, v in {**ask(), **fields}.items() if k not in ours}
    assert status == 200
    assert backend.bodies[0] == {**expected, "model": "model-of-a", "stream": False}


async def test_images_and_tools_go_to_agents_that_accept_them_past_those_that_write_only_text(
    backend: MockBackend,
) -> None:
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ],
        }
    ]
    async with running(ScriptedAgent("plain", cost=0.1), behind("able", backend.url, 0.9)) as gateway:
        _, body, _ = await gateway.post(body={"model": "disrouter", "messages": messages})

    assert body["model"] == "able"
    assert backend.bodies[0]["messages"] == messages


async def test_choices_keep_their_indices_in_whole_answers_and_in_streams(backend: MockBackend) -> None:
    async with running(behind("a", backend.url)) as gateway:
        _, body, _ = await gateway.post(n=3)
        events = await gateway.events(n=3)

    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    chunks = [json.loads(event) for event in events[:-1]]
    finished = [c["index"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]
    assert sorted(finished) == [0, 1, 2]


@pytest.mark.parametrize(
    ("stop", "text"), [("says", "large "), (["nothing", " so"], "large says"), ("!", "large says so")]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_stop_ends_the_answers_of_agents_in_this_process(
    stop: Any, text: str, stream: bool, gateway: Running
) -> None:
    if stream:
        chunks = [json.loads(event) for event in (await gateway.events(stop=stop))[:-1]]
        said = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    else:
        _, body, _ = await gateway.post(stop=stop)
        said = body["choices"][0]["message"]["content"]

    assert said == text


async def test_keys_scenarios_and_budgets_are_respected() -> None:
    key, key_id, digest = new_key()
    access = Access(
        [
            Key(
                id=key_id,
                name="test",
                digest=digest,
                created=0.0,
                scenarios=frozenset({"balance"}),
                budget=1.0,
                period="total",
                per_minute=100,
            )
        ]
    )
    authorization = {"authorization": f"Bearer {key}"}
    async with running(network=network(), access=access) as gateway:
        none, missing, _ = await gateway.post()
        wrong, unknown, _ = await gateway.post(headers={"authorization": "Bearer sk-dis-nobody"})
        barred, scenario, _ = await gateway.post(headers=authorization, alpha=0.3)
        ok, _, headers = await gateway.post(headers=authorization)  # costs .95
        spent, quota, quota_headers = await gateway.post(headers=authorization)
        async with gateway.http.get(gateway.url + "/v1/models") as reply:
            listing = reply.status

    assert (none, missing["error"]["code"]) == (401, "invalid_api_key")
    assert (wrong, unknown["error"]["code"]) == (401, "invalid_api_key")
    assert (barred, scenario["error"]["code"]) == (403, "forbidden")
    assert ok == 200
    assert headers["x-ratelimit-limit-requests"] == "100"
    # 0.05 is left, which pays for no answer: the cheapest costs .1
    assert (spent, quota["error"]["code"]) == (429, "insufficient_quota")
    assert quota_headers["x-should-retry"] == "false"
    assert listing == 401
    assert gateway.kept.routes[-1].key_id == key_id


async def test_a_route_takes_no_more_than_is_left_of_the_budget() -> None:
    key, key_id, digest = new_key()
    access = Access([Key(id=key_id, name="test", digest=digest, created=0.0, budget=0.5, period="total")])
    async with running(network=network(), access=access) as gateway:
        _, body, _ = await gateway.post(headers={"authorization": f"Bearer {key}"})

    assert body["model"] == "middle"  # the large one would cost .95
