"""What a profile says in a few numbers: how much an agent gets right, and how mixed its queries are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from disrouter.training.profiling import Profile, Rollouts

__all__ = ["ProfileSummary", "SuccessRates", "summarise"]


@dataclass(frozen=True, slots=True)
class SuccessRates:
    """Success rates of an agent on some queries. The shares lie in [0, 1] and add up to 1."""

    dataset: str
    """Empty for all of them."""

    queries: int
    mean: float
    """Mean success rate, in [0, 1]."""

    never: float
    """Share of queries that no sample was right on."""

    sometimes: float
    always: float


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """A profile in a few numbers."""

    agent: str
    samples: int
    """Answers to each query."""

    sampled_tokens: int
    overall: SuccessRates
    datasets: tuple[SuccessRates, ...]
    """In the order in which they first come up; one only says what ``overall`` says."""


def summarise(profile: Profile) -> ProfileSummary:
    """Return a profile in a few numbers."""
    by_dataset: dict[str, list[Rollouts]] = {}
    for rollouts in profile.rollouts:
        by_dataset.setdefault(rollouts.query.dataset or "", []).append(rollouts)
    return ProfileSummary(
        agent=profile.agent,
        samples=max(len(rollouts.scores) for rollouts in profile.rollouts),
        sampled_tokens=profile.sampled_tokens,
        overall=_rates("", profile.rollouts),
        datasets=tuple(_rates(name, found) for name, found in by_dataset.items()),
    )


def _rates(dataset: str, found: Sequence[Rollouts]) -> SuccessRates:
    rates = [rollouts.success_rate for rollouts in found]
    never, always = (sum(rate == edge for rate in rates) / len(rates) for edge in (0.0, 1.0))
    return SuccessRates(
        dataset=dataset,
        queries=len(rates),
        mean=sum(rates) / len(rates),
        never=never,
        sometimes=sum(0.0 < rate < 1.0 for rate in rates) / len(rates),
        always=always,
    )
