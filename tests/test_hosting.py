"""Hosting: looks are gone on from, held in bounded number and time, and always let go of."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from disrouter.agents import ScriptedAgent
from disrouter.agents.hosting import Hosting
from disrouter.agents.remote import RemoteAgent
from disrouter.agents.wire import call_from
from disrouter.errors import AgentError
from disrouter.network import Network
from disrouter.types import AgentCard, Completion, Look, Query, QueryPrice, Request, Sampling, Scenario, Usage
from disrouter.utility import BALANCE

QUERY = Query.from_text("What is 2 + 2?")


class Begun:
    """A state that holds a place."""

    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


class Remembering:
    """An agent whose looks have a state, and that says which state an answer went on from."""

    def __init__(self, name: str = "a", *, cost: float = 0.5, accepts: bool = True, places: bool = False) -> None:
        self.card = AgentCard(name=name, price=QueryPrice(cost=cost))
        self.accepts = accepts
        self.places = places
        self.states: list[Any] = []
        self.used: list[Any] = []

    async def look(self, query: Query, scenario: Scenario) -> Look:
        self.states.append(Begun() if self.places else object())
        return Look(confidence=0.5, accepts=self.accepts, usage=Usage(7, 0), state=self.states[-1])

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[str | Completion]:
        self.used.append(look.state if look is not None else None)
        yield "four"
        yield Completion(text="four", usage=Usage(0, 1))


class Here:
    """A transport to a host in this very process."""

    def __init__(self, hosting: Hosting) -> None:
        self.hosting = hosting
        self.released: list[str] = []

    async def look(self, call: dict[str, Any], query: Query) -> Any:
        return await self.hosting.look_json(call_from(call))

    async def answer(self, call: dict[str, Any], query: Query) -> AsyncGenerator[Any, None]:
        async with aclosing(self.hosting.answer_json(call_from(call))) as pieces:
            async for piece in pieces:
                yield piece

    async def release(self, tickets: Sequence[str]) -> None:
        self.released.extend(tickets)
        self.hosting.release(tickets)


def remote(agent: Any, **settings: Any) -> tuple[RemoteAgent, Hosting]:
    hosting = Hosting(agent, **settings)
    return RemoteAgent(agent.card, Here(hosting)), hosting


async def text_of(agent: RemoteAgent, look: Look | None) -> str:
    pieces = [piece async for piece in agent.answer(QUERY, BALANCE, look, Sampling())]
    assert isinstance(pieces[-1], Completion)
    return pieces[-1].text


@pytest.mark.parametrize("places", [False, True])
async def test_an_answer_goes_on_from_the_look_before_it(places: bool) -> None:
    agent = Remembering(places=places)
    far, hosting = remote(agent)

    look = await far.look(QUERY, BALANCE)
    assert hosting.held == 1
    assert await text_of(far, look) == "four"

    assert agent.used == agent.states
    assert hosting.held == 0
    assert not places or agent.states[0].closed == 1


async def test_a_look_that_holds_a_place_is_let_go_of_when_the_query_moves_on() -> None:
    first, last = Remembering("first", accepts=False, places=True), Remembering("last", cost=0.9)
    (far, hosting), (end, _) = remote(first), remote(last)

    trace = await Network("n", [far, end]).route(QUERY)
    await far.aclose()
    await hosting.aclose()

    assert trace.agent == "last"
    assert (hosting.held, first.states[0].closed) == (0, 1)


async def test_a_look_that_holds_memory_is_kept_for_as_long_as_somebody_has_it() -> None:
    far, hosting = remote(Remembering())

    look: Look | None = await far.look(QUERY, BALANCE)
    gc.collect()
    assert hosting.held == 1
    del look
    gc.collect()
    await far.aclose()

    assert hosting.held == 0


async def test_an_agent_that_rejected_goes_on_from_its_look_when_it_must_answer_after_all() -> None:
    first, last = Remembering("first", accepts=False), ScriptedAgent("last", cost=0.9, fails="look")
    far, _ = remote(first)

    trace = await Network("n", [far, last]).route(QUERY)

    assert [hop.decision for hop in trace.hops] == ["reject", "failure", "answer"]
    assert first.used == first.states


async def test_the_oldest_look_goes_when_there_are_too_many_and_its_query_is_answered_all_the_same() -> None:
    agent = Remembering(places=True)
    far, hosting = remote(agent, most=2)

    looks = [await far.look(QUERY, BALANCE) for _ in range(3)]
    answers = [await text_of(far, look) for look in looks]
    await hosting.aclose()

    assert answers == ["four"] * 3
    assert agent.used == [None, *agent.states[1:]]
    assert [state.closed for state in agent.states] == [1, 1, 1]


async def test_a_look_is_held_for_a_bounded_time() -> None:
    agent = Remembering(places=True)
    far, hosting = remote(agent, seconds=0.01)

    look = await far.look(QUERY, BALANCE)
    async with asyncio.timeout(5):
        while hosting.held:
            await asyncio.sleep(0.005)
    await hosting.aclose()

    assert agent.states[0].closed == 1
    assert await text_of(far, look) == "four"


async def test_a_look_is_held_no_longer_than_its_caller_waits() -> None:
    agent = Remembering(places=True)
    far, hosting = remote(agent)
    request = Request(body={"messages": []}, deadline=time.monotonic() + 0.01)

    await far.look(QUERY, BALANCE)
    await hosting.look(replace(QUERY, request=request), BALANCE)
    async with asyncio.timeout(5):
        while not agent.states[1].closed:
            await asyncio.sleep(0.005)

    assert agent.states[0].closed == 0
    await hosting.aclose()


async def test_an_agent_that_was_exchanged_still_answers_what_it_looked_at() -> None:
    old, new = Remembering(), Remembering()
    far, hosting = remote(old)
    look = await far.look(QUERY, BALANCE)

    hosting.agent = new
    await text_of(far, look)
    await text_of(far, await far.look(QUERY, BALANCE))

    assert (old.used, new.used) == (old.states, new.states)
    assert (len(old.states), len(new.states)) == (1, 1)


@pytest.mark.parametrize("fails", ["look", "answer", "midway"])
async def test_what_breaks_there_breaks_here_in_the_same_words(fails: Any) -> None:
    def network(agent: Any) -> Network:
        return Network("n", [agent, ScriptedAgent("last", cost=0.9)])

    near = ScriptedAgent("a", fails=fails, error=AgentError("out of memory"))
    far, _ = remote(ScriptedAgent("a", fails=fails, error=AgentError("out of memory")))

    assert await network(far).route(QUERY) == await network(near).route(QUERY)


async def test_a_call_for_somebody_else_is_refused() -> None:
    _, hosting = remote(Remembering("a"))
    other = RemoteAgent(AgentCard(name="b", price=QueryPrice(cost=0.1)), Here(hosting))

    with pytest.raises(AgentError, match="'a' lives here"):
        await other.look(QUERY, BALANCE)
    with pytest.raises(AgentError, match="'a' lives here"):
        await text_of(other, None)


@pytest.mark.parametrize("confidence", [float("nan"), float("inf"), -0.1, 1.1])
async def test_a_confidence_that_is_none_is_the_same_failure_near_and_far(confidence: float) -> None:
    agent = ScriptedAgent("a", confidence=confidence)
    far, _ = remote(agent)
    last = ScriptedAgent("last", cost=0.9)

    assert await Network("n", [far, last]).route(QUERY) == await Network("n", [agent, last]).route(QUERY)
