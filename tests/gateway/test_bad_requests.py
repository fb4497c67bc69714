"""What a request gets told that cannot be understood, or not be served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from disrouter.agents import ScriptedAgent
from disrouter.gateway.app import Settings
from disrouter.types import Serving
from gateway.mock_backend import MockBackend
from gateway.running import Running, behind, running

# One gateway serves most of these tests, which ask it one thing each.
pytestmark = pytest.mark.asyncio(loop_scope="module")


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
