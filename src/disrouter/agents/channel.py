"""A channel: the one connection over which a caller and a node say everything to each other.

It is a WebSocket. A frame is a JSON list of messages, sealed (:mod:`disrouter.agents.sealing`); each message names the
call that it is about, so that many are under way at once:

    {"id": 7, "call": "look", "travel": {…}, "body": {…}}     the caller asks
    {"id": 7, "call": "cancel"}                               the caller waits no longer
    {"id": 7, "said": …}                                      the node says one thing, and more will come
    {"id": 7, "last": …}                                      the node says the last thing
    {"id": 7, "fault": {…}}                                   the node cannot, and says why
    {"id": 7}                                                 the node is still there

Before them the node sends, unsealed, who it is: ``{"wire": 2, "word": …, "proof": …}``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from disrouter.agents._wire_values import Json, WireError, is_number, is_whole, object_of
from disrouter.agents.hops import TRACE, VIA, Travel, trace_of, via_of
from disrouter.agents.sealing import Seal

__all__ = [
    "CHANNEL",
    "LARGEST_FRAME",
    "REFUSED",
    "Outbox",
    "call_message",
    "cancel_message",
    "messages_in",
    "reply_message",
    "travel_from",
]

CHANNEL = "agent/channel"
"""Its path, after the version."""

REFUSED = "x-disrouter-refused"
"""Header of a refusal to open one: its code and, after a space, why."""

LARGEST_FRAME = 64 * 1024 * 1024
"""Bytes; of one call or of one piece of an answer."""

BATCH = 64 * 1024
"""Bytes up to which messages share a frame; a larger one has its own."""

MOST_WAITING = 256 * 1024
"""Bytes of messages that wait to be sent, above which whoever has more to say waits, too."""


class Outbox:
    """Messages on their way out: what is there at once goes in one frame.

    Args:
        send: Sends the bytes of a frame.
        seal: Seals it.
    """

    def __init__(self, send: Callable[[bytes], Awaitable[None]], seal: Seal) -> None:
        self._send = send
        self._seal = seal
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._more: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()

    def put(self, message: bytes) -> None:
        """Have a message sent soon."""
        self._waiting.append(message)
        self._bytes += len(message)
        if self._bytes > MOST_WAITING:
            self._room.clear()
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def room(self) -> None:
        """Wait until not too much waits to be sent."""
        await self._room.wait()

    async def run(self) -> None:
        """Send what is put, until the task ends."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting:
                self._more = loop.create_future()
                await self._more
            await self._send(self._seal.sealed(self._frame()))
            if self._bytes <= MOST_WAITING:
                self._room.set()

    def _frame(self) -> bytes:
        waiting = self._waiting
        messages = [waiting.popleft()]
        size = len(messages[0])
        while waiting and size + len(waiting[0]) <= BATCH:
            size += len(waiting[0])
            messages.append(waiting.popleft())
        self._bytes -= size
        return b"[%s]" % b",".join(messages)


def call_message(number: int, call: str, travel: Travel, body: bytes) -> bytes:
    """Return the message that asks something.

    Args:
        number: Of the call; used once on a channel.
        call: What is asked.
        travel: What the query carries along.
        body: The call as JSON.
    """
    told = orjson.dumps(_travel_json(travel))
    return b'{"id":%d,"call":"%s","travel":%s,"body":%s}' % (number, call.encode(), told, body)


def cancel_message(number: int) -> bytes:
    """Return the message that nobody waits for a call any more."""
    return b'{"id":%d,"call":"cancel"}' % number


def reply_message(number: int, kind: str = "", value: Any = None) -> bytes:
    """Return what a node says to a call: ``said``, ``last`` or ``fault``; without a kind only that it is there."""
    if not kind:
        return b'{"id":%d}' % number
    # Agents of others may count with NumPy.
    return b'{"id":%d,"%s":%s}' % (number, kind.encode(), orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def messages_in(frame: bytes) -> list[Json]:
    """Return the messages of a frame.

    Raises:
        WireError: It holds something else.
    """
    try:
        found = orjson.loads(frame)
    except orjson.JSONDecodeError:
        raise WireError("A frame is no JSON.") from None
    for one in found if isinstance(found, list) else (None,):
        if not isinstance(one, dict) or not is_whole(one.get("id")):
            raise WireError("A frame is a list of messages, each with the number of its call.")
    messages: list[Json] = found
    return messages


def travel_from(value: Any) -> Travel:
    """Return what a call carries along.

    Raises:
        WireError: It is nothing that can be carried.
    """
    body = object_of(value, "a travel")
    seconds, cost, hops = body.get("left"), body.get("cost"), body.get("hops")
    via, trace = body.get("via", ""), body.get("trace", "")
    if not all(one is None or is_number(one) for one in (seconds, cost)) or not (hops is None or is_whole(hops)):
        raise WireError("What is left of time, cost and hops are numbers.")
    if not isinstance(via, str) or not isinstance(trace, str):
        raise WireError("The way of a query and its trace context are texts.")
    return Travel(
        via=via_of({VIA: via}) if via else (),
        seconds=seconds,
        max_cost=cost,
        max_hops=hops,
        traceparent=trace_of({TRACE: trace}) if trace else None,
    )


def _travel_json(travel: Travel) -> Json:
    found: Json = {}
    if travel.via:
        found["via"] = ",".join(travel.via)
    if travel.seconds is not None:
        found["left"] = travel.seconds
    if travel.max_cost is not None:
        found["cost"] = travel.max_cost
    if travel.max_hops is not None:
        found["hops"] = travel.max_hops
    if travel.traceparent is not None:
        found["trace"] = travel.traceparent
    return found
