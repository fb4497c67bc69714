"""What is spent on agents that look at a query and do not answer it."""

from __future__ import annotations

from dataclasses import replace

import pytest

import disrouter
from disrouter.agents.recorded import RecordedAgent
from disrouter.evaluation.metrics import utilities
from disrouter.evaluation.outcomes import Outcome, OutcomeTable
from disrouter.evaluation.overhead import latency, rejections
from disrouter.evaluation.replay import fitted, replay
from disrouter.lab.suite import LabSuite
from disrouter.network import Network
from disrouter.policies import Threshold
from disrouter.types import AgentCard, QueryPrice, Scenario, Seconds
from disrouter.utility import BALANCE

WEIGHTS = {"small": 100, "large": 1000}


def network(*, parameters: bool = True, seconds: Seconds | None = None) -> Network:
    agents = [
        RecordedAgent(
            AgentCard(
                name=name,
                price=QueryPrice(cost=cost, look_share=0.1),
                parameters=WEIGHTS[name] if parameters else None,
                seconds=seconds if name == "large" else None,
            ),
            (),
        )
        for name, cost in (("small", 0.2), ("large", 0.8))
    ]
    return Network("two", agents, policy=Threshold(0.5))


def outcome(query: str, agent: str, confidence: float) -> Outcome:
    return Outcome(
        query_id=query,
        agent=agent,
        scenario="balance",
        alpha=0.5,
        score=1.0,
        confidence=confidence,
        answer="x",
        prompt_tokens=10,
        answer_tokens=30,
        look_seconds=0.1 if agent == "small" else 0.4,
        answer_seconds=1.0 if agent == "small" else 2.0,
    )


# q1: small rejects, large answers; q2: small answers.
TABLE = OutcomeTable.of([outcome(q, a, c) for q, c in (("q1", 0.2), ("q2", 0.9)) for a in WEIGHTS])


def test_rejections_take_their_share_of_cost_tokens_and_flops() -> None:
    pool = network()
    table = fitted(TABLE, pool)

    (row,) = rejections(table, pool, replay(table, pool))

    assert row.scenario == "balance"
    assert row.per_query == 0.5
    assert row.cost_share == pytest.approx(0.02 / (0.02 + 0.8 + 0.2))
    assert row.tokens_share == pytest.approx(10 / (10 + 40 + 40))
    assert row.flops_share == pytest.approx(10 * 100 / (10 * 100 + 40 * 1000 + 40 * 100))


def test_without_the_number_of_weights_flops_are_unknown() -> None:
    pool = network(parameters=False)
    table = fitted(TABLE, pool)

    assert rejections(table, pool, replay(table, pool))[0].flops_share is None


def test_latency_counts_every_look_and_the_answer() -> None:
    pool = network()

    (row,) = latency(fitted(TABLE, pool), pool)

    # q1: .1 + .4 + 2; q2: .1 + 1
    assert row.seconds == pytest.approx((2.5 + 1.1) / 2)
    assert row.seconds_before_answer == pytest.approx((0.5 + 0.1) / 2)
    assert row.rejection_share == pytest.approx(0.1 / 3.6)


def test_seconds_that_the_network_sets_take_the_place_of_measured_ones() -> None:
    pool = network(seconds=Seconds(look=1.0, answer=5.0))

    table = fitted(TABLE, pool)

    assert replay(table, pool).choice.seconds.tolist() == [[pytest.approx(6.1), pytest.approx(1.1)]]


def test_the_seconds_of_a_replay_are_those_of_the_traces() -> None:
    pool = network()
    table = fitted(TABLE, pool)
    slow = replace(table, scenarios=(Scenario(name="balance", alpha=0.5, beta=0.1),))

    choice = replay(slow, pool).choice

    assert utilities(choice.score[0], choice.cost_full[0], 0.5).tolist() == pytest.approx([1 - 0.41, 1 - 0.1])
    assert choice.seconds[0].tolist() == pytest.approx([2.5, 1.1])


def test_a_rejection_of_the_lab_writes_no_token() -> None:
    # looked at by everybody but the last, who must answer: at most one token each was promised
    pool = disrouter.load("lab").replace(policy=Threshold(1.0))
    queries = LabSuite().queries("in", 5, 1)

    hops = [hop for query in queries for hop in pool.ask(query, BALANCE).hops if hop.decision == "reject"]

    assert len(hops) == 4
    assert {hop.usage.completion_tokens for hop in hops} == {0}
    assert all(hop.usage.prompt_tokens > 0 for hop in hops)
