from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disrouter.errors import UnknownNameError, UsageError
from disrouter.types import Hop, Scenario, Trace
from disrouter.utility import BALANCE, COST_FIRST, PERFORMANCE_FIRST, SCENARIOS, scenario_of, utility

TRACE = Trace(
    query_id="q1",
    scenario=BALANCE,
    hops=(
        Hop(agent="small", decision="reject", cost=0.02, seconds=1.0),
        Hop(agent="large", decision="answer", cost=0.6, seconds=3.0),
    ),
    answer="4",
    score=1.0,
)


def test_utility_is_quality_minus_weighted_cost() -> None:
    assert utility(TRACE) == pytest.approx(0.7)  # 1 - 0.5 * 0.6


def test_full_utility_also_charges_rejections() -> None:
    assert utility(TRACE, full=True) == pytest.approx(0.69)  # 1 - 0.5 * 0.62


def test_utility_charges_for_seconds_where_the_scenario_minds() -> None:
    hurried = replace(TRACE, scenario=Scenario(name="hurry", alpha=0.5, beta=0.05))

    assert utility(hurried) == pytest.approx(0.5)  # 1 - 0.5 * 0.6 - 0.05 * 4


def test_a_query_without_an_answer_has_no_quality_yet_pays_its_hops() -> None:
    trace = replace(TRACE, hops=TRACE.hops[:1], answer=None, score=0.0)

    assert utility(trace) == 0.0
    assert utility(trace, full=True) == pytest.approx(-0.01)


def test_an_ungraded_trace_has_no_utility() -> None:
    with pytest.raises(UsageError, match="'q1' has no score: grade it first"):
        utility(replace(TRACE, score=None))


def test_the_papers_scenarios_weigh_cost_ever_more() -> None:
    assert [(s.name, s.alpha) for s in SCENARIOS.values()] == [
        ("performance-first", 0.2),
        ("balance", 0.5),
        ("cost-first", 0.8),
    ]


@pytest.mark.parametrize(
    ("value", "scenario"),
    [
        ("balance", BALANCE),
        (0.2, PERFORMANCE_FIRST),
        ("0.8", COST_FIRST),
        (0.35, Scenario(name="alpha=0.35", alpha=0.35)),
        (1, Scenario(name="alpha=1", alpha=1.0)),
    ],
)
def test_a_scenario_goes_by_name_or_alpha(value: str | float, scenario: Scenario) -> None:
    assert scenario_of(value) == scenario


def test_a_scenario_can_mind_seconds() -> None:
    assert scenario_of("balance", beta=0.1) == Scenario(name="balance", alpha=0.5, beta=0.1)


def test_an_unknown_scenario_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown scenario 'balanced'.*'balance'") as error:
        scenario_of("balanced")

    assert error.value.hint == "name one of them, or give any alpha from 0 to 1"


@given(alpha=st.floats().filter(lambda alpha: not 0.0 <= alpha <= 1.0))
def test_an_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(UsageError, match="must lie from 0 to 1"):
        scenario_of(alpha)


@given(alpha=st.floats(min_value=0.0, max_value=1.0))
def test_any_alpha_from_0_to_1_is_legal(alpha: float) -> None:
    assert scenario_of(alpha).alpha == alpha
