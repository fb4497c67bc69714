"""Peer to peer: hosts pass queries on among themselves, and nothing else is different."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import disrouter
from disrouter.agents import ScriptedAgent
from disrouter.agents.baton import baton_from, baton_json, broken_json, carried_from, carried_json
from disrouter.agents.carrying import Variants, carry_on
from disrouter.agents.faults import FaultError
from disrouter.agents.recorded import RecordedAgent
from disrouter.agents.wire import WIRE
from disrouter.config.parts import recordings_of
from disrouter.errors import AgentError, RunError
from disrouter.evaluation.traces import trace_line
from disrouter.network import Limits, Network
from disrouter.peers import Carried, Leg
from disrouter.policies import Pass, Recall, Threshold, Verdict, View
from disrouter.types import Agent, AgentCard, Completion, Delta, Hop, Look, Query, Sampling, Scenario, Trace
from disrouter.utility import SCENARIOS
from nodes.peered import with_agents

TABLE = Path(__file__).parent / "data" / "lab-in-7.parquet"
"""`python benchmarks/lab_tables.py --domain in --seed 7 --queries 420`: what the lab's agents make of 420 queries."""

QUERY = Query.from_text("what is 2 + 2?", id="q1")


@dataclass
class Hosts:
    """Hosts without sockets: what they tell each other goes through JSON all the same."""

    networks: dict[str, Variants] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Whose host cannot be reached."""
    lost_after: dict[str, int] = field(default_factory=dict)
    """After how many lines a host falls silent for good."""
    batons: list[dict[str, Any]] = field(default_factory=list)

    def host(self, network: Network, **differing: Network) -> Network:
        """Give every agent of a network a host of its own, and return the network as everybody else sees it."""
        peers = {name: Peer(agent.card, agent, self) for name, agent in network.agents.items()}
        for name, agent in network.agents.items():
            seen = differing.get(name, network)
            agents = {**{n: peers[n] for n in seen.agents}, name: agent}
            self.networks[name] = Variants(with_agents(seen, agents))
        return with_agents(network, peers)


class Peer:
    """An agent at its host; asked directly it answers, and it carries walks on."""

    def __init__(self, card: AgentCard, agent: Agent, hosts: Hosts) -> None:
        self.card = card
        self._agent = agent
        self._hosts = hosts

    def _require_there(self) -> None:
        if self.card.name in self._hosts.gone:
            raise FaultError(f"Agent '{self.card.name}' cannot be reached.", kind="connect")

    async def look(self, query: Query, scenario: Scenario) -> Look:
        raise AssertionError("peer to peer, hosts look for themselves")

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncGenerator[str | Delta | Completion, None]:
        self._require_there()
        async for piece in self._agent.answer(query, scenario, look, sampling):
            yield piece

    async def carry(self, leg: Leg) -> AsyncGenerator[Carried, None]:
        self._require_there()
        name = self.card.name
        self._hosts.batons.append(json.loads(json.dumps(baton_json(leg))))
        variants = self._hosts.networks[name]
        left = self._hosts.lost_after.get(name, 10**6)
        async with aclosing(lines(variants, self._hosts.batons[-1], name)) as said:
            async for line in said:
                if left == 0:
                    break
                left -= 1
                yield carried_from(json.loads(line), name)
        if left == 0:
            raise FaultError(f"Agent '{name}' closed the connection.", kind="cut")


async def lines(variants: Variants, baton: dict[str, Any], here: str) -> AsyncGenerator[str, None]:
    try:
        async with aclosing(carry_on(variants, baton_from(baton, policy=variants.network.policy), here=here)) as events:
            async for event in events:
                yield json.dumps(carried_json(event))
    except Exception as error:
        yield json.dumps(broken_json(error))


def pool(*agents: Agent, **options: Any) -> Network:
    return Network("pool", agents, **options)


def rejecting(name: str, cost: float, **script: Any) -> ScriptedAgent:
    return ScriptedAgent(name, cost=cost, confidence=0.2, reply=f"{name} says so", **script)


def answering(name: str, cost: float, **script: Any) -> ScriptedAgent:
    return ScriptedAgent(name, cost=cost, confidence=0.9, reply=f"{name} says so", **script)


def steps(trace: Trace) -> list[tuple[str, str, str | None]]:
    return [(hop.agent, hop.decision, hop.reason) for hop in trace.hops]


async def events_of(network: Network, query: Query = QUERY) -> list[str | Delta | Hop | Trace]:
    async with aclosing(network.stream(query)) as events:
        return [event async for event in events]


async def lines_of(network: Network, queries: Iterable[Query], scenarios: Iterable[Scenario]) -> list[str]:
    return [
        trace_line(await network.route(query, scenario), timings=True) for scenario in scenarios for query in queries
    ]


def lab() -> tuple[Network, list[Query]]:
    """The lab's network, its agents saying again what they said, and the queries they said it to."""
    loaded = disrouter.load("lab")
    recorded = {name: recordings_of(TABLE, name) for name in loaded.agents}
    agents = {name: RecordedAgent(agent.card, recorded[name]) for name, agent in loaded.agents.items()}
    ids = [recording.query_id for recording in recorded["agent-1"]]
    return Network("lab", agents, loaded.edges, policy=loaded.policy), [Query.from_text("?", id=i) for i in ids]


# Deciding


async def test_420_lab_queries_leave_the_traces_that_they_leave_where_the_caller_dispatches() -> None:
    network, queries = lab()
    hosts = Hosts()
    peers = hosts.host(network)

    expected = await lines_of(network, queries, SCENARIOS.values())
    found = await lines_of(peers, queries, SCENARIOS.values())

    assert found == expected
    assert len(found) == 3 * 420
    assert any('"recall"' in line for line in found)


@pytest.mark.parametrize("limits", [Limits(max_hops=2), Limits(max_cost=0.7)], ids=["hops", "cost"])
async def test_limits_hold_along_the_whole_way(limits: Limits) -> None:
    network, queries = lab()
    limited = network.replace(limits=limits)
    hosts = Hosts()
    peers = hosts.host(network).replace(limits=limits)  # the hosts learn of them from the baton alone

    expected = await lines_of(limited, queries[:150], SCENARIOS.values())

    assert await lines_of(peers, queries[:150], SCENARIOS.values()) == expected
    assert any("max_" in line for line in expected)


async def test_the_policy_a_caller_chooses_travels_along() -> None:
    network, queries = lab()
    peers = Hosts().host(network).replace(policy=Threshold(0.8))

    found = await lines_of(peers, queries[:60], SCENARIOS.values())

    assert found == await lines_of(network.replace(policy=Threshold(0.8)), queries[:60], SCENARIOS.values())


async def test_hosts_leave_out_whoever_the_caller_does_not_know() -> None:
    plain = pool(rejecting("small", 0.1), rejecting("middle", 0.4), answering("large", 0.9))
    drained = Hosts().host(plain).without("middle")

    trace = await drained.route(QUERY)

    assert trace_line(trace) == trace_line(await plain.without("middle").route(QUERY))
    assert steps(trace) == [("small", "reject", None), ("large", "answer", None)]


async def test_a_baton_holds_no_reference_answer() -> None:
    hosts = Hosts()
    network = hosts.host(pool(rejecting("small", 0.1), answering("large", 0.9)))

    await network.route(replace(QUERY, reference="the right answer"))

    assert len(hosts.batons) == 2
    assert "the right answer" not in json.dumps(hosts.batons)


async def test_pieces_come_back_along_the_chain_as_they_are_written() -> None:
    plain = pool(rejecting("small", 0.1), rejecting("middle", 0.4), answering("large", 0.9))

    assert await events_of(Hosts().host(plain)) == await events_of(plain)


# Breaking


@pytest.mark.parametrize("fails", ["look", "answer"])
@pytest.mark.parametrize("broken", ["small", "middle", "large"])
async def test_an_agent_that_breaks_is_passed_over_as_where_the_caller_dispatches(broken: str, fails: str) -> None:
    def network() -> Network:
        unsure = broken if fails == "look" else ""
        return pool(
            *(
                (rejecting if name != broken or unsure else answering)(
                    name, cost, **({"fails": fails} if name == broken else {})
                )
                for name, cost in (("small", 0.1), ("middle", 0.4), ("large", 0.9))
            )
        )

    found = await Hosts().host(network()).route(QUERY)

    assert trace_line(found) == trace_line(await network().route(QUERY))
    assert ("failure" in [hop.decision for hop in found.hops]) and found.answer is not None


@pytest.mark.parametrize("gone", ["small", "middle", "large"])
async def test_a_host_that_is_gone_is_a_failure_of_its_agent(gone: str) -> None:
    hosts = Hosts(gone={gone})
    network = hosts.host(pool(rejecting("small", 0.1), rejecting("middle", 0.4), answering("large", 0.9)))

    trace = await network.route(QUERY)

    assert (gone, "failure", f"FaultError: Agent '{gone}' cannot be reached.") in steps(trace)
    assert trace.agent == ("middle" if gone == "large" else "large")
    assert steps(trace)[-1][2] == ("fallback" if gone == "large" else None)


async def test_nobody_there_ends_the_walk_without_an_answer() -> None:
    hosts = Hosts(gone={"small", "large"})
    network = hosts.host(pool(rejecting("small", 0.1), answering("large", 0.9)))

    trace = await network.route(QUERY)

    assert [step[:2] for step in steps(trace)] == [("small", "failure"), ("large", "failure")]
    assert trace.answer is None


async def test_a_host_lost_after_passing_on_is_not_missed() -> None:
    hosts = Hosts(lost_after={"small": 1})  # it says that it rejects, and is never heard of again
    plain = pool(rejecting("small", 0.1), rejecting("middle", 0.4), answering("large", 0.9))

    trace = await hosts.host(plain).route(QUERY)

    assert trace_line(trace) == trace_line(await plain.route(QUERY))
    assert [baton["at"] for baton in hosts.batons] == ["small", "middle", "middle", "large"]


async def test_a_host_lost_while_its_agent_thinks_is_a_failure_of_that_agent() -> None:
    hosts = Hosts(lost_after={"middle": 0})
    network = hosts.host(pool(rejecting("small", 0.1), rejecting("middle", 0.4), answering("large", 0.9)))

    trace = await network.route(QUERY)

    assert steps(trace) == [
        ("small", "reject", None),
        ("middle", "failure", "FaultError: Agent 'middle' closed the connection."),
        ("large", "answer", None),
    ]


async def test_a_host_lost_in_the_middle_of_its_answer_cuts_what_streams_and_is_passed_over_otherwise() -> None:
    def network() -> Network:
        hosts = Hosts(lost_after={"small": 2})
        return hosts.host(pool(answering("small", 0.1), answering("large", 0.9)))

    with pytest.raises(RunError, match="'small' broke after its answer had begun"):
        await events_of(network())
    passed_over = pool(answering("small", 0.1, fails="midway"), answering("large", 0.9))

    assert [step[:2] for step in steps(await Hosts().host(passed_over).route(QUERY))] == [
        ("small", "failure"),
        ("large", "answer"),
    ]


async def test_an_answer_cut_far_away_is_told_as_it_was_there() -> None:
    plain = pool(rejecting("small", 0.1), rejecting("middle", 0.4), answering("large", 0.9, fails="midway"))

    with pytest.raises(RunError) as near:
        await events_of(plain)
    with pytest.raises(RunError) as far:
        await events_of(Hosts().host(plain))

    assert (far.value.message, far.value.hint) == (near.value.message, near.value.hint)
    assert isinstance(far.value.__cause__, AgentError)


async def test_who_was_recalled_and_is_gone_is_replaced_by_who_looked_last() -> None:
    class Recalling:
        name = "recalling"

        def decide(self, view: View) -> Verdict:
            return Recall("small") if view.card.name == "middle" else Pass(view.successors[0])

        def accepts(self, *_: Any) -> Any:
            raise NotImplementedError

    plain = pool(rejecting("small", 0.1), rejecting("middle", 0.4), answering("large", 0.9), policy=Recalling())
    hosts = Hosts()
    network = hosts.host(plain)

    class Gone(Peer):
        async def carry(self, leg: Leg) -> AsyncGenerator[Carried, None]:
            yield carried_from({"hop": HOP_OF_SMALL, "at": "middle"}, "small")
            raise FaultError("Agent 'small' closed the connection.", kind="cut")

    hosts.gone.add("small")
    network = with_agents(plain, {**network.agents, "small": Gone(plain.agents["small"].card, plain, hosts)})
    trace = await network.route(QUERY)

    assert steps(trace) == [
        ("small", "reject", None),
        ("middle", "reject", None),
        ("small", "failure", "FaultError: Agent 'small' cannot be reached."),
        ("middle", "answer", "fallback"),
    ]


HOP_OF_SMALL = {
    "agent": "small", "decision": "reject", "confidence": 0.2, "usage": [5, 0], "cost": 0.01, "seconds": 0.0,
}  # fmt: skip


# Disagreeing


@pytest.mark.parametrize(
    "said", [{"hop": HOP_OF_SMALL, "at": "nobody"}, {"hop": HOP_OF_SMALL | {"agent": "nobody"}, "at": "middle"},
             {"hop": HOP_OF_SMALL, "at": "small"}],
)  # fmt: skip
async def test_a_host_that_tells_of_strangers_or_leads_backwards_is_a_failure_of_its_agent(said: Any) -> None:
    class Confused(Peer):
        async def carry(self, leg: Leg) -> AsyncGenerator[Carried, None]:
            yield carried_from(said, "middle")

    hosts = Hosts()
    plain = pool(answering("middle", 0.4), answering("large", 0.9), edges={"middle": ["large"]})
    plain = pool(rejecting("small", 0.1), *plain.agents.values())
    network = hosts.host(plain)
    confused = Confused(plain.agents["middle"].card, plain.agents["middle"], hosts)
    small = with_agents(plain, {**network.agents, "small": plain.agents["small"], "middle": confused})
    hosts.networks["small"] = Variants(small)

    trace = await network.route(QUERY)

    assert [step[:2] for step in steps(trace)] == [("small", "reject"), ("middle", "failure"), ("large", "answer")]
    assert "in a way that is not known here" in str(trace.hops[1].reason)


async def test_hosts_whose_files_pass_in_a_circle_end_the_walk_all_the_same() -> None:
    agents = [rejecting("small", 0.1), rejecting("middle", 0.4), rejecting("large", 0.9)]
    circle = pool(*agents, edges={"middle": ["small"], "small": ["large"]})
    hosts = Hosts()
    network = hosts.host(pool(*agents), middle=circle)

    trace = await network.route(QUERY)

    assert [step[:2] for step in steps(trace)] == [("small", "reject"), ("middle", "failure"), ("large", "answer")]
    assert [baton["at"] for baton in hosts.batons] == ["small", "middle", "large"]


async def test_a_host_refuses_a_query_that_its_agent_has_seen() -> None:
    variants = Variants(pool(rejecting("small", 0.1), answering("large", 0.9)))
    leg = baton_from({**BATON, "hops": [HOP_OF_SMALL]}, policy=Threshold(0.5))

    with pytest.raises(FaultError, match="has been with agent 'small' before") as refused:
        await anext(carry_on(variants, leg, here="small"))

    assert refused.value.code == "loop_detected"


async def test_a_host_refuses_a_query_for_somebody_else() -> None:
    variants = Variants(pool(rejecting("small", 0.1), answering("large", 0.9)))

    with pytest.raises(FaultError, match="'small' was asked for, and 'large' lives here"):
        await anext(carry_on(variants, baton_from(BATON, policy=Threshold(0.5)), here="large"))


async def test_a_host_with_another_file_does_not_take_queries_from_strangers() -> None:
    agents = [rejecting("small", 0.1), answering("middle", 0.4), answering("large", 0.9)]
    network = Hosts().host(pool(*agents), middle=pool(*agents[1:]))

    trace = await network.route(QUERY)

    assert steps(trace)[1][1] == "failure"
    assert "does not know" in str(trace.hops[1].reason)
    assert trace.agent == "large"


BATON = {
    "wire": WIRE, "at": "small", "query": {"id": "q1", "messages": [["user", "?"]]}, "scenario": ["balance", 0.5, 0.0],
    "sampling": [0.0, None, 0], "streaming": False, "hops": [], "seconds": 0.0, "limits": [None, None, None],
    "policy": None, "members": ["large", "small"],
}  # fmt: skip


@pytest.mark.parametrize(
    "garbage",
    [
        None, [], "baton", {}, {**BATON, "wire": 0}, {**BATON, "hops": [HOP_OF_SMALL | {"confidence": 2}]},
        {**BATON, "hops": [HOP_OF_SMALL | {"cost": -1}]}, {**BATON, "hops": [HOP_OF_SMALL | {"decision": "perhaps"}]},
        {**BATON, "hops": [HOP_OF_SMALL | {"cost": float("nan")}]}, {**BATON, "limits": [0, None, None]},
        {**BATON, "limits": [None, "much", None]}, {**BATON, "policy": "unheard-of"}, {**BATON, "seconds": -1},
        {**BATON, "policy": {"name": "threshold", "threshold": "/etc/passwd"}}, {**BATON, "at": ""},
        {**BATON, "query": {"id": "q1", "messages": [["root", "?"]]}}, {**BATON, "sampling": 1},
        {**BATON, "members": "all"}, {**BATON, "members": [1]},
    ],
)  # fmt: skip
def test_what_is_no_baton_is_refused(garbage: Any) -> None:
    with pytest.raises(RunError):
        baton_from(garbage, policy=Threshold(0.5))


@pytest.mark.parametrize(
    "garbage",
    [
        None, 7, {}, {"hop": {}, "at": "x"}, {"hop": HOP_OF_SMALL, "at": 5}, {"arrived": {"text": "no end"}},
        {"arrived": 3}, {"delta": [1, 2, 3]}, {"cut": {}}, {"cut": 5}, {"fault": 9},
        {"end": {"text": "", "usage": [0, 0], "finish_reason": "stop", "seconds": 0.0}},
    ],
)  # fmt: skip
def test_what_is_no_event_of_a_walk_is_refused(garbage: Any) -> None:
    with pytest.raises(RunError):
        carried_from(garbage, "small")


def test_a_baton_reads_back_as_what_it_was() -> None:
    leg = baton_from(BATON, policy=Threshold(0.5))

    assert baton_json(leg) == {**BATON, "policy": {"name": "threshold", "threshold": 0.5}}
    assert json.loads(json.dumps(BATON)) == BATON
