"""Breakers, bounded queues, reloads and the end: what keeps a gateway answering when something is wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from disrouter.agents import ScriptedAgent
from disrouter.agents.faults import FaultError
from disrouter.errors import ConfigError
from disrouter.gateway.app import Settings
from disrouter.gateway.breaker import Breaker
from disrouter.gateway.gate import Gate
from disrouter.gateway.server import bound_socket, require_safe_address
from disrouter.gateway.service import Service
from disrouter.network import Network
from disrouter.types import Serving
from gateway.mock_backend import MockBackend
from gateway.running import behind, running


@pytest.fixture
async def backend() -> AsyncIterator[MockBackend]:
    async with MockBackend() as backend:
        yield backend


@pytest.fixture
async def other() -> AsyncIterator[MockBackend]:
    async with MockBackend() as backend:
        yield backend


async def wait_until(true: Callable[[], Any], timeout: float = 10.0) -> None:
    async with asyncio.timeout(timeout):
        while not true():
            await asyncio.sleep(0.005)


# Breakers


def state_of(breaker: Breaker) -> str:
    return breaker.state


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_probe_through_when_its_pause_is_over() -> None:
    clock = Clock()
    breaker = Breaker("a", 2, 10.0, clock)
    breaker.failed("answer", breaker.admit())
    breaker.succeeded("answer", breaker.admit())
    breaker.failed("answer", breaker.admit())
    assert state_of(breaker) == "closed"  # not in a row

    breaker.failed("answer", breaker.admit())

    with pytest.raises(FaultError, match="left alone") as refused:
        breaker.admit()
    assert refused.value.retry_after == 10.0
    clock.now = 10.0
    assert breaker.admit()
    with pytest.raises(FaultError):  # one probe at a time
        breaker.admit()


def test_a_probe_that_succeeds_closes_the_breaker_and_one_that_fails_opens_it_again() -> None:
    clock = Clock()
    breaker = Breaker("a", 1, 10.0, clock)
    breaker.failed("look", False)
    clock.now = 10.0

    breaker.failed("look", breaker.admit())

    assert state_of(breaker) == "open"
    clock.now = 20.0
    breaker.undecided(breaker.admit())  # the client left: nothing is known, the next one is the probe
    assert state_of(breaker) == "half-open"
    breaker.succeeded("look", breaker.admit())
    assert state_of(breaker) == "closed"


def test_looks_that_succeed_do_not_hide_answers_that_fail() -> None:
    breaker = Breaker("a", 2, 10.0, Clock())
    for _ in range(2):
        breaker.succeeded("look", breaker.admit())
        breaker.failed("answer", breaker.admit())

    assert state_of(breaker) == "open"


async def test_an_agent_that_keeps_failing_is_not_asked_any_more_and_readiness_tells_when_none_is_left(
    backend: MockBackend,
) -> None:
    backend.fault = "500"
    async with running(behind("bad", backend.url, serving=Serving(failures=2, pause=60.0))) as gateway:
        first = [(await gateway.post())[0] for _ in range(2)]
        status, body, headers = await gateway.post()
        async with gateway.http.get(gateway.url + "/health") as ready:
            readiness = ready.status
        async with gateway.http.get(gateway.url + "/health/live") as live:
            liveness = live.status

    assert first == [502, 502]
    assert (status, body["error"]["code"]) == (503, "overloaded")
    assert 0 < int(headers["retry-after"]) <= 60
    assert len(backend.received) == 2
    assert (readiness, liveness) == (503, 200)


async def test_a_broken_agent_is_asked_again_after_its_pause_and_serves_when_it_is_well(backend: MockBackend) -> None:
    backend.fault = "500"
    async with running(behind("bad", backend.url, serving=Serving(failures=1, pause=0.05))) as gateway:
        await gateway.post()
        backend.fault = None
        guard = gateway.gateway.service.guards["bad"]
        assert state_of(guard.breaker) in ("open", "half-open")
        await wait_until(lambda: state_of(guard.breaker) == "half-open")
        status, _, _ = await gateway.post()

        assert status == 200
        assert state_of(guard.breaker) == "closed"


@pytest.mark.parametrize("fault", ["400", "context", "404", "429"])
async def test_what_is_not_the_agents_fault_does_not_open_its_breaker(fault: Any, backend: MockBackend) -> None:
    backend.fault = fault
    async with running(behind("a", backend.url, serving=Serving(failures=1, pause=60.0))) as gateway:
        await gateway.post()
        backend.fault = None
        status, _, _ = await gateway.post()

    assert status == 200


# Bounded queues


async def test_a_gate_lets_in_and_has_wait_as_many_as_it_should() -> None:
    gate = Gate("a", concurrency=1, queue=1)
    await gate.enter()
    second = asyncio.create_task(gate.enter())
    await wait_until(lambda: gate.waiting == 1)

    with pytest.raises(FaultError) as refused:
        await gate.enter()

    assert refused.value.kind == "busy"
    gate.leave()
    await second
    assert (gate.inside, gate.waiting) == (1, 0)


async def test_a_place_is_not_lost_when_one_who_waits_gives_up() -> None:
    gate = Gate("a", concurrency=1, queue=5)
    await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await wait_until(lambda: gate.waiting == 1)
    waiting.cancel()
    await asyncio.wait([waiting])
    gate.leave()

    await asyncio.wait_for(gate.enter(), 1)

    assert (gate.inside, gate.waiting) == (1, 0)


async def test_a_place_given_to_one_who_has_just_left_goes_on_to_the_next() -> None:
    gate = Gate("a", concurrency=1, queue=5)
    await gate.enter()
    leaving = asyncio.create_task(gate.enter())
    staying = asyncio.create_task(gate.enter())
    await wait_until(lambda: gate.waiting == 2)

    gate.leave()  # it is the first one's turn
    leaving.cancel()  # who leaves before it takes it
    await asyncio.wait_for(staying, 1)

    await asyncio.wait([leaving])
    assert leaving.cancelled()
    assert (gate.inside, gate.waiting) == (1, 0)


async def test_more_than_an_agent_takes_is_turned_away_with_a_time_to_try_again(backend: MockBackend) -> None:
    backend.first = 0.3
    agent = behind("a", backend.url, serving=Serving(concurrency=1, queue=1))
    async with running(agent) as gateway:
        results = await asyncio.gather(*(gateway.post() for _ in range(6)))

    statuses = sorted(status for status, _, _ in results)
    assert statuses == [200, 200, 503, 503, 503, 503]
    assert backend.most_at_once == 1
    refused = next(headers for status, _, headers in results if status == 503)
    assert refused["retry-after"] == "1"


async def test_an_agent_without_room_is_passed_over(backend: MockBackend, other: MockBackend) -> None:
    backend.first = 0.3
    full = behind("full", backend.url, 0.1, serving=Serving(concurrency=1, queue=0))
    async with running(full, behind("free", other.url, 0.9)) as gateway:
        results = await asyncio.gather(*(gateway.post() for _ in range(3)))

    assert sorted(body["model"] for _, body, _ in results) == ["free", "free", "full"]


@pytest.mark.parametrize("assessment", ["text", "token", "none"])
async def test_every_place_is_given_back(assessment: Any, backend: MockBackend, other: MockBackend) -> None:
    backend.confidence = 0.3
    serving = Serving(concurrency=2, queue=50)
    agents = (
        behind("small", backend.url, 0.1, serving=serving, self_assessment=assessment, rejection="<|reject|>"),
        behind("large", other.url, 0.9, serving=serving),
    )
    async with running(*agents) as gateway:
        statuses = [s for s, _, _ in await asyncio.gather(*(gateway.post(stream=False) for _ in range(12)))]
        await asyncio.gather(*(gateway.events() for _ in range(12)))

        guards = gateway.gateway.service.guards.values()
        assert statuses == [200] * 12
        assert [(guard.gate.inside, guard.gate.waiting) for guard in guards] == [(0, 0), (0, 0)]


async def test_a_full_gateway_refuses_at_once(backend: MockBackend) -> None:
    backend.first = 0.5
    async with running(behind("a", backend.url), settings=Settings(most_in_flight=1)) as gateway:
        slow = asyncio.create_task(gateway.post())
        await wait_until(lambda: gateway.gateway.in_flight == 1)
        status, body, headers = await gateway.post()
        await slow

    assert (status, body["error"]["code"], headers["retry-after"]) == (503, "overloaded", "1")


async def test_the_deadline_ends_a_request_even_where_every_agent_is_patient(backend: MockBackend) -> None:
    backend.first = 30.0
    async with running(behind("a", backend.url), settings=Settings(deadline=0.2)) as gateway:
        status, body, _ = await gateway.post()
        await backend.idle()

    assert (status, body["error"]["code"]) in [(504, "deadline_exceeded"), (504, "agent_timeout")]
    assert backend.received[0].cancelled


async def test_a_client_may_say_that_it_waits_less(backend: MockBackend) -> None:
    backend.first = 30.0
    async with running(behind("a", backend.url)) as gateway:
        status, _, _ = await gateway.post(headers={"x-stainless-read-timeout": "0.2"})

    assert status == 504


# Reloads


async def test_a_reload_serves_the_new_network_and_lets_the_old_one_finish(
    backend: MockBackend, other: MockBackend
) -> None:
    backend.first = 0.3
    networks = [Network("new", [behind("new", other.url)])]
    async with running(behind("old", backend.url), read=lambda: networks.pop()) as gateway:
        old = gateway.gateway.service
        slow = asyncio.create_task(gateway.post())
        await wait_until(lambda: backend.received)
        said = await gateway.gateway.reload_here()
        _, body, _ = await gateway.post()
        finished, answered, _ = await slow
        await wait_until(lambda: old.guards["old"].agent._server._session is None)  # type: ignore[attr-defined]

    assert said == "Network 'new' with 1 agents is in service."
    assert body["model"] == "new"
    assert (finished, answered["model"]) == (200, "old")


async def test_a_bad_file_is_refused_and_the_old_network_stays(backend: MockBackend) -> None:
    def read() -> Network:
        raise ConfigError("Network file 'n.yaml' has a problem.")

    async with running(behind("old", backend.url), read=read) as gateway:
        with pytest.raises(ConfigError):
            await gateway.gateway.reload_here()
        status, body, _ = await gateway.post()

    assert (status, body["model"]) == (200, "old")


async def test_requests_under_way_during_many_reloads_are_all_answered(backend: MockBackend) -> None:
    agents = iter(range(1000))

    def read() -> Network:
        return Network("n", [behind(f"a{next(agents)}", backend.url)])

    async with running(network=read(), read=read) as gateway:
        asking = asyncio.gather(*(gateway.post() for _ in range(40)), *(gateway.events() for _ in range(20)))
        for _ in range(5):
            await gateway.gateway.reload_here()
        results = await asking

    assert all(result[0] == 200 for result in results[:40])
    assert all(result[-1] == "[DONE]" for result in results[40:])


# Addresses


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.10", "example.org"])
def test_an_address_that_others_can_reach_needs_keys(host: str) -> None:
    with pytest.raises(ConfigError, match="no key exists"):
        require_safe_address(host, open_to_all=True)

    require_safe_address(host, open_to_all=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    require_safe_address(host, open_to_all=True)


def test_an_address_in_use_is_told_with_what_to_do() -> None:
    with contextlib.closing(bound_socket("127.0.0.1", 0)) as sock, pytest.raises(ConfigError, match="already in use"):
        bound_socket("127.0.0.1", sock.getsockname()[1])


def test_a_host_that_is_none_is_told() -> None:
    with pytest.raises(ConfigError, match="is no address of this machine"):
        bound_socket("host.invalid", 0)


@pytest.mark.parametrize("name", ["disrouter", "disrouter/balance"])
def test_no_agent_may_have_a_name_that_stands_for_the_network(name: str) -> None:
    with pytest.raises(ConfigError, match="stands for the network"):
        Service(Network("n", [ScriptedAgent(name)]))


async def test_agents_in_this_process_have_gates_and_breakers_too() -> None:
    agent = ScriptedAgent("a", fails="answer")
    async with running(agent) as gateway:
        for _ in range(5):
            await gateway.post()
        status, _, _ = await gateway.post()

    assert status == 503
    assert len(agent.answered) == 5
