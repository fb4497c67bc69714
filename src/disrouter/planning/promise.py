"""Promises: what a plan must keep, and the plan that keeps it or does not."""

from __future__ import annotations

import math
from dataclasses import dataclass

from disrouter.errors import UsageError
from disrouter.planning.measures import Measured, Quantiles
from disrouter.planning.site import Replicas

__all__ = ["Plan", "Promise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a plan must keep; None is not asked for."""

    p95: float | None = None
    """Seconds within which 95 % of the answered queries have their whole answer."""

    unanswered: float = 0.001
    """Largest share of queries without an answer."""

    budget: float | None = None
    """Most money per hour."""

    def __post_init__(self) -> None:
        for name, value in (("p95", self.p95), ("budget", self.budget)):
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"A {name} of {value:g} is not usable: give a number above 0.")
        if not 0 <= self.unanswered < 1:
            raise UsageError(f"A share of {self.unanswered:g} without an answer is not usable: give one from 0 to 1.")

    def kept(self, found: Measured) -> bool:
        """Return whether a simulated plan surely keeps all but the budget: the upper end of the interval counts."""
        fast = self.p95 is None or (found.end is not None and _upper(found.end) <= self.p95)
        return fast and found.unanswered <= self.unanswered

    def shortfall(self, found: Measured, qps: float) -> str:
        """Return why a simulated plan does not keep the promise."""
        if found.unanswered > self.unanswered:
            return f"{found.unanswered:.2%} of the queries get no answer; {self.unanswered:.2%} are allowed."
        assert found.end is not None
        sure = f" (surely up to {_upper(found.end):.3g} s)" if found.end.p95_interval is not None else ""
        return f"95 % of the queries take up to {found.end.p95:.3g} s{sure}, not {self.p95:g} s, at {qps:g} a second."


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Replicas of every host, and what they do under the load."""

    replicas: Replicas
    least: Replicas
    """What the load alone needs, at a utilisation of at most 90 %."""

    cost: float | None
    """Money per hour; None where it is not known."""

    found: Measured
    kept: bool
    problem: str | None = None
    """Why the promise is not kept, and what would keep it."""


def _upper(end: Quantiles) -> float:
    return end.p95 if end.p95_interval is None else end.p95_interval[1]
