"""The baton: a walk as JSON, on its way from host to host, and what comes back from whoever has it.

A baton holds the query and the hops settled so far; everything else that a host has to know follows from these and from
its own network file. Back come lines: hops as they settle, pieces of the answer, and its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from disrouter.agents._wire_values import LONGEST_NAME, Json, WireError, maybe, number, object_of, row, text
from disrouter.agents.faults import FaultError
from disrouter.agents.wire import (
    WIRE,
    fault_from,
    fault_json,
    piece_from,
    piece_json,
    query_from,
    query_json,
    sampling_from,
    sampling_json,
    scenario_from,
    scenario_json,
    usage_from,
    usage_json,
)
from disrouter.errors import AgentError, DisrouterError, RunError
from disrouter.limits import Limits
from disrouter.peers import Arrived, Carried, Leg, Settled
from disrouter.policies import POLICIES, AnyPolicy, policy_of, spec_of
from disrouter.types import Completion, DecisionKind, Delta, Hop

__all__ = ["baton_from", "baton_json", "broken_json", "carried_from", "carried_json", "hop_from", "hop_json"]

_DECISIONS: dict[str, DecisionKind] = {kind: kind for kind in get_args(DecisionKind)}

MOST_HOPS = 10_000
LONGEST_REASON = 2_000


def baton_json(leg: Leg) -> Json:
    """Return a leg as JSON. Of policies those are told that a name and numbers can tell; another one is the file's."""
    limits = leg.limits
    return {
        "wire": WIRE,
        "at": leg.at,
        "query": query_json(leg.query),
        "scenario": scenario_json(leg.scenario),
        "sampling": sampling_json(leg.sampling),
        "streaming": leg.streaming,
        "hops": [hop_json(hop) for hop in leg.hops],
        "seconds": leg.seconds,
        "limits": [limits.max_hops, limits.max_cost, limits.max_seconds],
        "policy": spec_of(leg.policy) if leg.policy.name in POLICIES else None,
        "members": sorted(leg.members),
    }


def baton_from(value: Any, *, policy: AnyPolicy) -> Leg:
    """Return the leg of a baton.

    Args:
        value: The baton.
        policy: The policy where the baton tells none.

    Raises:
        WireError: It is no baton.
    """
    body = object_of(value, "a baton")
    if body.get("wire") != WIRE:
        raise WireError(f"The baton is of version {body.get('wire')!r}, and this side speaks {WIRE}.")
    hops, streaming, members = body.get("hops"), body.get("streaming"), body.get("members")
    if not isinstance(members, list) or len(members) > MOST_HOPS or not all(isinstance(name, str) for name in members):
        raise WireError(f"A baton names at most {MOST_HOPS:,} members.")
    if not isinstance(hops, list) or len(hops) > MOST_HOPS or not isinstance(streaming, bool):
        raise WireError(f"A baton has a list of at most {MOST_HOPS:,} hops, and whether the answer streams.")
    most_hops, most_cost, most_seconds = row(body.get("limits"), 3, "a baton's limits")
    try:
        limits = Limits(max_hops=most_hops, max_cost=most_cost, max_seconds=most_seconds)
        told = policy if body.get("policy") is None else policy_of(body["policy"])
    except (DisrouterError, TypeError) as error:
        raise WireError(f"The baton asks for what cannot be: {error}") from error
    return Leg(
        query=query_from(body.get("query")),
        scenario=scenario_from(body.get("scenario")),
        sampling=sampling_from(body.get("sampling")),
        streaming=streaming,
        at=text(body, "at"),
        hops=tuple(hop_from(hop) for hop in hops),
        seconds=_amount(body, "seconds"),
        limits=limits,
        policy=told,
        members=frozenset(members),
    )


def hop_json(hop: Hop) -> Json:
    """Return a hop as JSON, with what a failing agent raised."""
    return {
        "agent": hop.agent,
        "decision": hop.decision,
        "confidence": hop.confidence,
        "usage": usage_json(hop.usage),
        "cost": hop.cost,
        "seconds": hop.seconds,
        "first": hop.first_token_seconds,
        "reason": hop.reason,
        "cause": None if hop.cause is None else fault_json(hop.cause),
    }


def hop_from(value: Any) -> Hop:
    """Return the hop of a JSON value.

    Raises:
        WireError: It is none.
    """
    body = object_of(value, "a hop")
    agent, confidence = text(body, "agent"), maybe(body, "confidence", number)
    decision = _DECISIONS.get(str(body.get("decision")))
    if decision is None:
        raise WireError(f"A hop is one of: {', '.join(_DECISIONS)}.")
    if confidence is not None and not 0.0 <= confidence <= 1.0:
        raise WireError(f"Confidence {confidence!r} of a hop is no probability.")
    reason = body.get("reason")
    if not isinstance(reason, str | None) or len(reason or "") > LONGEST_REASON:
        raise WireError(f"The reason of a hop is a text of at most {LONGEST_REASON:,} characters.")
    return Hop(
        agent=agent,
        decision=decision,
        confidence=confidence,
        usage=usage_from(body.get("usage")),
        cost=_amount(body, "cost"),
        seconds=_amount(body, "seconds"),
        first_token_seconds=maybe(body, "first", _amount),
        reason=reason,
        cause=None if body.get("cause") is None else fault_from(body["cause"], agent),
    )


def carried_json(event: Carried) -> Json:
    """Return what happened to a walk as JSON."""
    if isinstance(event, Settled):
        return {"hop": hop_json(event.hop), "at": event.at}
    if isinstance(event, Arrived):
        return {"arrived": None if event.completion is None else piece_json(event.completion)}
    if isinstance(event, Delta):  # who speaks is told even where there is nothing but text
        return {"delta": [event.text, list(event.chunks), event.agent]}
    return piece_json(event)


def broken_json(error: Exception) -> Json:
    """Return why a walk ends without a trace: the answer broke off, or its host could not go on."""
    if isinstance(error, RunError) and not isinstance(error, AgentError):
        cause = error.__cause__
        told = None if not isinstance(cause, Exception) else fault_json(cause)
        return {"cut": {"message": error.message, "hint": error.hint, "cause": told}}
    return {"fault": fault_json(error)}


def carried_from(value: Any, agent: str) -> Carried:
    """Return what happened to a walk.

    Args:
        value: The JSON value that says it.
        agent: The agent whose host says it.

    Raises:
        WireError: It says nothing.
        AgentError: The host could not go on.
        RunError: The answer broke off after it had begun.
    """
    body = object_of(value, "an event")
    if "hop" in body:
        return Settled(hop_from(body["hop"]), maybe(body, "at", text))
    if "arrived" in body:
        if body["arrived"] is None:
            return Arrived(None)
        end = piece_from(body["arrived"], agent)
        if not isinstance(end, Completion):
            raise WireError("A walk ends with the end of an answer.")
        return Arrived(end)
    if "cut" in body:
        raise _cut_from(body["cut"], agent)
    piece = piece_from(body, agent)
    if isinstance(piece, Completion):
        raise WireError("The end of an answer came without the walk's.")
    return piece


def _cut_from(value: Any, agent: str) -> RunError:
    body = object_of(value, "an end")
    message, hint = body.get("message"), body.get("hint")
    if not isinstance(message, str) or not isinstance(hint, str | None):
        return FaultError(f"Agent '{agent}' broke and did not say how.", kind="malformed")
    error = RunError(message[:LONGEST_REASON], hint=None if hint is None else hint[:LONGEST_NAME])
    if body.get("cause") is not None:
        error.__cause__ = fault_from(body["cause"], agent)
    return error


def _amount(body: Mapping[str, Any], key: str) -> float:
    """Return a number from 0."""
    value = number(body, key)
    if value < 0:
        raise WireError(f"'{key}' must be a number from 0.")
    return value
