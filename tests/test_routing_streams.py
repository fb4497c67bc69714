from __future__ import annotations

import pytest

from disrouter.errors import RunError
from disrouter.network import Network
from disrouter.types import Completion, Hop, Trace
from routes import QUERY, Unruly, answering, breaking, rejecting, route


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
