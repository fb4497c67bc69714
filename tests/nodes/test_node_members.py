"""Agents join, leave, rest and change their price while a gateway serves, and no request is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from disrouter.agents import ScriptedAgent
from disrouter.agents.node import NodeAgent
from disrouter.agents.recarded import Recarded, innermost
from disrouter.cli import cli
from disrouter.gateway.app import Settings
from disrouter.gateway.store_keys import create_key
from disrouter.network import Network
from disrouter.types import QueryPrice
from gateway.recorded_routes import control_in
from gateway.running import Running, running
from nodes.running import noded

SECRET = "a secret that both sides know"


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOP_SECRET", SECRET)
    return "HOP_SECRET"


@dataclass
class Administered:
    """A gateway with an administrator."""

    running: Running
    admin: str
    client: str

    async def change(self, key: str | None = None, **body: Any) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {key or self.admin}"}
        status, said, _ = await self.running.post("/admin/agents", body, headers)
        return status, said

    async def listed(self) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.admin}"}
        async with self.running.http.get(self.running.url + "/admin/agents", headers=headers) as reply:
            assert reply.status == 200
            return {one["name"]: one for one in (await reply.json())["data"]}

    async def ask(self, text: str = "x", **fields: Any) -> tuple[int, Any]:
        body = {"model": "disrouter", "messages": [{"role": "user", "content": text}], **fields}
        status, said, _ = await self.running.post(body=body, headers={"authorization": f"Bearer {self.client}"})
        return status, said


@contextlib.asynccontextmanager
async def administered(
    folder: Path, *agents: Any, network: Network | None = None, **options: Any
) -> AsyncIterator[Administered]:
    control = control_in(folder)
    admin, _ = create_key(control.store, "ops", admin=True)
    client, _ = create_key(control.store, "client")
    control.start()
    try:
        async with running(
            *agents,
            network=network,
            access=control.access,
            routes=lambda gateway: control.routes(gateway.state, None, gateway.members),
            **options,
        ) as gateway:
            yield Administered(gateway, admin, client)
    finally:
        await asyncio.to_thread(control.stop)


async def test_an_agent_joins_finds_its_place_by_price_and_leaves_again(tmp_path: Path, secret: str) -> None:
    settings = Settings(hop_secret_env=secret)
    first, last = ScriptedAgent("first", cost=0.1, accepts=False), ScriptedAgent("last", cost=0.9, reply="last")
    between = ScriptedAgent("between", cost=0.5, reply="between")
    async with (
        noded(between, settings=settings) as node,
        administered(tmp_path, first, last, settings=settings) as gateway,
    ):
        before = await gateway.ask()
        joined = await gateway.change(action="join", base_url=node.url)
        during = await gateway.ask()
        listed = await gateway.listed()
        left = await gateway.change(action="leave", name="between")
        after = await gateway.ask()

    assert joined == (200, {"object": "change", "action": "join", "agent": "between"})
    assert left[0] == 200
    assert [said["model"] for _, said in (before, during, after)] == ["last", "between", "last"]
    assert list(listed) == ["first", "between", "last"]
    assert listed["first"]["passes_to"] == ["between"]
    assert listed["between"]["price"] == {"per": "query", "cost": 0.5, "look_share": 0.1}


async def test_the_gateway_says_what_an_agent_costs_when_it_joins(tmp_path: Path) -> None:
    async with (
        noded(ScriptedAgent("new", cost=0.5)) as node,
        administered(tmp_path, ScriptedAgent("old", cost=0.3)) as gateway,
    ):
        await gateway.change(action="join", base_url=node.url, price={"cost": 0.05, "look_share": 0.2})
        listed = await gateway.listed()

    assert list(listed) == ["new", "old"]
    assert listed["new"]["price"] == {"per": "query", "cost": 0.05, "look_share": 0.2}


async def test_a_drained_agent_gets_no_new_queries_finishes_what_it_has_and_resumes(tmp_path: Path) -> None:
    slow, last = ScriptedAgent("slow", cost=0.1, delay=0.3, reply="slow"), ScriptedAgent("last", cost=0.9)
    async with administered(tmp_path, slow, last) as gateway:
        begun = asyncio.create_task(gateway.ask())
        while not slow.looked:
            await asyncio.sleep(0.005)
        drained = await gateway.change(action="drain", name="slow")
        during = await gateway.listed()
        other = await gateway.ask()
        first = await begun
        after = await gateway.listed()
        again = await gateway.change(action="drain", name="slow")
        resumed = await gateway.change(action="resume", name="slow")
        back = await gateway.ask()

    assert drained[0] == again[0] == resumed[0] == 200
    assert (during["slow"]["state"], after["slow"]["state"]) == ("draining", "drained")
    assert [said["model"] for _, said in (first, other, back)] == ["slow", "last", "slow"]


async def test_an_agent_at_another_price_is_the_same_agent_at_another_place(tmp_path: Path) -> None:
    a, b = ScriptedAgent("a", cost=0.1), ScriptedAgent("b", cost=0.9)
    async with administered(tmp_path, a, b) as gateway:
        guard = gateway.running.gateway.service.guards["a"]
        status, _ = await gateway.change(action="reprice", name="a", price={"cost": 0.95})
        _, said = await gateway.ask()
        listed = await gateway.listed()
        same = gateway.running.gateway.service.guards["a"]

    assert status == 200
    assert list(listed) == ["b", "a"]
    assert said["model"] == "b"
    assert same.gate is guard.gate and same.breaker is guard.breaker
    assert innermost(same.agent) is a


async def test_no_request_is_lost_while_agents_come_and_go(tmp_path: Path) -> None:
    last = ScriptedAgent("last", cost=0.9, delay=0.002)
    fast = ScriptedAgent("fast", cost=0.1, delay=0.002)
    async with noded(fast) as node, administered(tmp_path, last) as gateway:
        done: list[int] = []
        models: set[str] = set()
        going = True

        async def client() -> None:
            while going:
                status, said = await gateway.ask()
                done.append(status)
                models.add(said["model"])

        clients = [asyncio.create_task(client()) for _ in range(4)]
        for _ in range(4):
            for change in (
                {"action": "join", "base_url": node.url},
                {"action": "reprice", "name": "fast", "price": {"cost": 0.2}},
                {"action": "drain", "name": "fast"},
                {"action": "resume", "name": "fast"},
                {"action": "leave", "name": "fast"},
            ):
                status, said = await gateway.change(**change)
                assert status == 200, said
                seen = len(done)
                while len(done) < seen + 4:
                    await asyncio.sleep(0.002)
        going = False
        await asyncio.gather(*clients)
        assert not gateway.running.gateway._retired

    assert set(done) == {200}
    assert models == {"fast", "last"}


async def test_connections_of_agents_that_stay_are_kept_and_those_of_who_leaves_are_closed(tmp_path: Path) -> None:
    async with (
        noded(ScriptedAgent("a", cost=0.1, accepts=False)) as one,
        noded(ScriptedAgent("b", cost=0.2)) as two,
        administered(tmp_path, ScriptedAgent("last", cost=0.9)) as gateway,
    ):
        for node in (one, two):
            await gateway.change(action="join", base_url=node.url)
        agents = {name: innermost(guard.agent) for name, guard in gateway.running.gateway.service.guards.items()}
        a, b = agents["a"], agents["b"]
        assert isinstance(a, NodeAgent) and isinstance(b, NodeAgent)
        await gateway.ask()
        channel = a.line._channel
        await gateway.change(action="leave", name="b")
        await gateway.ask()
        async with asyncio.timeout(5):
            while b.line._session is not None:
                await asyncio.sleep(0.005)

        assert a.line._channel is channel is not None


# What is refused


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"action": "join", "base_url": "NODE"}, 409, "There is an agent 'taken' in network 'test' already"),
        ({"action": "join", "base_url": "NODE", "name": "x"}, 409, "serves agent 'taken', not 'x'"),
        ({"action": "join", "base_url": "http://127.0.0.1:9/v1"}, 502, "cannot be reached"),
        ({"action": "join", "base_url": "http://203.0.113.7/v1"}, 409, "no secret is shared"),
        ({"action": "join", "base_url": "file:///etc/passwd"}, 409, "no plain http or https address"),
        ({"action": "join", "base_url": "http://user:pw@127.0.0.1/v1"}, 409, "user name or a password"),
        ({"action": "join"}, 400, "join needs base_url"),
        ({"action": "join", "base_url": "NODE", "price": {"cost": 2}}, 400, "price is not usable"),
        ({"action": "join", "base_url": "NODE", "price": {"cost": True}}, 400, "object of numbers"),
        ({"action": "join", "base_url": "NODE", "hop_secret_env": "HOME"}, 400, "Unknown field 'hop_secret_env'"),
        ({"action": "leave", "name": "nobody"}, 404, "Unknown agent 'nobody'"),
        ({"action": "drain", "name": "nobody"}, 404, "Unknown agent 'nobody'"),
        ({"action": "resume", "name": "taken"}, 404, "Unknown drained agent 'taken'"),
        ({"action": "reprice", "name": "taken"}, 400, "reprice needs price"),
        ({"action": "reprice", "name": "taken", "price": {"input": 1, "output": 1, "unit": 1}}, 409, "per token"),
        ({"action": "destroy"}, 400, "action must be one of"),
        ([], 400, "JSON object"),
    ],
)
async def test_a_change_that_cannot_be_made_changes_nothing_and_says_why(
    body: Any, status: int, said: str, tmp_path: Path
) -> None:
    taken, other = ScriptedAgent("taken", cost=0.1), ScriptedAgent("other", cost=0.9)
    async with noded(taken) as node, administered(tmp_path, taken, other) as gateway:
        if isinstance(body, dict) and body.get("base_url") == "NODE":
            body = {**body, "base_url": node.url}
        headers = {"authorization": f"Bearer {gateway.admin}"}
        found, reply, _ = await gateway.running.post("/admin/agents", body, headers)
        listed = await gateway.listed()

    assert found == status
    assert said in reply["error"]["message"]
    assert list(listed) == ["taken", "other"]


async def test_only_administrators_change_who_is_in_a_network(tmp_path: Path) -> None:
    async with administered(tmp_path, ScriptedAgent("a"), ScriptedAgent("b", cost=0.9)) as gateway:
        client = await gateway.change(gateway.client, action="leave", name="a")
        nobody, _, _ = await gateway.running.post("/admin/agents", {"action": "leave", "name": "a"})

    assert client[0] == 403
    assert nobody == 401


async def test_a_gateway_without_keys_has_no_administrator(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    control.start()
    try:
        async with running(
            ScriptedAgent("a"),
            ScriptedAgent("b", cost=0.9),
            access=control.access,
            routes=lambda gateway: control.routes(gateway.state, None, gateway.members),
        ) as gateway:
            status, _, _ = await gateway.post("/admin/agents", {"action": "leave", "name": "a"})
    finally:
        await asyncio.to_thread(control.stop)

    assert status == 403


async def test_the_only_agent_can_neither_leave_nor_rest(tmp_path: Path) -> None:
    async with administered(tmp_path, ScriptedAgent("only")) as gateway:
        for action in ("leave", "drain"):
            status, said = await gateway.change(action=action, name="only")
            assert status == 409
            assert "'only' is the only agent of network 'test'" in said["error"]["message"]
        assert (await gateway.ask())[0] == 200


async def test_a_node_that_is_ending_cannot_join(tmp_path: Path) -> None:
    async with noded(ScriptedAgent("a")) as node, administered(tmp_path, ScriptedAgent("b")) as gateway:
        node.node.gateway.drain()
        status, said = await gateway.change(action="join", base_url=node.url)

    assert status == 409
    assert "is ending" in said["error"]["message"]


async def test_who_does_not_know_the_secret_cannot_join(tmp_path: Path, secret: str) -> None:
    settings = Settings(hop_secret_env=secret)
    async with (
        noded(ScriptedAgent("impostor")) as node,
        administered(tmp_path, ScriptedAgent("b"), settings=settings) as gateway,
    ):
        status, said = await gateway.change(action="join", base_url=node.url)

    assert status == 502
    assert "does not show that it knows the secret" in said["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_network_whose_only_answering_agent_is_gone_says_who(tmp_path: Path, stream: bool) -> None:
    async with noded(ScriptedAgent("only")) as node:
        agent = node.agent()
    await agent.aclose()
    async with administered(tmp_path, agent) as gateway:
        status, said = await gateway.ask(stream=stream)

    assert (status, said["error"]["code"]) == (503, "agents_gone")
    assert "'only' cannot be reached" in said["error"]["message"]


# Graphs that are no chain by price


def a_graph() -> Network:
    agents = [ScriptedAgent("a", cost=0.5), ScriptedAgent("b", cost=0.1), ScriptedAgent("c", cost=0.9)]
    return Network("graph", agents, {"a": ["b", "c"], "b": ["c"]})


async def test_in_a_graph_of_its_own_edges_a_new_agent_is_told_its_place(tmp_path: Path) -> None:
    async with noded(ScriptedAgent("d", cost=0.2)) as node, administered(tmp_path, network=a_graph()) as gateway:
        nowhere = await gateway.change(action="join", base_url=node.url)
        unknown = await gateway.change(action="join", base_url=node.url, asked_by=["x"])
        status, _ = await gateway.change(action="join", base_url=node.url, asked_by=["b"], passes_to=["c"])
        edges = {name: one["passes_to"] for name, one in (await gateway.listed()).items()}

    assert nowhere[0] == 409
    assert "say whom it is asked by" in nowhere[1]["error"]["message"]
    assert unknown[0] == 404
    assert status == 200
    assert edges == {"a": ["b", "c"], "b": ["d", "c"], "d": ["c"], "c": []}


async def test_who_resumes_stands_where_it_stood(tmp_path: Path) -> None:
    async with administered(tmp_path, network=a_graph()) as gateway:
        await gateway.change(action="drain", name="b")
        during = {name: one["passes_to"] for name, one in (await gateway.listed()).items()}
        await gateway.change(action="resume", name="b")
        after = {name: one["passes_to"] for name, one in (await gateway.listed()).items()}

    assert during == {"a": ["c"], "c": [], "b": []}
    assert after == {"a": ["b", "c"], "b": ["c"], "c": []}


# Reading the file again


async def test_a_reload_says_who_is_in_and_keeps_who_rests_resting(tmp_path: Path) -> None:
    def read() -> Network:
        return Network("file", [ScriptedAgent(name, cost=cost) for name, cost in (("a", 0.1), ("b", 0.5), ("c", 0.9))])

    async with (
        noded(ScriptedAgent("new", cost=0.2)) as node,
        administered(tmp_path, network=read(), read=read) as gateway,
    ):
        await gateway.change(action="join", base_url=node.url)
        await gateway.change(action="reprice", name="b", price={"cost": 0.05})
        await gateway.change(action="drain", name="a")
        await gateway.running.gateway.reload_here()
        listed = await gateway.listed()
        resumed, _ = await gateway.change(action="resume", name="a")
        after = await gateway.listed()

    assert {name: one["state"] for name, one in listed.items()} == {"b": "serving", "c": "serving", "a": "drained"}
    assert listed["b"]["price"]["cost"] == 0.5
    assert resumed == 200
    assert list(after) == ["a", "b", "c"]


def test_an_agent_with_another_card_can_do_all_that_it_could() -> None:
    agent = ScriptedAgent("a", cost=0.1)
    other = Recarded(agent, replace(agent.card, price=QueryPrice(cost=0.7)))

    assert other.card.price == QueryPrice(cost=0.7)
    assert other.looked is agent.looked
    assert not hasattr(other, "aclose")


# The command line


async def test_the_commands_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(cli, ["agent", *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    async with (
        noded(ScriptedAgent("new", cost=0.5)) as node,
        administered(tmp_path, ScriptedAgent("a", cost=0.1), ScriptedAgent("b", cost=0.9)) as gateway,
    ):
        monkeypatch.setenv("DISROUTER_API_KEY", gateway.admin)
        url = ("--url", gateway.running.url)
        joined = json.loads(await asyncio.to_thread(run, "join", node.url, "--cost", "0.3", *url, "--json"))
        await asyncio.to_thread(run, "reprice", "new", "--cost", "0.4", *url)
        await asyncio.to_thread(run, "drain", "a", *url)
        listed = json.loads(await asyncio.to_thread(run, "list", *url, "--json"))
        shown = await asyncio.to_thread(run, "list", *url)
        await asyncio.to_thread(run, "resume", "a", *url)
        await asyncio.to_thread(run, "leave", "new", *url)
        after = await gateway.listed()

    assert joined == {"schema": 1, "action": "join", "agent": "new"}
    states = {one["name"]: (one["state"], one["price"]["cost"]) for one in listed["agents"]}
    assert states == {"new": ("serving", 0.4), "b": ("serving", 0.9), "a": ("drained", 0.1)}
    assert "drained" in shown
    assert list(after) == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["list", "--url", "ftp://x"], 2, "no plain http or https address"),
        (["list", "--url", "http://127.0.0.1:9"], 1, "cannot be reached"),
        (["reprice", "a"], 2, "No price was given"),
        (["reprice", "a", "--input", "1"], 2, "no whole price"),
        (["drain", "a", "--key-env", "NOT_SET"], 2, "NOT_SET is not set"),
        (["serve", "nobody", "--port", "0"], 2, "Unknown agent 'nobody'"),
        (["serve", "agent-1", "--port", "0", "--host", "0.0.0.0"], 2, "there is no secret"),
        (["serve", "agent-1", "--port", "0", "--hop-secret-env", "NOT_SET"], 2, "that variable is not set"),
    ],
)
def test_mistakes_on_the_command_line_are_told(
    arguments: list[str], code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISROUTER_API_KEY", "sk-none")

    result = CliRunner().invoke(cli, ["agent", *arguments])

    assert result.exit_code == code, result.output
    assert said in result.output
