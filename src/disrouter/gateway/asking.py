"""Asking: what a request body wants, checked once, in OpenAI's words and ours.

Fields that only the model understands are not looked at and travel on as they are. Ours are ``alpha``, ``max_cost``,
``max_hops`` and ``policy`` beside the others, or these and more under ``disrouter``; they never reach a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from disrouter.agents.hops import Travel
from disrouter.errors import DisrouterError
from disrouter.gateway.errors import ProblemError, invalid, shown
from disrouter.gateway.fields import MOST_COUNT, check, flag, number, whole
from disrouter.gateway.messages import MOST_MESSAGES, messages_of
from disrouter.types import Message, Sampling, Scenario
from disrouter.utility import SCENARIOS, scenario_of

__all__ = ["NETWORK_MODEL", "Ask", "chat_ask", "json_of", "within"]

NETWORK_MODEL = "disrouter"
"""The model that stands for the whole network."""


_OURS = ("alpha", "max_cost", "max_hops", "policy")
_NESTED = (*_OURS, "scenario", "trace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one request wants."""

    model: str
    body: Mapping[str, Any]
    """The chat completion request as models see it, without our own fields."""

    messages: tuple[Message, ...]
    """Its messages as text."""

    sampling: Sampling
    scenario: Scenario | None
    """None: the network's own."""

    policy: str | None
    """A policy's specification as JSON; None: the network's own."""

    max_cost: float | None
    max_hops: int | None
    streaming: bool
    wants_usage: bool
    """Whether the stream shall end with the usage."""

    wants_trace: bool
    """Whether the stream's last chunk shall hold the trace."""

    echo: Mapping[str, Any] = field(default_factory=dict)
    """What the answer repeats of the request, in dialects that repeat it."""


def json_of(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a request body.

    Raises:
        ProblemError: It is none.
    """
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        what = "is empty" if not raw else f"is not valid JSON: {exc.msg} at character {exc.pos}"
        raise invalid(f"The request body {what}.", code="invalid_json") from None
    if not isinstance(found, dict):
        raise invalid(f"The request body must be a JSON object, not {_kind(found)}.", code="invalid_json")
    return found


def chat_ask(body: dict[str, Any], *, agents: Mapping[str, Any], most_messages: int = MOST_MESSAGES) -> Ask:
    """Return what a chat completion request wants; the body is taken over and changed.

    Args:
        body: The request.
        agents: The network's agents by name.
        most_messages: Most messages that are taken.

    Raises:
        ProblemError: It cannot be understood.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise invalid(f"model must be a name; it is {shown(model)}. Try '{NETWORK_MODEL}'.", param="model")
    ours = _our_fields(body)
    scenario = _scenario_of(model, ours, agents)
    messages = messages_of(body.get("messages"), most_messages)
    streaming = flag(body, "stream")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise invalid(f"stream_options must be an object; it is {shown(options)}.", param="stream_options")
    if options and not streaming:
        raise invalid("stream_options goes with stream: true only.", param="stream_options")
    check(body)
    return Ask(
        model=model,
        body=body,
        messages=messages,
        sampling=_sampling_of(body),
        scenario=scenario,
        policy=_policy_of(ours.get("policy")),
        max_cost=number(ours, "max_cost", _is_cost, "a number above 0"),
        max_hops=whole(ours, "max_hops", _is_count, "a whole number from 1"),
        streaming=streaming,
        wants_usage=bool(options and options.get("include_usage")),
        wants_trace=flag(ours, "trace"),
    )


def within(ask: Ask, travel: Travel) -> Ask:
    """Return a request within what the process before this one still has to spend."""
    if travel.max_cost is None and travel.max_hops is None:
        return ask
    costs = [cost for cost in (ask.max_cost, travel.max_cost) if cost is not None]
    hops = [count for count in (ask.max_hops, travel.max_hops) if count is not None]
    return replace(ask, max_cost=min(costs, default=None), max_hops=min(hops, default=None))


def _our_fields(body: dict[str, Any]) -> dict[str, Any]:
    """Take our fields out of a body and return them."""
    nested = body.pop("disrouter", None)
    if nested is None and body.keys().isdisjoint(_OURS):
        return {}
    if nested is None:
        nested = {}
    if not isinstance(nested, dict):
        raise invalid(f"disrouter must be an object; it is {shown(nested)}.", param="disrouter")
    if unknown := [key for key in nested if key not in _NESTED]:
        raise invalid(
            f"disrouter has no field {shown(unknown[0])}. Known: {', '.join(_NESTED)}.",
            param=f"disrouter.{str(unknown[0])[:60]}",
        )
    ours = {key: value for key, value in nested.items() if value is not None}
    for name in _OURS:
        beside = body.pop(name, None)
        if beside is None:
            continue
        if name in ours and ours[name] != beside:
            raise invalid(
                f"{name} is given twice and differs: {shown(beside)}, and {shown(ours[name])} under disrouter.",
                param=name,
            )
        ours[name] = beside
    return ours


def _scenario_of(model: str, ours: Mapping[str, Any], agents: Mapping[str, Any]) -> Scenario | None:
    """Return the scenario that a request names, in its model, by name or as an alpha; once only."""
    named = model.removeprefix(f"{NETWORK_MODEL}/") if model.startswith(f"{NETWORK_MODEL}/") else None
    if model != NETWORK_MODEL and model not in agents and named not in SCENARIOS:
        known = [NETWORK_MODEL, *(f"{NETWORK_MODEL}/{name}" for name in SCENARIOS), *agents]
        raise ProblemError(
            404,
            f"The model {shown(model)} does not exist. Known: {', '.join(known)}.",
            code="model_not_found",
            param="model",
        )
    if model in agents:
        named = None
    if named is None and not ours:
        return None
    wanted = {"model": named, "scenario": ours.get("scenario"), "alpha": ours.get("alpha")}
    given = {key: value for key, value in wanted.items() if value is not None}
    if not given:
        return None
    if len(given) > 1:
        raise invalid(f"{' and '.join(given)} both say how much cost weighs; give one of them.", param=list(given)[-1])
    ((key, value),) = given.items()
    if key == "alpha" and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise invalid(f"alpha must be a number from 0 to 1; it is {shown(value)}.", param="alpha")
    if key == "scenario" and not (isinstance(value, str) and value in SCENARIOS):
        known = list(SCENARIOS)
        raise invalid(f"The scenario {shown(value)} is not known. Known: {', '.join(known)}.", param="scenario")
    try:
        return scenario_of(value)
    except DisrouterError as error:
        raise invalid(str(error.message), param=key) from None


def _policy_of(spec: Any) -> str | None:
    if spec is None:
        return None
    # Numbers only: what a client sends must not name a file, now or with a policy still to come.
    settings = {key: value for key, value in spec.items() if key != "name"} if isinstance(spec, dict) else {}
    if not isinstance(spec, str | dict) or any(not isinstance(value, int | float) for value in settings.values()):
        raise invalid(
            f"policy must be a name, or an object with its name and numbers as settings; it is {shown(spec)}.",
            param="policy",
        )
    return orjson.dumps(spec, option=orjson.OPT_SORT_KEYS).decode()


def _sampling_of(body: Mapping[str, Any]) -> Sampling:
    """Return how an agent in this process draws its answer; greedy unless the request says otherwise."""
    latest = whole(body, "max_completion_tokens", _is_count, "a whole number from 1")
    older = whole(body, "max_tokens", _is_count, "a whole number from 1")
    return Sampling(
        temperature=float(body.get("temperature") or 0.0),
        max_tokens=older if latest is None else latest,
        seed=whole(body, "seed", lambda v: -(2**63) <= v < 2**63, "a whole number of 64 bits") or 0,
    )


def _is_count(value: int) -> bool:
    return 1 <= value <= MOST_COUNT


def _is_cost(value: float) -> bool:
    return value > 0


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value"}
    return "null" if value is None else kinds.get(type(value), "something else")
