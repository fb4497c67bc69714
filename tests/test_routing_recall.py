from __future__ import annotations

from typing import Any

import pytest

from disrouter.agents import ScriptedAgent
from disrouter.errors import RunError
from disrouter.limits import Limits
from disrouter.network import Network
from disrouter.policies import Pass, Recall, Verdict, View
from disrouter.types import Hop, Trace, Usage
from routes import QUERY, answering, breaking, steps


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
