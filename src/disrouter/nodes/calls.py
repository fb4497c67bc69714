"""One call of a network elsewhere: checked, handed to the agent, and its answer or failure told."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from disrouter import __version__
from disrouter.agents._wire_values import Json, WireError, object_of
from disrouter.agents.channel import travel_from
from disrouter.agents.faults import FaultError
from disrouter.agents.hops import Travel
from disrouter.agents.wire import WIRE, Call, call_from, fault_json
from disrouter.errors import DisrouterError, RunError
from disrouter.gateway.errors import ProblemError
from disrouter.gateway.watch import Watch

if TYPE_CHECKING:
    from disrouter.nodes.app import Node
    from disrouter.nodes.channel import Reply

__all__ = ["LOG", "AnswerCall", "LookCall", "NodeCall", "ReleaseCall"]

LOG = logging.getLogger("disrouter.nodes")

MOST_TICKETS = 1_000


class NodeCall:
    """One call on its way; used once.

    Args:
        node: The node.
        reply: Where it is told what comes of it.
        message: What is asked.
    """

    name: ClassVar[str]

    def __init__(self, node: Node, reply: Reply, message: Json) -> None:
        self.node = node
        self.reply = reply
        self.message = message
        self.travel = Travel()
        self.body: Json = {}

    async def run(self) -> None:
        """Serve the call to its end, whatever happens."""
        gateway = self.node.gateway
        outcome = "done"
        try:
            with gateway.at_work():
                self.travel = travel_from(self.message.get("travel"))
                self.body = object_of(self.message.get("body"), "a body")
                gateway.require_no_circle(self.travel)
                self._require_expected()
                await self._serve(gateway.time_for({}, self.travel))
        except asyncio.CancelledError:
            outcome = "gone"
            raise
        except Exception as error:
            outcome = "refused" if isinstance(error, ProblemError | WireError) else "failed"
            self._fail(error)
        finally:
            self.node.count(self.name, outcome)

    async def _serve(self, left: float) -> None:
        raise NotImplementedError

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

    def _require_expected(self) -> None:
        """Refuse a caller that means another agent than this one.

        Raises:
            FaultError: Name, version or model are others.
        """
        name, body = self.node.name, self.body
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

    def _call(self, left: float) -> Call:
        """Return the call with what it carries, on the clock of this process."""
        call, travel = call_from(self.body), self.travel
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

    def _fail(self, error: Exception) -> None:
        """Tell the caller of a failure."""
        if isinstance(error, ProblemError):
            error = FaultError(error.message, kind="status", status=error.status, code=error.code, own=False)
        elif isinstance(error, WireError):
            error = FaultError(error.message, kind="request", status=400, code="invalid_call")
        elif isinstance(error, TimeoutError):
            error = FaultError(f"Agent '{self.node.name}' had no more time.", kind="timeout")
        elif not isinstance(error, DisrouterError):
            LOG.error("a %s failed: %s", self.name, type(error).__name__)
        elif not isinstance(error, RunError):  # for whoever runs this node to mend; the caller hears less
            LOG.error("a %s failed: %s", self.name, error.message)
        self.reply.fail(fault_json(error))


class LookCall(NodeCall):
    """What does the agent think of a query?"""

    name = "look"

    async def _serve(self, left: float) -> None:
        call = self._call(left)
        self._require_open()
        with Watch(left):
            self.reply.end(await self.node.hosting.look_json(call))


class AnswerCall(NodeCall):
    """The agent's answer."""

    name = "answer"

    async def _serve(self, left: float) -> None:
        call = self._call(left)
        with Watch(left):
            async with aclosing(self.node.hosting.answer_json(call)) as pieces:
                async for piece in pieces:
                    if "fault" in piece:
                        self.reply.fail(piece["fault"])
                    elif "end" in piece:
                        self.reply.end(piece)
                    else:
                        await self.reply.say(piece)


class ReleaseCall(NodeCall):
    """Lets go of looks that nobody will go on from."""

    name = "release"

    async def _serve(self, left: float) -> None:
        self.node.hosting.release(_tickets(self.body))
        self.reply.end({})


def _other(message: str, code: str) -> FaultError:
    return FaultError(message, kind="status", status=409, code=code)


def _tickets(body: Mapping[str, Any]) -> list[str]:
    tickets = body.get("tickets")
    if not isinstance(tickets, list) or len(tickets) > MOST_TICKETS or not all(isinstance(t, str) for t in tickets):
        raise WireError(f"'tickets' is a list of at most {MOST_TICKETS} texts.")
    return tickets
