"""A caller's channel, as the node holds it: believed once it is signed, then read call by call.

GET /v1/agent/channel    (a WebSocket; :mod:`disrouter.agents.channel` says what goes over it)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from disrouter.agents._wire_values import Json, WireError
from disrouter.agents.channel import REFUSED, Outbox, messages_in, reply_message
from disrouter.agents.faults import FaultError
from disrouter.agents.sealing import SealError, Seals
from disrouter.agents.wire import WIRE, fault_json
from disrouter.gateway.errors import ProblemError, body_of
from disrouter.nodes.calls import NodeCall

if TYPE_CHECKING:
    from disrouter.nodes.app import Node

__all__ = ["MakeCall", "NodeChannel", "Reply"]

POLICY_VIOLATION = 1008

MakeCall = Callable[["Reply", Json], NodeCall]


class Reply:
    """What a node says to one call."""

    __slots__ = ("_number", "_outbox")

    def __init__(self, outbox: Outbox, number: int) -> None:
        self._outbox = outbox
        self._number = number

    async def say(self, value: Any) -> None:
        """Say one thing, with more to come; wait where the caller does not keep up."""
        self.tell(value)
        await self._outbox.room()

    def tell(self, value: Any) -> None:
        """Say one thing, with more to come, and do not wait."""
        self._outbox.put(reply_message(self._number, "said", value))

    def end(self, value: Any) -> None:
        """Say the last thing."""
        self._outbox.put(reply_message(self._number, "last", value))

    def fail(self, fault: Json) -> None:
        """Say why there is no more."""
        self._outbox.put(reply_message(self._number, "fault", fault))

    def beat(self) -> None:
        """Say that the call is still worked on."""
        self._outbox.put(reply_message(self._number))


class NodeChannel:
    """One caller's channel; used once.

    Args:
        node: The node.
        calls: Makes the calls that may be asked for, by name.
        scope: As ASGI has it.
        receive: As ASGI has it.
        send: As ASGI has it.
    """

    def __init__(self, node: Node, calls: dict[str, MakeCall], scope: Scope, receive: Receive, send: Send) -> None:
        self._node = node
        self._calls = calls
        self._scope = scope
        self._receive = receive
        self._send = send
        self._at_work: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve the channel to its end."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._scope["headers"]}
        await self._receive()  # that somebody wants to connect
        try:
            self._require_welcome(headers)
        except ProblemError as problem:
            await self._refuse(problem)
            return
        word, proof, seals = self._node.gateway.seals(headers)
        await self._send({"type": "websocket.accept"})
        hello = orjson.dumps({"wire": WIRE, "word": word, "proof": proof})
        await self._send({"type": "websocket.send", "text": hello.decode()})
        await self._serve(seals)

    async def _serve(self, seals: Seals) -> None:
        outbox = Outbox(self._frame, seals.replies)
        writing = asyncio.create_task(self._write(outbox))
        try:
            while (event := await self._receive())["type"] == "websocket.receive":
                self._read(event, seals, outbox)
        except (SealError, WireError):
            with contextlib.suppress(OSError):
                await self._send({"type": "websocket.close", "code": POLICY_VIOLATION})
        finally:
            for task in [writing, *self._at_work.values()]:
                task.cancel()

    def _read(self, event: Message, seals: Seals, outbox: Outbox) -> None:
        frame = event.get("bytes")
        if frame is None:
            raise WireError("A frame is binary.")
        messages = messages_in(seals.calls.opened(frame))
        if len(frame) > self._node.gateway.settings.largest_body:
            for message in messages:
                Reply(outbox, message["id"]).fail(fault_json(TOO_LARGE))
            return
        for message in messages:
            self._take(message, outbox)

    def _take(self, message: Json, outbox: Outbox) -> None:
        """Begin a call, or end one."""
        number, name, gateway = message["id"], message.get("call"), self._node.gateway
        if name == "cancel":
            if (task := self._at_work.get(number)) is not None:
                task.cancel()
            return
        if number in self._at_work:
            raise WireError("A call has a number of its own.")
        reply, make = Reply(outbox, number), self._calls.get(str(name))
        if make is None:
            reply.fail(fault_json(UNKNOWN))
            return
        if max(gateway.in_flight, len(self._at_work)) >= gateway.settings.most_in_flight:
            reply.fail(fault_json(FULL))
            return
        task = asyncio.get_running_loop().create_task(make(reply, message).run())
        self._at_work[number] = task
        task.add_done_callback(lambda _: self._at_work.pop(number))

    async def _write(self, outbox: Outbox) -> None:
        with contextlib.suppress(OSError):  # the caller has gone, which the reading side is told
            await outbox.run()

    async def _frame(self, frame: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": frame})

    def _require_welcome(self, headers: dict[str, str]) -> None:
        """Do nothing if a caller may have a channel.

        Raises:
            ProblemError: It may not.
        """
        self._node.gateway.require_sound_headers(headers)
        if "origin" in headers:  # browsers let pages from anywhere open WebSockets to this machine, and say so
            raise ProblemError(403, "No page in a browser may call an agent.", code="foreign_request")
        self._node.travel(self._scope, headers, b"")

    async def _refuse(self, problem: ProblemError) -> None:
        told = {"content-type": "application/json", REFUSED: f"{problem.code} {problem.message}", **problem.headers}
        sent = [(name.encode(), value.encode("ascii", "replace")) for name, value in told.items()]
        await self._send({"type": "websocket.http.response.start", "status": problem.status, "headers": sent})
        await self._send({"type": "websocket.http.response.body", "body": body_of(problem)})


FULL = FaultError(
    "The node has no room for another call now.", kind="busy", status=503, code="overloaded", retry_after=1.0
)
TOO_LARGE = FaultError("The call is larger than the node takes.", kind="request", status=413, code="request_too_large")
UNKNOWN = FaultError("The node knows no such call.", kind="status", status=404, code="unknown_call", own=False)
