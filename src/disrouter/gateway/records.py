"""What is kept of one request: a route with its hops, and the contract of whoever keeps it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from disrouter.types import DecisionKind

__all__ = [
    "ERROR_TYPES",
    "OUTCOMES",
    "Endpoint",
    "ErrorType",
    "HopRecord",
    "Outcome",
    "Recorder",
    "Recorders",
    "RouteRecord",
    "new_trace_id",
]

IDS_AT_ONCE = 256
"""Asking the system for chance takes longer than all the rest that makes an id."""

_UNUSED: list[bytes] = []

LOG = logging.getLogger("disrouter.gateway")

Outcome = Literal["answered", "failed", "cut", "refused", "cancelled"]
"""How a request ended: with an answer; without one, no agent being able to give it; with an answer that broke off;
turned away by the gateway (key, limit, body, overload); left by the client."""

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

Endpoint = Literal["chat", "completions", "responses"]

ErrorType = Literal[
    "agent_connect",
    "agent_timeout",
    "agent_status",
    "agent_malformed",
    "agent_cut",
    "agent_context",
    "agent_busy",
    "agent_open_breaker",
    "agent_error",
    "caller_request",
    "caller_key",
    "caller_limit",
    "caller_gone",
    "policy_limit",
    "gateway_busy",
    "gateway_error",
    "_OTHER",
]
"""Why something went wrong, in a closed vocabulary (the first word says whose fault), so that it can label a metric."""

ERROR_TYPES: tuple[ErrorType, ...] = get_args(ErrorType)


@dataclass(frozen=True, slots=True, kw_only=True)
class HopRecord:
    """One decision of one agent, with what it took."""

    agent: str
    decision: DecisionKind
    confidence: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """In the network's own unit: normalised, as everywhere else."""

    seconds: float = 0.0
    reason: str | None = None
    """A short sentence for people, where the decision is not the policy's plain word. No address, key or query."""

    error: ErrorType | None = None
    """Why a failure failed."""

    remote: bool = False
    """Whether the agent lives in another process. For spans; not stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRecord:
    """One request: what was asked for, which way it went, and what that took."""

    trace_id: str
    time: float
    """When it arrived: seconds since 1970 (UTC)."""

    model: str
    """The ``model`` of the request. Free text: never the label of a metric."""

    endpoint: Endpoint
    scenario: str
    alpha: float
    stream: bool = False
    hops: tuple[HopRecord, ...] = ()
    agent: str | None = None
    """Who answered."""

    outcome: Outcome
    code: int
    """HTTP status of the reply."""

    error: ErrorType | None = None
    """Why there is no (whole) answer."""

    saved: float | None = None
    """Cost that sending the query straight to the dearest agent would have added; below 0 where routing was dearer.
    None where nothing was answered."""

    seconds: float = 0.0
    """From arrival to the last byte."""

    overhead_seconds: float | None = None
    """Part of ``seconds`` in which no agent was waited for."""

    first_token_seconds: float | None = None
    """From arrival to the first piece of the answer; None where it did not stream."""

    key_id: str | None = None
    """Public id of the key that was used; never the key."""

    caller: str | None = None
    """W3C trace context of the client, where it had one. For spans; not stored."""

    prompt: str | None = None
    """The query's text, only where the operator asked for texts to be kept."""

    answer: str | None = None
    """The answer's text, only where the operator asked for texts to be kept."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens read along the whole route."""
        return sum([hop.prompt_tokens for hop in self.hops])

    @property
    def completion_tokens(self) -> int:
        """Tokens written along the whole route."""
        return sum([hop.completion_tokens for hop in self.hops])

    @property
    def cost(self) -> float:
        """Cost of the whole route: looks, rejections and failures included."""
        return sum([hop.cost for hop in self.hops])


class Recorder(Protocol):
    """Keeps routes, or something made of them."""

    def record(self, route: RouteRecord) -> None:
        """Take one finished request. Never waits for a disk or a network, and never raises."""
        ...


class Recorders:
    """Several recorders as one."""

    def __init__(self, recorders: Iterable[Recorder]) -> None:
        self._recorders = tuple(recorders)

    def record(self, route: RouteRecord) -> None:
        """Give the route to every recorder in turn; one that fails is told of, and takes nobody with it."""
        for recorder in self._recorders:
            try:
                recorder.record(route)
            except Exception as error:  # the request is answered already
                LOG.error("%s could not take a route: %s", type(recorder).__name__, type(error).__name__)


def new_trace_id() -> str:
    """Return a fresh trace id: 128 random bits in hexadecimal, as OpenTelemetry writes them."""
    if not _UNUSED:
        drawn = os.urandom(16 * IDS_AT_ONCE)
        _UNUSED.extend(drawn[at : at + 16] for at in range(0, len(drawn), 16))
    return _UNUSED.pop().hex()
