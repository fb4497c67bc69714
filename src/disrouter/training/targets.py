"""Targets: what an agent shall say to a query, derived from its profile.

*Paper mode* (paper §3.3): an agent whose success rate on a query lies below δ = 1 − α shall say the rejection text,
else answer. The scenario stands in the prompt, so one model learns all scenarios; accept and reject are balanced.

*Calibrated mode*: every sampled rollout is labelled by its own correctness. A right one is a target as it is, a wrong
one becomes a rejection, in their natural frequencies: cross-entropy then drives P(rejection | query) towards
1 − success rate. No scenario, no threshold, no balance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from disrouter.errors import DataError
from disrouter.training.profiling import Profile, Rollouts
from disrouter.types import Query, Scenario

__all__ = ["Target", "calibrated_targets", "paper_queries", "paper_targets"]

T = TypeVar("T")

Worked = Callable[[Query], str | None]
"""The worked solution of a query, or None where there is none."""


@dataclass(frozen=True, slots=True)
class Target:
    """What an agent shall say to a query; without a scenario the prompt names none."""

    query: Query
    scenario: Scenario | None
    text: str

    decides: bool = True
    """Whether the first token, where a decision is read, is learnt; replayed text keeps an ability, no more."""


def paper_targets(
    profile: Profile,
    scenarios: Sequence[Scenario],
    *,
    rejection: str,
    limit: int,
    seed: int,
    worked: Worked | None = None,
) -> list[Target]:
    """Return at most ``limit`` shuffled targets for each scenario, half of them on each side of δ.

    An accepted query's target is one of the agent's own right answers, drawn at random (it learns when to answer, not
    how), or its ``worked`` solution. The scarcer side is repeated, so that both are equally many.

    Raises:
        DataError: Under some scenario the agent would accept every query, or reject every one; a query has no worked
            solution.
    """
    rng = Random(seed)
    targets = []
    for scenario in scenarios:
        accepted, rejected = _sides(profile, scenario)
        targets += [
            Target(r.query, scenario, rng.choice(r.right) if worked is None else _worked(worked, r.query))
            for r in _draw(accepted, limit // 2, rng)
        ]
        targets += [Target(r.query, scenario, rejection) for r in _draw(rejected, limit // 2, rng)]
    rng.shuffle(targets)
    return targets


def paper_queries(
    profile: Profile, scenarios: Sequence[Scenario], *, limit: int, seed: int
) -> list[tuple[Query, Scenario]]:
    """Return at most ``limit`` shuffled queries to reinforce decisions on, balanced as the targets of SFT are.

    Raises:
        DataError: As :func:`paper_targets`.
    """
    rng = Random(seed)
    share = limit // (2 * len(scenarios))
    drawn = [
        (rollouts.query, scenario)
        for scenario in scenarios
        for side in _sides(profile, scenario)
        for rollouts in _draw(side, share, rng)
    ]
    rng.shuffle(drawn)
    return drawn


def calibrated_targets(
    profile: Profile, *, rejection: str, limit: int, seed: int, worked: Worked | None = None
) -> list[Target]:
    """Return at most ``limit`` shuffled targets, every rollout labelled by its own correctness.

    Rollouts are drawn evenly: no query gives a second one before every query has given its first.

    Raises:
        DataError: Every rollout is right, or every one wrong.
    """
    rng = Random(seed)
    samples = min(len(r.scores) for r in profile.rollouts)
    targets = []
    for sample in range(samples):
        for rollouts in rng.sample(profile.rollouts, len(profile.rollouts)):
            if rollouts.scores[sample] < 1.0:
                text = rejection
            else:
                text = rollouts.texts[sample] if worked is None else _worked(worked, rollouts.query)
            targets.append(Target(rollouts.query, None, text))
    targets = targets[:limit]
    rejections = sum(target.text == rejection for target in targets)
    if rejections in (0, len(targets)):
        what = "wrong" if rejections else "right"
        raise DataError(
            f"Every sampled answer of agent '{profile.agent}' is {what}: there is nothing to learn.", hint=_MIXED
        )
    rng.shuffle(targets)
    return targets


_MIXED = "profile it on queries of more mixed difficulty"


def _sides(profile: Profile, scenario: Scenario) -> tuple[list[Rollouts], list[Rollouts]]:
    """Return the queries that the agent shall accept (success rate >= δ) and those it shall reject."""
    floor = 1.0 - scenario.alpha
    # Rounded: 0.8 and 1 - 0.2 are the same delta, whatever binary fractions make of them.
    accepted = [r for r in profile.rollouts if r.right and round(r.success_rate - floor, 9) >= 0]
    rejected = [r for r in profile.rollouts if round(r.success_rate - floor, 9) < 0]
    for name, side in (("accept", accepted), ("reject", rejected)):
        if not side:
            raise DataError(
                f"Agent '{profile.agent}' would {name} none of its {len(profile.rollouts)} profiled queries "
                f"in scenario '{scenario.name}' (delta {floor:g}): there is nothing to learn.",
                hint=_MIXED,
            )
    return accepted, rejected


def _worked(worked: Worked, query: Query) -> str:
    text = worked(query)
    if text is None:
        raise DataError(
            f"Query '{query.id}' has no worked solution to learn from.", hint="set `accept: own` in the recipe"
        )
    return text


def _draw(side: Sequence[T], count: int, rng: Random) -> list[T]:
    """Draw ``count`` items; every item comes up before one comes up again."""
    drawn: list[T] = []
    while len(drawn) < count:
        drawn += rng.sample(side, min(len(side), count - len(drawn)))
    return drawn
