"""What goes wrong between a process and a replica, as the faults that routing knows.

Ray tells of one dead replica in many ways, by where the request was and which transport carried it. Errors are known by
their names, so that this file needs no Ray.
"""

from __future__ import annotations

from disrouter.agents.faults import FaultError, FaultKind
from disrouter.errors import AgentError

__all__ = ["fault_of"]

_KINDS: dict[str, FaultKind] = {
    # It is gone, or on its way: another one is started beside this.
    "RayActorError": "connect",  # ActorDiedError, ActorUnavailableError
    "ActorUnschedulableError": "connect",
    "ReplicaUnavailableError": "connect",
    "DeploymentUnavailableError": "connect",
    "WorkerCrashedError": "connect",
    "NodeDiedError": "connect",
    "LocalRayletDiedError": "connect",
    "ObjectLostError": "connect",  # OwnerDiedError and its kin
    "OutOfMemoryError": "connect",
    "RuntimeEnvSetupError": "connect",
    "ObjectRefStreamEndOfStreamError": "cut",
    "RpcError": "connect",
    "AioRpcError": "connect",
    # It has no room.
    "BackPressureError": "busy",
    "PendingCallsLimitExceeded": "busy",
    "ObjectStoreFullError": "busy",
    # It took too long.
    "TimeoutError": "timeout",  # GetTimeoutError
    # Somebody else ended it: a replica that is being stopped.
    "TaskCancelledError": "cut",  # RequestCancelledError
    "CancelledError": "cut",
}

_SAID: dict[FaultKind, str] = {
    "connect": "is not there",
    "busy": "has no room",
    "timeout": "took too long",
    "cut": "broke off",
    "error": "failed",
}


def fault_of(error: BaseException, agent: str, *, begun: bool = False) -> AgentError:
    """Return the fault of an agent whose replica a call was sent to.

    Args:
        error: What the call ended with.
        agent: Name of the agent.
        begun: Whether a piece of the answer has arrived: what comes then has broken off.
    """
    seen: set[int] = set()
    names: list[str] = []
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if isinstance(found, AgentError):
            return found
        names.append(type(found).__name__)
        for kind_of in type(found).__mro__:
            if kind := _KINDS.get(kind_of.__name__):
                return _fault(agent, "cut" if begun and kind == "connect" else kind, type(found).__name__)
        # A task's error wraps what was raised in it.
        cause = getattr(found, "cause", None)
        found = cause if isinstance(cause, BaseException) else found.__cause__
    if "UNAVAILABLE" in str(error):  # gRPC's word, wrapped in a plain RuntimeError
        return _fault(agent, "cut" if begun else "connect", names[0])
    return _fault(agent, "error", names[0])


def _fault(agent: str, kind: FaultKind, name: str) -> FaultError:
    # The words of the error itself name machines and ports.
    return FaultError(
        f"Agent '{agent}' {_SAID[kind]} ({name}).", kind=kind, retry_after=1.0 if kind == "busy" else None
    )
