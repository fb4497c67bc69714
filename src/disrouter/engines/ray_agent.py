"""An agent whose copies run on a Ray cluster, as routing knows it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from disrouter.agents.faults import FaultError
from disrouter.agents.remote import RemoteAgent
from disrouter.agents.wire import fault_from
from disrouter.engines.ray_faults import fault_of
from disrouter.types import Agent, AgentCard, Look, Query, Scenario

__all__ = ["HandleTransport", "RayAgent"]

T = TypeVar("T")

LONGEST = 3600.0
"""Seconds that a call without a deadline may take."""

_PLAIN = {"request_serialization": "pickle", "response_serialization": "pickle"}
"""What crosses is JSON values and, when a call fails, an exception: nothing that Ray's slower pickler is needed for."""

RELEASING = 0.25
"""Seconds in which looks that are let go of are collected: each message to a replica costs about what a look costs."""


class HandleTransport:
    """Carries calls to the replicas of one deployment.

    Args:
        name: Name of the agent.
        handle: Makes a handle of the deployment; a handle belongs to the event loop in which it is first used.
        patience: Seconds that a look, or the first piece of an answer, may take.
        several: Whether there may be more than one replica.
    """

    def __init__(self, name: str, handle: Callable[[], Any], *, patience: float, several: bool) -> None:
        self.name = name
        self.patience = patience
        self.several = several
        self._handle = handle
        self._handles: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, bool], Any]] = WeakKeyDictionary()

    async def look(self, call: dict[str, Any], query: Query) -> Any:
        """Return the look of a call.

        Raises:
            AgentError: The agent failed, or no replica could be asked.
        """
        seconds = min(self.patience, _left(query))
        response = self._call("look", None, call, seconds)
        look = await self._within(response, seconds, response)
        if isinstance(look, dict) and "fault" in look:
            raise fault_from(look["fault"], self.name)
        return look

    async def answer(self, call: dict[str, Any], query: Query) -> AsyncGenerator[Any, None]:
        """Yield the pieces of the answer of a call; whoever stops reading stops the replica.

        Raises:
            AgentError: No replica could be asked, or the one that was is gone.
        """
        seconds = _left(query)
        until = time.monotonic() + seconds
        response = self._call("answer", _replica_of(call), call, seconds, stream=True)
        begun = ended = False
        try:
            while not ended:
                patience = min(self.patience, until - time.monotonic())
                pieces = await self._within(anext(response, None), patience, response, begun=begun)
                ended = pieces is None
                for piece in pieces or ():
                    begun = True
                    yield piece
        finally:
            if not ended:
                response.cancel()

    async def release(self, tickets: Sequence[str]) -> None:
        """Let go of looks, a moment later and as far as their replicas can be reached."""
        await asyncio.sleep(RELEASING)
        by_replica: dict[str, list[str]] = {}
        for ticket in tickets:
            by_replica.setdefault(ticket.rpartition(".")[0], []).append(ticket)
        for replica, own in by_replica.items():
            with suppress(FaultError):  # with its replica a look is gone too
                response = self._call("release", replica, own)
                await self._within(response, self.patience, response)

    async def aclose(self) -> None:
        """Let go of the connections of this event loop."""
        handles = self._handles.pop(asyncio.get_running_loop(), {})
        for handle in list(handles.values())[:1]:  # all of them share one router
            with suppress(Exception):  # the cluster may be gone before us
                await handle.shutdown_async()

    def _call(self, method: str, replica: str | None, *values: Any, stream: bool = False) -> Any:
        session = replica if replica and self.several else None
        try:
            return self._handle_for(method, stream, session).remote(*values)
        except Exception as error:  # on purpose: Ray's errors have no common base, and each is this agent's fault
            raise fault_of(error, self.name) from error

    def _handle_for(self, method: str, stream: bool, session: str | None) -> Any:
        """Return a handle of this event loop for one kind of call, made once where no replica is named."""
        loop = asyncio.get_running_loop()
        handles = self._handles.setdefault(loop, {})
        if (method, stream) not in handles:
            first = next(iter(handles.values()), None) or self._handle()
            handles[method, stream] = first.options(method_name=method, stream=stream, **_PLAIN)
        handle = handles[method, stream]
        return handle if session is None else handle.options(session_id=session)

    async def _within(self, step: Awaitable[T], seconds: float, response: Any, *, begun: bool = False) -> T:
        """Wait for a step of a call; whoever gives up on it ends the call."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                return await step
        except asyncio.CancelledError:
            response.cancel()
            if _cancelled_here():
                raise
            raise FaultError(f"Agent '{self.name}' broke off (CancelledError).", kind="cut") from None
        except TimeoutError:
            response.cancel()
            raise FaultError(f"Agent '{self.name}' said nothing in {seconds:.3g} s.", kind="timeout") from None
        except Exception as error:  # on purpose, as above
            raise fault_of(error, self.name, begun=begun) from error


class RayAgent(RemoteAgent):
    """An agent on a Ray cluster.

    Args:
        agent: The agent as it would run here; only what it says of itself is used, and no model is loaded.
        card: Its card, with the room that all its copies have.
        transport: The way to its replicas.
        closed: Called when it is not needed any more.
        app: The Serve application that it is.
    """

    def __init__(
        self,
        agent: Agent,
        card: AgentCard,
        transport: HandleTransport,
        closed: Callable[[], Awaitable[None]] | None = None,
        *,
        app: str = "",
    ) -> None:
        super().__init__(card, transport)
        self.app = app
        self._handles = transport
        self._closed = closed
        self._own = _Own(
            forwards=bool(getattr(agent, "forwards_requests", False)),
            assessment=getattr(agent, "self_assessment", None),
            scenario=bool(getattr(agent, "scenario_prompt", True)),
        )

    @property
    def forwards_requests(self) -> bool:
        """Whether the agent there takes whole requests, and not only their text."""
        return self._own.forwards

    @property
    def self_assessment(self) -> str | None:
        """How the agent there judges itself."""
        return self._own.assessment

    @property
    def scenario_prompt(self) -> bool:
        """Whether the agent there reads the scenario."""
        return self._own.scenario

    async def look(self, query: Query, scenario: Scenario) -> Look:
        """Have the agent look; one that runs nothing to look is not asked.

        Raises:
            AgentError: It broke, as it would here; or it cannot be reached.
        """
        if self._own.assessment == "none":
            return Look(confidence=None)
        return await super().look(query, scenario)

    async def aclose(self) -> None:
        """Let go of its replicas."""
        await super().aclose()
        await self._handles.aclose()
        if self._closed is not None:
            await self._closed()


@dataclass(frozen=True, slots=True)
class _Own:
    """What an agent says of itself besides its card."""

    forwards: bool
    assessment: str | None
    scenario: bool


def _left(query: Query) -> float:
    deadline = query.request.deadline if query.request is not None else None
    return min(LONGEST, math.inf if deadline is None else max(0.0, deadline - time.monotonic()))


def _replica_of(call: dict[str, Any]) -> str | None:
    """Return the replica that holds what the look of a call has left."""
    ticket = (call.get("look") or {}).get("ticket")
    return str(ticket[0]).rpartition(".")[0] if ticket else None


def _cancelled_here() -> bool:
    """Return whether it is this task that is to end, and not the call."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
