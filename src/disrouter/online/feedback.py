"""Feedback: what a service learns about the queries it has answered, and what its cards had made it believe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disrouter.competence import Competence
from disrouter.errors import DataError

__all__ = ["Beliefs", "Feedback", "beliefs"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Feedback:
    """What became of n queries. Of an agent that was not asked nothing is known, least of all what it would have said.

    Raises:
        DataError: Shapes do not fit, or a value lies outside its range.
    """

    agents: tuple[str, ...]

    confidence: Floats
    """What each agent said, shape (A, n); NaN where it was not asked or cannot say."""

    consulted: Bools
    """Who was asked and did not break, shape (A, n)."""

    failed: Bools
    """Who was asked and broke, shape (A, n)."""

    agent: Ints
    """Place of the agent that answered, shape (n,); -1 if nobody did."""

    score: Floats
    """Quality in [0, 1] of the answer, shape (n,)."""

    def __post_init__(self) -> None:
        shape = len(self.agents), len(self.agent)
        if any(getattr(self, name).shape != shape for name in ("confidence", "consulted", "failed")):
            raise DataError(f"Feedback of {shape[0]} agents on {shape[1]} queries needs arrays of shape {shape}.")
        if self.score.shape != self.agent.shape:
            raise DataError(f"Feedback has {len(self.score)} scores for {len(self.agent)} queries.")
        if not np.all((self.score >= 0.0) & (self.score <= 1.0)):
            raise DataError(
                "A score of the feedback does not lie from 0 to 1.",
                hint="leave out queries that nobody has judged: an unknown score is not a wrong answer",
            )
        if not np.all(np.isnan(self.confidence) | ((self.confidence >= 0.0) & (self.confidence <= 1.0))):
            raise DataError("A confidence of the feedback does not lie from 0 to 1.")


@dataclass(frozen=True, slots=True, eq=False)
class Beliefs:
    """What cards make of feedback before the score is known."""

    difficulty: Floats
    """Chance of each class of difficulty after all looks, shape (Z, n)."""

    words: Floats
    """What each agent's word said about the class: log-likelihoods of shape (A, Z, n), 0 where it said nothing."""

    chance: Floats
    """Chance of the agent that answered to be right, shape (n,); NaN if nobody answered."""

    def without(self, agent: int) -> Floats:
        """Return the chance of each class had one agent said nothing, shape (Z, n)."""
        return _normal(np.log(np.maximum(self.difficulty, 1e-12)) - self.words[agent])


def beliefs(cards: Mapping[str, Competence], feedback: Feedback, prior: Floats | None = None) -> Beliefs:
    """Return what cards make of feedback, exactly (the policy's grades are rounded).

    Args:
        cards: Of every agent of the feedback, all of one scale.
        feedback: What happened.
        prior: How often each class of difficulty comes, shape (Z,); the scale's own if left out.
    """
    first = next(iter(cards.values()))
    start = np.array(first.scale.prior) if prior is None else prior
    n = len(feedback.agent)
    logs = np.log(np.maximum(start, 1e-9))[:, None] * np.ones((1, n))
    words, solves = np.zeros((len(feedback.agents), len(start), n)), np.full((len(start), n), np.nan)
    for a, name in enumerate(feedback.agents):
        card = cards[name]
        said = feedback.consulted[a] & ~np.isnan(feedback.confidence[a])
        band = band_of(card, feedback.confidence[a])
        speaks, right = np.array(card.speaks), np.array(card.solves)
        words[a] = np.where(said, np.log(np.maximum(speaks, 1e-6))[:, band], 0.0)
        answers = feedback.agent == a
        logs = logs + words[a]
        unsaid = (speaks * right).sum(axis=1)[:, None]
        solves = np.where(answers, np.where(said, right[:, band], unsaid), solves)
    difficulty = _normal(logs)
    return Beliefs(difficulty, words, (difficulty * solves).sum(axis=0))


def band_of(card: Competence, confidence: Floats) -> Ints:
    """Return the band of every confidence; 0 where there is none."""
    return np.searchsorted(np.array(card.bands), np.nan_to_num(confidence), side="right")


def _normal(logs: Floats) -> Floats:
    weights: Floats = np.exp(logs - logs.max(axis=0))
    weights /= weights.sum(axis=0)
    return weights
