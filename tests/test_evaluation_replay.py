from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disrouter.agents.recorded import RecordedAgent
from disrouter.errors import DataError
from disrouter.evaluation.outcomes import Outcome, OutcomeTable
from disrouter.evaluation.replay import fitted, recorded_network, replay, traces
from disrouter.evaluation.traces import read_traces, trace_from_json, trace_line, trace_to_json, write_traces
from disrouter.network import Limits, Network
from disrouter.policies import OwnWord, PaperThreshold, Pass, Policy, Threshold, Verdict, View
from disrouter.types import AgentCard, Price, Query, QueryPrice, TokenPrice, Trace
from disrouter.utility import BALANCE, SCENARIOS

COSTS = {"a": 0.1, "b": 0.2, "c": 0.4, "d": 0.7, "e": 0.9}


def random_table(queries: int, seed: int, *, failing: float = 0.0) -> OutcomeTable:
    """Outcomes of five agents drawn at random, some without a confidence, an own word, or an answer."""
    rng = random.Random(seed)
    rows = []
    for scenario in SCENARIOS.values():
        for agent in COSTS:
            for i in range(queries):
                fails = rng.random() < failing
                rows.append(
                    Outcome(
                        query_id=f"q{i}",
                        agent=agent,
                        scenario=scenario.name,
                        alpha=scenario.alpha,
                        confidence=None if fails or rng.random() < 0.1 else rng.random(),
                        accepts=None if fails or rng.random() < 0.3 else rng.random() < 0.4,
                        answer=None if fails else f"answer of {agent} – {i}",
                        score=0.0 if fails else float(rng.random() < 0.5),
                        prompt_tokens=0 if fails else rng.randrange(5, 50),
                        answer_tokens=0 if fails else rng.randrange(1, 90),
                        look_seconds=rng.random(),
                        answer_seconds=rng.random(),
                        failure="it broke" if fails else None,
                    )
                )
    return OutcomeTable.of(rows)


def network_of(
    prices: Mapping[str, Price] | None = None,
    *,
    edges: Mapping[str, Sequence[str]] | None = None,
    policy: Policy | None = None,
    limits: Limits | None = None,
    always_answers: Mapping[str, bool] | None = None,
) -> Network:
    chosen = prices or {name: QueryPrice(cost=cost) for name, cost in COSTS.items()}
    agents = [RecordedAgent(AgentCard(name=name, price=price), ()) for name, price in chosen.items()]
    return Network("five", agents, edges, policy=policy, limits=limits, always_answers=always_answers)


def live(table: OutcomeTable, network: Network) -> list[Trace]:
    """Route every query of a table one by one through the live router, over recorded agents."""
    recorded = recorded_network(table, network)

    async def run() -> list[Trace]:
        return [
            await recorded.route(Query.from_text("?", id=query), scenario)
            for scenario in table.scenarios
            for query in table.query_ids
        ]

    return asyncio.run(run())


class Skipper:
    """A policy that passes on at random and skips where it can."""

    name = "skipper"

    def decide(self, view: View) -> Verdict:
        return Pass(view.successors[-1])

    def accepts(self, confidence: object, own_word: object, scenario: object) -> object:
        return np.zeros_like(own_word, dtype=bool)


NETWORKS = {
    "own word": network_of(),
    "paper": network_of(policy=PaperThreshold()),
    "threshold": network_of(policy=Threshold(0.6)),
    "token prices": network_of(
        {name: TokenPrice(input=cost, output=4 * cost, unit=1e-4) for name, cost in COSTS.items()}
    ),
    "own order": network_of(edges={"e": ["b"], "b": ["a"], "a": ["d"], "d": ["c"]}),
    "shortcuts": network_of(edges={"a": ["c", "b"], "b": ["e"], "c": ["d", "e"], "d": ["e"]}),
    "one always answers": network_of(always_answers={"c": True}),
    "hop limit": network_of(limits=Limits(max_hops=2)),
    "cost limit": network_of(limits=Limits(max_cost=0.5)),
    "skipping": network_of(edges={"a": ["b", "c"], "b": ["c"], "c": ["d", "e"], "d": ["e"]}, policy=Skipper()),  # type: ignore[arg-type]  # arrays of any kind
}


@pytest.mark.parametrize("failing", [0.0, 0.2])
@pytest.mark.parametrize("name", NETWORKS)
def test_replay_gives_the_traces_of_live_routing(name: str, failing: float) -> None:
    network = NETWORKS[name]
    table = fitted(random_table(80, seed=1, failing=failing), network)

    replayed = list(traces(table, network, scored=False))

    assert len(replayed) == 240
    assert [trace_line(t, timings=True) for t in replayed] == [
        trace_line(t, timings=True) for t in live(table, network)
    ]


@pytest.mark.parametrize("failing", [0.0, 0.2])
@pytest.mark.parametrize("name", NETWORKS)
def test_replayed_columns_agree_with_the_traces(name: str, failing: float) -> None:
    network = NETWORKS[name]
    table = fitted(random_table(80, seed=2, failing=failing), network)

    found = replay(table, network)

    for i, trace in enumerate(traces(table, network)):
        s, q = divmod(i, 80)
        agent = found.choice.agent[s, q]
        assert trace.agent == (None if agent < 0 else table.agents[agent])
        assert found.choice.score[s, q] == trace.score
        assert found.choice.cost[s, q] == trace.cost
        assert found.choice.cost_full[s, q] == pytest.approx(trace.cost_full)
        assert {table.agents[a] for a in np.flatnonzero(found.received[s, :, q])} == {hop.agent for hop in trace.hops}
        assert found.answered[s, :, q].sum() == (trace.agent is not None)


@settings(max_examples=40, deadline=None)
@given(threshold=st.floats(0, 1), seed=st.integers(0, 1000))
def test_replay_equals_live_for_any_threshold(threshold: float, seed: int) -> None:
    network = network_of(policy=Threshold(threshold))
    table = fitted(random_table(4, seed=seed), network)

    replayed = list(traces(table, network, scored=False))

    assert replayed == live(table, network)


def test_dropping_agents_needs_no_new_table() -> None:
    table = random_table(50, seed=3)
    network = network_of().without("b", "d")

    found = list(traces(fitted(table, network), network, scored=False))

    assert {hop.agent for trace in found for hop in trace.hops} == {"a", "c", "e"}
    assert found == live(fitted(table, network), network)


def test_rejections_are_free_at_the_papers_cost_and_paid_at_the_full_cost() -> None:
    # "a" rejects (looking at a tenth of .1), "b" answers at .2
    rows = [
        Outcome(query_id="q", agent=name, scenario="balance", alpha=0.5, accepts=name != "a", answer="x", score=1.0)
        for name in COSTS
    ]
    network = network_of(policy=OwnWord())
    table = fitted(OutcomeTable.of(rows), network)

    choice = replay(table, network).choice

    assert choice.cost[0, 0] == 0.2
    assert choice.cost_full[0, 0] == pytest.approx(0.01 + 0.2)


def test_the_last_agent_answers_whatever_it_says() -> None:
    rows = [
        Outcome(query_id="q", agent=name, scenario="balance", alpha=0.5, accepts=False, answer=name, score=1.0)
        for name in COSTS
    ]
    network = network_of()

    (trace,) = traces(fitted(OutcomeTable.of(rows), network), network)

    assert [hop.decision for hop in trace.hops] == ["reject"] * 4 + ["answer"]
    assert trace.answer == "e"


def test_a_query_that_breaks_every_agent_stays_unanswered_and_scores_nothing() -> None:
    rows = [
        Outcome(query_id="q", agent=name, scenario="balance", alpha=0.5, score=0.0, failure="out of memory")
        for name in COSTS
    ]
    network = network_of()
    table = fitted(OutcomeTable.of(rows), network)

    choice = replay(table, network).choice
    (trace,) = traces(table, network)

    assert choice.agent[0, 0] == -1
    assert (choice.score[0, 0], choice.cost[0, 0]) == (0.0, 0.0)
    assert [hop.reason for hop in trace.hops] == ["AgentError: out of memory"] * 5
    assert trace.score == 0.0


def test_an_agent_without_outcomes_is_named() -> None:
    network = network_of()
    table = random_table(3, seed=0).select(agents=["a", "b", "c"])

    with pytest.raises(DataError, match="no outcomes of 'd', 'e' of network 'five'"):
        fitted(table, network)


def test_traces_survive_json() -> None:
    network = network_of()
    table = fitted(random_table(20, seed=4, failing=0.2), network)

    for trace in traces(table, network):
        assert trace_from_json(trace_to_json(trace, timings=True)) == trace
        bare = trace_to_json(trace)
        assert "seconds" not in bare["hops"][0]
        assert trace_from_json(bare) == replace(trace, hops=tuple(replace(h, seconds=0.0) for h in trace.hops))


def test_traces_are_written_one_per_line(tmp_path: Path) -> None:
    network = network_of()
    table = fitted(random_table(5, seed=5), network)

    write_traces(tmp_path / "traces.jsonl", traces(table, network), timings=True)

    assert len((tmp_path / "traces.jsonl").read_text(encoding="utf-8").splitlines()) == 15
    assert list(read_traces(tmp_path / "traces.jsonl")) == list(traces(table, network))


@pytest.mark.parametrize(
    "line", ["{", "{}", '{"query_id": "q", "scenario": 3, "hops": [], "answer": null, "score": 1}']
)
def test_a_line_that_is_no_trace_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text(line + "\n", encoding="utf-8")

    with pytest.raises(DataError, match="line 1: not a trace"):
        list(read_traces(path))


def test_missing_traces_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no traces at"):
        list(read_traces(tmp_path / "none.jsonl"))


def test_a_hundred_thousand_queries_are_columns_not_loops() -> None:
    import time

    network = network_of(policy=PaperThreshold())
    small = fitted(random_table(1000, seed=6), network)
    many = np.tile(np.arange(1000), 100)
    table = replace(small.select(queries=many), query_ids=tuple(f"q{i}" for i in range(100_000)))

    start = time.process_time()
    found = replay(table, network)
    seconds = time.process_time() - start

    # About .15 s on a free core; a loop over 300,000 routes would take a minute.
    assert seconds < 5
    assert found.choice.agent.shape == (3, 100_000)
    assert BALANCE in table.scenarios
