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
from disrouter.network import Limits, Network
from disrouter.policies import Pass, Recall, Threshold, Verdict, View
from disrouter.routing import cost_expected, limit_reached
from disrouter.types import (
    AgentCard,
    Completion,
    Hop,
    Look,
    Query,
    QueryPrice,
    Sampling,
    Scenario,
    TokenPrice,
    Trace,
    Usage,
)

QUERY = Query.from_text("what is 2 + 2?", id="q1")  # five words


def rejecting(name: str, cost: float = 0.1, **script: Any) -> ScriptedAgent:
    return ScriptedAgent(name, cost=cost, confidence=0.2, reply=f"{name} says so", **script)


def answering(name: str, cost: float = 0.1, **script: Any) -> ScriptedAgent:
    return ScriptedAgent(name, cost=cost, confidence=0.9, reply=f"{name} says so", **script)


def breaking(name: str, cost: float = 0.1, fails: str = "look", **script: Any) -> ScriptedAgent:
    return ScriptedAgent(name, cost=cost, confidence=0.9, reply=f"{name} says so", fails=fails, **script)


def route(*agents: ScriptedAgent, limits: Limits | None = None) -> Trace:
    return Network("n", agents, limits=limits).ask(QUERY)


def steps(trace: Trace) -> list[tuple[str, str, str | None]]:
    return [(hop.agent, hop.decision, hop.reason) for hop in trace.hops]


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


class Unruly:
    """An agent whose answers are written by each test."""

    card = AgentCard(name="unruly", price=QueryPrice(cost=0.1))

    def __init__(self, *pieces: str | Completion) -> None:
        self.pieces = pieces
        self.closed = False

    async def look(self, query: Query, scenario: Scenario) -> Look:
        return Look(confidence=1.0)

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[str | Completion]:
        try:
            for piece in self.pieces:
                yield piece
        finally:
            self.closed = True


def test_an_answer_without_an_end_is_a_failure() -> None:
    trace = Network("n", [Unruly("half an"), answering("large", 0.9)]).ask(QUERY)

    assert steps(trace)[0] == (
        "unruly",
        "failure",
        "AgentError: The answer of agent 'unruly' ended without a completion.",
    )
    assert trace.answer == "large says so"


# Limits


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


# Streaming


async def test_a_stream_shows_hops_as_they_settle_then_the_text_then_the_trace() -> None:
    network = Network("n", [rejecting("small"), answering("large", 0.9)])

    events = [event async for event in network.stream(QUERY)]

    rejection, *text, answer, trace = events
    assert isinstance(rejection, Hop)
    assert text == ["large ", "says ", "so"]
    assert isinstance(trace, Trace)
    assert trace.hops == (rejection, answer)
    assert trace.answer == "large says so"


async def test_a_stream_and_a_route_leave_the_same_trace() -> None:
    network = Network("n", [breaking("a", fails="answer"), rejecting("b", 0.4), answering("c", 0.9)])

    *_, streamed = [event async for event in network.stream(QUERY)]

    assert streamed == await network.route(QUERY)


async def test_an_agent_that_breaks_before_its_first_word_is_passed_over_in_a_stream() -> None:
    network = Network("n", [breaking("small", fails="answer"), answering("large", 0.9)])

    events = [event async for event in network.stream(QUERY)]

    assert [event for event in events if isinstance(event, str)] == ["large ", "says ", "so"]


async def test_an_agent_that_breaks_after_its_first_word_ends_the_stream() -> None:
    network = Network("n", [breaking("small", fails="midway"), answering("large", 0.9)])
    seen: list[object] = []

    with pytest.raises(RunError, match="'small' broke after its answer had begun") as error:
        async for event in network.stream(QUERY):
            seen.append(event)

    assert seen == ["small "]
    assert "as its script says" in str(error.value.__cause__)


def test_an_agent_that_breaks_after_its_first_word_is_passed_over_where_nobody_has_read_it() -> None:
    trace = route(breaking("small", fails="midway"), answering("large", 0.9))

    assert [hop.decision for hop in trace.hops] == ["failure", "answer"]
    assert trace.answer == "large says so"


async def test_an_answer_that_comes_in_one_piece_is_streamed_too() -> None:
    network = Network("n", [Unruly("", Completion(text="four"))])

    events = [event async for event in network.stream(QUERY)]

    assert [event for event in events if isinstance(event, str)] == ["four"]


def test_an_agent_that_answers_with_what_is_no_text_has_broken() -> None:
    network = Network("n", [Unruly(None, Completion(text="four")), answering("large", 0.9)])  # type: ignore[arg-type]

    trace = network.ask(QUERY)

    assert [hop.decision for hop in trace.hops] == ["failure", "answer"]
    assert trace.hops[0].reason is not None and "answered with NoneType" in trace.hops[0].reason


async def test_a_reader_who_leaves_stops_the_agent() -> None:
    agent = Unruly("one ", "two", Completion(text="one two"))
    events = Network("n", [agent]).stream(QUERY)

    assert await anext(events) == "one "
    await events.aclose()

    assert agent.closed


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


# Recall


class Recaller:
    """A policy by which every agent but the last passes on, and the last but one recalls the first."""

    name = "recaller"

    def __init__(self, recalled: str = "small") -> None:
        self.recalled = recalled

    def decide(self, view: View) -> Verdict:
        return Recall(self.recalled) if view.upstream else Pass(view.successors[0])

    def accepts(self, confidence: Any, own_word: Any, scenario: Any) -> Any:
        return own_word


def recalling(small: ScriptedAgent, *, limits: Limits | None = None, recalled: str = "small") -> Trace:
    agents = [small, answering("medium", 0.4), answering("large", 0.9)]
    return Network("n", agents, policy=Recaller(recalled), limits=limits).ask(QUERY)


def test_a_recalled_agent_pays_for_its_answer_in_a_hop_of_its_own() -> None:
    trace = recalling(answering("small", 0.2))

    # looks at a tenth: .02 and .04; the rest of .2 is the answer's
    assert steps(trace) == [("small", "reject", None), ("medium", "reject", None), ("small", "answer", "recall")]
    assert [hop.cost for hop in trace.hops] == pytest.approx([0.02, 0.04, 0.18])
    assert trace.cost == pytest.approx(0.2)
    assert trace.cost_full == pytest.approx(0.24)
    assert trace.hops[2].usage == Usage(0, 3)
    assert (trace.agent, trace.answer) == ("small", "small says so")


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


def test_seconds_of_a_recall_are_those_of_the_answer_alone() -> None:
    trace = recalling(answering("small", 0.2, delay=0.01))

    assert [hop.seconds for hop in trace.hops] == [0.01, 0.0, 0.01]


def test_the_duty_of_a_recalled_agent_that_breaks_falls_to_the_dearest_that_looked() -> None:
    trace = recalling(breaking("small", 0.2, fails="answer"))

    assert steps(trace)[2:] == [("small", "failure", steps(trace)[2][2]), ("medium", "answer", "fallback")]
    assert trace.hops[2].cost == 0.0
    assert trace.cost_full == pytest.approx(0.02 + 0.04 + 0.36)


def test_an_agent_is_recalled_only_if_its_answer_is_affordable() -> None:
    agents = [answering("small", 0.4), answering("medium", 0.1), answering("large", 0.9)]
    edges = {"small": ["medium"], "medium": ["large"], "large": []}

    def route_below(limit: float) -> Trace:
        return Network("n", agents, edges, policy=Recaller(), limits=Limits(max_cost=limit)).ask(QUERY)

    # both looks cost .05, and small's answer .36 more
    assert steps(route_below(0.405))[-1] == ("medium", "answer", "max_cost")
    assert steps(route_below(0.41))[-1] == ("small", "answer", "recall")


def test_a_hop_limit_does_not_forbid_a_recall() -> None:
    trace = recalling(answering("small", 0.2), limits=Limits(max_hops=2))

    assert steps(trace)[-1] == ("small", "answer", "recall")


def test_a_recall_of_somebody_who_was_not_asked_is_an_error_of_the_policy() -> None:
    with pytest.raises(RunError, match="recalled 'large', which has not rejected the query") as caught:
        recalling(answering("small", 0.2), recalled="large")

    assert "it may recall small" in str(caught.value.hint)


async def test_a_recalled_answer_streams_after_the_hops_before_it() -> None:
    agents = [answering("small", 0.2), answering("medium", 0.4), answering("large", 0.9)]
    network = Network("n", agents, policy=Recaller())

    events = [event async for event in network.stream(QUERY)]

    kinds = [event.decision if isinstance(event, Hop) else type(event).__name__ for event in events]
    assert kinds == ["reject", "reject", "str", "str", "str", "answer", "Trace"]
