"""A walk that is taken step by step, and agents that answer as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from disrouter.agents import ScriptedAgent
from disrouter.limits import Limits
from disrouter.network import Network
from disrouter.types import Completion, Look, Query, Sampling, Scenario, Usage
from routes import QUERY, answering, breaking, rejecting, steps


@pytest.mark.parametrize(
    "agents",
    [
        [answering("a")],
        [rejecting("a"), rejecting("b", 0.4), answering("c", 0.9)],
        [breaking("a", fails="answer"), rejecting("b", 0.4), breaking("c", 0.9)],
        [breaking("a"), breaking("b", 0.4)],
    ],
    ids=["one", "three", "fallback", "nobody"],
)
async def test_step_by_step_and_at_one_go_a_walk_leaves_the_same_trace(agents: list[ScriptedAgent]) -> None:
    network = Network("n", agents)
    walk = network.walk(QUERY)

    while not walk.over:
        duty = await walk.step()
        if duty is not None:
            await walk.answer(duty)
    trace = await walk.trace()

    assert trace == await network.route(QUERY)


async def test_a_walk_goes_on_from_what_another_has_come_to_know() -> None:
    network = Network("n", [rejecting("a"), rejecting("b", 0.4), answering("c", 0.9)], limits=Limits(max_hops=3))
    first, second = network.walk(QUERY), network.walk(QUERY)
    assert await first.step() is None  # a has looked and passed on to b

    second.at, second.consulted, second.prompt_tokens = first.at, first.consulted, first.prompt_tokens
    second.hops.extend(first.hops)
    second.rejected.update(first.rejected)
    trace = await second.trace()

    assert (first.at, second.consulted) == ("b", 3)
    assert trace == await network.route(QUERY)


class Whole(ScriptedAgent):
    """An agent that need not be read piece by piece; it remembers how it was asked."""

    asked = ""

    async def complete(self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling) -> Completion:
        self.asked = "complete"
        return Completion(text="as a whole", usage=Usage(completion_tokens=3))


async def test_where_nobody_reads_the_pieces_an_agent_may_answer_as_a_whole() -> None:
    agent = Whole("whole", confidence=0.9, reply="in pieces")
    network = Network("n", [agent])

    whole = await network.route(QUERY)
    asked, agent.asked = agent.asked, ""
    streamed = [event async for event in network.stream(QUERY)]

    assert (whole.answer, asked) == ("as a whole", "complete")
    assert (streamed[0], agent.asked) == ("in ", "")


async def test_a_network_within_a_network_passes_on_what_breaks_in_the_middle_of_an_answer_nobody_has_read() -> None:
    inner = Network("inner", [breaking("small", fails="midway"), answering("large", 0.9)])

    trace = await Network("outer", [inner]).route(QUERY)

    assert (trace.agent, trace.answer) == ("inner", "large says so")


async def test_a_whole_answer_that_is_none_is_a_failure() -> None:
    class Nonsense(ScriptedAgent):
        async def complete(self, *arguments: Any) -> Any:
            return "just text"

    trace = await Network("n", [Nonsense("odd"), answering("large", 0.9)]).route(QUERY)

    assert steps(trace) == [
        ("odd", "failure", "AgentError: Agent 'odd' answered with str, no completion."),
        ("large", "answer", None),
    ]
