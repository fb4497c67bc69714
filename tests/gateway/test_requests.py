"""What a request may ask for, and what it gets told when it asks for something else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from disrouter.agents import ScriptedAgent
from disrouter.gateway.access import Access
from disrouter.gateway.app import Settings
from disrouter.gateway.keys import Key, new_key
from disrouter.limits import Limits
from disrouter.network import Network
from disrouter.policies import PaperThreshold
from disrouter.types import Serving, TokenPrice
from gateway.mock_backend import MockBackend
from gateway.running import Running, ask, behind, running

# One gateway serves most of these tests, which ask it one thing each.
pytestmark = pytest.mark.asyncio(loop_scope="module")


def unsure(name: str = "small", cost: float = 0.1, confidence: float = 0.6) -> ScriptedAgent:
    return ScriptedAgent(name, cost=cost, confidence=confidence, reply=f"{name} says so")


def network(**options: Any) -> Network:
    agents = [unsure(), unsure("middle", 0.4, 0.7), ScriptedAgent("large", cost=0.9, reply="large says so")]
    return Network("three", agents, policy=PaperThreshold(), **options)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[Running]:
    async with running(network=network()) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="module")
async def backend() -> AsyncIterator[MockBackend]:
    async with MockBackend() as backend:
        yield backend


# Routing per request


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


# Other endpoints


async def test_models_lists_the_network_its_scenarios_and_every_agent(gateway: Running) -> None:
    async with gateway.http.get(gateway.url + "/v1/models") as reply:
        listed = await reply.json()
    async with gateway.http.get(gateway.url + "/v1/models/disrouter/balance") as reply:
        one = await reply.json()
    async with gateway.http.get(gateway.url + "/v1/models/nobody") as reply:
        missing, status = await reply.json(), reply.status

    ids = [model["id"] for model in listed["data"]]
    assert ids == ["disrouter", "disrouter/performance-first", "disrouter/balance", "disrouter/cost-first",
                   "small", "middle", "large"]  # fmt: skip
    assert set(one) == {"id", "object", "created", "owned_by"}
    assert (status, missing["error"]["code"]) == (404, "model_not_found")


async def test_a_prompt_is_completed_as_the_one_message_of_a_chat(backend: MockBackend) -> None:
    async with running(behind("a", backend.url)) as gateway:
        _, body, _ = await gateway.post("/v1/completions", body={"model": "disrouter", "prompt": "Hello"})
        events = await gateway.events(
            "/v1/completions", body={"model": "disrouter", "prompt": "Hello", "stream": True, "max_tokens": 100}
        )

    assert backend.bodies[0]["messages"] == [{"role": "user", "content": "Hello"}]
    assert backend.bodies[0]["max_tokens"] == 16
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    assert body["choices"][0]["text"].startswith("You said: Hello")
    chunks = [json.loads(event) for event in events[:-1]]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == body["choices"][0]["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_a_response_is_asked_as_a_chat_and_answered_in_items(backend: MockBackend) -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "What is the weather?"}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ]
    async with running(behind("a", backend.url)) as gateway:
        status, body, _ = await gateway.post(
            "/v1/responses",
            body={
                "model": "disrouter",
                "instructions": "Be brief.",
                "input": items,
                "max_output_tokens": 50,
                "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}}],
                "tool_choice": "none",
                "text": {"format": {"type": "text"}},
            },
        )

    assert status == 200, body
    sent = backend.bodies[0]
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    assert sent["max_completion_tokens"] == 50
    assert sent["tools"] == [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    assert (body["object"], body["status"], body["instructions"]) == ("response", "completed", "Be brief.")
    assert body["output"][0]["content"][0]["type"] == "output_text"
    assert body["usage"]["total_tokens"] == body["usage"]["input_tokens"] + body["usage"]["output_tokens"]


async def test_a_streamed_response_numbers_its_events_and_ends_with_the_whole(backend: MockBackend) -> None:
    async with running(behind("a", backend.url)) as gateway:
        found = await gateway.events("/v1/responses", body={"model": "disrouter", "input": "Hi", "stream": True})

    events = [json.loads(event) for event in found]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = list(dict.fromkeys(event["type"] for event in events))
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == text
    assert text.startswith("You said: Hi")


async def test_a_streamed_response_that_breaks_ends_in_one_error_event(backend: MockBackend) -> None:
    backend.fault = "die"
    async with running(behind("a", backend.url)) as gateway:
        found = await gateway.events("/v1/responses", body={"model": "disrouter", "input": "Hi", "stream": True})

    kinds = [json.loads(event)["type"] for event in found]
    assert kinds[-1] == "error"
    assert kinds.count("error") == 1
    assert "response.completed" not in kinds


# Bad input

CHAT = "/v1/chat/completions"


def bad_bodies() -> Iterator[Any]:
    text = [{"role": "user", "content": "hi"}]
    for fields, param in [
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"model": "disrouter/thrifty"}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [*text, {"role": "user", "content": 3}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": [3]}]}, "messages[0].content[0]"),
        ({"messages": text * 3000}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"n": 0}, "n"),
        ({"n": 1.5}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_completion_tokens": True}, "max_completion_tokens"),
        ({"seed": "x"}, "seed"),
        ({"stop": 3}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"tools": {}}, "tools"),
        ({"response_format": "json"}, "response_format"),
        ({"alpha": 1.5}, "alpha"),
        ({"alpha": -0.1}, "alpha"),
        ({"alpha": "cheap"}, "alpha"),
        ({"alpha": True}, "alpha"),
        ({"alpha": 0.1, "disrouter": {"alpha": 0.2}}, "alpha"),
        ({"alpha": 0.1, "disrouter": {"scenario": "balance"}}, "alpha"),
        ({"model": "disrouter/balance", "alpha": 0.1}, "alpha"),
        ({"disrouter": {"scenario": "thrifty"}}, "scenario"),
        ({"disrouter": {"budget": 3}}, "disrouter.budget"),
        ({"disrouter": "cheap"}, "disrouter"),
        ({"max_hops": 0}, "max_hops"),
        ({"max_hops": 1.5}, "max_hops"),
        ({"max_cost": 0}, "max_cost"),
        ({"max_cost": -1}, "max_cost"),
        ({"max_cost": 0.01}, "max_cost"),  # below the price of whoever is asked first
        ({"policy": "greedy"}, "policy"),
        ({"policy": {"name": "threshold"}}, "policy"),
        ({"policy": {"name": "threshold", "threshold": 7}}, "policy"),
        ({"policy": {"name": "threshold", "file": "/etc/passwd"}}, "policy"),
        ({"policy": 3}, "policy"),
    ]:
        yield pytest.param(fields, param, id=json.dumps(fields)[:60])


@pytest.mark.parametrize(("fields", "param"), list(bad_bodies()))
async def test_a_request_that_makes_no_sense_is_told_what_and_where(
    fields: dict[str, Any], param: str, gateway: Running
) -> None:
    status, body, _ = await gateway.post(**fields)

    assert status == (404 if fields.get("model") == "disrouter/thrifty" else 400)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert (body["error"]["type"], body["error"]["param"]) == ("invalid_request_error", param)
    assert len(body["error"]["message"]) < 600
    assert gateway.kept.routes[-1].outcome == "refused"


@pytest.mark.parametrize(
    ("data", "headers", "status", "code"),
    [
        (b"", {}, 400, "invalid_json"),
        (b"{", {}, 400, "invalid_json"),
        (b"[]", {}, 400, "invalid_json"),
        (b"null", {}, 400, "invalid_json"),
        (b'{"model": "\xff\xfe"}', {}, 400, "invalid_json"),
        (b'{"model": "disrouter", "messages": [{"role": "user", "content": "\\ud800"}]}', {}, 400, "invalid_json"),
        (b"[" * 100_000, {}, 400, "invalid_json"),
        (b"{}", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{}", {"content-encoding": "gzip"}, 415, "unsupported_media_type"),
        (b"x" * 3000, {}, 413, "request_too_large"),
        (b"{}", {"x-much": "y" * 5000}, 431, "headers_too_large"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_body_that_is_none_is_refused(data: bytes, headers: dict[str, str], status: int, code: str) -> None:
    settings = Settings(largest_body=2000, largest_headers=4000)
    if data.startswith(b"[["):
        settings = Settings()
    async with running(ScriptedAgent("a"), settings=settings) as gateway:
        sent = {"content-type": "application/json", **headers}
        async with gateway.http.post(gateway.url + CHAT, data=data, headers=sent) as reply:
            body = await reply.json()

    assert (reply.status, body["error"]["code"]) == (status, code)


async def test_a_body_too_large_is_refused_however_it_is_sent() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    async with (
        running(ScriptedAgent("a"), settings=Settings(largest_body=2000)) as gateway,
        gateway.http.post(gateway.url + CHAT, data=pieces(), headers={"content-type": "application/json"}) as reply,
    ):
        body = await reply.json()

    assert (reply.status, body["error"]["code"]) == (413, "request_too_large")


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async with running(ScriptedAgent("a"), settings=Settings(body_seconds=0.1)) as gateway:
        reader, writer = await asyncio.open_connection(*gateway.url.removeprefix("http://").split(":"))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 10\r\n\r\n{")
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer


async def test_nesting_beyond_what_can_be_sent_is_the_callers_fault_and_no_agents(backend: MockBackend) -> None:
    deep = b"[" * 400 + b"]" * 400
    body = b'{"model": "disrouter", "messages": [{"role": "user", "content": "hi"}], "deep": ' + deep + b"}"
    async with running(behind("a", backend.url, serving=Serving(failures=1, pause=60.0))) as gateway:
        sent = {"content-type": "application/json"}
        async with gateway.http.post(gateway.url + CHAT, data=body, headers=sent) as reply:
            refused = reply.status
        status, _, _ = await gateway.post()

    assert refused == 400
    assert status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", CHAT, 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/chat/completions/", 404),
        ("POST", "//v1/chat/completions", 404),
        ("GET", "/../etc/passwd", 404),
    ],
)
async def test_wrong_routes_and_methods_get_an_error_object_too(
    method: str, path: str, status: int, gateway: Running
) -> None:
    async with gateway.http.request(method, gateway.url + path) as reply:
        body = await reply.json()

    assert reply.status == status
    assert set(body["error"]) == {"message", "type", "param", "code"}


async def test_a_query_longer_than_any_agent_takes_is_told_so() -> None:
    agents = (ScriptedAgent("a", cost=0.1, context_length=5), ScriptedAgent("b", cost=0.9, context_length=8))
    async with running(*agents) as gateway:
        status, body, _ = await gateway.post(text="word " * 20)
        fits, answered, _ = await gateway.post(text="one two three four five six")

    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "context_length_exceeded", "messages")
    assert (fits, answered["model"]) == (200, "b")  # passed over to an agent that fits


@pytest.mark.parametrize("name", ["tools", "n", "response_format", "logprobs"])
async def test_what_no_agent_can_do_is_named(name: str, gateway: Running) -> None:
    tool = {"type": "function", "function": {"name": "weather"}}
    value = {"tools": [tool], "n": 2, "response_format": {"type": "json_object"}, "logprobs": True}

    status, body, _ = await gateway.post(**{name: value[name]})

    assert (status, body["error"]["param"], body["error"]["code"]) == (400, name, "unsupported_value")


@pytest.mark.parametrize(
    "body",
    [
        {"model": "disrouter"},
        {"model": "disrouter", "input": "hi", "previous_response_id": "resp_1"},
        {"model": "disrouter", "input": "hi", "background": True},
        {"model": "disrouter", "input": [{"type": "computer_call"}]},
        {"model": "disrouter", "input": [3]},
        {"model": "disrouter", "input": "hi", "tools": [{"type": "web_search"}]},
        {"model": "disrouter", "input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        {"model": "disrouter", "input": "hi", "instructions": 3},
    ],
    ids=lambda body: json.dumps(body)[23:80],
)
async def test_a_response_that_cannot_be_made_is_refused(body: Any, gateway: Running) -> None:
    status, answer, _ = await gateway.post("/v1/responses", body=body)

    assert status == 400
    assert answer["error"]["param"]


# Keys


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


async def test_the_wire_form_of_a_stream_is_that_of_server_sent_events(gateway: Running) -> None:
    async with aiohttp.ClientSession() as http, http.post(gateway.url + CHAT, json=ask(stream=True)) as reply:
        raw = await reply.read()

    parts = raw.split(b"\n\n")
    assert parts[-1] == b""
    assert parts[-2] == b"data: [DONE]"
    assert all(part.startswith(b"data: {") and b"\n" not in part for part in parts[:-2])
    assert len({json.loads(part[6:])["id"] for part in parts[:-2]}) == 1
