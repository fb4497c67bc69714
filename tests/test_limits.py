from __future__ import annotations

import pytest

from disrouter.agents import ScriptedAgent
from disrouter.limits import Limits, cost_expected, limit_reached
from disrouter.network import Network
from disrouter.types import QueryPrice, TokenPrice
from routes import QUERY, answering, breaking, rejecting, route, steps


def test_at_the_hop_limit_the_agent_that_would_pass_on_answers() -> None:
    trace = route(rejecting("a", 0.1), rejecting("b", 0.4), answering("c", 0.9), limits=Limits(max_hops=2))

    assert steps(trace) == [("a", "reject", None), ("b", "answer", "max_hops")]


def test_a_failing_agent_counts_as_a_hop() -> None:
    trace = route(breaking("a"), rejecting("b", 0.4), answering("c", 0.9), limits=Limits(max_hops=2))

    assert [(hop.agent, hop.reason) for hop in trace.hops[1:]] == [("b", "max_hops")]


def test_an_agent_that_would_break_the_cost_limit_is_not_asked() -> None:
    third = answering("c", 0.9)

    trace = route(rejecting("a", 0.1), rejecting("b", 0.4), third, limits=Limits(max_cost=0.9))

    # looks .01 + .04 and c's .9 would make .95; b's answer makes .01 + .4
    assert steps(trace) == [("a", "reject", None), ("b", "answer", "max_cost")]
    assert trace.cost_full == pytest.approx(0.41)
    assert third.looked == []


def test_a_cost_limit_that_is_met_exactly_is_kept() -> None:
    # 0.01 + 0.04 + 0.9
    trace = route(rejecting("a", 0.1), rejecting("b", 0.4), answering("c", 0.9), limits=Limits(max_cost=0.95))

    assert trace.agent == "c"


def test_after_the_time_limit_nobody_new_is_asked() -> None:
    trace = route(rejecting("a", delay=0.02), answering("b", 0.9), limits=Limits(max_seconds=0.01))

    assert steps(trace) == [("a", "answer", "max_seconds")]


def test_a_failure_is_passed_to_the_first_successor_within_the_limits() -> None:
    agents = [breaking("a", 0.1), answering("b", 0.9), answering("c", 0.3)]

    trace = Network("n", agents, {"a": ["b", "c"]}, limits=Limits(max_cost=0.5)).ask(QUERY)

    assert trace.agent == "c"


def test_if_a_limit_leaves_nobody_a_failure_falls_back_to_who_was_asked_before() -> None:
    agents = [rejecting("a", 0.1), breaking("b", 0.4, fails="answer"), answering("c", 0.9)]

    trace = route(*agents, limits=Limits(max_hops=2))

    assert [(hop.agent, hop.decision) for hop in trace.hops] == [("a", "reject"), ("b", "failure"), ("a", "answer")]


def test_limits_hold_even_where_they_leave_a_query_unanswered() -> None:
    trace = route(breaking("a"), answering("b", 0.9), limits=Limits(max_hops=1))

    assert [hop.agent for hop in trace.hops] == ["a"]
    assert trace.answer is None


@pytest.mark.parametrize(
    ("limits", "reached"),
    [
        (Limits(), None),
        (Limits(max_hops=3), None),
        (Limits(max_hops=2), "max_hops"),
        (Limits(max_cost=0.5), None),
        (Limits(max_cost=0.4), "max_cost"),
        (Limits(max_seconds=1.0), "max_seconds"),
        (Limits(max_seconds=1.1), None),
        (Limits(max_hops=1, max_cost=0.1, max_seconds=0.1), "max_hops"),
    ],
)
def test_limits_name_the_first_one_reached(limits: Limits, reached: str | None) -> None:
    assert limit_reached(limits, hops=3, cost=0.5, seconds=1.0) == reached


def test_a_price_per_query_is_known_before_the_answer() -> None:
    assert cost_expected(QueryPrice(cost=0.4), prompt_tokens=1000, max_tokens=1000) == 0.4


def test_a_token_price_is_estimated_by_the_bound_or_the_prompts_length() -> None:
    price = TokenPrice(input=1, output=4, unit=0.001)

    # (10 + 4 * 100) / 1e6 / 0.001 and (10 + 4 * 10) / 1e6 / 0.001
    assert cost_expected(price, prompt_tokens=10, max_tokens=100) == pytest.approx(0.41)
    assert cost_expected(price, prompt_tokens=10, max_tokens=None) == pytest.approx(0.05)


def test_a_cost_limit_with_token_prices_uses_the_tokens_counted_so_far() -> None:
    small = TokenPrice(input=1_000_000, output=1_000_000, unit=100)  # 0.01 a token
    large = TokenPrice(input=4_000_000, output=4_000_000, unit=100)  # 0.04 a token
    agents = [ScriptedAgent("a", price=small, confidence=0.1), ScriptedAgent("b", price=large)]

    # a's look of 5 words costs .05; b is expected to cost 5 + 5 words, .4, together .45
    assert route(*agents, limits=Limits(max_cost=0.44)).agent == "a"
    assert route(*agents, limits=Limits(max_cost=0.46)).agent == "b"
