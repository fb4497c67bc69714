"""Targets: who shall answer and who reject, from measured success rates."""

from __future__ import annotations

from collections import Counter

import pytest

from disrouter.errors import DataError
from disrouter.training.profiling import Profile, Rollouts
from disrouter.training.targets import calibrated_targets, paper_queries, paper_targets
from disrouter.types import Query
from disrouter.utility import SCENARIOS

REJECTION = "I don't know"


def rollouts(name: str, right: int, of: int = 10) -> Rollouts:
    scores = (1.0,) * right + (0.0,) * (of - right)
    return Rollouts(Query.from_text(name, id=name), tuple(f"{name}#{i}" for i in range(of)), scores)


def profile_of(*rights: int, agent: str = "a") -> Profile:
    return Profile(agent, tuple(rollouts(f"q{place}-{right}", right) for place, right in enumerate(rights)))


def test_targets_accept_at_a_success_rate_of_delta_and_reject_below() -> None:
    # Performance-first: delta = 1 - 0.2 = 0.8. Eight of ten right is accepted, seven is not.
    known = Profile("a", (rollouts("eight", 8), rollouts("seven", 7)))

    targets = paper_targets(known, [SCENARIOS["performance-first"]], rejection=REJECTION, limit=2, seed=0)

    said = {target.query.id: target.text for target in targets}
    assert said["seven"] == REJECTION
    assert said["eight"] in {f"eight#{i}" for i in range(8)}  # one of its own right answers


def test_targets_are_balanced_half_and_half_in_every_scenario() -> None:
    known = profile_of(0, 1, 3, 4, 6, 7, 9)

    targets = paper_targets(known, list(SCENARIOS.values()), rejection=REJECTION, limit=200, seed=0)

    counts = Counter((target.scenario, target.text == REJECTION) for target in targets)
    assert set(counts.values()) == {100}
    assert len(counts) == 6


def test_a_worked_solution_is_the_target_where_the_recipe_asks_for_it() -> None:
    known = profile_of(0, 10)

    targets = paper_targets(
        known, [SCENARIOS["balance"]], rejection=REJECTION, limit=2, seed=0, worked=lambda query: f"why {query.id}"
    )

    assert {target.text for target in targets} == {REJECTION, "why q1-10"}


def test_a_query_without_a_worked_solution_is_named() -> None:
    with pytest.raises(DataError, match="'q1-10' has no worked solution"):
        paper_targets(
            profile_of(0, 10), [SCENARIOS["balance"]], rejection=REJECTION, limit=2, seed=0, worked=lambda query: None
        )


@pytest.mark.parametrize(("rights", "what"), [((10, 9), "reject"), ((0, 1), "accept")])
def test_a_profile_with_one_class_only_is_refused(rights: tuple[int, ...], what: str) -> None:
    known = profile_of(*rights, agent="agent-9")

    with pytest.raises(DataError, match=f"'agent-9' would {what} none of its 2 profiled queries"):
        paper_targets(known, [SCENARIOS["balance"]], rejection=REJECTION, limit=10, seed=0)


def test_queries_to_reinforce_are_balanced_like_targets() -> None:
    known = profile_of(0, 1, 3, 4, 6, 7, 9)
    right = {r.query.id: r.success_rate for r in known.rollouts}

    drawn = paper_queries(known, list(SCENARIOS.values()), limit=60, seed=0)

    counts = Counter((scenario.name, right[query.id] >= 1 - scenario.alpha) for query, scenario in drawn)
    assert set(counts.values()) == {10}
    assert len(counts) == 6


def test_every_rollout_is_labelled_by_its_own_correctness_in_natural_frequency() -> None:
    # 3 + 0 + 7 of 30 answers are right: 20 rejections.
    targets = calibrated_targets(profile_of(3, 0, 7), rejection=REJECTION, limit=1000, seed=0)

    assert len(targets) == 30
    assert sum(target.text == REJECTION for target in targets) == 20
    assert {target.scenario for target in targets} == {None}


def test_no_query_gives_a_second_rollout_before_every_query_has_given_one() -> None:
    targets = calibrated_targets(profile_of(0, 10, 10), rejection=REJECTION, limit=6, seed=0)

    assert set(Counter(target.query.id for target in targets).values()) == {2}


@pytest.mark.parametrize(("right", "what"), [(0, "wrong"), (10, "right")])
def test_rollouts_that_are_all_alike_teach_nothing(right: int, what: str) -> None:
    with pytest.raises(DataError, match=f"Every sampled answer of agent 'agent-9' is {what}"):
        calibrated_targets(profile_of(right, right, agent="agent-9"), rejection=REJECTION, limit=100, seed=0)
