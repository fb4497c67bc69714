"""Rewards: what a decision earns in reinforcement learning. Pure functions; a score that is no number is an error."""

from __future__ import annotations

import math

from disrouter.errors import RunError

__all__ = ["brier_payoff", "local_reward", "rejection_payoff"]


def rejection_payoff(alpha: float, gamma: float = 0.5) -> float:
    """Return what a rejection pays in paper mode, (1 − α)^γ: an agent earns more by answering iff p lies above it.

    Paper (arXiv 2510.19208) §3.3; γ = 0.5 there.
    """
    return float((1.0 - alpha) ** gamma)


def brier_payoff(confidence: float) -> float:
    """Return what a rejection pays in calibrated mode: what the agent itself thinks that its answer is worth.

    With q the probability of answering, the expected reward q·p + (1 − q)·q̄ (q̄ = q held fixed) has the gradient
    p − q: that of the Brier score −(p − q)²/2, which is best at q = p. It is the paper's reward averaged over all
    pay-offs t ~ U(0, 1), for which answering iff q > t earns (1 + y − (y − q)²)/2.
    """
    return confidence


def local_reward(score: float | None, payoff: float) -> float:
    """Return the reward of one decision: the score of an answer (1 right, 0 wrong), or the pay-off of a rejection.

    Args:
        score: Quality in [0, 1] of the answer; None for a rejection.
        payoff: What a rejection pays, in [0, 1].

    Raises:
        RunError: The score is no number from 0 to 1: a grader that failed must not look like a wrong answer.
    """
    if score is None:
        return payoff
    if not math.isfinite(score) or not 0.0 <= score <= 1.0:
        raise RunError(
            f"A grader returned {score!r}, which is no score from 0 to 1; training stops rather than learn from it.",
            hint="mend the grader; the last checkpoint is kept, and the same command goes on from there",
        )
    return score
