"""Prometheus metrics of a gateway. Every label comes from a closed set: nothing a client writes becomes one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

from disrouter.gateway.counts import Cell, Spread, Spreads, Tally
from disrouter.gateway.records import ERROR_TYPES, HopRecord, RouteRecord
from disrouter.utility import SCENARIOS

__all__ = ["OTHER", "BreakerState", "Metrics", "ShedReason"]

OTHER = "_OTHER"
"""Label of everything that has no name of its own; worth an alarm where it grows."""

MAX_AGENTS = 256
"""Most agents with a label of their own, over all networks that were loaded since the start."""

MODEL = "disrouter"

BreakerState = Literal["closed", "half-open", "open"]
ShedReason = Literal["queue_full", "agent_busy", "draining", "connections", "memory"]

_BREAKER = {"closed": 0, "half-open": 1, "open": 2}
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)
_HOPS = (0, 1, 2, 3, 4, 5, 6, 8, 12)


@dataclass(frozen=True, slots=True)
class _HopParts:
    """What one kind of hop counts in, found once: looking labels up takes longer than counting."""

    decisions: Cell
    seconds: Spread
    read: Cell
    written: Cell
    cost: Cell


class Metrics:
    """A recorder that counts; also told what only the gateway knows: requests in flight, breakers, shed load.

    Args:
        agents: Names of the network's agents, which may label a metric.
    """

    def __init__(self, agents: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self._agents: set[str] = set()
        self._parts: dict[tuple[str, str], _HopParts] = {}
        self.know_agents(agents)
        registry = self.registry
        self._requests = Tally("disrouter_requests", "Requests.", ["model", "scenario", "outcome", "code"], registry)
        self._seconds = Spreads(
            "disrouter_request_duration_seconds", "From arrival to the last byte.", _SECONDS, registry
        ).at()
        self._overhead = Spreads(
            "disrouter_overhead_seconds", "Part of a request in which no agent was waited for.", _OVERHEAD, registry
        ).at()
        self._first = Spreads(
            "disrouter_time_to_first_token_seconds",
            "From arrival to the first piece of a streamed answer.",
            _SECONDS,
            registry,
        ).at()
        self._hops = Spreads("disrouter_hops", "Decisions per request.", _HOPS, registry).at()
        self._decisions = Tally("disrouter_agent_decisions", "Decisions of agents.", ["agent", "decision"], registry)
        self._agent_seconds = Spreads(
            "disrouter_agent_duration_seconds",
            "Seconds per decision, its answer included.",
            _SECONDS,
            registry,
            label="agent",
        )
        self._errors = Tally("disrouter_agent_errors", "Failures of agents.", ["agent", "error_type"], registry)
        self._tokens = Tally("disrouter_tokens", "Tokens read and written.", ["agent", "type", "purpose"], registry)
        self._cost = Tally("disrouter_cost", "Cost in the network's normalised unit.", ["agent", "purpose"], registry)
        self._saving = 0.0
        saved = Gauge(
            "disrouter_saved",
            "Cost saved so far against always asking the dearest agent; negative where routing was dearer.",
            registry=registry,
        )
        saved.set_function(lambda: self._saving)
        self._breaker = Gauge("disrouter_breaker_state", "0 closed, 1 half-open, 2 open.", ["agent"], registry=registry)
        self._flying = 0
        in_flight = Gauge("disrouter_in_flight", "Requests being served.", registry=registry)
        in_flight.set_function(lambda: self._flying)
        self._shed = Counter("disrouter_shed", "Requests turned away by load.", ["reason"], registry=registry)
        self._dropped = Counter("disrouter_trace_dropped", "Routes that never reached the store.", registry=registry)

    def know_agents(self, names: Iterable[str]) -> None:
        """Let these agents label metrics, too: after a new network file was read, say."""
        for name in names:
            if len(self._agents) < MAX_AGENTS:
                self._agents.add(name)

    def record(self, route: RouteRecord) -> None:
        """Count one finished request."""
        scenario = route.scenario if route.scenario in SCENARIOS else "custom"
        code = str(route.code) if 100 <= route.code <= 599 else OTHER
        self._requests.at(self._model(route.model), scenario, route.outcome, code).value += 1
        self._seconds.add(route.seconds)
        self._hops.add(len(route.hops))
        if route.overhead_seconds is not None:
            self._overhead.add(route.overhead_seconds)
        if route.first_token_seconds is not None:
            self._first.add(route.first_token_seconds)
        if route.saved is not None and math.isfinite(route.saved):
            self._saving += route.saved
        for hop in route.hops:
            self._count_hop(hop)

    def started(self) -> None:
        """Count a request in."""
        self._flying += 1

    def finished(self) -> None:
        """Count a request out."""
        self._flying -= 1

    def shed(self, reason: ShedReason) -> None:
        """Count a request that was turned away by load."""
        self._shed.labels(reason if reason in get_args(ShedReason) else OTHER).inc()

    def breaker(self, agent: str, state: BreakerState) -> None:
        """Show the state of an agent's circuit breaker."""
        self._breaker.labels(self._agent(agent)).set(_BREAKER[state])

    def dropped(self, count: int) -> None:
        """Count routes that never reached the store."""
        self._dropped.inc(count)

    def response(self) -> Response:
        """Return everything in Prometheus' text format."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

    def _count_hop(self, hop: HopRecord) -> None:
        agent = self._agent(hop.agent)
        parts = self._parts.get((agent, hop.decision))
        if parts is None:
            parts = self._parts[agent, hop.decision] = self._parts_of(agent, hop.decision)
        parts.decisions.value += 1
        parts.seconds.add(hop.seconds)
        if hop.decision == "failure":
            self._errors.at(agent, hop.error if hop.error in ERROR_TYPES else OTHER).value += 1
        parts.read.value += max(0, hop.prompt_tokens)
        parts.written.value += max(0, hop.completion_tokens)
        if hop.cost > 0:
            parts.cost.value += hop.cost

    def _parts_of(self, agent: str, decision: str) -> _HopParts:
        purpose = "answer" if decision == "answer" else "reject"
        return _HopParts(
            decisions=self._decisions.at(agent, decision),
            seconds=self._agent_seconds.at(agent),
            read=self._tokens.at(agent, "input", purpose),
            written=self._tokens.at(agent, "output", purpose),
            cost=self._cost.at(agent, purpose),
        )

    def _agent(self, name: str) -> str:
        return name if name in self._agents else OTHER

    def _model(self, asked: str) -> str:
        if asked == MODEL or asked in self._agents:
            return asked
        family, slash, scenario = asked.partition("/")
        return asked if family == MODEL and slash and scenario in SCENARIOS else OTHER
