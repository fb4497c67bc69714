"""What a decision earns in reinforcement learning."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pytest import approx

from disrouter.errors import RunError
from disrouter.training.rewards import brier_payoff, local_reward, rejection_payoff


def test_a_right_answer_earns_one_a_wrong_one_nothing_and_a_rejection_its_payoff() -> None:
    assert local_reward(1.0, 0.7) == 1.0
    assert local_reward(0.0, 0.7) == 0.0
    assert local_reward(None, 0.7) == 0.7


@pytest.mark.parametrize(("alpha", "payoff"), [(0.2, 0.894), (0.5, 0.707), (0.8, 0.447), (1.0, 0.0), (0.0, 1.0)])
def test_a_rejection_pays_the_square_root_of_one_minus_alpha_in_paper_mode(alpha: float, payoff: float) -> None:
    assert rejection_payoff(alpha) == approx(payoff, abs=5e-4)


def test_without_gamma_a_rejection_pays_as_much_as_a_right_answer() -> None:
    assert rejection_payoff(0.8, gamma=0.0) == 1.0


@pytest.mark.parametrize("score", [math.nan, math.inf, -0.1, 1.5])
def test_a_grade_that_is_no_score_stops_training_instead_of_becoming_a_zero(score: float) -> None:
    with pytest.raises(RunError, match="no score from 0 to 1"):
        local_reward(score, 0.5)


def test_the_calibrated_reward_pulls_confidence_towards_the_success_rate() -> None:
    # Answering with chance q at success rate p earns q·p + (1 − q)·payoff; the pay-off q is held fixed while q moves.
    p, step = 0.3, 1e-6

    def slope(q: float) -> float:
        payoff = brier_payoff(q)
        return ((q + step) * p + (1 - q - step) * payoff - q * p - (1 - q) * payoff) / step

    assert slope(0.1) > 0
    assert slope(0.3) == approx(0.0, abs=1e-6)
    assert slope(0.8) < 0


def test_averaged_over_all_payoffs_the_papers_reward_is_the_brier_score() -> None:
    # Answering iff q > t, with t uniform: (1 + y − (y − q)²)/2.
    payoffs = (np.arange(100_000) + 0.5) / 100_000
    for q, right in ((0.2, 0.0), (0.2, 1.0), (0.9, 1.0)):
        earned = np.where(q > payoffs, right, payoffs).mean()

        assert earned == approx((1 + right - (right - q) ** 2) / 2, abs=1e-4)
