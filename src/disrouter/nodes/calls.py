"""One call of a network elsewhere: read, checked, handed to the agent, and its answer or failure written.

Up to the first piece a failure is a status of its own with the fault in its body; after it, the last line is the fault.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
from starlette.types import Receive, Scope, Send

from disrouter import __version__
from disrouter.agents._wire_values import WireError
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import Travel
from disrouter.agents.wire import WIRE, Call, call_from, fault_json
from disrouter.errors import DisrouterError, RunError
from disrouter.gateway.app import FULL
from disrouter.gateway.asking import json_of
from disrouter.gateway.bodies import GoneError, read_body
from disrouter.gateway.errors import ProblemError, error_of

if TYPE_CHECKING:
    from disrouter.nodes.app import Node

__all__ = ["LINES", "LOG", "NodeCall"]

LOG = logging.getLogger("disrouter.nodes")

MOST_TICKETS = 1_000

_JSON = (b"content-type", b"application/json")
LINES = (
    (b"content-type", b"application/x-ndjson"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class NodeCall:
    """One call on its way; used once."""

    def __init__(self, node: Node, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        self.node = node
        self.name = name
        self.scope = scope
        self.headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        self.receive = receive
        self.send = send
        self.begun = False
        self.gone = False

    async def run(self) -> None:
        """Serve the call to its end, whatever happens."""
        gateway = self.node.gateway
        outcome = "done"
        try:
            if gateway.in_flight >= gateway.settings.most_in_flight:
                raise FULL
            with gateway.at_work():
                await self._serve()
        except GoneError:
            outcome = "gone"
        except asyncio.CancelledError:
            outcome = "gone"
            if not self.gone:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
        except Exception as error:
            outcome = "refused" if isinstance(error, ProblemError | WireError) else "failed"
            await self._fail(error)
        finally:
            self.node.calls.labels(self.name, outcome).inc()

    async def _serve(self) -> None:
        gateway = self.node.gateway
        gateway.require_sound_headers(self.headers)
        raw = await read_body(self.receive, self.headers, gateway.settings)
        travel = self.node.travel(self.scope, self.headers, raw)
        body = json_of(raw)
        self._require_expected(body)
        if self.name == "release":
            self.node.hosting.release(_tickets(body))
            await self._respond({})
            return
        left = gateway.time_for(self.headers, travel)
        call = self._of(call_from(body), travel, left)
        watcher = asyncio.create_task(self._watch(asyncio.current_task()))
        try:
            async with asyncio.timeout(left):
                await (self._look(call) if self.name == "look" else self._answer(call))
        finally:
            watcher.cancel()

    def _require_open(self) -> None:
        """Do nothing unless the node is ending.

        Raises:
            FaultError: It is.
        """
        if self.node.gateway.draining:
            raise FaultError(
                f"Agent '{self.node.name}' is ending and takes no new queries.",
                kind="busy",
                status=503,
                code="draining",
                retry_after=1.0,
            )

    async def _look(self, call: Call) -> None:
        self._require_open()
        await self._respond(await self.node.hosting.look_json(call))

    async def _answer(self, call: Call) -> None:
        async with aclosing(self.node.hosting.answer_json(call)) as pieces:
            async for piece in pieces:
                if not self.begun and "fault" in piece:
                    await self._refuse(piece["fault"])
                    return
                if not self.begun:
                    await self._start(200, LINES)
                await self.send({"type": "http.response.body", "body": _written(piece) + b"\n", "more_body": True})
        await self.send({"type": "http.response.body", "body": b""})

    def _require_expected(self, body: Mapping[str, Any]) -> None:
        """Refuse a caller that means another agent than this one.

        Raises:
            FaultError: Name, version or model are others.
        """
        name = self.node.name
        expected = body.get("expected") or {}
        if body.get("wire") != WIRE:
            raise _other(f"The node of agent '{name}' speaks version {WIRE} of the wire.", "wire_version")
        if body.get("agent") != name:
            raise _other(f"The node that was asked serves agent '{name}'.", "wrong_agent")
        if isinstance(expected, dict):
            version, digest = expected.get("version"), expected.get("digest")
            if version is not None and version != __version__:
                raise _other(
                    f"The node of agent '{name}' runs DiSRouter {__version__}, not {str(version)[:40]}.",
                    "wrong_version",
                )
            if digest is not None and digest != self.node.digest:
                raise _other(
                    f"The node of agent '{name}' has another model ({self.node.digest}) than its card says "
                    f"({str(digest)[:40]}).",
                    "wrong_model",
                )

    def _of(self, call: Call, travel: Travel, left: float) -> Call:
        """Return the call with what it carries, on the clock of this process."""
        request = call.query.request
        if request is None:
            return call
        request = replace(
            request,
            deadline=time.monotonic() + left,
            via=(*travel.via, self.node.gateway.id),
            max_cost=travel.max_cost,
            max_hops=travel.max_hops,
            traceparent=travel.traceparent,
        )
        return replace(call, query=replace(call.query, request=request))

    async def _watch(self, work: asyncio.Task[Any] | None) -> None:
        """Stop the work when the caller hangs up."""
        while True:
            event = await self.receive()
            if event["type"] == "http.disconnect":
                self.gone = True
                if work is not None:
                    work.cancel()
                return

    async def _fail(self, error: Exception) -> None:
        """Tell the caller what happened, in the way that is still open."""
        if self.begun:  # only a deadline, or a surprise: what the agent raises is a line already
            slow = isinstance(error, TimeoutError)
            fault = FaultError(
                f"Agent '{self.node.name}' {'ran out of time' if slow else 'broke'}.",
                kind="timeout" if slow else "error",
            )
            line = orjson.dumps({"fault": fault_json(fault)}) + b"\n"
            await self.send({"type": "http.response.body", "body": line})
        elif isinstance(error, ProblemError):
            headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
            await self._respond(error_of(error), error.status, headers)
        elif isinstance(error, WireError):
            await self._respond(error_of(ProblemError(400, error.message, code="invalid_call")), 400)
        elif isinstance(error, TimeoutError):
            await self._refuse(
                fault_json(FaultError(f"Agent '{self.node.name}' had no more time.", kind="timeout")),
            )
        else:
            if not isinstance(error, DisrouterError):
                LOG.error("a %s failed: %s", self.name, type(error).__name__)
            elif not isinstance(error, RunError):  # for whoever runs this node to mend; the caller hears less
                LOG.error("a %s failed: %s", self.name, error.message)
            await self._refuse(fault_json(error))

    async def _refuse(self, fault: dict[str, Any]) -> None:
        """Send a fault as a status of its own."""
        kind = fault.get("kind", fault["type"])
        status = {"context": 400, "request": 400, "busy": 503, "open_breaker": 503, "timeout": 504}.get(kind, 502)
        if fault.get("code") in ("wrong_agent", "wrong_model", "wrong_version", "wire_version"):
            status = 409
        problem = ProblemError(status, fault["message"], type="server_error", code=fault.get("code") or kind)
        # Whether to try again is for the caller's network to say, which may have somebody else.
        headers = [(b"x-should-retry", b"false")]
        if (after := fault.get("retry_after")) is not None:
            headers.append((b"retry-after", str(max(1, math.ceil(after))).encode()))
        await self._respond({**error_of(problem), "fault": fault}, status, headers)

    async def _respond(self, body: Any, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        data = _written(body)
        length = (b"content-length", str(len(data)).encode())
        await self._start(status, (_JSON, length, *headers))
        await self.send({"type": "http.response.body", "body": data})

    async def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.begun = True
        ending = [(b"connection", b"close")] if self.node.gateway.draining else []
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, *ending]})


def _written(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)  # agents of others may count with it


def _other(message: str, code: str) -> FaultError:
    return FaultError(message, kind="status", status=409, code=code)


def _tickets(body: Mapping[str, Any]) -> list[str]:
    tickets = body.get("tickets")
    if not isinstance(tickets, list) or len(tickets) > MOST_TICKETS or not all(isinstance(t, str) for t in tickets):
        raise WireError(f"'tickets' is a list of at most {MOST_TICKETS} texts.")
    return tickets
