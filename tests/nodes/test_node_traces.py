"""The same query takes the same route whether its agents are in this process or behind nodes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from disrouter.agents import RecordedAgent, ScriptedAgent
from disrouter.agents.recorded import Recording
from disrouter.config import load
from disrouter.errors import AgentError, ContextError
from disrouter.evaluation.suites import suite_of
from disrouter.evaluation.traces import trace_line
from disrouter.network import Limits, Network
from disrouter.policies import policy_of
from disrouter.types import Agent, AgentCard, Query, QueryPrice, Request, Sampling, Trace
from disrouter.utility import SCENARIOS
from gateway.mock_backend import MockBackend
from gateway.running import behind, running
from nodes.running import far, noded
from test_peers import lab, lines_of


async def traces_of(network: Network, queries: Sequence[Query], sampling: Sampling) -> list[Trace]:
    return [await network.route(query, scenario, sampling) for scenario in SCENARIOS for query in queries]


async def test_the_lab_leaves_the_same_traces_through_nodes_on_250_queries() -> None:
    network, queries = lab()  # the outcomes of its five agents, policy and cards as ever

    near = await lines_of(network, queries[:250], [network.scenario])
    async with far(*network.agents.values()) as agents:
        away = await lines_of(
            Network("lab", agents, policy=network.policy, scenario=network.scenario), queries[:250], [network.scenario]
        )

    assert len(near) == 250
    assert away == near


async def test_live_models_leave_the_same_traces_through_nodes() -> None:
    network = load("lab").without("agent-3", "agent-4", "agent-5")
    queries = suite_of("lab").queries("in", seed=7, n=14)
    sampling = Sampling(max_tokens=4)

    near = await traces_of(network, queries, sampling)
    async with far(*network.agents.values()) as agents:
        there = Network("lab", agents, policy=network.policy, limits=network.limits)
        away = await traces_of(there, queries, sampling)

    assert [trace_line(trace) for trace in away] == [trace_line(trace) for trace in near]
    assert {trace.agent for trace in near} == {"agent-1", "agent-2"}


def recorded(name: str, cost: float, accepts: bool) -> RecordedAgent:
    rows = [
        Recording(
            query_id=f"q{i}",
            scenario=scenario,
            confidence=(i * 37 % 101) / 101 if accepts or i % 2 else None,
            accepts=accepts or i % 3 == 0,
            answer=f"answer {i} of {name} ✓",
            prompt_tokens=i,
            answer_tokens=2 * i,
            look_seconds=i / 3e5,
            answer_seconds=i / 7e4,
            failure="its memory is full" if i % 11 == 0 else None,
        )
        for i in range(60)
        for scenario in SCENARIOS
    ]
    return RecordedAgent(AgentCard(name=name, price=QueryPrice(cost=cost)), rows)


@pytest.mark.parametrize("policy", ["own-word", "paper"])
async def test_recorded_agents_that_fail_reject_and_answer_leave_the_same_traces_with_their_seconds(
    policy: str,
) -> None:
    agents: list[Agent] = [recorded("small", 0.1, False), recorded("middle", 0.4, False), recorded("large", 0.9, True)]
    queries = [Query.from_text(f"query {i}", id=f"q{i}") for i in range(62)]  # two of them nobody has recorded

    def network(found: Sequence[Agent]) -> Network:
        return Network("n", found, policy=policy_of(policy), limits=Limits(max_hops=2))

    near = await traces_of(network(agents), queries, Sampling())
    async with far(*agents) as nodes:
        away = await traces_of(network(nodes), queries, Sampling())
        mixed = await traces_of(network([agents[0], nodes[1], agents[2]]), queries, Sampling())

    lines = [trace_line(trace, timings=True) for trace in near]
    assert [trace_line(trace, timings=True) for trace in away] == lines
    assert [trace_line(trace, timings=True) for trace in mixed] == lines
    assert {hop.decision for trace in near for hop in trace.hops} == {"answer", "reject", "failure"}


@pytest.mark.parametrize("fails", ["look", "answer", "midway"])
@pytest.mark.parametrize("error", [AgentError("out of memory"), ContextError("far too long")])
async def test_a_failure_is_the_same_hop(fails: str, error: Exception) -> None:
    broken, last = ScriptedAgent("broken", cost=0.1, fails=fails, error=error), ScriptedAgent("last", cost=0.9)

    near = await Network("n", [broken, last]).route(Query.from_text("x"))
    async with far(broken) as (node,):
        away = await Network("n", [node, last]).route(Query.from_text("x"))

    assert trace_line(away) == trace_line(near)
    assert away.hops[0].reason == f"{type(error).__name__}: {error}"


async def test_one_network_mixes_local_agents_nodes_endpoints_and_networks_elsewhere() -> None:
    queries = [Query.from_text(f"query {i}", id=f"q{i}") for i in range(4)]
    async with (
        MockBackend() as backend,
        noded(ScriptedAgent("second", cost=0.2, accepts=False)) as node,
        running(ScriptedAgent("inside", reply="from a network elsewhere")) as network,
    ):
        remote = behind("remote", network.url + "/v1", 0.9)
        remote.model = "disrouter"
        second = node.agent()
        mixed = Network(
            "mixed",
            [
                ScriptedAgent("first", cost=0.1, accepts=False),
                second,
                behind("third", backend.url, 0.3, self_assessment="text", rejection="I don't know"),
                remote,
            ],
            limits=Limits(max_hops=10),
        )
        backend.rejects = True
        traces = [await mixed.route(query) for query in queries]
        await second.aclose()

    for trace in traces:
        assert [hop.agent for hop in trace.hops] == ["first", "second", "third", "remote"]
        assert trace.answer == "from a network elsewhere"


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_request_reaches_the_model_behind_a_node_with_every_field_and_its_reply_comes_back_whole(
    streaming: bool,
) -> None:
    body = {
        "model": "disrouter",
        "messages": [{"role": "user", "content": "[tool] weather?"}],
        "tools": [{"type": "function", "function": {"name": "weather"}}],
        "unknown_field": {"x": [1, None]},
    }
    query = Query(id="q", messages=(), request=Request(body=body, streaming=streaming))
    async with MockBackend() as backend:
        near = await Network("n", [behind("model", backend.url)]).route(query)
        async with noded(behind("model", backend.url)) as node:
            agent = node.agent()
            away = await Network("n", [agent]).route(query)
            await agent.aclose()

    first, second = (dict(received.body) for received in backend.received)
    assert first == second
    assert first["unknown_field"] == {"x": [1, None]}
    assert near.completion is not None and away.completion is not None
    assert away.answer == near.answer
    if not streaming:
        assert near.completion.body is not None and away.completion.body is not None
        assert away.completion.body["choices"] == near.completion.body["choices"]
