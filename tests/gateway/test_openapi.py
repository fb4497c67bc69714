"""The OpenAPI document agrees with the app: no route is missing, what it allows is answered, all else refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import disrouter
from disrouter.agents import ScriptedAgent
from disrouter.gateway import ControlOptions, open_control
from disrouter.gateway.app import Gateway
from disrouter.gateway.messages import _ROLES
from disrouter.gateway.openapi import ROLES, description
from disrouter.gateway.openapi_schemas import policy_schema
from disrouter.gateway.service import Service
from disrouter.network import Network
from disrouter.policies import POLICIES, policy_of, spec_of
from gateway.mock_backend import MockBackend
from gateway.running import Running, behind, running

Schema = dict[str, Any]
SCHEMAS: dict[str, Schema] = description()["components"]["schemas"]
PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "ChatRequest": ("/v1/chat/completions", {"model": "disrouter", "messages": [{"role": "user", "content": "hi"}]}),
    "CompletionRequest": ("/v1/completions", {"model": "disrouter", "prompt": "hi"}),
    "ResponseRequest": ("/v1/responses", {"model": "disrouter", "input": "hi"}),
}
WITH: dict[tuple[str, str], dict[str, Any]] = {
    ("ChatRequest", "top_logprobs"): {"logprobs": True},
    ("ChatRequest", "stream_options"): {"stream": True},
    ("CompletionRequest", "stream_options"): {"stream": True},
}
"""What a field needs beside it."""


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with MockBackend() as backend, running(behind("solo", backend.url)) as gateway:
        yield gateway


def edges(schema: Schema) -> Iterator[tuple[Any, bool]]:
    """Values at the edges of what a schema takes, and whether it does."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    yield None, "null" in kinds
    yield {"no": "such"}, "object" in kinds and not schema.get("required")
    yield "text", "string" in kinds
    yield [4], False
    if "boolean" in kinds:
        yield from ((True, True), (False, True), (1, False))
    if {"integer", "number"} & set(kinds):
        yield True, False
        yield 1.5, "number" in kinds and schema.get("maximum", 2) >= 1.5
        for name, step in (("minimum", -1), ("maximum", 1)):
            if name in schema:
                yield schema[name], True
                yield schema[name] + step, False
        if "exclusiveMinimum" in schema:
            yield from ((schema["exclusiveMinimum"], False), (schema["exclusiveMinimum"] + 0.5, True))
    if schema.get("minLength"):
        yield "", False


@pytest.mark.parametrize("request_name", list(PLAIN))
async def test_every_simple_field_takes_what_the_document_says(gateway: Running, request_name: str) -> None:
    path, plain = PLAIN[request_name]
    wrong = []

    for field, schema in SCHEMAS[request_name]["properties"].items():
        if "type" not in schema or field in ("model", "messages", "tools"):
            continue
        for value, allowed in edges(schema):
            beside = WITH.get((request_name, field), {}) if value is not None else {}
            if allowed and (beside.get("stream") or (field == "stream" and value)):
                continue  # answered by events
            status, _, _ = await gateway.post(path, {**plain, **beside, field: value})
            if status != (200 if allowed else 400):
                wrong.append((field, value, status))

    assert wrong == []


@pytest.mark.parametrize("request_name", list(PLAIN))
async def test_required_fields_are_required(gateway: Running, request_name: str) -> None:
    path, plain = PLAIN[request_name]

    for field in SCHEMAS[request_name]["required"]:
        status, body, _ = await gateway.post(path, {key: value for key, value in plain.items() if key != field})

        assert status == 400
        assert body["error"]["param"] == field


async def test_every_route_of_the_api_stands_in_the_document_and_no_other(gateway: Running) -> None:
    async with gateway.http.get(f"{gateway.url}/openapi.json") as reply:
        found = await reply.json()
    routes = gateway.gateway.app().paths - {"/openapi.json"}

    assert {path.replace("{model}", "{name:path}") for path in found["paths"]} == routes
    assert all(found["paths"][path] == description()["paths"][path] for path in found["paths"])


def test_feedback_metrics_and_administration_stand_in_the_document_where_they_are_served(tmp_path: Path) -> None:
    control = open_control(ControlOptions(store=str(tmp_path / "store.db")))
    gateway = Gateway(Network("n", [ScriptedAgent("solo")]))
    try:
        served = gateway.app(control.routes(gateway.state)).paths
    finally:
        control.stop()

    found = description(served)["paths"]

    assert {"/v1/feedback", "/metrics", "/admin/status", "/admin/reload"} <= set(found)
    pages = {path for path in served if path == "/" or path.startswith("/dashboard")}
    assert {path.replace("{model}", "{name:path}") for path in found} == served - pages - {"/openapi.json"}
    admin = [operation for path, operations in found.items() if "admin" in path for operation in operations.values()]
    assert all(operation["security"] == [{"key": []}] for operation in admin)


@pytest.mark.parametrize("name", list(POLICIES))
def test_the_document_lists_every_policy_with_all_its_settings(name: str) -> None:
    (schema,) = [
        one for one in policy_schema(POLICIES)["anyOf"] if one.get("properties", {}).get("name") == {"const": name}
    ]

    policy = policy_of({"name": name, **{setting: 0.5 for setting in schema["required"] if setting != "name"}})
    assert set(schema["properties"]) == set(spec_of(policy))


async def test_the_document_offers_a_policy_that_plans_only_where_agents_have_cards(gateway: Running) -> None:
    async with gateway.http.get(f"{gateway.url}/openapi.json") as reply:
        without = (await reply.json())["components"]["schemas"]["Policy"]["anyOf"][0]["enum"]
    lab = Service(disrouter.load("lab"))

    assert without == ["own-word", "paper"]
    assert "value-of-forwarding" in lab.policies


@pytest.mark.parametrize("request_name", list(PLAIN))
async def test_an_answer_has_what_the_document_says(gateway: Running, request_name: str) -> None:
    path, plain = PLAIN[request_name]

    _, body, _ = await gateway.post(path, plain)
    _, refused, _ = await gateway.post(path, {})

    answer = description()["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    fits(body, SCHEMAS[answer.rpartition("/")[2]])
    fits(refused, SCHEMAS["Error"])


def fits(value: Any, schema: Schema) -> None:
    """Assert that a value has the fields and types of a schema."""
    if "const" in schema:
        assert value == schema["const"]
    for name in schema.get("required", ()):
        assert name in value
    for name, part in schema.get("properties", {}).items():
        if name in value:
            fits(value[name], part)
    if schema.get("type") == "array":
        for item in value:
            fits(item, schema["items"])
    kinds = {"string": str, "integer": int, "object": dict, "array": list}
    if isinstance(schema.get("type"), str):
        assert isinstance(value, kinds[schema["type"]])


def test_the_roles_of_the_document_are_those_that_are_taken() -> None:
    assert set(ROLES) == set(_ROLES)
