"""The gateway keeps every rule of the conformance suite; where a rule is broken on the way, its cases fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from disrouter.agents.openai_compatible import Patience
from disrouter.conformance import CASES, Case, Report, Target, cases_named, run
from disrouter.gateway.access import Access
from disrouter.gateway.keys import Key, digest_of
from disrouter.types import Serving
from gateway.mock_backend import MockBackend
from gateway.running import Running, behind, running
from gateway.spoiling_proxy import Json, Spoiler, spoilt

HASTE = Patience(connect=2.0, first_token=2.0, stall=2.0, total=6.0, retries=0)
"""Backends that hang are given up soon, so that the cases about them do not take long."""

STEADFAST = Serving(failures=10**9)
"""No breaker opens: these cases are about single faults."""


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with MockBackend() as backend, running(behind("solo", backend.url, patience=HASTE, serving=STEADFAST)) as one:
        yield one


async def tried(url: str, cases: list[Case] | None = None, **settings: Any) -> Report:
    return await run(Target(url, "disrouter", timeout=20.0, **settings), CASES if cases is None else cases, at_once=8)


def failures(report: Report) -> dict[str, str]:
    return {outcome.case.name: outcome.detail for outcome in report.of("failed")}


async def test_the_gateway_keeps_every_rule(gateway: Running) -> None:
    report = await tried(f"{gateway.url}/v1")

    assert failures(report) == {}
    assert {outcome.detail for outcome in report.of("skipped")} == {"needs key"}
    assert len(report.of("passed")) > 180


async def test_a_gateway_with_keys_keeps_the_rules_about_keys() -> None:
    access = Access()
    access.replace_keys([Key(id="key_ann", name="ann", digest=digest_of("sk-dis-ann"), created=0.0)])
    async with MockBackend() as backend, running(behind("solo", backend.url), access=access) as gateway:
        report = await tried(f"{gateway.url}/v1", cases_named(["error", "chat-shape", "models"]), key="sk-dis-ann")

    assert failures(report) == {}
    assert not report.of("skipped")


# -- mistakes on the way -----------------------------------------------------------------------------------------------

REFUSED = [case for case in CASES if case.name.startswith(("error-", "fault-", "models-", "completion-", "response-"))]
SLOW = {case.name for case in REFUSED if any(word in case.name for word in ("hang", "stall", "huge", "drip"))}


def in_error(change: Callable[[Json], Json]) -> Callable[[Json], Json]:
    return lambda body: {**body, "error": change(body["error"])} if body.get("error") else body


def without(*names: str) -> Callable[[Json], Json]:
    return lambda body: {key: value for key, value in body.items() if key not in names}


def words_of_chat(body: Json) -> Json:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {**body, "usage": usage} if body.get("object") == "response" else body


def names_where(says: Callable[[Case], bool]) -> set[str]:
    return {case.name for case in REFUSED if says(case)}


PLANTED: dict[str, tuple[Spoiler, set[str]]] = {
    "errors have no code": (
        Spoiler(whole=in_error(lambda error: {**error, "code": None})),
        {
            "error-unknown-model",
            "error-before-stream",
            "completion-unknown-model",
            "models-retrieve-unknown",
            "response-unknown-model",
            "fault-context",
        },
    ),
    "errors do not name the field": (
        Spoiler(whole=in_error(lambda error: {**error, "param": None})),
        {"error-param"},
    ),
    "all errors are of one type": (
        Spoiler(whole=in_error(lambda error: {**error, "type": "error"})),
        {"error-type"},
    ),
    "retry-after is lost": (Spoiler(loses=("retry-after",)), {"fault-429"}),
    "the request id is lost": (Spoiler(loses=("x-request-id",)), {"error-request-id"}),
    "allow is lost": (Spoiler(loses=("allow",)), {"error-method"}),
    "an unknown model is a bad request": (
        Spoiler(status=lambda status: 400 if status == 404 else status),
        {
            "error-unknown-model",
            "error-before-stream",
            "error-unknown-route",
            "completion-unknown-model",
            "models-retrieve-unknown",
            "response-unknown-model",
        },
    ),
    "models have no owner": (
        Spoiler(
            whole=lambda body: body | {"data": [*map(without("owned_by"), body["data"])]} if "data" in body else body
        ),
        {"models-list"},
    ),
    "usage of responses is in the words of chat": (
        Spoiler(whole=words_of_chat),
        {"response-usage"},
    ),
    "a response that was cut off is completed": (
        Spoiler(whole=lambda body: {**body, "status": "completed"} if body.get("status") == "incomplete" else body),
        {"response-cut"},
    ),
    "an error ends with [DONE]": (
        Spoiler(done_after_errors=True),
        names_where(lambda case: case.name.endswith("-stream") and "in mid-stream" in case.rule),
    ),
}


@pytest.mark.parametrize(("spoiler", "names"), PLANTED.values(), ids=PLANTED)
async def test_a_mistake_on_the_way_fails_its_cases_and_no_others(
    gateway: Running, spoiler: Spoiler, names: set[str]
) -> None:
    cases = [case for case in REFUSED if case.name not in SLOW]
    async with spoilt(f"{gateway.url}/v1", spoiler) as url:
        report = await tried(url, cases)

    assert set(failures(report)) == names - SLOW
