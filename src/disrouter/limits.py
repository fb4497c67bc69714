"""Limits: how far a query may travel, and what tells that it has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from disrouter.errors import ConfigError
from disrouter.types import AgentCard, Price, QueryPrice, Usage

__all__ = ["ROUNDING", "LimitName", "Limits", "cost_expected", "limit_problems", "limit_reached"]

LimitName: TypeAlias = Literal["max_hops", "max_cost", "max_seconds"]

ROUNDING = 1e-9
"""Costs are sums of floats: a limit of 0.3 must admit 0.1 + 0.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a query may travel. At a limit the agent that would pass on answers instead. None means no limit."""

    max_hops: int | None = None
    """Most agents consulted per query, failing ones included; at least 1."""

    max_cost: float | None = None
    """Most normalised cost per query, looks and failures included; above 0. Agents whose answer would cost more are
    not asked. A bound with prices per query. With token prices it is an estimate: an answer is taken to be as long as
    ``max_tokens``, or without it as long as the query."""

    max_seconds: float | None = None
    """Nobody new is asked after this many seconds; above 0. An agent at work is not interrupted."""

    def __post_init__(self) -> None:
        problems = [
            f"limit {name} {value!r} is not usable: give {allowed}"
            for name, value, allowed, usable in (
                ("max_hops", self.max_hops, "a whole number from 1", lambda v: isinstance(v, int) and v >= 1),
                ("max_cost", self.max_cost, "a number above 0", lambda v: 0 < v < math.inf),
                ("max_seconds", self.max_seconds, "a number above 0", lambda v: 0 < v < math.inf),
            )
            if value is not None and not usable(value)
        ]
        if problems:
            raise ConfigError("; ".join(problems) + ".", hint="leave a limit out to have none")


def limit_problems(limits: Limits, entry: AgentCard) -> list[str]:
    """Return why no route could keep the limits: the agent asked first must always be able to answer."""
    price = entry.price
    if limits.max_cost is None or not isinstance(price, QueryPrice) or price.cost <= limits.max_cost:
        return []
    return [
        f"max_cost {limits.max_cost:g} is below the price {price.cost:g} of '{entry.name}', the first agent asked: "
        f"no query could be answered; raise max_cost to at least {price.cost:g} or ask a cheaper agent first"
    ]


def limit_reached(limits: Limits, *, hops: int, cost: float, seconds: float) -> LimitName | None:
    """Return the first limit that asking one more agent would break, if any.

    Args:
        limits: The network's limits.
        hops: Agents consulted, the one about to be asked included.
        cost: Normalised cost of the route if that agent answers.
        seconds: Seconds the route has taken so far.
    """
    if limits.max_hops is not None and hops > limits.max_hops:
        return "max_hops"
    if limits.max_cost is not None and cost > limits.max_cost + ROUNDING:
        return "max_cost"
    if limits.max_seconds is not None and seconds >= limits.max_seconds:
        return "max_seconds"
    return None


def cost_expected(price: Price, *, prompt_tokens: int, max_tokens: int | None) -> float:
    """Return what an answer will cost before it is written: exact for a price per query, else an estimate.

    With a token price the answer is taken to be ``max_tokens`` long, or as long as the prompt where there is no such
    bound (the mix of 1:1 that also ranks token prices).
    """
    completion_tokens = prompt_tokens if max_tokens is None else max_tokens
    return price.of(Usage(prompt_tokens, completion_tokens), answered=True)
