"""Trade-off metrics against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pytest import approx

from disrouter.errors import DataError
from disrouter.evaluation import curves


def floats(*values: float) -> curves.Floats:
    return np.array(values, dtype=np.float64)


def test_the_area_over_alpha_is_the_mean_of_a_line() -> None:
    assert curves.utility_area(floats(0, 0.5, 1), floats(1.0, 0.5, 0.0)) == approx(0.5)


def test_the_area_over_alpha_needs_rising_alphas() -> None:
    with pytest.raises(DataError, match="rising alphas"):
        curves.utility_area(floats(0.5, 0.2), floats(1, 1))


def test_risk_grows_with_coverage_where_confidence_is_right() -> None:
    # two right ones first, then a wrong one: risks 0, 0, 1/3
    curve = curves.risk_coverage(floats(0.9, 0.8, 0.1), floats(0, 0, 1))

    assert curve.x == approx([1 / 3, 2 / 3, 1])
    assert curve.y == approx([0, 0, 1 / 3])
    assert curves.aurc(floats(0.9, 0.8, 0.1), floats(0, 0, 1)) == approx(1 / 9)
    assert curves.e_aurc(floats(0.9, 0.8, 0.1), floats(0, 0, 1)) == approx(0)


def test_the_worst_order_of_confidence_has_an_excess() -> None:
    # wrong one first: risks 1, 1/2, 1/3 → 11/18; the best order has 1/9 = 2/18
    assert curves.e_aurc(floats(0.1, 0.2, 0.9), floats(0, 0, 1)) == approx(9 / 18)


def test_equal_confidences_are_one_step_whatever_their_order() -> None:
    one = curves.risk_coverage(floats(0.5, 0.5), floats(0, 1))
    other = curves.risk_coverage(floats(0.5, 0.5), floats(1, 0))

    assert one.y == approx([0.5, 0.5])
    assert other.y == approx([0.5, 0.5])


def test_unknown_confidences_are_answered_last() -> None:
    assert curves.risk_coverage(floats(np.nan, 0.1), floats(1, 0)).y == approx([0, 0.5])


def test_deferral_starts_with_the_small_agent_and_ends_with_the_large_one() -> None:
    # the unsure query gains 1, the sure one nothing
    curve = curves.deferral_curve(floats(0.9, 0.1), floats(1, 0), floats(1, 1))

    assert curve.x == approx([0, 0.5, 1])
    assert curve.y == approx([0.5, 1, 1])


def test_apgr_of_chance_is_a_half_and_half_the_gap_takes_half_the_calls() -> None:
    # a straight line from weak 0.4 to strong 0.8
    share, quality = floats(0.25, 0.5, 0.75), floats(0.5, 0.6, 0.7)

    assert curves.apgr(share, quality, 0.4, 0.8) == approx(0.5)
    assert curves.cpt(share, quality, 0.4, 0.8, target=0.5) == approx(0.5)
    assert curves.cpt(share, quality, 0.4, 0.8, target=0.8) == approx(0.8)


def test_apgr_of_a_perfect_router_is_one_but_for_the_first_calls() -> None:
    # all of the gap at a tenth of the calls: a triangle of half a tenth is missing
    assert curves.apgr(floats(0.1), floats(0.8), 0.4, 0.8) == approx(0.95)


def test_without_a_gap_there_is_nothing_to_recover() -> None:
    assert curves.apgr(floats(0.5), floats(0.5), 0.8, 0.8) is None
    assert curves.cpt(floats(0.5), floats(0.5), 0.8, 0.7) is None


def test_aiq_is_the_area_under_the_hull_over_the_shared_costs() -> None:
    # (0, .2) to (1, .8): mean .5; a point below the line between them changes nothing
    assert curves.aiq(floats(0, 0.5, 1), floats(0.2, 0.3, 0.8), 0, 1) == approx(0.5)
    # a point above it does: (.5, .7): (.2+.7)/2*.5 + (.7+.8)/2*.5 = .6
    assert curves.aiq(floats(0, 0.5, 1), floats(0.2, 0.7, 0.8), 0, 1) == approx(0.6)


def test_aiq_earns_nothing_below_the_cheapest_point_and_keeps_the_quality_of_the_dearest() -> None:
    assert curves.aiq(floats(0.5), floats(0.6), 0, 1) == approx(0.3)


def test_aiq_refuses_an_empty_range() -> None:
    with pytest.raises(DataError, match="range of costs"):
        curves.aiq(floats(0.5), floats(0.6), 0.5, 0.5)


def test_the_pareto_front_keeps_what_nobody_beats() -> None:
    costs, qualities = floats(0.1, 0.5, 0.5, 0.9), floats(0.4, 0.8, 0.7, 0.8)

    assert curves.pareto_front(costs, qualities).tolist() == [True, True, False, False]


def test_pareto_distance_is_the_shortest_way_out_of_being_beaten() -> None:
    costs, qualities = floats(0.1, 0.5), floats(0.4, 0.8)

    # at cost .6 and quality .75: .05 up to .8, or .1 left to .5
    assert curves.pareto_distance(0.6, 0.75, costs, qualities) == approx(0.05)
    # on the front, and beyond it
    assert curves.pareto_distance(0.5, 0.8, costs, qualities) == 0
    assert curves.pareto_distance(0.3, 0.9, costs, qualities) == 0


def test_separation_is_what_hard_queries_cost_more() -> None:
    costs, hard = floats(0.1, 0.3, 0.9), np.array([False, False, True])

    assert curves.cost_separation(costs, hard) == approx(0.7)
    assert curves.cost_separation(costs, np.ones(3, dtype=bool)) is None


def test_the_overhead_share_is_what_no_given_answer_was_bought_with() -> None:
    assert curves.overhead_share(floats(0.5, 0.5), floats(0.4, 0.5)) == approx(0.1)
    assert curves.overhead_share(floats(0.0), floats(0.0)) is None
