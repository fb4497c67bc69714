"""The conformance suite is alive: a good server passes, and every planted mistake fails the cases that speak of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from disrouter.conformance import CASES, Case, Target, cases_named, run
from disrouter.conformance.events import Event, events_of
from disrouter.errors import RunError, UnknownNameError
from gateway.mock_backend import MockBackend, closed_port_url
from gateway.spoiling_proxy import Json, Spoiler, spoilt

ANSWERS = cases_named(["chat", "streaming", "tools", "structured"])
"""What the mock backend, which is no gateway, does right by itself."""

LONG = {"stream-not-held-back", "stream-hang-up", "chat-at-once", "chat-long-prompt"}
"""Cases that take their time; a planted mistake is tried on those of them that speak of it."""


@pytest.fixture
async def backend() -> AsyncIterator[MockBackend]:
    async with MockBackend() as backend:
        yield backend


async def broken(url: str, cases: list[Case], **settings: Any) -> set[str]:
    """The names of the cases that a target fails."""
    report = await run(Target(url, "mock-model", timeout=5.0), cases, at_once=8, **settings)
    assert not report.of("skipped")
    return {outcome.case.name for outcome in report.of("failed")}


async def test_a_good_server_fails_no_case_about_answers(backend: MockBackend) -> None:
    assert await broken(backend.url, ANSWERS) == set()


async def test_a_proxy_that_changes_nothing_fails_no_case(backend: MockBackend) -> None:
    async with spoilt(backend.url, Spoiler()) as url:
        assert await broken(url, ANSWERS) == set()


def without(*names: str) -> Any:
    return lambda body: {key: value for key, value in body.items() if key not in names}


def of_choices(change: Any) -> Any:
    """A change of every choice, as a change of an answer or a chunk."""

    def changed(body: Json, place: int = 0) -> Json:
        return {**body, "choices": [change(choice) for choice in body.get("choices", [])]}

    return changed


def in_delta(change: Any) -> Any:
    return of_choices(lambda choice: {**choice, "delta": change(choice["delta"])})


def repeat_the_name(delta: Json) -> Json:
    calls = [{**call, "function": {**call["function"], "name": "weather"}} for call in delta.get("tool_calls") or []]
    return {**delta, "tool_calls": calls} if calls else delta


def arguments_as_object(choice: Json) -> Json:
    message = choice["message"]
    calls = [
        {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
        for call in message.get("tool_calls") or []
    ]
    return {**choice, "message": {**message, "tool_calls": calls} if calls else message}


def said_at_the_end(choice: Json) -> Json:
    return {**choice, "delta": {"content": ""}} if choice["finish_reason"] else choice


def leak_usage(chunk: Json, place: int) -> Json:
    return (
        chunk
        if "usage" in chunk
        else {**chunk, "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
    )


PLANTED: dict[str, tuple[Spoiler, set[str]]] = {
    "[DONE] is forgotten": (Spoiler(end=()), {"stream-done"}),
    "[DONE] comes twice": (Spoiler(end=("[DONE]", "[DONE]")), {"stream-done"}),
    "streams are held back": (Spoiler(holds_back=True), {"stream-not-held-back"}),
    "streams may be cached": (
        Spoiler(stream_headers=(("Content-Type", "text/event-stream"),)),
        {"stream-not-cached"},
    ),
    "every chunk has its own id": (
        Spoiler(chunk=lambda chunk, place: {**chunk, "id": f"{chunk['id']}-{place}"}),
        {"stream-one-id"},
    ),
    "all answers have one id": (Spoiler(whole=lambda body: {**body, "id": "chatcmpl-1"}), {"chat-ids-differ"}),
    "all streams have one id": (
        Spoiler(chunk=lambda chunk, place: {**chunk, "id": "chatcmpl-1"}),
        {"stream-ids-differ"},
    ),
    "time is in milliseconds": (
        Spoiler(whole=lambda body: {**body, "created": body["created"] * 1000}),
        {"chat-created"},
    ),
    "usage is forgotten": (
        Spoiler(whole=without("usage")),
        {"chat-usage", "chat-usage-exact", "chat-max-tokens", "chat-logprobs", "stream-usage-same"},
    ),
    "usage counts another model's tokens": (
        Spoiler(whole=lambda body: {**body, "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}}),
        {"chat-usage-exact", "chat-logprobs", "stream-usage-same"},
    ),
    "usage is streamed to everybody": (Spoiler(chunk=leak_usage), {"stream-no-usage"}),
    "the usage chunk is dropped": (
        Spoiler(chunk=lambda chunk, place: chunk if chunk["choices"] else None),
        {"stream-usage-last", "stream-usage-same"},
    ),
    "an empty chunk opens the stream": (
        Spoiler(chunk=lambda chunk, place: chunk if place else {**chunk, "choices": []}),
        {"stream-no-empty-choices", "stream-role-first"},
    ),
    "the role is forgotten": (Spoiler(chunk=in_delta(without("role"))), {"stream-role-first"}),
    "finish_reason is left out until the end": (
        Spoiler(chunk=of_choices(lambda c: c if c["finish_reason"] else without("finish_reason")(c))),
        {"stream-finish-reason-key"},
    ),
    "every end is a stop": (
        Spoiler(
            whole=of_choices(lambda c: {**c, "finish_reason": "stop"}),
            chunk=of_choices(lambda c: {**c, "finish_reason": c["finish_reason"] and "stop"}),
        ),
        {
            "chat-max-tokens",
            "chat-max-completion-tokens",
            "stream-finish-length",
            "tool-call-finish",
            "tool-deltas-finish",
        },
    ),
    "a reason is invented": (
        Spoiler(chunk=of_choices(lambda c: {**c, "finish_reason": c["finish_reason"] and "rejected"})),
        {"stream-finish-reason-key", "stream-finish-stop", "stream-finish-length", "tool-deltas-finish"},
    ),
    "n is ignored": (Spoiler(request=without("n")), {"chat-n", "stream-n"}),
    "stop is ignored": (Spoiler(request=without("stop")), {"chat-stop-list", "chat-stop-text"}),
    "seed is ignored": (Spoiler(request=without("seed")), {"chat-seed"}),
    "temperature is ignored": (Spoiler(request=without("temperature")), {"chat-temperature"}),
    "max_completion_tokens is unknown": (
        Spoiler(request=without("max_completion_tokens")),
        {"chat-max-completion-tokens"},
    ),
    "top_logprobs is ignored": (Spoiler(request=without("top_logprobs")), {"chat-top-logprobs"}),
    "log-probabilities are dropped": (
        Spoiler(whole=of_choices(without("logprobs")), chunk=of_choices(without("logprobs"))),
        {"chat-logprobs", "chat-top-logprobs", "stream-logprobs"},
    ),
    "log-probabilities are leaked": (
        Spoiler(request=lambda body: {**body, "logprobs": True}),
        {"chat-no-logprobs", "stream-no-logprobs"},
    ),
    "a refusal is dropped": (
        Spoiler(
            whole=of_choices(lambda c: {**c, "message": without("refusal")(c["message"])}),
            chunk=in_delta(without("refusal")),
        ),
        {"chat-refusal", "stream-refusal"},
    ),
    "unknown fields are dropped": (
        Spoiler(
            whole=of_choices(lambda c: {**c, "message": without("reasoning_content")(c["message"])}),
            chunk=in_delta(without("reasoning_content")),
        ),
        {"chat-reasoning", "stream-reasoning"},
    ),
    "response_format is ignored": (
        Spoiler(request=without("response_format")),
        {"json-schema", "json-schema-stream", "json-object"},
    ),
    "a fragment repeats its call's name": (
        Spoiler(chunk=in_delta(repeat_the_name)),
        {"tool-deltas", "tool-deltas-parallel", "tool-deltas-same"},
    ),
    "arguments are an object": (
        Spoiler(whole=of_choices(arguments_as_object)),
        {
            "tool-call-shape",
            "tool-choice-named",
            "tool-calls-parallel",
            "tool-calls-one-at-a-time",
            "tool-result",
            "tool-deltas-same",
        },
    ),
    "tool_choice is ignored": (Spoiler(request=without("tool_choice")), {"tool-choice-named", "tool-choice-none"}),
    "tools are called all at once": (Spoiler(request=without("parallel_tool_calls")), {"tool-calls-one-at-a-time"}),
}


@pytest.mark.parametrize(("spoiler", "names"), PLANTED.values(), ids=PLANTED)
async def test_a_planted_mistake_fails_its_cases_and_no_others(
    backend: MockBackend, spoiler: Spoiler, names: set[str]
) -> None:
    async with spoilt(backend.url, spoiler) as url:
        cases = [case for case in ANSWERS if case.name not in LONG - names]
        found = await broken(url, cases, abilities=["tools", "structured", "logprobs", "n", "mock"])

    assert found == names


# -- the suite itself --------------------------------------------------------------------------------------------------


def test_every_case_has_a_name_of_its_own_a_rule_in_one_line_and_a_source() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
    assert all(case.rule.endswith(".") and "\n" not in case.rule and case.source for case in CASES)


async def test_cases_whose_abilities_are_missing_are_skipped_and_say_so(backend: MockBackend) -> None:
    backend.reply = lambda body: "hello"  # no longer recognised as the mock

    report = await run(Target(backend.url, "m", timeout=5.0), cases_named(["tools"]))

    assert {outcome.verdict for outcome in report.outcomes} == {"skipped"}
    assert report.outcomes[0].detail == "needs tools"


async def test_an_address_where_nobody_answers_is_one_error_and_not_a_hundred_failed_cases() -> None:
    url = closed_port_url()

    with pytest.raises(RunError, match=f"Nobody answers at '{url}'"):
        await run(Target(url, "m"))


async def test_a_target_that_hangs_fails_the_case_after_the_timeout(backend: MockBackend) -> None:
    target = Target(backend.url, "m", timeout=0.1)

    backend.fault = "hang"
    report = await run(target, cases_named(["chat-shape"]), abilities=[])

    assert report.outcomes[0].detail == "no answer within 0.1 s"


def test_cases_are_found_by_name_by_group_and_by_the_beginning_of_a_name() -> None:
    assert [case.name for case in cases_named(["chat-n"])] == ["chat-n"]
    assert {case.group for case in cases_named(["models", "tools"])} == {"models", "tools"}
    assert {case.name for case in cases_named(["stream-usage"])} >= {"stream-usage-last", "stream-usage-null"}
    with pytest.raises(UnknownNameError, match="Unknown case 'chatt'"):
        cases_named(["chatt"])


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [Event("a"), Event("b")]),
        (b"data:a\r\n\r\ndata: b\r\r", [Event("a"), Event("b")]),
        (b": a comment\n\nevent: x\ndata: 1\ndata: 2\nid: 7\n\n", [Event("1\n2", "x")]),
        (b"data: whole\n\ndata: without its blank line\n", [Event("whole")]),
        (b"", []),
    ],
)
def test_events_are_read_as_the_standard_says(body: bytes, events: list[Event]) -> None:
    assert events_of(body) == events
