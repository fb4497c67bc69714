"""Peering: having a node go on with a walk, over HTTP.

The node says at once that it has the query, then one JSON object a line for whatever happens to it, and an empty line
every half second in which nothing does: a node that says nothing is lost, however long its agent may think.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import aiohttp
import orjson

from disrouter.agents._server import Server
from disrouter.agents._wire_values import WireError
from disrouter.agents.baton import baton_json, carried_from
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import travel_of
from disrouter.agents.wire import WIRE
from disrouter.peers import Arrived, Carried, Leg

__all__ = ["BEAT", "carried_by"]

BEAT = 0.5
"""Seconds after which a node that goes on with a walk says that it is still there."""

LARGEST_LINE = 8 * 1024 * 1024


async def carried_by(server: Server, leg: Leg, expected: Mapping[str, str]) -> AsyncGenerator[Carried, None]:
    """Have a node go on with a walk, and yield what happens to it. Whoever stops listening stops the work there.

    Args:
        server: The node.
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
    arrived = False
    async with (
        server.replying("agent/carry", body, total=total, stall=silence, travel=travel) as response,
        aclosing(_lines(server, response)) as lines,
    ):
        try:
            async with asyncio.timeout(patience.first_token):
                line = await anext(lines, None)
        except TimeoutError:
            raise FaultError(f"Agent '{name}' said nothing in {patience.first_token:g} s.", kind="timeout") from None
        while line is not None and not arrived:
            try:
                event = carried_from(line, name)
            except WireError as exc:
                raise FaultError(f"Agent '{name}' sent no sense. {exc.message}", kind="malformed") from None
            arrived = isinstance(event, Arrived)
            yield event
            line = None if arrived else await anext(lines, None)
    if not arrived:
        raise FaultError(f"The node of agent '{name}' broke off.", kind="cut")


async def _lines(server: Server, response: aiohttp.ClientResponse) -> AsyncGenerator[Any, None]:
    """Yield the JSON values of a reply with one a line; empty lines only say that somebody is there."""
    rest = b""
    try:
        async for received in response.content.iter_any():
            *lines, rest = (rest + received).split(b"\n")
            for line in lines:
                if line:
                    yield orjson.loads(line)
            if len(rest) > LARGEST_LINE:
                raise FaultError(f"Agent '{server.agent}' sent a piece that is too large.", kind="malformed")
    except orjson.JSONDecodeError:
        raise FaultError(f"Agent '{server.agent}' sent something that is no JSON.", kind="malformed") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        raise server.fault_of(exc) from None
