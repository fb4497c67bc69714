"""The channel between a caller and a node: who gets one, what is believed on it, and what becomes of its calls."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
import pytest

from disrouter.agents import ScriptedAgent
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import Signer, Travel
from disrouter.agents.node import NodeAgent
from disrouter.agents.wire import WIRE, Call, call_json
from disrouter.gateway.app import Settings
from disrouter.types import AgentCard, Completion, Look, Query, QueryPrice, Sampling, Scenario
from disrouter.utility import BALANCE
from nodes.channels import channel_to, handshake, refused
from nodes.running import PATIENCE, RunningNode, noded
from nodes.test_node_calls import QUERY, SECRET, Patient

CARD = AgentCard(name="a", price=QueryPrice(cost=0.1))
SIGNED = Settings(hop_secret_env="HOP_SECRET")
LOOK = call_json(Call(agent="a", query=QUERY, scenario=BALANCE))


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOP_SECRET", SECRET)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


@contextlib.asynccontextmanager
async def tampering(
    node: RunningNode, change: Callable[[bytes], bytes], *, first: bool = True
) -> AsyncIterator[tuple[str, list[int]]]:
    """Stand between a caller and a node, and change what the node sends; give the address, and who has come."""
    port, come = int(node.url.split(":")[2].split("/")[0]), [0]

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, how: Callable[[bytes], bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(how(data))
                await writer.drain()
        writer.close()

    async def stand(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        come[0] += 1
        there, back = await asyncio.open_connection("127.0.0.1", port)
        asked = await reader.readuntil(b"\r\n\r\n")
        back.write(asked.replace(b"GET /models/v1/", b"GET /v1/"))
        await asyncio.gather(relay(reader, back, lambda data: data), relay(there, writer, change))

    server = await asyncio.start_server(stand, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/models/v1", come
    finally:
        server.close()


# Who gets one


async def test_only_who_signs_gets_a_channel_and_only_once(http: aiohttp.ClientSession) -> None:
    async with noded(ScriptedAgent("a"), settings=SIGNED) as node:
        signed = handshake(SECRET)
        found = [
            await refused(node, http, headers)
            for headers in (
                {},
                handshake("another"),
                Signer(lambda: SECRET).headers("agent", b"", Travel()),
                handshake(SECRET, time.time() - 3600),
                signed,
                signed,
            )
        ]

    assert found == [
        (401, "hop_unsigned"),
        (401, "hop_signature"),
        (401, "hop_signature"),
        (401, "hop_time"),
        (101, ""),
        (401, "hop_replayed"),
    ]


async def test_a_page_in_a_browser_gets_none(http: aiohttp.ClientSession) -> None:
    async with noded(ScriptedAgent("a")) as node:
        foreign = await refused(node, http, {"origin": "http://evil.example"})
        local = await refused(node, http, {"origin": "http://127.0.0.1:8000"})
        wide = await refused(node, http, {f"x-{i}": "y" * 7000 for i in range(6)})

    assert foreign == local == (403, "foreign_request")
    assert wide[0] in (400, 431)  # the WebSocket library has a bound of its own


async def test_a_caller_says_nothing_to_somebody_who_does_not_know_the_secret() -> None:
    """An impostor who can even answer in the place of a node hears no query."""
    heard: list[Any] = []

    async def impostor(request: aiohttp.web.Request) -> aiohttp.web.WebSocketResponse:
        socket = aiohttp.web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(orjson.dumps({"wire": WIRE, "word": "0" * 24, "proof": "0" * 64}).decode())
        heard.extend([message async for message in socket if message.type is aiohttp.WSMsgType.BINARY])
        return socket

    async with serving(impostor) as url:
        agent = NodeAgent(CARD, base_url=url, hop_secret_env="HOP_SECRET", patience=PATIENCE)
        with pytest.raises(FaultError, match="no proof that it knows the secret") as caught:
            await agent.look(QUERY, BALANCE)

    assert caught.value.kind == "malformed"
    assert heard == []


@contextlib.asynccontextmanager
async def serving(handler: Any) -> AsyncIterator[str]:
    from aiohttp import web

    app = web.Application()
    app.router.add_get("/v1/agent/channel", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("hello", "kind"),
    [
        ("{", "malformed"),
        ("[]", "malformed"),
        (b"bytes", "malformed"),
        ('{"wire": 99, "word": "x", "proof": ""}', "status"),
        (None, "cut"),
    ],
)
async def test_somebody_who_introduces_themself_otherwise_is_no_node(hello: Any, kind: str) -> None:
    async def stranger(request: aiohttp.web.Request) -> aiohttp.web.WebSocketResponse:
        socket = aiohttp.web.WebSocketResponse()
        await socket.prepare(request)
        if isinstance(hello, str):
            await socket.send_str(hello)
        elif hello is not None:
            await socket.send_bytes(hello)
        await socket.close()
        return socket

    async with serving(stranger) as url:
        with pytest.raises(FaultError) as caught:
            await NodeAgent(CARD, base_url=url, patience=replace(PATIENCE, retries=0)).look(QUERY, BALANCE)

    assert caught.value.kind == kind


async def test_nobody_is_followed_elsewhere() -> None:
    async with noded(ScriptedAgent("a")) as node:

        async def elsewhere(_: aiohttp.web.Request) -> aiohttp.web.Response:
            return aiohttp.web.Response(status=307, headers={"location": f"{node.url}/agent/channel"})

        async with serving(elsewhere) as url:
            with pytest.raises(FaultError, match="HTTP 307") as caught:
                await NodeAgent(CARD, base_url=url, patience=PATIENCE).look(QUERY, BALANCE)

    assert caught.value.kind == "status"


# What is believed


async def test_frames_that_are_not_sealed_or_come_again_end_the_channel_and_ask_nothing(
    http: aiohttp.ClientSession,
) -> None:
    agent = Patient()
    async with noded(agent, settings=SIGNED) as node:
        codes = []
        for kind in ("unsealed", "another key", "again", "text"):
            async with channel_to(node, http, secret=SECRET) as channel:
                frame = orjson.dumps([{"id": 1, "call": "answer", "travel": {}, "body": LOOK}])
                if kind == "unsealed":
                    await channel.socket.send_bytes(frame)
                elif kind == "another key":
                    await channel.socket.send_bytes(replace(channel.seals.calls, key=b"x" * 32).sealed(frame))
                elif kind == "text":
                    await channel.socket.send_str(frame.decode())
                else:
                    sealed = channel.seals.calls.sealed(orjson.dumps([{"id": 1, "call": "cancel"}]))
                    await channel.socket.send_bytes(sealed)
                    await channel.socket.send_bytes(sealed)
                codes.append(await channel.heard())

    assert codes == [1008] * 4
    assert agent.deadlines == []  # it was never asked


async def test_a_reply_that_was_changed_on_its_way_is_not_believed() -> None:
    async with (
        noded(ScriptedAgent("a", confidence=0.5), settings=SIGNED) as node,
        tampering(node, lambda data: data.replace(b'"confidence":0.5', b'"confidence":0.9')) as (url, _),
    ):
        agent = NodeAgent(CARD, base_url=url, hop_secret_env="HOP_SECRET", patience=PATIENCE)
        with pytest.raises(FaultError, match="cannot be believed") as caught:
            await agent.look(QUERY, BALANCE)

    assert caught.value.kind == "malformed"


async def test_a_node_behind_a_prefix_is_reached() -> None:
    async with (
        noded(ScriptedAgent("a", reply="four"), settings=SIGNED) as node,
        tampering(node, lambda data: data) as (url, come),
    ):
        agent = NodeAgent(CARD, base_url=url, hop_secret_env="HOP_SECRET", patience=PATIENCE)
        agent.open()
        looks = await asyncio.gather(*(agent.look(QUERY, BALANCE) for _ in range(40)))
        await agent.aclose()

    assert len(looks) == 40
    assert come == [1]  # all over one connection


# What becomes of calls


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "wire_version"),
        ({"wire": WIRE + 1}, "wire_version"),
        ({"wire": WIRE, "agent": "b"}, "wrong_agent"),
        ({"wire": WIRE, "agent": "a"}, "invalid_call"),
        ({**LOOK, "scenario": None}, "invalid_call"),
        ({**LOOK, "look": []}, "invalid_call"),
        ([], "invalid_call"),
        (None, "invalid_call"),
    ],
)
@pytest.mark.parametrize("call", ["look", "answer"])
async def test_a_call_that_makes_no_sense_is_refused_and_the_channel_stays(
    call: str, body: Any, code: str, http: aiohttp.ClientSession
) -> None:
    async with noded(ScriptedAgent("a")) as node, channel_to(node, http) as channel:
        found = await channel.call(call, body)
        good = await channel.call("look", LOOK, number=2)

    assert found["fault"]["code"] == code
    assert good == {"id": 2, "last": {"confidence": 1.0, "accepts": None, "usage": [5, 0], "seconds": 0.0}}


@pytest.mark.parametrize(
    "travel", [None, [], {"left": "soon"}, {"hops": -1}, {"cost": True}, {"via": 1}, {"trace": {}}]
)
async def test_what_cannot_be_carried_along_is_refused(travel: Any, http: aiohttp.ClientSession) -> None:
    async with noded(ScriptedAgent("a")) as node, channel_to(node, http) as channel:
        found = await channel.call("look", LOOK, travel=travel)

    assert found["fault"]["code"] == "invalid_call"


@pytest.mark.parametrize("frame", [b"", b"{", b"{}", b"[1]", b'[{"id": -1}]', b"\xff", b"[" * 100_000])
async def test_a_frame_that_is_no_list_of_messages_ends_the_channel(frame: bytes, http: aiohttp.ClientSession) -> None:
    async with noded(ScriptedAgent("a")) as node:
        async with channel_to(node, http) as channel:
            await channel.socket.send_bytes(frame)
            code = await channel.heard()
        async with channel_to(node, http) as channel:
            alive = await channel.call("look", LOOK)

    assert code == 1008
    assert "last" in alive


async def test_unknown_calls_and_numbers_that_are_taken_are_refused(http: aiohttp.ClientSession) -> None:
    async with noded(Patient()) as node, channel_to(node, http) as channel:
        unknown = await channel.call("sing", {})
        begun = await channel.call("answer", LOOK, number=7)
        taken = await channel.call("look", LOOK, number=7)

    assert unknown["fault"]["code"] == "unknown_call"
    assert begun == {"id": 7, "said": {"text": "four"}}
    assert taken == 1008


@pytest.mark.parametrize("tickets", [None, "abc", [1], ["x"] * 1001])
async def test_looks_that_make_no_sense_are_not_let_go_of(tickets: Any, http: aiohttp.ClientSession) -> None:
    body = {"wire": WIRE, "agent": "a", "tickets": tickets}
    async with noded(ScriptedAgent("a")) as node, channel_to(node, http) as channel:
        found = await channel.call("release", body)
        unknown = await channel.call("release", {**body, "tickets": ["never held"]}, number=2)

    assert found["fault"]["code"] == "invalid_call"
    assert unknown == {"id": 2, "last": {}}


async def test_a_call_that_is_too_large_is_refused_and_the_channel_stays(http: aiohttp.ClientSession) -> None:
    async with (
        noded(ScriptedAgent("a"), settings=Settings(largest_body=1000)) as node,
        channel_to(node, http) as channel,
    ):
        large = await channel.call("look", {**LOOK, "more": " " * 2000})
        good = await channel.call("look", LOOK, number=2)

    assert (large["fault"]["code"], large["fault"]["kind"]) == ("request_too_large", "request")
    assert "last" in good


async def test_more_calls_than_a_node_takes_are_turned_away(http: aiohttp.ClientSession) -> None:
    async with (
        noded(ScriptedAgent("a"), settings=Settings(most_in_flight=0)) as node,
        channel_to(node, http) as channel,
    ):
        found = await channel.call("look", LOOK)

    assert (found["fault"]["code"], found["fault"]["kind"], found["fault"]["own"]) == ("overloaded", "busy", False)


async def test_one_call_is_cancelled_and_the_others_go_on() -> None:
    agent = Patient()
    async with noded(agent) as node:
        remote = node.agent()
        streams = [remote.answer(QUERY, BALANCE, None, Sampling()) for _ in range(3)]
        assert [await anext(stream) for stream in streams] == ["four"] * 3
        await streams[0].aclose()  # type: ignore[attr-defined]  # it is a generator
        async with asyncio.timeout(5):
            while agent.at_work > 2:
                await asyncio.sleep(0.005)
        agent.go_on.set()
        rest = [[piece async for piece in stream] for stream in streams[1:]]
        await remote.aclose()

    assert rest == [[Completion(text="four")]] * 2
    assert agent.stopped == 1


async def test_calls_on_a_channel_that_breaks_fail_and_the_next_one_opens_another() -> None:
    agent = Patient()
    async with noded(agent) as node:
        remote = node.agent()
        stream = remote.answer(QUERY, BALANCE, None, Sampling())
        assert await anext(stream) == "four"
        for connection in list(node.server.server_state.connections):
            connection.transport.abort()
        with pytest.raises(FaultError) as caught:
            await anext(stream)
        look = await remote.look(QUERY, BALANCE)
        await remote.aclose()

    assert caught.value.kind == "cut"
    assert look.confidence == 0.5


async def test_a_channel_that_has_gone_silent_is_not_used_again() -> None:
    """A partition: what is sent arrives nowhere, and nobody says so."""
    silent = asyncio.Event()

    def swallow(data: bytes) -> bytes:
        return b"" if silent.is_set() else data

    async with noded(ScriptedAgent("a")) as node, tampering(node, swallow) as (url, come):
        agent = NodeAgent(CARD, base_url=url, patience=replace(PATIENCE, first_token=0.2, retries=0))
        agent.open()
        await agent.look(QUERY, BALANCE)
        silent.set()
        with pytest.raises(FaultError) as caught:
            await agent.look(QUERY, BALANCE)
        silent.clear()
        look = await agent.look(QUERY, BALANCE)
        await agent.aclose()

    assert caught.value.kind == "timeout"
    assert look.confidence == 1.0
    assert come == [2]


async def test_a_thoughtful_agent_costs_no_channel_while_others_are_heard() -> None:
    class Slow(ScriptedAgent):
        async def look(self, query: Query, scenario: Scenario) -> Look:
            if query.id == "slow":
                await asyncio.sleep(60)
            return await super().look(query, scenario)

    async with noded(Slow("a")) as node, tampering(node, lambda data: data) as (url, come):
        agent = NodeAgent(CARD, base_url=url, patience=replace(PATIENCE, first_token=0.3))
        agent.open()
        slow = asyncio.create_task(agent.look(Query.from_text("x", id="slow"), BALANCE))
        while not slow.done():
            await agent.look(QUERY, BALANCE)
        with pytest.raises(FaultError):
            await slow
        await agent.look(QUERY, BALANCE)
        await agent.aclose()

    assert come == [1]


async def test_pieces_that_are_there_at_once_share_a_frame_and_arrive_in_order() -> None:
    words = " ".join(str(number) for number in range(2000))
    async with noded(ScriptedAgent("a", reply=words)) as node:
        remote = node.agent()
        pieces = [piece async for piece in remote.answer(QUERY, BALANCE, None, Sampling())]
        await remote.aclose()

    assert "".join(piece for piece in pieces if isinstance(piece, str)) == words


async def test_a_node_that_cannot_be_reached_or_is_none_says_so() -> None:
    async def other(_: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(status=404, text="nothing here")

    async with serving(other) as url:
        with pytest.raises(FaultError, match=r"takes no channel \(HTTP 404\)") as caught:
            await NodeAgent(CARD, base_url=url, patience=PATIENCE).look(QUERY, BALANCE)
    with pytest.raises(FaultError) as gone:
        await NodeAgent(CARD, base_url=url, patience=PATIENCE).look(QUERY, BALANCE)

    assert (caught.value.kind, caught.value.status) == ("status", 404)
    assert gone.value.kind == "connect"
