"""Broken backends: before the first byte another agent answers, after it exactly one event ends the stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, get_args

import pytest

from disrouter.agents.openai_compatible import Patience
from gateway.mock_backend import Fault, MockBackend, closed_port_url
from gateway.running import Running, behind, running

SOON = Patience(connect=0.5, first_token=0.4, stall=0.4, total=0.8, retries=0)
"""Patience that a test can wait out."""

AFTER: list[Fault] = ["stall", "die", "cut", "error-event", "malformed"]
"""Faults that show when some of the answer has been sent."""

BEFORE: list[Fault] = [f for f in get_args(Fault) if f not in (*AFTER, "no-done", "drip")]
"""Faults that show before anything of the answer is there."""


@pytest.fixture
async def good() -> AsyncIterator[MockBackend]:
    async with MockBackend() as backend:
        yield backend


@pytest.fixture
async def bad() -> AsyncIterator[MockBackend]:
    async with MockBackend() as backend:
        yield backend


def text_of(events: list[str]) -> str:
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk.get("choices", ()))


@pytest.mark.parametrize("fault", [f for f in get_args(Fault) if f not in ("no-done", "drip")])
async def test_a_whole_answer_comes_from_the_next_agent(fault: Fault, bad: MockBackend, good: MockBackend) -> None:
    bad.fault = fault
    async with running(behind("bad", bad.url, 0.1, patience=SOON), behind("good", good.url, 0.9)) as gateway:
        status, body, headers = await gateway.post()

    assert status == 200
    assert body["choices"][0]["message"]["content"].startswith("You said: What is 2 + 2?")
    assert headers["x-disrouter-agent"] in ("bad", "good")
    if headers["x-disrouter-agent"] == "bad":  # some faults need a stream to show
        assert fault in ("stall", "die", "cut", "error-event", "hang-after-headers", "wrong-type")
    else:
        assert [hop["decision"] for hop in body["disrouter"]["hops"]] == ["failure", "answer"]


@pytest.mark.parametrize("fault", BEFORE)
async def test_a_stream_comes_from_the_next_agent_if_the_first_breaks_before_its_first_byte(
    fault: Fault, bad: MockBackend, good: MockBackend
) -> None:
    bad.fault = fault
    async with running(behind("bad", bad.url, 0.1, patience=SOON), behind("good", good.url, 0.9)) as gateway:
        events = await gateway.events()

    assert events[-1] == "[DONE]"
    assert text_of(events).startswith("You said: What is 2 + 2?")
    assert {json.loads(event)["model"] for event in events[:-1]} == {"good"}
    assert gateway.kept.routes[0].hops[0].decision == "failure"
    assert gateway.kept.routes[0].outcome == "answered"


@pytest.mark.parametrize("fault", AFTER)
async def test_a_stream_that_breaks_after_its_first_byte_ends_in_one_error_event(
    fault: Fault, bad: MockBackend, good: MockBackend
) -> None:
    bad.fault = fault
    async with running(behind("bad", bad.url, 0.1, patience=SOON), behind("good", good.url, 0.9)) as gateway:
        events = await gateway.events()

    *chunks, last = events
    assert "error" in json.loads(last)
    assert json.loads(last)["error"]["code"] == "answer_cut"
    assert all("error" not in json.loads(chunk) for chunk in chunks)
    assert text_of(chunks)
    assert good.received == []  # the agent is never switched once it speaks
    (route,) = gateway.kept.routes
    assert (route.outcome, route.code, route.hops[-1].agent, route.hops[-1].decision) == ("cut", 200, "bad", "failure")
    assert route.error in ("agent_cut", "agent_timeout", "agent_status", "agent_malformed")


async def test_a_stream_without_its_end_mark_is_whole_if_a_reason_was_given(bad: MockBackend) -> None:
    bad.fault = "no-done"
    async with running(behind("bad", bad.url)) as gateway:
        events = await gateway.events()

    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["choices"][0]["finish_reason"] == "stop"


async def test_an_answer_that_drips_byte_by_byte_arrives_whole(bad: MockBackend) -> None:
    bad.fault = "drip"
    async with running(behind("bad", bad.url, patience=Patience(total=10.0))) as gateway:
        events = await gateway.events()

    assert events[-1] == "[DONE]"
    assert text_of(events).startswith("You said: What is 2 + 2?")


async def test_an_agent_that_cannot_be_reached_is_passed_over(good: MockBackend) -> None:
    async with running(behind("away", closed_port_url(), 0.1), behind("good", good.url, 0.9)) as gateway:
        status, body, _ = await gateway.post()

    assert status == 200
    assert body["model"] == "good"
    assert gateway.kept.routes[0].hops[0].error == "agent_connect"


async def test_an_agent_without_room_is_asked_again_if_it_will_have_room_soon(bad: MockBackend) -> None:
    bad.script = ["429-soon", None]
    async with running(behind("busy", bad.url, patience=Patience(retries=1))) as gateway:
        status, body, _ = await gateway.post()

    assert status == 200
    assert len(bad.received) == 2
    assert [hop["decision"] for hop in body["disrouter"]["hops"]] == ["answer"]


async def test_an_agent_that_wants_a_long_pause_is_not_waited_for(bad: MockBackend, good: MockBackend) -> None:
    bad.fault = "429"  # retry-after: 30
    patience = Patience(retries=3)
    async with running(behind("busy", bad.url, 0.1, patience=patience), behind("good", good.url, 0.9)) as gateway:
        status, body, _ = await gateway.post()

    assert (status, body["model"]) == (200, "good")
    assert len(bad.received) == 1


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("500", 502, "agents_failed"),
        ("drop", 502, "agents_failed"),
        ("html", 502, "agents_failed"),
        ("hang", 504, "agent_timeout"),
        ("429", 429, "rate_limit_exceeded"),
        ("400", 400, None),
        ("context", 400, "context_length_exceeded"),
        ("401", 502, "agents_failed"),
        ("404", 502, "agents_failed"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_when_nobody_can_answer_the_error_says_why(
    fault: Fault, status: int, code: str | None, stream: bool, bad: MockBackend
) -> None:
    bad.fault = fault
    async with running(behind("bad", bad.url, patience=SOON)) as gateway:
        found, body, headers = await gateway.post(stream=stream)

    assert found == status
    assert body["error"]["code"] == code
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert "127.0.0.1" not in json.dumps(body)
    if status == 429:
        assert headers["retry-after"] == "30"
    assert gateway.kept.routes[0].outcome == "failed"


async def test_nothing_is_left_open_after_faults(bad: MockBackend, good: MockBackend) -> None:
    async with running(behind("bad", bad.url, 0.1, patience=SOON), behind("good", good.url, 0.9)) as gateway:
        await gateway.post()
        tasks = len(asyncio.all_tasks())
        for fault in ("drop", "500", "html", "die", "malformed"):
            bad.fault = fault
            await gateway.post()
            async with gateway.http.post(gateway.url + "/v1/chat/completions", json=_streaming()) as reply:
                await reply.read()
        await bad.idle()
        await asyncio.sleep(0.05)

        assert len(asyncio.all_tasks()) <= tasks + 1  # at most one connection of the test's own client more
        assert bad.connections() <= 1
        assert gateway.gateway.in_flight == 0
        assert all(guard.gate.inside == 0 for guard in gateway.gateway.service.guards.values())


def _streaming() -> dict[str, Any]:
    return {"model": "disrouter", "stream": True, "messages": [{"role": "user", "content": "hello there"}]}


async def wait_until(true: Any, timeout: float = 5.0) -> None:
    async with asyncio.timeout(timeout):
        while not true():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_stops_the_backend(stream: bool, good: MockBackend) -> None:
    good.pause = 0.2 if stream else 0.0
    good.first = 0.0 if stream else 30.0
    async with running(behind("good", good.url, patience=Patience(first_token=60))) as gateway:
        body = {**_streaming(), "stream": stream}
        task = asyncio.create_task(_read(gateway, body))
        await wait_until(lambda: good.received and (not stream or good.received[0].chunks > 1))
        loop = asyncio.get_running_loop()
        left = loop.time()
        task.cancel()
        await wait_until(lambda: good.received[0].cancelled)
        taken = loop.time() - left
        await wait_until(lambda: gateway.kept.routes)

    assert taken < 2.0  # 0.25 s on a machine that is not busy
    assert gateway.kept.routes[0].outcome == "cancelled"
    assert gateway.gateway.in_flight == 0


async def _read(gateway: Running, body: dict[str, Any]) -> None:
    async with gateway.http.post(gateway.url + "/v1/chat/completions", json=body) as reply:
        await reply.read()
