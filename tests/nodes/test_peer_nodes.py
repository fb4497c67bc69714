from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from disrouter.agents import peering
from disrouter.agents._server import Patience
from disrouter.agents.node import NodeAgent
from disrouter.errors import ConfigError, RunError
from disrouter.evaluation.traces import trace_line
from disrouter.gateway.app import Settings
from disrouter.network import Network
from disrouter.nodes import peer
from disrouter.types import Query, Request, Trace
from gateway.running import running
from nodes.peered import IMPATIENT, peered, with_agents
from test_peers import answering, lab, lines_of, pool, rejecting, steps

QUERY = Query.from_text("what is 2 + 2?", id="q1")

BEATS = 0.1


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Patience:
    """Signs of life come often, and are soon missed; an agent itself may think for long."""
    monkeypatch.setattr(peering, "BEAT", BEATS)
    monkeypatch.setattr(peer, "BEAT", BEATS)
    return replace(IMPATIENT, connect=1.0)


async def idle(peers: Any) -> None:
    """Wait until no node has anything to do."""
    async with asyncio.timeout(10):
        while any(node.gateway.in_flight for node in peers.nodes.values()):
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """Listen, take every connection, and never say anything: a node that is frozen."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for writer in held:
            writer.close()


@contextlib.asynccontextmanager
async def saying(reply: bytes) -> AsyncIterator[str]:
    """Answer every request with the same bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n" + reply)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


async def test_nodes_leave_the_traces_of_one_process_on_250_lab_queries() -> None:
    network, queries = lab()
    scenario = network.scenario

    async with peered(network) as peers:
        found = await lines_of(peers.network, queries[:250], [scenario])

    assert found == await lines_of(network, queries[:250], [scenario])


async def test_what_streams_is_the_same_piece_by_piece() -> None:
    plain = pool(rejecting("small", 0.1), rejecting("middle", 0.4), answering("large", 0.9))

    async with peered(plain) as peers:
        far = [event async for event in peers.network.stream(QUERY)]
    near = [event async for event in plain.stream(QUERY)]

    text = [getattr(event, "text", event) for event in far if not isinstance(event, Trace)]
    assert text == [event for event in near if not isinstance(event, Trace)]
    assert far[-1] == near[-1]


async def test_a_gateway_gives_the_query_away_once_and_its_reply_tells_every_hop() -> None:
    plain = pool(rejecting("small", 0.1), rejecting("middle", 0.4), answering("large", 0.9))

    async with peered(plain) as peers, running(network=peers.network) as gateway:
        status, reply, headers = await gateway.post()
        events = await gateway.events()
        calls = {n: node.calls.at("carry", "done").value for n, node in peers.nodes.items()}
        looks = [node.calls.at("look", "done").value for node in peers.nodes.values()]

    assert status == 200
    assert reply["choices"][0]["message"]["content"] == "large says so"
    assert [hop["agent"] for hop in reply["disrouter"]["hops"]] == ["small", "middle", "large"]
    assert headers["x-disrouter-agent"] == "large"
    assert "".join(events).count("large says so") == 0 and events[-1] == "[DONE]"
    assert calls == {"small": 2, "middle": 2, "large": 2} and looks == [0, 0, 0]


async def test_a_node_that_thinks_for_long_is_not_taken_for_lost(quick: Patience) -> None:
    plain = pool(rejecting("small", 0.1), answering("large", 0.9, delay=0.8))

    async with peered(plain, patience=quick) as peers:
        trace = await peers.network.route(QUERY)

    assert steps(trace) == [("small", "reject", None), ("large", "answer", None)]


async def test_a_node_that_is_frozen_is_passed_over_by_the_node_before_it(quick: Patience) -> None:
    plain = pool(rejecting("small", 0.1), rejecting("middle", 0.4), answering("large", 0.9))

    async with silent() as url, peered(plain, patience=replace(quick, connect=0.5), addresses={"middle": url}) as peers:
        trace = await peers.network.route(QUERY)
        await idle(peers)

    assert steps(trace) == [
        ("small", "reject", None),
        ("middle", "failure", "FaultError: Agent 'middle' took too long."),
        ("large", "answer", None),
    ]


async def test_a_node_that_has_stopped_is_passed_over_and_the_last_one_is_replaced() -> None:
    plain = pool(rejecting("small", 0.1), rejecting("middle", 0.4), answering("large", 0.9))

    async with peered(plain) as peers:
        await peers.network.route(QUERY)  # connections are there, and kept
        await peers.stop("large")
        without_large = await peers.network.route(QUERY)
        await peers.stop("small")
        alone = await peers.network.route(QUERY)

    assert [step[:2] for step in steps(without_large)] == [
        ("small", "reject"), ("middle", "reject"), ("large", "failure"), ("middle", "answer"),
    ]  # fmt: skip
    assert [step[:2] for step in steps(alone)] == [
        ("small", "failure"), ("middle", "reject"), ("large", "failure"), ("middle", "answer"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "reply",
    [b"", b"\n", b"garbage\n", b"[1]\n", b'{"hop": {}}\n', b'{"arrived": {"text": "x"}}\n', b'{"text": 5}\n',
     b'{"fault": {"type": "agent", "message": "the model is gone"}}\n'],
)  # fmt: skip
async def test_a_node_that_answers_garbage_is_a_failure_of_its_agent(reply: bytes) -> None:
    plain = pool(rejecting("small", 0.1), answering("large", 0.9))

    async with saying(reply) as url, peered(plain, addresses={"small": url}) as peers:
        trace = await peers.network.route(QUERY)

    assert [step[:2] for step in steps(trace)] == [("small", "failure"), ("large", "answer")]
    assert trace.answer == "large says so"


async def test_whoever_stops_waiting_stops_the_work_everywhere() -> None:
    plain = pool(rejecting("small", 0.1), rejecting("middle", 0.4), answering("large", 0.9, delay=60.0))

    async with peered(plain) as peers:
        task = asyncio.create_task(peers.network.route(QUERY))
        async with asyncio.timeout(10):
            while not peers.nodes["large"].gateway.in_flight:
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await idle(peers)


async def test_a_deadline_that_passes_on_the_way_ends_the_walk_everywhere() -> None:
    plain = pool(rejecting("small", 0.1), rejecting("middle", 0.4), answering("large", 0.9, delay=60.0))
    request = Request(body={"model": "x", "messages": []}, deadline=time.monotonic() + 0.5)

    async with peered(plain) as peers:
        started = time.monotonic()
        trace = await peers.network.route(replace(QUERY, request=request))
        await idle(peers)

    assert time.monotonic() - started < 10
    assert trace.answer is None or trace.hops[-1].reason == "fallback"
    assert "failure" in [hop.decision for hop in trace.hops]


async def test_a_budget_that_is_used_up_on_the_way_keeps_the_query_where_it_is() -> None:
    from disrouter.limits import Limits

    plain = pool(rejecting("small", 0.1), rejecting("middle", 0.4), answering("large", 0.9))
    async with peered(plain) as peers:
        found = await peers.network.replace(limits=Limits(max_cost=0.6)).route(QUERY)

    assert trace_line(found) == trace_line(await plain.replace(limits=Limits(max_cost=0.6)).route(QUERY))
    assert steps(found)[-1] == ("middle", "answer", "max_cost")


async def test_without_the_secret_no_node_takes_a_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERS_SECRET", "a secret that both sides know")
    plain = pool(rejecting("small", 0.1), answering("large", 0.9))

    async with peered(plain, settings=Settings(hop_secret_env="PEERS_SECRET")) as peers:
        signed = await peers.network.route(QUERY)
        nodes = peers.network.agents.values()
        unsigned = {n.card.name: NodeAgent(n.card, base_url=n.base_url) for n in nodes if isinstance(n, NodeAgent)}
        refused = await with_agents(plain, unsigned).route(QUERY)

    assert steps(signed) == [("small", "reject", None), ("large", "answer", None)]
    assert [step[:2] for step in steps(refused)] == [("small", "failure"), ("large", "failure")]
    assert refused.answer is None


async def test_an_answer_that_breaks_off_far_away_says_so_here() -> None:
    plain = pool(rejecting("small", 0.1), answering("large", 0.9, fails="midway"))

    async with peered(plain) as peers:
        with pytest.raises(RunError, match="'large' broke after its answer had begun"):
            async for _ in peers.network.stream(QUERY):
                pass


def test_a_network_file_says_who_dispatches(tmp_path: Any) -> None:
    import disrouter
    from disrouter.config import load_peer

    path = tmp_path / "net.yaml"
    agent = "{name: agent-1, backend: transformers, model: 'lab:agent-1', price: {cost: 0.1}, self_assessment: head}"
    path.write_text(f"name: n\nagents:\n  - {agent}\n")

    assert disrouter.load(path).dispatch == "caller"
    assert load_peer(path, "agent-1") is None

    path.write_text(path.read_text() + "dispatch: peer\n")

    assert disrouter.load(path).dispatch == "peer"
    assert isinstance(load_peer(path, "agent-1"), Network)

    path.write_text(path.read_text().replace("peer", "gossip"))

    with pytest.raises(ConfigError, match=r"dispatch.*'caller'.*or 'peer'"):
        disrouter.load(path)


def test_a_scripted_agent_is_asked_as_ever_where_there_is_no_host() -> None:
    plain = pool(rejecting("small", 0.1), answering("large", 0.9))

    assert with_agents(plain, plain.agents).ask(QUERY) == plain.ask(QUERY)
