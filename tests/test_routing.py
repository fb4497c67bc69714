from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disrouter.agents import Script, ScriptedAgent
from disrouter.errors import InterruptedRunError, ModelError, RunError
from disrouter.evaluation.traces import trace_from_json, trace_line, trace_to_json
from disrouter.limits import Limits
from disrouter.network import Network
from disrouter.policies import Pass, Threshold, Verdict, View
from disrouter.types import Completion, Query, QueryPrice, Scenario, TokenPrice, Usage
from routes import QUERY, Unruly, answering, breaking, rejecting, route, steps

# Deciding


def test_a_sure_first_agent_answers_and_nobody_else_is_asked() -> None:
    large = answering("large", 0.9)

    trace = route(answering("small"), large)

    assert steps(trace) == [("small", "answer", None)]
    assert trace.answer == "small says so"
    assert large.looked == []


def test_an_unsure_agent_passes_on() -> None:
    trace = route(rejecting("small"), answering("large", 0.9))

    assert steps(trace) == [("small", "reject", None), ("large", "answer", None)]
    assert trace.answer == "large says so"


def test_the_last_agent_always_answers() -> None:
    trace = route(rejecting("small"), rejecting("large", 0.9))

    assert steps(trace) == [("small", "reject", None), ("large", "answer", None)]
    assert trace.hops[1].confidence == 0.2


def test_an_agent_that_always_answers_is_not_left_to_the_policy() -> None:
    network = Network("n", [rejecting("small"), answering("large", 0.9)], always_answers={"small": True})

    assert steps(network.ask(QUERY)) == [("small", "answer", None)]


def test_the_policy_of_the_network_decides() -> None:
    network = Network("n", [answering("small"), answering("large", 0.9)], policy=Threshold(0.95))

    assert steps(network.ask(QUERY)) == [("small", "reject", None), ("large", "answer", None)]


def test_a_rejection_pays_for_its_look_and_an_answer_for_look_and_answer() -> None:
    trace = route(rejecting("small", 0.2), answering("large", 0.9))

    # a look takes a tenth of 0.2; both read 5 words, the large agent writes 3
    assert trace.hops[0].cost == pytest.approx(0.02)
    assert trace.hops[0].usage == Usage(5, 0)
    assert trace.hops[1].cost == 0.9
    assert trace.hops[1].usage == Usage(5, 3)
    assert trace.cost == 0.9
    assert trace.cost_full == pytest.approx(0.92)


def test_token_prices_are_charged_per_hop() -> None:
    price = TokenPrice(input=1_000_000, output=4_000_000, unit=100)  # one token read costs 0.01, one written 0.04
    small = ScriptedAgent("small", price=price, confidence=0.1)
    large = ScriptedAgent("large", price=price, reply="it is four")

    trace = route(small, large)

    # 5 words read by each; three written by the large agent: 0.05, then 0.05 + 0.12
    assert [hop.cost for hop in trace.hops] == [pytest.approx(0.05), pytest.approx(0.17)]


def test_seconds_are_those_the_agents_report() -> None:
    trace = route(rejecting("small", delay=0.01), answering("large", 0.9, delay=0.02))

    # one delay for a look, two for a look and an answer
    assert [hop.seconds for hop in trace.hops] == [0.01, 0.04]


class Recorder:
    """Passes every query to the successor of a plan and remembers what it was shown."""

    name = "recorder"

    def __init__(self, plan: dict[str, str]) -> None:
        self.plan = plan
        self.views: list[View] = []

    def decide(self, view: View) -> Verdict:
        self.views.append(view)
        return Pass(self.plan[view.card.name])

    def accepts(self, confidence: object, own_word: object, scenario: Scenario) -> object:
        raise NotImplementedError


def test_a_policy_may_skip_agents_and_sees_who_was_asked_before() -> None:
    policy = Recorder({"a": "b", "b": "d"})
    agents = [answering(name, cost) for name, cost in (("a", 0.1), ("b", 0.2), ("c", 0.3), ("d", 0.4))]
    edges = {"a": ["b", "c"], "b": ["c", "d"], "c": ["d"]}

    trace = Network("n", agents, edges, policy=policy).ask(QUERY)  # type: ignore[arg-type]

    assert [hop.agent for hop in trace.hops] == ["a", "b", "d"]
    assert [view.successors for view in policy.views] == [("b", "c"), ("c", "d")]
    assert [view.upstream for view in policy.views] == [(), (("a", 0.9),)]


def test_a_policy_that_passes_to_a_stranger_is_told_so() -> None:
    network = Network("n", [answering("a"), answering("b", 0.9)], policy=Recorder({"a": "z"}))  # type: ignore[arg-type]

    with pytest.raises(RunError, match="'recorder' passed from 'a' to 'z', which is no successor"):
        network.ask(QUERY)


# Failing


def test_an_agent_that_breaks_while_looking_is_passed_over_for_free() -> None:
    trace = route(breaking("small"), answering("large", 0.9))

    assert steps(trace) == [
        ("small", "failure", "AgentError: Agent 'small' broke, as its script says."),
        ("large", "answer", None),
    ]
    assert trace.hops[0].cost == 0.0


def test_an_agent_that_breaks_before_its_first_word_has_paid_for_its_look() -> None:
    trace = route(breaking("small", 0.2, fails="answer"), answering("large", 0.9))

    assert [hop.decision for hop in trace.hops] == ["failure", "answer"]
    assert trace.hops[0].cost == pytest.approx(0.02)
    assert trace.hops[0].usage == Usage(5, 0)
    assert trace.answer == "large says so"


def test_a_query_too_long_for_one_agent_goes_to_the_next() -> None:
    trace = route(answering("small", context_length=4), answering("large", 0.9))

    assert steps(trace) == [
        ("small", "failure", "ContextError: Agent 'small' takes 4 words; the query has 5."),
        ("large", "answer", None),
    ]


@pytest.mark.parametrize("fails", ["look", "answer", "midway"])
def test_any_exception_of_an_agent_is_a_failure(fails: str) -> None:
    trace = route(breaking("small", fails=fails, error=ZeroDivisionError("by zero")), answering("large", 0.9))

    assert steps(trace) == [("small", "failure", "ZeroDivisionError: by zero"), ("large", "answer", None)]


def test_a_failure_does_not_repeat_the_users_words() -> None:
    query = Query.from_text("my secret is\n'blue'", id="q1")
    errors = [ValueError(f"cannot parse {query.text}"), KeyError(query.text)]

    for error in errors:
        network = Network("n", [breaking("small", error=error), answering("large", 0.9)])
        reason = network.ask(query).hops[0].reason

        assert reason is not None
        assert "secret" not in reason
        assert "[query]" in reason


def test_a_failures_message_is_cut_and_kept_on_one_line() -> None:
    reason = route(breaking("small", error=ValueError("a\nb " + "x" * 1000)), answering("large", 0.9)).hops[0].reason

    assert reason is not None
    assert reason.startswith("ValueError: a b xxx")
    assert len(reason) == 300


def test_a_confidence_that_is_no_probability_is_a_failure() -> None:
    for confidence in (1.5, -0.1, float("nan")):
        trace = route(ScriptedAgent("small", cost=0.1, confidence=confidence), answering("large", 0.9))

        assert [hop.decision for hop in trace.hops] == ["failure", "answer"]
        assert "is no probability from 0 to 1" in str(trace.hops[0].reason)


@pytest.mark.parametrize("error", [ModelError("weights are cut off"), InterruptedRunError("stopped")])
def test_what_the_user_must_mend_or_wants_is_no_failure(error: Exception) -> None:
    with pytest.raises(type(error)):
        route(breaking("small", error=error), answering("large", 0.9))


def test_if_the_last_agent_breaks_the_costliest_that_rejected_answers() -> None:
    trace = route(rejecting("a", 0.1), rejecting("b", 0.4), breaking("c", 0.9, fails="answer"))

    assert [(hop.agent, hop.decision) for hop in trace.hops] == [
        ("a", "reject"),
        ("b", "reject"),
        ("c", "failure"),
        ("b", "answer"),
    ]
    assert trace.hops[3].reason == "fallback"
    assert trace.answer == "b says so"


def test_a_fallback_pays_for_its_answer_only() -> None:
    trace = route(rejecting("a", 0.1), rejecting("b", 0.4), breaking("c", 0.9, fails="answer"))

    # looks .01 + .04 + .09; b's look was paid, so its answer adds .4 - .04
    assert trace.hops[3].cost == pytest.approx(0.36)
    assert trace.hops[3].usage == Usage(0, 3)
    assert trace.cost_full == pytest.approx(0.01 + 0.04 + 0.09 + 0.36)
    assert trace.cost == pytest.approx(0.4)  # the paper's cost is that of an agent that looks and answers


def test_a_broken_fallback_leaves_the_duty_to_the_next_costliest() -> None:
    trace = route(rejecting("a", 0.1), rejecting("b", 0.4, fails="answer"), breaking("c", 0.9))

    assert [(hop.agent, hop.decision) for hop in trace.hops] == [
        ("a", "reject"),
        ("b", "reject"),
        ("c", "failure"),
        ("b", "failure"),
        ("a", "answer"),
    ]
    assert trace.hops[3].cost == 0.0  # its look was paid when it rejected
    assert trace.answer == "a says so"


def test_a_query_nobody_can_answer_ends_unanswered() -> None:
    trace = route(breaking("a"), breaking("b", 0.9))

    assert trace.answer is None
    assert trace.agent is None
    assert [hop.decision for hop in trace.hops] == ["failure", "failure"]


def test_an_empty_answer_is_an_answer() -> None:
    trace = route(ScriptedAgent("small", reply=""))

    assert trace.answer == ""
    assert trace.agent == "small"


def test_one_agents_trouble_with_one_query_leaves_others_alone() -> None:
    small = answering("small", scripts={"q2": Script(fails="look")})
    network = Network("n", [small, answering("large", 0.9)])

    first, second = network.ask(Query.from_text("hi", id="q1")), network.ask(Query.from_text("hi", id="q2"))

    assert (first.agent, second.agent) == ("small", "large")


def test_an_answer_without_an_end_is_a_failure() -> None:
    trace = Network("n", [Unruly("half an"), answering("large", 0.9)]).ask(QUERY)

    assert steps(trace)[0] == (
        "unruly",
        "failure",
        "AgentError: The answer of agent 'unruly' ended without a completion.",
    )
    assert trace.answer == "large says so"


class Timed(ScriptedAgent):
    """An agent that took a second to its first word and three to its last."""

    async def answer(self, *arguments: Any) -> AsyncIterator[str | Completion]:
        async for piece in super().answer(*arguments):
            yield replace(piece, first_token_seconds=1.0, seconds=3.0) if isinstance(piece, Completion) else piece


def test_the_first_text_comes_after_every_look() -> None:
    trace = route(rejecting("small", 0.1, delay=0.01), Timed("large", cost=0.9, confidence=0.9, delay=0.02))

    # small looked for .01, large for .02, and then it took 1 s
    assert trace.hops[1].first_token_seconds == pytest.approx(1.02)
    assert trace.first_token_seconds == pytest.approx(1.03)
    assert trace.seconds == pytest.approx(3.03)
    assert trace_from_json(trace_to_json(trace, timings=True)) == trace
    assert "first_token_seconds" not in trace_line(trace)


def test_where_nobody_timed_it_the_first_text_has_no_seconds() -> None:
    assert route(answering("small")).first_token_seconds is None


# Any network


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Any connected acyclic graph of agents of which some reject and some break, under any limit on hops."""
    count = draw(st.integers(1, 7))
    agents = [
        ScriptedAgent(
            f"a{i}",
            cost=draw(st.floats(0.01, 1.0)),
            confidence=draw(st.none() | st.floats(0.0, 1.0)),
            fails=draw(st.sampled_from([None, None, None, "look", "answer", "midway"])),
        )
        for i in range(count)
    ]
    edges: dict[str, list[str]] = {f"a{i}": [] for i in range(count)}
    for i in range(1, count):
        for parent in sorted(draw(st.sets(st.integers(0, i - 1), min_size=1))):
            edges[f"a{parent}"].append(f"a{i}")
    return Network("any", agents, edges, limits=Limits(max_hops=draw(st.none() | st.integers(1, 4))))


@given(network=networks())
def test_every_query_gets_one_answer_and_meets_no_agent_twice(network: Network) -> None:
    trace = network.ask(QUERY)

    consulted = [hop.agent for hop in trace.hops if hop.reason != "fallback"]
    scripts = {name: agent.script for name, agent in network.agents.items() if isinstance(agent, ScriptedAgent)}
    looked = [name for name in network.agents if QUERY.id in network.agents[name].looked]  # type: ignore[attr-defined]
    assert all(network.agents[name].looked == [QUERY.id] for name in looked)  # type: ignore[attr-defined]
    assert {hop.agent for hop in trace.hops} == set(looked)
    assert sum(hop.decision == "answer" for hop in trace.hops) == (trace.answer is not None)
    assert trace.answer is None or trace.hops[-1].decision == "answer"
    # Unanswered only where everybody who was consulted breaks; without failures nobody is met twice.
    if trace.answer is None:
        assert all(scripts[name].fails for name in looked)
    if not any(scripts[name].fails for name in looked):
        assert len(consulted) == len(set(consulted))
    if network.limits.max_hops is not None:
        assert len(looked) <= network.limits.max_hops


@given(network=networks(), max_cost=st.floats(0.01, 3.0))
def test_a_cost_limit_is_never_exceeded(network: Network, max_cost: float) -> None:
    price = network.agents[network.entry].card.price
    assert isinstance(price, QueryPrice)
    limits = Limits(max_cost=max(max_cost, price.cost))

    trace = network.replace(limits=limits).ask(QUERY)

    assert limits.max_cost is not None
    assert trace.cost_full <= limits.max_cost + 1e-9
