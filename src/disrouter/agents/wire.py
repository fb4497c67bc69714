"""The wire: the types of the agent contract as JSON values, for agents that live in another process.

Numbers keep every bit (JSON of Python and orjson writes floats so that they read back equal), so that a query takes
the same route whether its agents are near or far. What a look keeps for its answer never travels: it stays where the
agent lives, under a ticket. Nothing read from the wire is believed before its shape is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from disrouter.agents._wire_values import (
    LONGEST_NAME,
    Json,
    WireError,
    is_number,
    is_whole,
    maybe,
    number,
    object_of,
    row,
    short,
    text,
    whole,
)
from disrouter.agents.faults import FaultError, FaultKind
from disrouter.errors import AgentError, ContextError
from disrouter.types import Completion, Delta, Look, Message, Query, Request, Role, Sampling, Scenario, Usage

__all__ = [
    "WIRE",
    "Call",
    "Piece",
    "Ticket",
    "WireError",
    "call_from",
    "call_json",
    "fault_from",
    "fault_json",
    "look_from",
    "look_json",
    "piece_from",
    "piece_json",
    "query_from",
    "query_json",
    "sampling_from",
    "sampling_json",
    "scenario_from",
    "scenario_json",
    "usage_from",
    "usage_json",
]

WIRE = 2
"""Version of everything here; both sides must have the same."""

MOST_MESSAGES = 10_000
LONGEST_TICKET = 64

Piece = str | Delta | Completion


@dataclass(frozen=True, slots=True)
class Ticket:
    """Under which a look's state is kept where the agent lives."""

    id: str
    open: bool = False
    """Whether it holds more than memory (a place, a connection), and is let go of as soon as the query moves on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is asked of an agent elsewhere: to look at a query, or to answer it."""

    agent: str
    query: Query
    scenario: Scenario
    sampling: Sampling | None = None
    """How the answer is drawn; None in a look."""

    look: Look | None = None
    ticket: Ticket | None = None
    whole: bool = False
    """Whether nobody reads the answer while it is written."""


def call_json(call: Call) -> Json:
    """Return a call as JSON."""
    found: Json = {
        "wire": WIRE,
        "agent": call.agent,
        "query": query_json(call.query),
        "scenario": scenario_json(call.scenario),
    }
    if call.sampling is not None:
        found["sampling"] = sampling_json(call.sampling)
    if call.look is not None:
        found["look"] = look_json(call.look, call.ticket)
    if call.whole:
        found["whole"] = True
    return found


def call_from(value: Any) -> Call:
    """Return the call of a JSON value.

    Raises:
        WireError: It is none, or one of another version.
    """
    body = _of_wire(value)
    look = body.get("look")
    seen, ticket = look_from(look) if look is not None else (None, None)
    return Call(
        agent=text(body, "agent"),
        query=query_from(body.get("query")),
        scenario=scenario_from(body.get("scenario")),
        sampling=sampling_from(body["sampling"]) if body.get("sampling") is not None else None,
        look=seen,
        ticket=ticket,
        whole=body.get("whole") is True,
    )


def query_json(query: Query) -> Json:
    """Return a query as JSON. When its caller stops waiting and its way so far are no part of it: they are signed."""
    found: Json = {"id": query.id, "messages": [[m.role, m.content] for m in query.messages]}
    for key in ("dataset", "level"):
        if (value := getattr(query, key)) is not None:
            found[key] = value
    # The right answer stays at home: no agent needs it, and none should be able to see it.
    if query.request is not None:
        found["request"] = {"body": query.request.body, "streaming": query.request.streaming}
    return found


def query_from(value: Any) -> Query:
    """Return the query of a JSON value.

    Raises:
        WireError: It is none.
    """
    body = object_of(value, "a query")
    messages = body.get("messages")
    if not isinstance(messages, list) or len(messages) > MOST_MESSAGES:
        raise WireError(f"A query has a list of at most {MOST_MESSAGES:,} messages.")
    request = body.get("request")
    return Query(
        id=text(body, "id"),
        messages=tuple(_message(message) for message in messages),
        dataset=maybe(body, "dataset", text),
        level=maybe(body, "level", whole),
        request=None if request is None else _request(request),
    )


def scenario_json(scenario: Scenario) -> list[Any]:
    """Return a scenario as JSON."""
    return [scenario.name, scenario.alpha, scenario.beta]


def scenario_from(value: Any) -> Scenario:
    """Return the scenario of a JSON value.

    Raises:
        WireError: It is none.
    """
    name, alpha, beta = row(value, 3, "a scenario")
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not is_number(alpha) or not is_number(beta):
        raise WireError("A scenario has a name and two numbers.")
    if not 0.0 <= alpha <= 1.0:
        raise WireError(f"Alpha {alpha!r} is no number from 0 to 1.")
    return Scenario(name=name, alpha=alpha, beta=beta)


def sampling_json(sampling: Sampling) -> list[Any]:
    """Return a sampling as JSON."""
    return [sampling.temperature, sampling.max_tokens, sampling.seed]


def sampling_from(value: Any) -> Sampling:
    """Return the sampling of a JSON value.

    Raises:
        WireError: It is none.
    """
    temperature, max_tokens, seed = row(value, 3, "a sampling")
    if not is_number(temperature) or not (max_tokens is None or is_whole(max_tokens)) or not isinstance(seed, int):
        raise WireError("A sampling has a temperature, a bound and a seed.")
    return Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed)


def look_json(look: Look, ticket: Ticket | None = None) -> Json:
    """Return a look as JSON; its state stays behind, under the ticket."""
    found: Json = {
        "confidence": look.confidence,
        "accepts": look.accepts,
        "usage": usage_json(look.usage),
        "seconds": look.seconds,
    }
    return found if ticket is None else {**found, "ticket": [ticket.id, ticket.open]}


def look_from(value: Any) -> tuple[Look, Ticket | None]:
    """Return the look of a JSON value, and the ticket of its state, if it has one.

    Raises:
        WireError: It is none.
    """
    body = object_of(value, "a look")
    accepts = body.get("accepts")
    if not isinstance(accepts, bool | None):
        raise WireError("The word of a look is yes, no or nothing.")
    look = Look(
        confidence=maybe(body, "confidence", number),
        accepts=accepts,
        usage=usage_from(body.get("usage")),
        seconds=number(body, "seconds"),
    )
    return look, _ticket(body["ticket"]) if body.get("ticket") is not None else None


def usage_json(usage: Usage) -> list[int]:
    """Return tokens as JSON."""
    return [usage.prompt_tokens, usage.completion_tokens]


def usage_from(value: Any) -> Usage:
    """Return the tokens of a JSON value.

    Raises:
        WireError: It holds none.
    """
    read, written = row(value, 2, "a usage")
    if not is_whole(read) or not is_whole(written):
        raise WireError("A usage holds two whole numbers.")
    return Usage(read, written)


def piece_json(piece: Piece) -> Json:
    """Return a piece of an answer as JSON: ``text``, ``delta`` or ``end`` is its only key."""
    if isinstance(piece, str):
        return {"text": piece}
    if isinstance(piece, Delta):
        return {"delta": [piece.text, list(piece.chunks), piece.agent]} if piece.chunks else {"text": piece.text}
    return {
        "end": {
            "text": piece.text,
            "usage": usage_json(piece.usage),
            "finish_reason": piece.finish_reason,
            "seconds": piece.seconds,
            "first": piece.first_token_seconds,
            "body": piece.body,
        }
    }


def piece_from(value: Any, agent: str) -> Piece:
    """Return the piece of an answer that a JSON value holds.

    Args:
        value: The value.
        agent: The agent, which is named in what it sends, and whose fault it is.

    Raises:
        WireError: It holds none.
        AgentError: It holds the agent's failure instead.
    """
    body = object_of(value, "a piece of an answer")
    if "text" in body:
        if not isinstance(body["text"], str):
            raise WireError("A piece of an answer is text.")
        return body["text"]
    if "delta" in body:
        return _delta(body["delta"])
    if "fault" in body:
        raise fault_from(body["fault"], agent)
    end = object_of(body.get("end"), "the end of an answer")
    reason, reply = end.get("finish_reason"), end.get("body")
    if not isinstance(end.get("text"), str) or reason not in ("stop", "length") or not isinstance(reply, dict | None):
        raise WireError("The end of an answer has a text, a reason and perhaps a body.")
    return Completion(
        text=end["text"],
        usage=usage_from(end.get("usage")),
        finish_reason=reason,
        seconds=number(end, "seconds"),
        first_token_seconds=maybe(end, "first", number),
        body=reply,
    )


def fault_json(error: Exception) -> Json:
    """Return what an agent raised as JSON. What is no failure of an agent is told by its type alone: paths, say, may
    stand in its words.
    """
    if isinstance(error, FaultError):
        return {
            "type": "fault",
            "message": error.message,
            "kind": error.kind,
            "status": error.status,
            "code": error.code,
            "param": error.param,
            "retry_after": error.retry_after,
            "own": error.own,
        }
    if isinstance(error, AgentError):
        return {"type": "context" if isinstance(error, ContextError) else "agent", "message": error.message}
    return {"type": "agent", "message": f"It broke with {type(error).__name__}; the log of its process says more."}


def fault_from(value: Any, agent: str) -> AgentError:
    """Return what an agent elsewhere raised; what is no fault is a fault of its own."""
    body = value if isinstance(value, dict) else {}
    kind, message, name = body.get("kind"), body.get("message"), body.get("type")
    if not isinstance(message, str) or name not in ("fault", "context", "agent"):
        return FaultError(f"Agent '{agent}' failed and did not say how.", kind="malformed")
    if name != "fault":
        return ContextError(message) if name == "context" else AgentError(message)
    known: tuple[FaultKind, ...] = get_args(FaultKind)
    if kind not in known:
        return FaultError(f"Agent '{agent}' failed in a way that is not known here.", kind="malformed")
    status, own = body.get("status"), body.get("own")
    return FaultError(
        message,
        kind=kind,
        status=status if is_whole(status) else None,
        code=short(body.get("code")),
        param=short(body.get("param")),
        retry_after=body["retry_after"] if is_number(body.get("retry_after")) else None,
        own=own if isinstance(own, bool) else None,
    )


def _message(value: Any) -> Message:
    role, content = row(value, 2, "a message")
    if role not in get_args(Role) or not isinstance(content, str):
        raise WireError(f"A message has a role ({', '.join(get_args(Role))}) and a text.")
    return Message(role, content)


def _request(value: Any) -> Request:
    body = object_of(value, "a request")
    return Request(body=object_of(body.get("body"), "the body of a request"), streaming=body.get("streaming") is True)


def _ticket(value: Any) -> Ticket:
    name, is_open = row(value, 2, "a ticket")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_TICKET or not isinstance(is_open, bool):
        raise WireError("A ticket has a name, and whether it is open.")
    return Ticket(name, is_open)


def _delta(value: Any) -> Delta:
    text, chunks, agent = row(value, 3, "a delta")
    chunked = isinstance(chunks, list) and all(
        isinstance(chunk, dict)
        and isinstance(chunk.get("choices"), list)
        and all(isinstance(choice, dict) and isinstance(choice.get("delta"), dict) for choice in chunk["choices"])
        for chunk in chunks
    )
    if not isinstance(text, str) or not chunked or not isinstance(agent, str | None):
        raise WireError("A delta has a text, chunks and perhaps a name.")
    return Delta(text, tuple(chunks), agent)


def _of_wire(value: Any) -> Json:
    body = object_of(value, "a call")
    if body.get("wire") != WIRE:
        raise WireError(f"It speaks version {body.get('wire')!r} of the wire, and this side speaks {WIRE}.")
    return body
