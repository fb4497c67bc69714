"""Utility: what an answered query was worth under a scenario."""

from __future__ import annotations

import math

from disrouter.errors import UnknownNameError, UsageError
from disrouter.types import Scenario, Trace

__all__ = ["BALANCE", "COST_FIRST", "PERFORMANCE_FIRST", "SCENARIOS", "scenario_of", "utility"]

PERFORMANCE_FIRST = Scenario(name="performance-first", alpha=0.2)
BALANCE = Scenario(name="balance", alpha=0.5)
COST_FIRST = Scenario(name="cost-first", alpha=0.8)

SCENARIOS = {s.name: s for s in (PERFORMANCE_FIRST, BALANCE, COST_FIRST)}
"""The paper's three scenarios (arXiv 2510.19208, §4.1) by name."""


def scenario_of(value: str | float, *, beta: float = 0.0) -> Scenario:
    """Return the scenario of a name ('balance') or of any alpha in [0, 1] (0.35, '0.35').

    Raises:
        UnknownNameError: No scenario has that name.
        UsageError: Alpha lies outside [0, 1].
    """
    if isinstance(value, str) and value in SCENARIOS:
        named = SCENARIOS[value]
        return Scenario(name=named.name, alpha=named.alpha, beta=beta)
    try:
        alpha = float(value)
    except OverflowError:  # a whole number beyond any float
        alpha = math.inf
    except ValueError:
        raise UnknownNameError.of(
            "scenario", str(value), SCENARIOS, hint="name one of them, or give any alpha from 0 to 1"
        ) from None
    if not 0.0 <= alpha <= 1.0:
        raise UsageError(
            f"Scenario alpha {alpha:g} is out of range: it must lie from 0 to 1.",
            hint="0 ignores cost, 1 weighs it like quality; the paper uses 0.2, 0.5 and 0.8",
        )
    for named in SCENARIOS.values():
        if named.alpha == alpha:
            return Scenario(name=named.name, alpha=alpha, beta=beta)
    return Scenario(name=f"alpha={alpha:g}", alpha=alpha, beta=beta)


def utility(trace: Trace, *, full: bool = False) -> float:
    """Return quality − α·cost − β·seconds of a graded trace (paper §3.1: ``U = A − α·C``).

    An unanswered query has no quality. ``full`` also charges the rejections before the answer.

    Raises:
        UsageError: The trace has not been graded.
    """
    if trace.score is None:
        raise UsageError(f"Trace of query '{trace.query_id}' has no score: grade it first.")
    cost = trace.cost_full if full else trace.cost
    return trace.score - trace.scenario.alpha * cost - trace.scenario.beta * trace.seconds
