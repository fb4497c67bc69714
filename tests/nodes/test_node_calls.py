"""A node and those who call it: what is refused, what is stopped, what is kept for later, and how it ends."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import numpy as np
import pytest

from disrouter import __version__
from disrouter.agents import ScriptedAgent
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import Signer, Travel
from disrouter.agents.introductions import NodeAddress, ask_node
from disrouter.agents.node import NodeAgent
from disrouter.errors import ConfigError
from disrouter.gateway.app import Settings
from disrouter.network import Network
from disrouter.nodes.server import access_for, require_secret
from disrouter.types import AgentCard, Completion, Look, Query, QueryPrice, Request, Sampling, Scenario, Serving
from disrouter.utility import BALANCE
from gateway.running import running
from nodes.running import PATIENCE, RunningNode, noded

QUERY = Query.from_text("What is 2 + 2?")
SECRET = "a secret that both sides know"


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOP_SECRET", SECRET)
    return "HOP_SECRET"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


class Patient:
    """An agent that answers when it is told to, and says whether it was stopped."""

    def __init__(self, name: str = "a", serving: Serving | None = None) -> None:
        self.card = AgentCard(name=name, price=QueryPrice(cost=0.5), serving=serving or Serving())
        self.go_on = asyncio.Event()
        self.at_work = 0
        self.stopped = 0
        self.deadlines: list[float | None] = []

    async def look(self, query: Query, scenario: Scenario) -> Look:
        return Look(confidence=0.5, accepts=True)

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[str | Completion]:
        request = query.request
        self.deadlines.append(
            None if request is None or request.deadline is None else request.deadline - time.monotonic()
        )
        self.at_work += 1
        try:
            yield "four"
            await self.go_on.wait()
            yield Completion(text="four")
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped += 1
            raise
        finally:
            self.at_work -= 1


async def post(
    http: aiohttp.ClientSession, node: RunningNode, path: str, body: Any, headers: Any = None
) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content-type": "application/json", **(headers or {})}
    async with http.post(f"{node.url}/{path}", data=data, headers=sent) as reply:
        return reply.status, await reply.json(content_type=None)


# What a node says of itself


async def test_a_node_is_a_plain_model_too(http: aiohttp.ClientSession) -> None:
    async with noded(ScriptedAgent("a", reply="four")) as node:
        async with http.get(f"{node.url}/models") as reply:
            names = [model["id"] for model in (await reply.json())["data"]]
        status, body = await post(
            http, node, "chat/completions", {"model": "a", "messages": [{"role": "user", "content": "2 + 2?"}]}
        )
        root = node.url.removesuffix("/v1")
        async with http.get(f"{root}/health") as health, http.get(f"{root}/metrics") as metrics:
            healthy, measured = health.status, await metrics.text()

    assert "a" in names
    assert (status, body["choices"][0]["message"]["content"]) == (200, "four")
    assert healthy == 200
    assert 'disrouter_requests_total{code="200",model="a"' in measured


async def test_a_node_states_its_card() -> None:
    agent = ScriptedAgent("a", cost=0.3, look_share=0.05, context_length=128)
    async with noded(agent, digest="abc") as node:
        about = await asyncio.to_thread(ask_node, NodeAddress(name="a", base_url=node.url))

    assert about.card == agent.card
    assert (about.version, about.digest, about.draining) == (__version__, "abc", False)


# Who may call


async def test_with_a_secret_only_who_signs_is_told_the_card(secret: str, http: aiohttp.ClientSession) -> None:
    async with noded(ScriptedAgent("a"), settings=Settings(hop_secret_env=secret)) as node:
        signed = Signer(lambda: SECRET).headers("agent", b"", Travel())
        replies = []
        for headers in ({}, Signer(lambda: "another").headers("agent", b"", Travel()), signed, signed):
            async with http.get(f"{node.url}/agent", headers=headers) as reply:
                replies.append((reply.status, (await reply.json()).get("error", {}).get("code")))

    assert replies == [(401, "hop_unsigned"), (401, "hop_signature"), (200, None), (401, "hop_replayed")]


async def test_a_network_with_another_secret_is_told_so(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER", "another secret")
    async with noded(ScriptedAgent("a"), settings=Settings(hop_secret_env=secret)) as node:
        agent = node.agent(hop_secret_env="OTHER")
        trace = await Network("n", [agent]).route(QUERY)
        with pytest.raises(FaultError, match="refuses us"):
            await asyncio.to_thread(ask_node, NodeAddress(name="a", base_url=node.url, hop_secret_env="OTHER"))
        await agent.aclose()

    assert trace.answer is None
    assert "do both sides have the same secret?" in str(trace.hops[0].reason)


async def test_who_does_not_know_the_secret_is_no_node_of_ours(secret: str) -> None:
    async with noded(ScriptedAgent("a")) as impostor:
        with pytest.raises(FaultError, match="does not show that it knows the secret"):
            await asyncio.to_thread(ask_node, NodeAddress(name="a", base_url=impostor.url, hop_secret_env=secret))


@pytest.mark.parametrize("skew", [3600.0, -3600.0])
async def test_a_node_whose_clock_is_an_hour_off_answers(secret: str, skew: float) -> None:
    async with noded(ScriptedAgent("a", reply="four"), settings=Settings(hop_secret_env=secret)) as node:
        node.node.gateway._verifier._clock = lambda: time.time() + skew
        agent = node.agent(hop_secret_env=secret)
        traces = [await Network("n", [agent]).route(QUERY) for _ in range(3)]
        about = await asyncio.to_thread(ask_node, NodeAddress(name="a", base_url=node.url, hop_secret_env=secret))
        await agent.aclose()

    assert [trace.answer for trace in traces] == ["four"] * 3
    assert about.card.name == "a"


async def test_without_a_secret_other_machines_may_not_call(http: aiohttp.ClientSession) -> None:
    async with noded(ScriptedAgent("a")) as node:
        travel = node.node.travel
        scope = {"path": "/v1/agent/look", "client": ("203.0.113.7", 1)}
        with pytest.raises(Exception, match="only networks on its own machine"):
            travel(scope, {}, b"")
        travel({**scope, "client": ("127.0.0.1", 1)}, {}, b"")
        travel({**scope, "client": ("::1", 1)}, {}, b"")


def test_a_node_that_others_can_reach_needs_a_secret_and_lets_no_client_in_without_a_key() -> None:
    with pytest.raises(ConfigError, match="there is no secret"):
        require_secret("0.0.0.0", has_secret=False)
    require_secret("0.0.0.0", has_secret=True)
    require_secret("127.0.0.1", has_secret=False)

    assert not access_for("0.0.0.0", None).open
    assert access_for("127.0.0.1", None).open


async def test_a_key_opens_a_node_as_a_plain_model(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_KEY", "sk-of-the-node")
    asked = {"model": "a", "messages": [{"role": "user", "content": "x"}]}
    async with noded(ScriptedAgent("a"), access=access_for("127.0.0.1", "NODE_KEY")) as node:
        without, _ = await post(http, node, "chat/completions", asked)
        having, _ = await post(http, node, "chat/completions", asked, {"authorization": "Bearer sk-of-the-node"})

    assert (without, having) == (401, 200)


# Who is meant


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model_digest": "abc"}, "has another model (xyz) than its card says (abc)"),
        ({"version": "9.9.9"}, f"runs DiSRouter {__version__}, not 9.9.9"),
        ({"card": AgentCard(name="b", price=QueryPrice(cost=0.1))}, "serves agent 'a'"),
    ],
)
async def test_a_node_that_is_another_one_than_expected_refuses(settings: dict[str, Any], said: str) -> None:
    async with noded(ScriptedAgent("a"), digest="xyz") as node:
        agent = node.agent(**settings)
        trace = await Network("n", [agent]).route(QUERY)
        await agent.aclose()

    assert trace.answer is None
    assert said in str(trace.hops[0].reason)


async def test_a_node_with_the_expected_model_and_version_answers() -> None:
    async with noded(ScriptedAgent("a", reply="four"), digest="abc") as node:
        agent = node.agent(model_digest="abc", version=__version__)
        trace = await Network("n", [agent]).route(QUERY)
        await agent.aclose()

    assert trace.answer == "four"


# Who has no room


async def test_an_agent_that_is_full_says_so_at_once() -> None:
    agent = Patient(serving=Serving(concurrency=1, queue=0))
    async with noded(agent) as node:
        first, second = node.agent(), node.agent()
        stream = first.answer(QUERY, BALANCE, None, Sampling())
        assert await anext(stream) == "four"
        with pytest.raises(FaultError) as caught:
            [piece async for piece in second.answer(QUERY, BALANCE, None, Sampling())]
        agent.go_on.set()
        rest = [piece async for piece in stream]
        await first.aclose()
        await second.aclose()

    assert caught.value.kind == "busy"
    assert not caught.value.own
    assert rest == [Completion(text="four")]


# Time


async def test_the_time_that_is_left_is_carried_along_and_kept(secret: str) -> None:
    agent = Patient()
    async with noded(agent, settings=Settings(hop_secret_env=secret)) as node:
        remote = node.agent(hop_secret_env=secret)
        request = Request(body={"messages": []}, streaming=True, deadline=time.monotonic() + 0.3)
        with pytest.raises(FaultError) as caught:
            [piece async for piece in remote.answer(replace(QUERY, request=request), BALANCE, None, Sampling())]
        async with asyncio.timeout(5):
            while agent.at_work:
                await asyncio.sleep(0.005)
        await remote.aclose()

    assert caught.value.kind == "timeout"
    assert agent.deadlines[0] is not None and 0 < agent.deadlines[0] <= 0.3


async def test_a_call_carries_trace_and_way_on(secret: str) -> None:
    seen: list[Request | None] = []

    class Watched(ScriptedAgent):
        async def look(self, query: Query, scenario: Scenario) -> Look:
            seen.append(query.request)
            return await super().look(query, scenario)

    settings = Settings(hop_secret_env=secret)
    async with (
        noded(Watched("a"), settings=settings) as node,
        running(node.agent(hop_secret_env=secret), ScriptedAgent("b", cost=0.9)) as gateway,
    ):
        await gateway.post(max_cost=0.7, max_hops=2)
        (route,) = gateway.kept.routes
        ways = gateway.gateway.id, node.node.gateway.id

    (request,) = seen
    assert request is not None
    assert request.traceparent == f"00-{route.trace_id}-{route.trace_id[:16]}-01"
    assert request.via == ways
    assert (request.max_cost, request.max_hops) == (0.7, 2)


async def test_a_query_that_comes_back_to_a_node_is_refused(secret: str) -> None:
    async with noded(ScriptedAgent("a"), settings=Settings(hop_secret_env=secret)) as node:
        remote = node.agent(hop_secret_env=secret)
        request = Request(body={"messages": []}, via=("elsewhere", node.node.gateway.id))
        with pytest.raises(FaultError) as caught:
            await remote.look(replace(QUERY, request=request), BALANCE)
        await remote.aclose()

    assert caught.value.status == 508


async def test_numbers_of_numpy_travel_like_others() -> None:
    class Numpy(ScriptedAgent):
        async def look(self, query: Query, scenario: Scenario) -> Look:
            return replace(await super().look(query, scenario), confidence=np.float64(1 / 3))

    async with noded(Numpy("a")) as node:
        remote = node.agent()
        look = await remote.look(QUERY, BALANCE)
        await remote.aclose()

    assert look.confidence == 1 / 3


async def test_work_ends_when_the_caller_hangs_up() -> None:
    agent = Patient()
    async with noded(agent) as node:
        remote = node.agent()
        stream = remote.answer(QUERY, BALANCE, None, Sampling())
        assert await anext(stream) == "four"
        await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
        async with asyncio.timeout(5):
            while agent.at_work:
                await asyncio.sleep(0.005)
        await remote.aclose()
        assert node.node.gateway.in_flight == 0

    assert agent.stopped == 1


# Accidents and endings


async def test_an_answer_that_breaks_off_is_no_answer() -> None:
    """A node that dies with its answer half said."""
    agent = Patient()
    async with noded(agent) as node:
        remote, pieces = node.agent(), []
        with pytest.raises(FaultError) as caught:
            async for piece in remote.answer(QUERY, BALANCE, None, Sampling()):
                pieces.append(piece)
                node.server.should_exit = node.server.force_exit = True
        await remote.aclose()

    assert pieces == ["four"]
    assert caught.value.kind == "cut"


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{"confidence": "x"',
        b'HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{"confidence": 9e99}',
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
)
async def test_a_node_that_talks_nonsense_is_a_failure_and_the_query_goes_on(reply: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    node = NodeAgent(AgentCard(name="a", price=QueryPrice(cost=0.1)), base_url=url, patience=PATIENCE)
    trace = await Network("n", [node, ScriptedAgent("last", cost=0.9)]).route(QUERY)
    server.close()
    await server.wait_closed()

    assert [(hop.agent, hop.decision) for hop in trace.hops] == [("a", "failure"), ("last", "answer")]


async def test_a_node_that_ends_takes_no_looks_and_gives_the_answers_it_owes() -> None:
    class Prefilled(ScriptedAgent):
        async def look(self, query: Query, scenario: Scenario) -> Look:
            return replace(await super().look(query, scenario), state=object())

    async with noded(Prefilled("a", reply="four")) as node:
        remote = node.agent()
        look = await remote.look(QUERY, BALANCE)
        node.server.handle_exit(15, None)
        with pytest.raises(FaultError) as caught:
            await remote.look(QUERY, BALANCE)
        await asyncio.sleep(node.server.settle + 0.3)  # it would have ended by now, if nobody were owed anything
        assert not node.served.done()
        pieces = [piece async for piece in remote.answer(QUERY, BALANCE, look, Sampling())]
        await remote.aclose()
        async with asyncio.timeout(5):
            await node.served

    assert (caught.value.kind, caught.value.code, caught.value.own) == ("busy", "draining", False)
    assert isinstance(pieces[-1], Completion)


async def test_a_node_ends_while_queries_come_and_none_is_lost() -> None:
    first, last = ScriptedAgent("first", cost=0.1, delay=0.005), ScriptedAgent("last", cost=0.9)
    async with noded(first) as node:
        remote = node.agent()
        network = Network("n", [remote, last])
        done: list[Any] = []

        async def client(number: int) -> None:
            for i in range(60):
                done.append(await network.route(Query.from_text("x", id=f"{number}-{i}")))

        clients = [asyncio.create_task(client(number)) for number in range(4)]
        while len(done) < 20:
            await asyncio.sleep(0.002)
        node.server.handle_exit(15, None)
        await asyncio.gather(*clients)
        await remote.aclose()

    assert len(done) == 240
    assert all(trace.answer is not None for trace in done)
    assert {trace.agent for trace in done} == {"first", "last"}


def test_a_port_in_use_is_said_to_be(tmp_path: Any) -> None:
    from click.testing import CliRunner

    from disrouter.cli import cli

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(cli, ["agent", "serve", "agent-1", "--port", str(port)])

    assert result.exit_code == 2, result.output
    assert f"Cannot listen at 127.0.0.1:{port}" in result.output
