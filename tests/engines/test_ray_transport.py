"""An agent on a cluster, with a handle that tests play: deadlines, cancelling, faults, and where answers go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from copy import copy
from typing import Any

import pytest

from disrouter.agents import ScriptedAgent
from disrouter.agents.faults import FaultError
from disrouter.engines.batches import MOST
from disrouter.engines.ray_agent import HandleTransport, RayAgent
from disrouter.engines.ray_replica import Replica
from disrouter.errors import ContextError
from disrouter.network import Network
from disrouter.types import Completion, Look, Query, Request, Sampling, Scenario
from disrouter.utility import BALANCE


class Response:
    """What a handle returns: to be awaited or read, and to be cancelled."""

    def __init__(self, work: Any) -> None:
        self._work = work
        self.cancelled = False

    def __await__(self) -> Any:
        return self._work.__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return await anext(self._work)

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """Calls a real replica in this process, and remembers how it was called."""

    def __init__(self, replica: Any) -> None:
        self.replica = replica
        self.calls: list[dict[str, Any]] = []
        self.responses: list[Response] = []
        self._options: dict[str, Any] = {}
        self._first = self

    def options(self, **options: Any) -> Handle:
        other = copy(self)  # it shares what is remembered, and goes to the replica of the first one
        other._options = {**self._options, **options}
        return other

    def remote(self, *values: Any) -> Response:
        self.calls.append(dict(self._options))
        self.responses.append(Response(getattr(self._first.replica, self._options["method_name"])(*values)))
        return self.responses[-1]


async def replica_of(agent: Any, name: str = "r1") -> Replica:
    replica = Replica.__new__(Replica)
    await Replica.__init__(replica, agent, name)  # as Serve does
    return replica


def hosted(agent: Any, handle: Handle, *, patience: float = 5.0, several: bool = False) -> RayAgent:
    transport = HandleTransport(agent.card.name, lambda: handle, patience=patience, several=several)
    return RayAgent(agent, agent.card, transport)


def query(deadline: float | None = None, *, streaming: bool = True) -> Query:
    request = None if deadline is None else Request(body={}, streaming=streaming, deadline=time.monotonic() + deadline)
    return Query(id="q", messages=Query.from_text("2 + 2 ?").messages, request=request)


class Remembering(ScriptedAgent):
    """Keeps something with its look, and says whether it got it back."""

    async def look(self, query: Query, scenario: Scenario) -> Look:
        return Look(confidence=0.5, state=object())

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncGenerator[str | Completion, None]:
        text = "remembered" if look is not None and look.state is not None else "read again"
        yield text
        yield Completion(text=text)


async def test_a_network_takes_the_same_route_over_replicas() -> None:
    agents = [
        ScriptedAgent("small", cost=0.1, confidence=0.2, accepts=False),
        ScriptedAgent("large", cost=0.9, reply="a long answer of many words " * 5),
    ]
    handles = [Handle(await replica_of(agent)) for agent in agents]
    far = Network("far", [hosted(agent, handle) for agent, handle in zip(agents, handles, strict=True)])

    assert await far.route(query()) == await Network("here", agents).route(query())


@pytest.mark.parametrize("fails", ["look", "answer"])
@pytest.mark.parametrize("error", [None, ContextError("too long"), FaultError("no room", kind="busy")])
async def test_an_agent_fails_there_as_it_would_here(fails: Any, error: Exception | None) -> None:
    broken = ScriptedAgent("small", cost=0.1, fails=fails, error=error)
    large = ScriptedAgent("large", cost=0.9)
    far = Network("far", [hosted(broken, Handle(await replica_of(broken))), large])

    assert await far.route(query()) == await Network("here", [broken, large]).route(query())


async def test_an_answer_goes_on_from_its_look_where_that_was_taken() -> None:
    agent = Remembering("small")
    handle = Handle(await replica_of(agent, "r7"))
    far = hosted(agent, handle, several=True)

    look = await far.look(query(), BALANCE)
    text = await anext(aiter(far.answer(query(), BALANCE, look, Sampling())))

    assert text == "remembered"
    assert handle.calls[-1]["session_id"] == "r7"


async def test_another_replica_answers_from_the_beginning() -> None:
    agent = Remembering("small")
    handle = Handle(await replica_of(agent, "r7"))
    far = hosted(agent, handle, several=True)

    look = await far.look(query(), BALANCE)
    handle.replica = await replica_of(agent, "r8")
    text = await anext(aiter(far.answer(query(), BALANCE, look, Sampling())))

    assert text == "read again"


async def test_a_look_that_nobody_has_any_more_is_let_go_of() -> None:
    agent = Remembering("small")
    replica = await replica_of(agent)
    far = hosted(agent, Handle(replica))

    look = await far.look(query(), BALANCE)
    assert replica._hosting.held == 1
    del look
    await far.aclose()

    assert replica._hosting.held == 0


async def test_a_replica_that_says_nothing_is_given_up_on_at_the_deadline() -> None:
    slow = ScriptedAgent("slow", delay=60.0)
    handle = Handle(await replica_of(slow))

    with pytest.raises(FaultError) as error:
        await hosted(slow, handle).look(query(deadline=0.05), BALANCE)

    assert error.value.kind == "timeout"
    assert handle.responses[0].cancelled


async def test_patience_ends_before_a_deadline_that_is_far_away() -> None:
    slow, large = ScriptedAgent("slow", cost=0.1, delay=60.0), ScriptedAgent("large", cost=0.9)
    far = Network("far", [hosted(slow, Handle(await replica_of(slow)), patience=0.05), large])

    trace = await far.route(query(deadline=300.0))

    assert [(hop.agent, hop.decision) for hop in trace.hops] == [("slow", "failure"), ("large", "answer")]


async def test_a_caller_that_leaves_ends_the_call() -> None:
    slow = ScriptedAgent("slow", delay=60.0)
    handle = Handle(await replica_of(slow))
    task = asyncio.create_task(hosted(slow, handle).look(query(), BALANCE))
    while not handle.responses:
        await asyncio.sleep(0)
    await asyncio.sleep(0)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert handle.responses[0].cancelled


async def test_a_reader_that_stops_ends_the_answer() -> None:
    agent = ScriptedAgent("small", reply="one two three")
    handle = Handle(await replica_of(agent))
    stream: Any = hosted(agent, handle).answer(query(), BALANCE, None, Sampling())

    await anext(stream)
    await stream.aclose()

    assert handle.responses[0].cancelled


async def test_a_long_answer_crosses_in_few_messages() -> None:
    agent = ScriptedAgent("small", reply="word " * 100)
    replica = await replica_of(agent)
    crossed = 0

    class Counting(Handle):
        def remote(self, *values: Any) -> Response:
            async def counted() -> AsyncGenerator[Any, None]:
                nonlocal crossed
                async for batch in replica.answer(*values):
                    crossed += 1
                    yield batch

            return Response(counted())

    far = hosted(agent, Counting(replica))
    pieces = [piece async for piece in far.answer(query(), BALANCE, None, Sampling())]

    assert "".join(piece for piece in pieces if isinstance(piece, str)) == "word " * 100
    assert crossed <= 1 + 100 / MOST + 1


class RayActorError(Exception):
    """Has the name of what Ray raises."""


class ActorDiedError(RayActorError):
    """So has this one."""


@pytest.mark.parametrize("where", ["call", "result"])
async def test_a_replica_that_dies_is_a_failure_and_the_next_agent_answers(where: str) -> None:
    small, large = ScriptedAgent("small", cost=0.1), ScriptedAgent("large", cost=0.9)

    class Dying(Handle):
        def remote(self, *values: Any) -> Response:
            async def die() -> None:
                raise ActorDiedError("the worker is gone")

            if where == "call":
                raise ActorDiedError("the worker is gone")
            return Response(die())

    trace = await Network("far", [hosted(small, Dying(None)), large]).route(query())

    assert [(hop.agent, hop.decision) for hop in trace.hops] == [("small", "failure"), ("large", "answer")]
    assert trace.hops[0].reason == "FaultError: Agent 'small' is not there (ActorDiedError)."


async def test_a_request_that_the_cluster_cancels_is_no_cancelling_here() -> None:
    small = ScriptedAgent("small")

    class Cancelling(Handle):
        def remote(self, *values: Any) -> Response:
            async def cancelled() -> None:
                raise asyncio.CancelledError

            return Response(cancelled())

    with pytest.raises(FaultError) as error:
        await hosted(small, Cancelling(None)).look(query(), BALANCE)

    assert error.value.kind == "cut"


async def test_an_agent_that_runs_nothing_to_look_is_not_asked() -> None:
    class Silent(ScriptedAgent):
        self_assessment = "none"

    agent = Silent("large")
    handle = Handle(await replica_of(agent))

    assert await hosted(agent, handle).look(query(), BALANCE) == Look(confidence=None)
    assert handle.calls == []


async def test_every_event_loop_has_a_handle_of_its_own() -> None:
    made: list[int] = []
    agent = ScriptedAgent("small")
    replica = await replica_of(agent)

    def make() -> Handle:
        made.append(1)
        return Handle(replica)

    far = RayAgent(agent, agent.card, HandleTransport("small", make, patience=5.0, several=False))
    ask: Callable[[], Any] = lambda: asyncio.run(far.look(query(), BALANCE))  # noqa: E731
    await asyncio.to_thread(ask)
    await asyncio.to_thread(ask)
    await far.look(query(), BALANCE)
    await far.look(query(), BALANCE)

    assert len(made) == 3


async def test_a_handle_is_made_ready_once_for_each_kind_of_call() -> None:
    agent = ScriptedAgent("small")
    replica = await replica_of(agent)
    readied: list[dict[str, Any]] = []

    class Counting(Handle):
        def options(self, **options: Any) -> Handle:
            readied.append(options)
            return super().options(**options)

    far = hosted(agent, Counting(replica))
    for _ in range(3):
        await far.look(query(), BALANCE)
        await anext(aiter(far.answer(query(), BALANCE, None, Sampling())))

    assert [(options["method_name"], options["stream"]) for options in readied] == [("look", False), ("answer", True)]
