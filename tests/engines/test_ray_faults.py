"""What Ray tells of a dead or busy replica, in the shapes it tells it; planted classes, for this needs no Ray."""

from __future__ import annotations

import pytest

from disrouter.agents.faults import FaultError, FaultKind
from disrouter.engines.ray_faults import fault_of
from disrouter.errors import AgentError, ContextError


class RayError(Exception):
    pass


class RayActorError(RayError):
    pass


class ActorDiedError(RayActorError):
    pass


class ActorUnavailableError(RayActorError):
    pass


class WorkerCrashedError(RayError):
    pass


class ObjectLostError(RayError):
    pass


class OwnerDiedError(ObjectLostError):
    pass


class GetTimeoutError(RayError, TimeoutError):
    pass


class BackPressureError(Exception):
    pass


class TaskCancelledError(RayError):
    pass


class RequestCancelledError(TaskCancelledError):
    pass


class DeploymentUnavailableError(Exception):
    pass


class RayTaskError(RayError):
    """Wraps what was raised in a task."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("a task failed")
        self.cause = cause


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ActorDiedError(), "connect"),
        (ActorUnavailableError(), "connect"),
        (RayActorError(), "connect"),
        (WorkerCrashedError(), "connect"),
        (OwnerDiedError(), "connect"),
        (DeploymentUnavailableError(), "connect"),
        (BackPressureError(), "busy"),
        (GetTimeoutError(), "timeout"),
        (TimeoutError(), "timeout"),
        (RequestCancelledError(), "cut"),
        (RuntimeError("Unexpected error (StatusCode.UNAVAILABLE): Socket closed."), "connect"),
        (ZeroDivisionError(), "error"),
        (RayTaskError(ActorDiedError()), "connect"),
        (RayTaskError(RayTaskError(BackPressureError())), "busy"),
        (RayTaskError(ValueError()), "error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_every_form_is_a_fault_of_the_agent(error: Exception, kind: FaultKind) -> None:
    fault = fault_of(error, "small")

    assert isinstance(fault, FaultError)
    assert (fault.kind, fault.own) == (kind, kind != "busy")
    assert "'small'" in fault.message


def test_a_replica_that_dies_in_the_middle_of_its_answer_has_broken_off() -> None:
    fault = fault_of(ActorDiedError(), "small", begun=True)

    assert isinstance(fault, FaultError) and fault.kind == "cut"


def test_a_busy_replica_says_when_to_ask_again() -> None:
    fault = fault_of(BackPressureError(), "small")

    assert isinstance(fault, FaultError) and fault.retry_after == 1.0


@pytest.mark.parametrize("raised", [ContextError("too long"), FaultError("no room", kind="busy"), AgentError("broke")])
def test_what_an_agent_raised_itself_stays_what_it_is(raised: AgentError) -> None:
    assert fault_of(RayTaskError(raised), "small") is raised


def test_addresses_and_words_of_the_cluster_stay_there() -> None:
    fault = fault_of(RayTaskError(ActorDiedError("worker 10.0.0.7:4711 said: secret prompt")), "small")

    assert "10.0.0.7" not in fault.message and "secret" not in fault.message


def test_an_error_that_is_its_own_cause_does_not_hang() -> None:
    error = RayError()
    error.__cause__ = error

    assert isinstance(fault_of(error, "small"), FaultError)
