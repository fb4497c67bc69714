"""One request and its answer: read, ask the network, write.

Nothing is sent before the first piece of an answer is there: up to then every failure is a plain error with its own
status, and agents may be passed over. From then on the answer is that agent's, and if it breaks off the stream ends
with one error event.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson
from starlette.types import Receive, Scope, Send

from disrouter.agents.hops import trace_of, traceparent_of
from disrouter.errors import RunError
from disrouter.gateway.access import Grant
from disrouter.gateway.asking import Ask, json_of, within
from disrouter.gateway.bodies import read_body
from disrouter.gateway.dialects import Dialect, Facts, Stream, reply_of, trace_json
from disrouter.gateway.errors import ProblemError, body_of, error_type_of, problem_of, unanswered
from disrouter.gateway.recording import record_of
from disrouter.gateway.records import ErrorType, Outcome, new_trace_id
from disrouter.gateway.service import Service
from disrouter.gateway.watch import GoneError, Watch
from disrouter.types import Delta, Hop, Query, Request, Trace

if TYPE_CHECKING:
    from disrouter.gateway.app import Gateway

__all__ = ["Exchange"]

LOG = logging.getLogger("disrouter.gateway")

_JSON = (b"content-type", b"application/json")
_EVENTS = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"),
           (b"x-accel-buffering", b"no"))  # fmt: skip


class Exchange:
    """One request on its way; used once."""

    def __init__(
        self, gateway: Gateway, service: Service, dialect: Dialect, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self.gateway = gateway
        self.service = service
        self.dialect = dialect
        self.path: str = scope["path"]
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.receive = receive
        self.send = send
        self.arrived = time.time()
        self.started = time.perf_counter()
        self.trace_id = new_trace_id()
        self.caller = trace_of(self.headers)
        """W3C trace context of the client, if it has one."""
        self.grant: Grant | None = None
        self.model = ""
        self.ask: Ask | None = None
        self.hops: list[Hop] = []
        """The decisions so far; the walk adds to it."""
        self.trace: Trace | None = None
        self._saving: float | None = None
        self.speaker: str | None = None
        """Who is answering, from the first piece on."""
        self.first: float | None = None
        """When the first piece was there."""
        self.begun = False
        """Whether a status has been sent."""
        self.code = 0
        self.stream: Stream | None = None

    async def run(self) -> None:
        """Serve the request to its end, whatever happens, and record it."""
        outcome: Outcome = "answered"
        error: ErrorType | None = None
        try:
            await self._serve()
        except GoneError:
            outcome, error = "cancelled", "caller_gone"
        except asyncio.CancelledError:
            outcome, error = "cancelled", "caller_gone"
            raise
        except Exception as exc:
            problem = self._problem(exc)
            outcome, error = problem.outcome, problem.error
            if self.begun:
                outcome = "cut"
                await self._cut(problem)
            else:
                await self._refuse(problem)
        finally:
            self._record(outcome, error)

    async def _serve(self) -> None:
        gateway = self.gateway
        gateway.require_sound_headers(self.headers)
        self.grant = gateway.access.check(self.headers.get("authorization"))
        raw = await read_body(self.receive, self.headers, gateway.settings)
        travel = gateway.travel(self.path, self.headers, raw)
        body = json_of(raw)
        self.model = str(body.get("model") or "")[:200]
        self.ask = ask = self.dialect.read(body, self.service.direct, gateway.settings.most_messages)
        self.grant.require_scenario((ask.scenario or self.service.network.scenario).name)
        ask = self.ask = within(ask, travel)
        left = gateway.time_for(self.headers, travel)
        query = Query(
            # The id is folded into the seed of a draw, so a request that names a seed must not get one of its own.
            id="request" if ask.body.get("seed") is not None else self.trace_id,
            messages=ask.messages,
            request=Request(
                body=ask.body,
                streaming=ask.streaming,
                deadline=time.monotonic() + left,
                via=(*travel.via, gateway.id),
                max_cost=travel.max_cost,
                max_hops=travel.max_hops,
                traceparent=traceparent_of(self.trace_id, self.caller),
            ),
        )
        with Watch(left, self.receive):
            await (self._stream(ask, query) if ask.streaming else self._whole(ask, query))

    async def _whole(self, ask: Ask, query: Query) -> None:
        """Answer with one JSON object."""
        network = self.service.network_for(ask, self.grant)
        walk = network.walk(query, ask.scenario, ask.sampling)
        self.hops = walk.hops
        self.trace = await walk.trace()
        trace = self._answered()
        facts = Facts(trace_id=self.trace_id, created=int(self.arrived))
        reply = self.dialect.whole(ask, reply_of(trace, facts), facts)
        reply["disrouter"] = self._extension(trace)
        await self._respond(200, orjson.dumps(reply), self._route_headers(trace))

    async def _stream(self, ask: Ask, query: Query) -> None:
        """Answer with events while the answer arrives."""
        network = self.service.network_for(ask, self.grant)
        stream = self.dialect.stream(ask, Facts(trace_id=self.trace_id, created=int(self.arrived)))
        self.stream = stream
        walk = network.walk(query, ask.scenario, ask.sampling)
        self.hops = walk.hops
        async with aclosing(walk.events()) as events:
            async for event in events:
                if isinstance(event, Delta):
                    if data := stream.piece(event):
                        if not self.begun:
                            self.speaker = event.agent
                            self.first = time.perf_counter()
                            await self._begin()
                        await self.send({"type": "http.response.body", "body": data, "more_body": True})
                elif isinstance(event, Trace):
                    self.trace = event
        trace = self._answered()
        if not self.begun:
            self.speaker = trace.agent
            await self._begin()
        await self.send({"type": "http.response.body", "body": stream.end(trace, self._extension(trace))})

    def _answered(self) -> Trace:
        """Return the trace of an answered query.

        Raises:
            ProblemError: Nobody answered.
        """
        if self.trace is None or self.trace.answer is None:
            raise unanswered(self.hops)
        return self.trace

    def _problem(self, error: Exception) -> ProblemError:
        """Return what an exception is to the client, and tell the operator of surprises."""
        if self.begun and isinstance(error, RunError):
            agent = f"Agent '{self.speaker}'" if self.speaker else "The agent"
            return ProblemError(
                502,
                f"{agent} broke after its answer had begun; the text so far is not whole.",
                type="server_error",
                code="answer_cut",
                error=error_type_of(error.__cause__),
                outcome="cut",
            )
        problem = problem_of(error)
        if problem.error == "gateway_error":
            # The query may stand in its message: the log gets the type, and the rest only where debugging is on.
            LOG.error("request %s failed: %s", self.trace_id, type(error).__name__)
            LOG.debug("request %s failed", self.trace_id, exc_info=error)
        return problem

    async def _refuse(self, problem: ProblemError) -> None:
        headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
        await self._respond(problem.status, body_of(problem), headers)

    async def _cut(self, problem: ProblemError) -> None:
        data = self.stream.broken(problem) if self.stream is not None else b""
        await self.send({"type": "http.response.body", "body": data})

    async def _respond(self, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.begun, self.code = True, status
        length = (b"content-length", str(len(body)).encode())
        await self.send(
            {"type": "http.response.start", "status": status, "headers": [_JSON, length, *self._common(), *headers]}
        )
        await self.send({"type": "http.response.body", "body": body})

    async def _begin(self) -> None:
        self.begun, self.code = True, 200
        hops = [
            (b"x-disrouter-agent", (self.speaker or "").encode()),
            # Those settled so far, and the one who is answering.
            (b"x-disrouter-hops", str(len(self.hops) + (self.trace is None)).encode()),
        ]
        await self.send({"type": "http.response.start", "status": 200, "headers": [*_EVENTS, *self._common(), *hops]})

    def _common(self) -> list[tuple[bytes, bytes]]:
        """Return the headers of every reply."""
        trace_id = self.trace_id.encode()
        found = [(b"x-disrouter-trace-id", trace_id), (b"x-request-id", trace_id)]
        if self.gateway.draining:
            found.append((b"connection", b"close"))
        if self.grant is not None and self.grant.limit_requests is not None:
            found.append((b"x-ratelimit-limit-requests", str(self.grant.limit_requests).encode()))
            found.append((b"x-ratelimit-remaining-requests", str(self.grant.remaining_requests or 0).encode()))
        return found

    def _route_headers(self, trace: Trace) -> list[tuple[bytes, bytes]]:
        saved = self.saved(trace)
        return [
            (b"x-disrouter-agent", (trace.agent or "").encode()),
            (b"x-disrouter-hops", str(len(trace.hops)).encode()),
            (b"x-disrouter-cost", f"{trace.cost_full:.9g}".encode()),
            (b"x-disrouter-saved", f"{saved:.9g}".encode() if saved is not None else b""),
        ]

    def saved(self, trace: Trace) -> float | None:
        """Return what the route saved, computed once."""
        if self._saving is None:
            self._saving = self.service.saved(trace)
        return self._saving

    def _extension(self, trace: Trace) -> dict[str, Any]:
        seconds = time.perf_counter() - self.started
        return trace_json(trace, self.trace_id, self.saved(trace), seconds)

    def _record(self, outcome: Outcome, error: ErrorType | None) -> None:
        """Hand the request to the recorder, and charge it."""
        record = record_of(self, outcome, error)
        if self.grant is not None:
            self.gateway.access.spend(self.grant, record.cost)
        self.gateway.recorder.record(record)
