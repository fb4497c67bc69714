"""Targets of self-awareness SFT in paper mode: what an agent shall say to a query under a scenario (paper §3.3).

An agent whose success rate on a query lies below δ = 1 − α shall say the rejection text, else answer it. The scenario
stands in the prompt, so one model learns all scenarios; accept and reject are balanced half and half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from disrouter.errors import DataError
from disrouter.training.profiling import Profile, Rollouts
from disrouter.types import Query, Scenario

__all__ = ["Target", "paper_targets"]


@dataclass(frozen=True, slots=True)
class Target:
    """What an agent shall say to a query; without a scenario the prompt names none."""

    query: Query
    scenario: Scenario | None
    text: str

    decides: bool = True
    """Whether the first token, where a decision is read, is learnt; replayed text keeps an ability, no more."""


def paper_targets(
    profile: Profile, scenarios: Sequence[Scenario], *, rejection: str, limit: int, seed: int
) -> list[Target]:
    """Return at most ``limit`` shuffled targets, an equal share for each scenario and each side of δ.

    An accepted query's target is one of the agent's own right answers, drawn at random: it learns when to answer, not
    how. The scarcer side is repeated, so that both sides are equally many. An accepted query has success rate >= δ.

    Raises:
        DataError: Under some scenario the agent would accept every query, or reject every one.
    """
    rng = Random(seed)
    share = limit // (2 * len(scenarios))
    targets = []
    for scenario in scenarios:
        floor = 1.0 - scenario.alpha
        # Rounded: 0.8 and 1 - 0.2 are the same delta, whatever binary fractions make of them.
        accepted = [r for r in profile.rollouts if r.right and round(r.success_rate - floor, 9) >= 0]
        rejected = [r for r in profile.rollouts if round(r.success_rate - floor, 9) < 0]
        for name, side in (("accept", accepted), ("reject", rejected)):
            if not side:
                raise DataError(
                    f"Agent '{profile.agent}' would {name} none of its {len(profile.rollouts)} profiled queries "
                    f"in scenario '{scenario.name}' (delta {floor:g}): there is nothing to learn.",
                    hint="profile it on queries of more mixed difficulty",
                )
        targets += [Target(r.query, scenario, rng.choice(r.right)) for r in _draw(accepted, share, rng)]
        targets += [Target(r.query, scenario, rejection) for r in _draw(rejected, share, rng)]
    rng.shuffle(targets)
    return targets


def _draw(side: list[Rollouts], count: int, rng: Random) -> list[Rollouts]:
    """Draw ``count`` items; every item comes up before one comes up again."""
    drawn: list[Rollouts] = []
    while len(drawn) < count:
        drawn += rng.sample(side, min(len(side), count - len(drawn)))
    return drawn
