"""Network files whose agents live elsewhere: what they say, what the nodes say, and what does not go together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from disrouter import __version__
from disrouter.agents import ScriptedAgent, TransformersAgent
from disrouter.agents.node import NodeAgent
from disrouter.agents.recarded import Recarded
from disrouter.config import digest_of, load, load_agent, names_here
from disrouter.errors import ConfigError, UnknownNameError
from disrouter.network import Network
from disrouter.types import Query, QueryPrice, TokenPrice
from nodes.running import noded

GONE = "http://127.0.0.1:9/v1"


async def loaded(folder: Path, text: str, **options: Any) -> Network:
    path = folder / "network.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    return await asyncio.to_thread(load, path, **options)


async def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        await loaded(folder, text)
    return [line.strip() for line in str(error.value).splitlines()[1:]]


async def test_what_the_file_does_not_say_the_node_says(tmp_path: Path) -> None:
    agent = ScriptedAgent("a", cost=0.3, look_share=0.05, context_length=128)
    async with noded(agent, digest="abc") as node:
        network = await loaded(tmp_path, f"name: n\nagents:\n  - {{name: a, backend: node, base_url: '{node.url}'}}\n")
        trace = await network.route(Query.from_text("x"))

    far = network.agents["a"]
    assert isinstance(far, NodeAgent)
    assert (far.card.price, far.card.context_length) == (agent.card.price, 128)
    assert far.model_digest == "abc"
    assert trace.answer is not None


async def test_the_price_of_the_file_goes_before_that_of_the_node(tmp_path: Path) -> None:
    text = """
        name: n
        cost_unit: 0.01
        agents:
          - {name: a, backend: node, base_url: URL, price: {input: 1, output: 2}, context_length: 64}
    """
    async with noded(ScriptedAgent("a", cost=0.3, context_length=128)) as node:
        network = await loaded(tmp_path, text.replace("URL", node.url))

    assert network.agents["a"].card.price == TokenPrice(input=1, output=2, unit=0.01)
    assert network.agents["a"].card.context_length == 64


async def test_the_card_of_a_node_tells_policies_what_its_agent_solves(tmp_path: Path) -> None:
    lab = await asyncio.to_thread(load, "lab")
    text = "name: n\npolicy: value-of-forwarding\nagents:\n  - {name: agent-1, backend: node, base_url: URL}\n"
    text += "  - {name: agent-3, backend: transformers, model: 'lab:agent-3', price: {cost: 0.4}}\n"
    async with noded(lab.agents["agent-1"]) as node:
        network = await loaded(tmp_path, text.replace("URL", node.url))

    assert network.agents["agent-1"].card.competence == lab.agents["agent-1"].card.competence


async def test_a_node_that_is_down_is_no_harm_where_the_file_gives_a_price(tmp_path: Path) -> None:
    text = f"name: n\nagents:\n  - {{name: a, backend: node, base_url: '{GONE}', price: {{cost: 0.1}}}}\n"

    network = await loaded(tmp_path, text)
    trace = await network.route(Query.from_text("x"))

    assert trace.hops[0].reason == "FaultError: Agent 'a' cannot be reached."


async def test_it_answers_as_soon_as_it_can_be_reached(tmp_path: Path) -> None:
    agent = ScriptedAgent("a", reply="here I am")
    async with noded(agent) as node:
        url = node.url
    network = await loaded(
        tmp_path, f"name: n\nagents:\n  - {{name: a, backend: node, base_url: '{url}', price: {{cost: 0.1}}}}\n"
    )
    before = await network.route(Query.from_text("x"))
    async with noded(agent) as again:
        far = network.agents["a"]
        assert isinstance(far, NodeAgent)
        far.server.base_url = again.url  # the old port may be somebody else's by now
        after = await network.route(Query.from_text("x"))

    assert (before.answer, after.answer) == (None, "here I am")


async def test_without_a_price_a_node_must_be_there(tmp_path: Path) -> None:
    found = await problems(tmp_path, f"name: n\nagents:\n  - {{name: a, backend: node, base_url: '{GONE}'}}\n")

    assert found == [
        "agents[0].base_url: The node of agent 'a' cannot be reached; start it, or give its price here",
    ]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("name: b, backend: node, base_url: URL", "base_url: the node there serves agent 'a', not 'b'"),
        ("name: a, backend: node, base_url: URL, model_digest: xyz", "base_url: its model is abc, and xyz is expected"),
        ("name: a, backend: node, base_url: URL, version: 9.9.9", f"it runs DiSRouter {__version__}, and 9.9.9"),
        ("name: a, backend: node", "base_url: missing"),
        ("name: a, backend: node, base_url: 'http://203.0.113.7/v1'", "no secret is shared with it"),
        ("name: a, backend: node, base_url: URL, hop_secret_env: NOT_SET", "that variable is not set"),
        ("name: a, backend: node, base_url: URL, model: x", "model: does not go with the backend 'node'"),
        ("name: a, backend: node, base_url: URL, api_key_env: K", "api_key_env: does not go with the backend 'node'"),
        ("name: a, backend: node, base_url: URL, node: URL", "node: does not go with the backend 'node'"),
        ("name: a, backend: node, base_url: OTHER", "answers, but is no node of DiSRouter"),
        ("name: a, backend: transformers, model: 'lab:agent-1', price: {cost: 0.1}, version: 'x'", "'node' only"),
    ],
)
async def test_an_entry_that_does_not_go_with_its_node_is_told(entry: str, problem: str, tmp_path: Path) -> None:
    async def no_node(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    other = await asyncio.start_server(no_node, "127.0.0.1", 0)
    async with noded(ScriptedAgent("a"), digest="abc") as node:
        address = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}/v1"
        entry = entry.replace("URL", f"'{node.url}'").replace("OTHER", f"'{address}'")
        found = await problems(tmp_path, f"name: n\nagents:\n  - {{{entry}}}\n")
    other.close()
    await other.wait_closed()

    assert any(problem in line for line in found), found


async def test_a_node_that_is_down_may_not_hide_another_one_at_the_same_address(tmp_path: Path) -> None:
    entries = "".join(
        f"  - {{name: {name}, backend: node, base_url: '{GONE}', price: {{cost: {cost}}}}}\n"
        for name, cost in (("a", 0.1), ("b", 0.2))
    )

    found = await problems(tmp_path, f"name: n\nagents:\n{entries}")

    assert found == ["agents[1].base_url: agent 'a' is said to live there, too; a node serves one agent"]


async def test_a_card_that_was_measured_on_another_model_is_refused(tmp_path: Path) -> None:
    lab = await asyncio.to_thread(load, "lab")
    one = lab.agents["agent-1"]
    assert isinstance(one, TransformersAgent)
    entry = f"name: agent-1, backend: node, base_url: URL, card: '{one.model_path}/agent-card.json'"
    async with noded(one, digest="of other weights") as node:
        found = await problems(tmp_path, f"name: n\nagents:\n  - {{{entry.replace('URL', node.url)}}}\n")

    said = f"it was measured on model {digest_of(one)}, and the node has of other weights; measure it again"
    assert found == [f"agents[0].card: {said}"]


# One file for every host


SHARED = """
    name: n
    agents:
      - {name: agent-1, backend: transformers, model: 'lab:agent-1', node: 'URL', price: {cost: 0.2}}
      - {name: elsewhere, backend: transformers, model: not/on/this/machine, node: 'GONE', price: {cost: 0.5}}
"""


async def test_one_file_does_for_gateway_and_nodes(tmp_path: Path) -> None:
    text = SHARED.replace("URL", GONE.replace("9", "10")).replace("GONE", GONE)

    everywhere = await loaded(tmp_path, text)
    at_home = await loaded(tmp_path, text, here="agent-1")
    alone = load_agent(tmp_path / "network.yaml", "agent-1")

    assert [type(agent) for agent in everywhere.agents.values()] == [NodeAgent, NodeAgent]
    assert [type(agent) for agent in at_home.agents.values()] == [TransformersAgent, NodeAgent]
    assert isinstance(alone, TransformersAgent)
    assert alone.card.price == QueryPrice(cost=0.2)
    assert everywhere.agents["agent-1"].card.competence == alone.card.competence
    assert names_here(tmp_path / "network.yaml") == []
    assert digest_of(alone) == everywhere.agents["agent-1"].model_digest  # type: ignore[attr-defined]  # a node


async def test_nobody_serves_an_agent_that_lives_elsewhere_or_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(f"name: n\nagents:\n  - {{name: a, backend: node, base_url: '{GONE}', price: {{cost: 0.1}}}}\n")

    with pytest.raises(ConfigError, match="is behind a node already"):
        load_agent(path, "a")
    with pytest.raises(UnknownNameError, match="Unknown agent 'b'"):
        load_agent(path, "b")
    with pytest.raises(UnknownNameError, match="Unknown agent 'b'"):
        load(path, here="b")


async def test_nodes_that_were_started_for_a_file_are_put_into_it(tmp_path: Path) -> None:
    lab = await asyncio.to_thread(load, "lab")
    async with noded(lab.agents["agent-1"]) as node:
        network = await asyncio.to_thread(load, "lab", nodes={"agent-1": node.url})

    kinds = {name: type(agent) for name, agent in network.agents.items()}
    assert kinds["agent-1"] is NodeAgent
    assert kinds["agent-2"] is TransformersAgent
    assert network.agents["agent-1"].card.competence == lab.agents["agent-1"].card.competence
    assert names_here("lab") == ["agent-1", "agent-2", "agent-3", "agent-4", "agent-5"]


def test_an_agent_taken_by_another_card_still_has_its_model() -> None:
    agent = load("lab").agents["agent-1"]

    assert digest_of(Recarded(agent, replace(agent.card, price=QueryPrice(cost=1.0)))) == digest_of(agent)


def test_the_example_of_several_hosts_is_one_file_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    example = Path(__file__).parents[2] / "examples" / "nodes" / "hosts.yaml"
    monkeypatch.setenv("SECRET", "of this test")

    here = load_agent(example, "small")

    assert isinstance(here, TransformersAgent)
    assert names_here(example) == []
