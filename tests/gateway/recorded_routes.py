"""Routes made by hand, and a small application that serves the pages over them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route

from disrouter.gateway.control import Control, ControlOptions, open_control
from disrouter.gateway.network_state import AgentState, NetworkState
from disrouter.gateway.records import HopRecord, RouteRecord, new_trace_id
from disrouter.types import Agent
from gateway.running import Running, running

__all__ = ["AGENTS", "NETWORK", "a_route", "control_in", "controlled", "pages_of"]

AGENTS = ("small", "large")

NETWORK = NetworkState(
    name="two",
    agents=(
        AgentState(name="small", kind="local", price=0.1, passes_to=("large",)),
        AgentState(name="large", kind="server", price=0.9, breaker="half-open"),
    ),
    policy="paper",
    scenario="balance",
    alpha=0.5,
)


def a_route(**changed: Any) -> RouteRecord:
    """A query that the small agent passes on and the large one answers: cost 0.01 + 0.9 against 0.9."""
    route = RouteRecord(
        trace_id=new_trace_id(),
        time=1_000_000.0,
        model="disrouter",
        endpoint="chat",
        scenario="balance",
        alpha=0.5,
        stream=True,
        hops=(
            HopRecord(
                agent="small",
                decision="reject",
                confidence=0.3,
                prompt_tokens=8,
                completion_tokens=1,
                cost=0.01,
                seconds=0.1,
            ),
            HopRecord(
                agent="large",
                decision="answer",
                confidence=0.9,
                prompt_tokens=8,
                completion_tokens=20,
                cost=0.9,
                seconds=0.4,
            ),
        ),
        agent="large",
        outcome="answered",
        code=200,
        saved=-0.01,
        seconds=0.51,
        overhead_seconds=0.01,
        first_token_seconds=0.2,
    )
    return replace(route, **changed)


def control_in(folder: Path, **options: Any) -> Control:
    """A control with a store of its own, not started."""
    return open_control(ControlOptions(store=str(folder / "gateway.db"), **options), agents=AGENTS)


def pages_of(control: Control, *more: Route, reload: Callable[[], str] | None = None) -> Starlette:
    """An application that serves nothing but the pages (and what a test adds), running its control."""

    @asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        control.start()
        yield
        control.stop()

    return Starlette(routes=[*control.routes(lambda: NETWORK, reload), *more], lifespan=life)


@asynccontextmanager
async def controlled(control: Control, *agents: Agent) -> AsyncIterator[Running]:
    """A gateway that really runs, with everything around it."""
    at_work: list[Running] = []
    control.start()
    try:
        routes = control.routes(lambda: at_work[0].gateway.state())
        async with running(*agents, access=control.access, routes=routes) as one:
            at_work.append(one)
            one.gateway.recorder = control.recorder
            yield one
    finally:
        control.stop()
