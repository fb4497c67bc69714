"""Peering: having a node go on with a walk, over its channel.

The node says one thing for whatever happens to the query, and every half second in which nothing does that it is there:
a node that says nothing is lost, however long its agent may think.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from disrouter.agents._server import Server
from disrouter.agents._wire_values import WireError
from disrouter.agents.baton import baton_json, carried_from
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import travel_of
from disrouter.agents.line import Line
from disrouter.agents.wire import WIRE
from disrouter.peers import Arrived, Carried, Leg

__all__ = ["BEAT", "carried_by"]

BEAT = 0.5
"""Seconds after which a node that goes on with a walk says that it is still there."""


async def carried_by(
    server: Server, line: Line, leg: Leg, expected: Mapping[str, str]
) -> AsyncGenerator[Carried, None]:
    """Have a node go on with a walk, and yield what happens to it. Whoever stops listening stops the work there.

    Args:
        server: The node.
        line: The way to it.
        leg: The walk so far.
        expected: What the node must be, as its agent's other calls say.

    Raises:
        AgentError: The node could not go on, or was lost.
        RunError: The answer broke off after it had begun.
    """
    name, patience, travel = server.agent, server.patience, travel_of(leg.query)
    body: dict[str, Any] = {"wire": WIRE, "agent": leg.at, "baton": baton_json(leg)}
    if expected:
        body["expected"] = dict(expected)
    total = patience.total if travel.seconds is None else max(0.001, min(patience.total, travel.seconds))
    # Whoever is lost must leave time for somebody else.
    silence = max(3 * BEAT, min(patience.connect, total / 2))
    asked, begun = time.monotonic(), False
    said = line.many("carry", orjson.dumps(body), travel=travel, total=total, first=silence, stall=silence)
    async with aclosing(said) as values:
        async for value in values:
            if value is None:
                if not begun and time.monotonic() - asked > patience.first_token:
                    raise FaultError(f"Agent '{name}' said nothing in {patience.first_token:g} s.", kind="timeout")
                continue
            begun = True
            try:
                event = carried_from(value, name)
            except WireError as exc:
                raise FaultError(f"Agent '{name}' sent no sense. {exc.message}", kind="malformed") from None
            yield event
            if isinstance(event, Arrived):
                return
    raise FaultError(f"The node of agent '{name}' broke off.", kind="cut")
