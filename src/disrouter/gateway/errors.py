"""Errors in the shape OpenAI's clients parse, for whatever goes wrong and wherever.

A problem says three things: to the client (status, type, code, message), to its retry logic (headers), and to the
record (whose fault it was, in the closed vocabulary of :mod:`disrouter.gateway.records`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from disrouter.agents.faults import FaultError, FaultKind, kind_of
from disrouter.errors import DisrouterError, UsageError
from disrouter.gateway.access import AccessError, BudgetError, RateLimitError
from disrouter.gateway.records import ErrorType, Outcome
from disrouter.gateway.redaction import without_secrets
from disrouter.types import Hop

__all__ = ["ProblemError", "body_of", "error_type_of", "invalid", "problem_of", "unanswered"]

_LONGEST_PART = 120

_ERROR_TYPES: dict[FaultKind, ErrorType] = {
    "connect": "agent_connect",
    "timeout": "agent_timeout",
    "status": "agent_status",
    "malformed": "agent_malformed",
    "cut": "agent_cut",
    "context": "agent_context",
    "busy": "agent_busy",
    "open_breaker": "agent_open_breaker",
    "request": "caller_request",
    "error": "agent_error",
}


class ProblemError(Exception):
    """A request that gets an error instead of an answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        error: ErrorType = "caller_request",
        outcome: Outcome = "refused",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.headers = dict(headers or {})
        self.error: ErrorType = error
        self.outcome: Outcome = outcome


def invalid(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> ProblemError:
    """Return the problem of a request that cannot be understood."""
    return ProblemError(status, message, param=param, code=code)


def shown(value: object) -> str:
    """Return a value of the client's as a message may repeat it."""
    text = repr(value)
    return text if len(text) <= _LONGEST_PART else text[: _LONGEST_PART - 1] + "…"


def body_of(problem: ProblemError) -> bytes:
    """Return the error object of a problem."""
    return orjson.dumps(error_of(problem))


def error_of(problem: ProblemError) -> dict[str, Any]:
    """Return the error object of a problem, not yet written down."""
    return {
        "error": {
            "message": problem.message,
            "type": problem.type,
            "param": problem.param,
            "code": problem.code,
        }
    }


def problem_of(error: Exception) -> ProblemError:
    """Return the problem that an exception is to the client; a surprise tells the client nothing about itself."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, AccessError):
        key = isinstance(error, RateLimitError | BudgetError)
        return ProblemError(
            error.status,
            str(error),
            type=error.type,
            code=error.code,
            headers=error.headers(),
            error="caller_limit" if key else "caller_key",
        )
    if isinstance(error, TimeoutError):
        return ProblemError(
            504,
            "No answer in the time that was left for it.",
            type="server_error",
            code="deadline_exceeded",
            error="agent_timeout",
            outcome="failed",
        )
    if isinstance(error, UsageError):  # a damaged checkpoint, a missing extra: for the operator to mend
        return ProblemError(
            500,
            "The network cannot be used as it is; its operator finds the reason in the log.",
            type="server_error",
            code="network_unusable",
            error="gateway_error",
            outcome="failed",
        )
    return ProblemError(
        500,
        "The gateway failed; nothing is wrong with the request.",
        type="server_error",
        code="internal_error",
        error="gateway_error",
        outcome="failed",
    )


def unanswered(hops: Sequence[Hop]) -> ProblemError:
    """Return the problem of a route on which nobody answered: the failure that tells the client most."""
    causes = [hop.cause for hop in hops if hop.cause is not None]
    kinds = {kind_of(cause) for cause in causes}
    if kinds and kinds <= {"context", "request"}:
        return _refused(causes)
    own = [cause for cause in causes if kind_of(cause) not in ("context", "request", "busy", "open_breaker")]
    if not own and kinds & {"busy", "open_breaker"}:
        return _no_room(causes)
    if own and all(kind_of(cause) == "connect" for cause in own):
        return _gone(own)
    last = own[-1] if own else None
    slow = last is not None and kind_of(last) == "timeout"
    return ProblemError(
        504 if slow else 502,
        f"No agent could answer. {_said(last)}".rstrip(),
        type="server_error",
        code="agent_timeout" if slow else "agents_failed",
        error=error_type_of(last),
        outcome="failed",
    )


def error_type_of(cause: BaseException | None) -> ErrorType:
    """Return whose fault an exception of an agent is."""
    return "_OTHER" if cause is None else _ERROR_TYPES[kind_of(cause)]


def _refused(causes: Sequence[Exception]) -> ProblemError:
    """Return the problem of a request that every agent refuses."""
    refusals = [cause for cause in causes if kind_of(cause) == "request"]
    cause = (refusals or causes)[-1]
    too_long = not refusals
    return ProblemError(
        400,
        f"{_said(cause)} Shorten the messages, or ask for fewer tokens." if too_long else _said(cause),
        code="context_length_exceeded" if too_long else getattr(cause, "code", None),
        param="messages" if too_long else getattr(cause, "param", None),
        error="agent_context" if too_long else "caller_request",
        outcome="failed",
    )


def _no_room(causes: Sequence[Exception]) -> ProblemError:
    """Return the problem of a network that has no room now."""
    faults = [cause for cause in causes if isinstance(cause, FaultError) and cause.kind in ("busy", "open_breaker")]
    waits = [fault.retry_after for fault in faults if fault.retry_after is not None]
    limited = all(fault.status == 429 for fault in faults)  # the agents' servers say so, not we
    return ProblemError(
        429 if limited else 503,
        f"No agent has room for another query now. {_said(faults[-1])}",
        type="requests" if limited else "server_error",
        code="rate_limit_exceeded" if limited else "overloaded",
        headers={"retry-after": str(max(1, math.ceil(min(waits, default=1.0))))},
        error=error_type_of(faults[-1]),
        outcome="failed",
    )


def _gone(own: Sequence[Exception]) -> ProblemError:
    """Return the problem of a network whose agents are not there: it may be whole again in a moment."""
    said = " ".join(dict.fromkeys(_said(cause) for cause in own))
    return ProblemError(
        503,
        f"No agent could answer. {said}",
        type="server_error",
        code="agents_gone",
        headers={"retry-after": "1"},
        error="agent_connect",
        outcome="failed",
    )


def _said(cause: BaseException | None) -> str:
    """Return what an agent's failure says, where it may be told; its server's own words may hold an address."""
    return without_secrets(cause.message) if isinstance(cause, DisrouterError) else ""
