"""Faults: what may go wrong with an agent behind a server, in kinds that callers can act on.

A fault names its agent and never an address or a key: it may travel to whoever asked the query.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, TypeAlias

from disrouter.errors import AgentError, ContextError

__all__ = ["FaultError", "FaultKind", "kind_of"]

FaultKind: TypeAlias = Literal[
    "connect", "timeout", "status", "malformed", "cut", "context", "busy", "open_breaker", "request", "error"
]
"""It cannot be reached · it is too slow · it fails with a status · its reply makes no sense · its reply breaks off ·
the query is too long for it · it has no room now · it is not asked for a while · it refuses this request · else."""

_OWN: frozenset[FaultKind] = frozenset(("connect", "timeout", "status", "malformed", "cut", "error"))


class FaultError(AgentError):
    """One agent could not serve one query, and whose fault that is.

    Args:
        message: A sentence that names the agent.
        kind: What went wrong.
        status: The HTTP status of its server, where it sent one.
        code: The server's own code of the error, where it sent one.
        param: The field of the request that the server names, where it names one.
        retry_after: Seconds after which the agent should have room again, where that is known.
        own: Whether the agent is to blame, so that more of it makes the agent unusable. Default: by the kind.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: FaultKind,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        own: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: FaultKind = kind
        self.status = status
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.own = kind in _OWN if own is None else own

    def __reduce__(self) -> tuple[object, ...]:
        """Travel to another process whole."""
        return partial(type(self), kind=self.kind), (self.message,), vars(self)


def kind_of(error: BaseException) -> FaultKind:
    """Return the kind of whatever an agent raised."""
    if isinstance(error, FaultError):
        return error.kind
    return "context" if isinstance(error, ContextError) else "error"
