"""The search for replicas: what the load needs, what a promise needs, what a budget buys."""

from __future__ import annotations

import itertools

import pytest

from disrouter.errors import DataError, RunError, UnknownNameError, UsageError
from disrouter.planning import Effort, Faults, Given, Load, Promise, Visit, capacity_plan, given_seconds, trial
from disrouter.planning.search import fewest
from disrouter.planning.studies import lost_replicas, sweep
from disrouter.planning.trials import alone
from planning_sites import answers, host, site, workload

QUICK, FINAL = Effort(1_500, 1), Effort(1_500, 3)

TWO = workload([[Visit("a", "look", 0.2), Visit("b", "answer", 1.0)]] * 2 + [[Visit("a", "answer", 0.6)]])
"""Every query visits a, two of three b: 1/3 s of work at a and 2/3 s at b per query."""


def load(qps: float = 6.0, seed: int = 0) -> Load:
    """Exponential times, so that there is something to wait for."""
    spread = {"a": Given(look=0.2, answer=0.6, variation=1.0), "b": Given(look=0.1, answer=1.0, variation=1.0)}
    return Load(workload=given_seconds(TWO, spread, ["a", "b"]), qps=qps, seed=seed)


def test_the_load_alone_says_how_many_replicas_are_needed() -> None:
    # a: 6/s x 1/3 s = 2 of 2 places each at most 90 % busy: 2 / 1.8 -> 2. b: 6/s x 2/3 s = 4 -> 4 / 0.9 -> 5.
    assert fewest(site(host("a", 2), host("b")), load()) == {"a": 2, "b": 5}


def test_replicas_that_are_down_half_of_the_time_are_needed_twice() -> None:
    where = site(host("a", 2), host("b"), faults=Faults(between=60.0, repair=60.0))

    assert fewest(where, load()) == {"a": 3, "b": 9}


def test_the_plan_is_the_cheapest_of_all_that_keep_the_promise() -> None:
    where, wanted = site(host("a", cost=1.0), host("b", cost=3.0)), Promise(p95=4.0)

    plan = capacity_plan(where, load(), wanted, quick=QUICK, final=FINAL)

    assert plan.kept
    prices = {}
    for a, b in itertools.product(range(3, 6), range(5, 8)):  # the load alone needs 3 and 5
        if wanted.kept(trial(where, {"a": a, "b": b}, load(), FINAL)):
            prices[a, b] = a * 1.0 + b * 3.0
    assert plan.cost == min(prices.values())


def test_a_tighter_promise_costs_no_less() -> None:
    where = site(host("a", cost=1.0), host("b", cost=3.0))

    costs = [capacity_plan(where, load(), Promise(p95=p95), quick=QUICK, final=FINAL).cost for p95 in (6.0, 4.5, 3.7)]

    assert None not in costs
    assert costs == sorted(costs, key=lambda cost: cost or 0.0)


def test_a_promise_below_the_time_in_agents_alone_is_refused_with_what_would_help() -> None:
    with pytest.raises(RunError, match=r"No number of replicas keeps a p95 of 1 s: without any waiting") as told:
        capacity_plan(site(host("a"), host("b")), load(), Promise(p95=1.0))

    assert told.value.hint is not None
    assert "make 'b' faster" in told.value.hint


def test_a_budget_that_does_not_bear_the_load_is_refused_with_what_it_bears() -> None:
    where = site(host("a", cost=1.0), host("b", cost=3.0))  # at least 3 + 15 = 18 an hour

    with pytest.raises(RunError, match="does not bear 6 queries a second") as told:
        capacity_plan(where, load(), Promise(p95=4.0, budget=9.0))

    assert told.value.hint == "raise the budget to at least 18, or let about 3 queries a second come"


def test_a_budget_too_small_for_the_promise_buys_the_best_there_is_and_says_so() -> None:
    where = site(host("a", cost=1.0), host("b", cost=3.0))

    plan = capacity_plan(where, load(), Promise(p95=3.6, budget=19.0), quick=QUICK, final=FINAL)

    assert not plan.kept
    assert plan.cost is not None
    assert plan.cost <= 19.0
    assert plan.problem is not None
    assert plan.problem.startswith("A budget of 19 an hour buys a p95 of")


def test_a_budget_alone_buys_the_best_p95() -> None:
    where = site(host("a", cost=1.0), host("b", cost=3.0))

    little, more = (
        capacity_plan(where, load(), Promise(budget=budget), quick=QUICK, final=FINAL) for budget in (18.0, 30.0)
    )

    assert little.found.end is not None
    assert more.found.end is not None
    assert more.found.end.p95 < little.found.end.p95
    assert more.cost is not None
    assert more.cost <= 30.0


def test_replicas_that_stand_already_stay_as_they_are() -> None:
    where = site(host("a"), host("b"))

    partly = capacity_plan(where, load(), Promise(p95=4.0), fixed={"a": 9}, quick=QUICK, final=FINAL)
    judged = capacity_plan(where, load(), Promise(p95=4.0), fixed={"a": 3, "b": 5}, quick=QUICK, final=FINAL)

    assert partly.replicas["a"] == 9
    assert judged.replicas == {"a": 3, "b": 5}
    assert not judged.kept
    assert judged.problem is not None
    assert "95 % of the queries take up to" in judged.problem


def test_an_agent_that_turns_queries_away_gets_more_replicas() -> None:
    where = site(host("a", 1, queue=0))

    plan = capacity_plan(where, Load(workload=answers("a", 0.5), qps=2.0), Promise(p95=1.0), quick=QUICK, final=FINAL)

    assert plan.kept
    assert plan.replicas["a"] > plan.least["a"]
    assert plan.found.unanswered <= 0.001


def test_without_prices_the_fewest_replicas_win_and_no_money_is_told() -> None:
    plan = capacity_plan(site(host("a"), host("b")), load(), Promise(p95=6.0), quick=QUICK, final=FINAL)

    assert plan.cost is None


def test_equal_seeds_find_equal_plans() -> None:
    where = site(host("a"), host("b"))

    one, same = (capacity_plan(where, load(), Promise(p95=4.0), quick=QUICK, final=FINAL) for _ in range(2))

    assert one == same


@pytest.mark.parametrize("qps", [0.0, -1.0, float("nan"), float("inf"), 1e7])
def test_a_rate_that_is_none_is_refused(qps: float) -> None:
    with pytest.raises(UsageError, match="queries a second"):
        load(qps)


def test_unusable_wishes_are_refused() -> None:
    where = site(host("a"), host("b"))
    with pytest.raises(UsageError, match="Nothing is asked"):
        capacity_plan(where, load(), Promise())
    with pytest.raises(UsageError, match="needs prices"):
        capacity_plan(where, load(), Promise(budget=3.0))
    with pytest.raises(UnknownNameError, match="Unknown agent 'c'"):
        capacity_plan(where, load(), Promise(p95=9.0), fixed={"c": 1})
    with pytest.raises(UsageError, match="0 replicas"):
        capacity_plan(where, load(), Promise(p95=9.0), fixed={"a": 0})
    with pytest.raises(UsageError, match="p95 of -1"):
        Promise(p95=-1.0)
    with pytest.raises(UsageError, match="without an answer"):
        Promise(p95=1.0, unanswered=1.0)
    with pytest.raises(UsageError, match="above 0"):
        Faults(between=0.0)


def test_the_rhythm_of_traces_needs_their_times() -> None:
    with pytest.raises(DataError, match="not known when"):
        Load(workload=TWO, qps=1.0, arrivals="traces")


def test_bursts_need_more_than_independent_arrivals() -> None:
    routes = [[Visit("a", "answer", 0.2)]] * 100
    bursts = [10.0 * (n // 10) + 0.001 * (n % 10) for n in range(100)]  # ten at once, every ten seconds
    work = workload(routes, times=bursts)

    found = {
        kind: trial(site(host("a")), {"a": 2}, Load(workload=work, qps=4.0, arrivals=kind), QUICK)
        for kind in ("poisson", "traces")
    }

    assert found["traces"].offered == pytest.approx(found["poisson"].offered, rel=0.1)
    assert found["traces"].end is not None
    assert found["poisson"].end is not None
    assert found["traces"].end.p95 > 2 * found["poisson"].end.p95


def test_more_load_takes_longer_and_a_lost_replica_too() -> None:
    where, replicas = site(host("a", 2), host("b")), {"a": 2, "b": 6}

    loads = sweep(where, replicas, load())
    lost = {one.host: one.found for one in lost_replicas(where, replicas, load())}

    p95 = [one.found.end.p95 for one in loads if one.found.end is not None]
    assert len(p95) == len(loads)
    assert p95[0] < p95[4] < p95[-1]
    assert lost["b"].end is not None
    assert lost["b"].end.p95 > p95[4]


def test_the_time_without_waiting_counts_every_visit() -> None:
    # Two of three routes take 1.2 s, one 0.6 s: the 95th percentile is 1.2 s.
    assert alone(Load(workload=TWO, qps=1.0)) == pytest.approx(1.2)


def test_given_seconds_scale_what_was_measured() -> None:
    measured = workload([[Visit("a", "answer", 1.0, 0.25)], [Visit("a", "answer", 3.0, 0.75)]])

    scaled = given_seconds(measured, {"a": Given(look=0.0, answer=4.0)}, ["a"])

    assert [route.visits[0] for route in scaled.routes] == [
        Visit("a", "answer", 2.0, 0.5),
        Visit("a", "answer", 6.0, 1.5),
    ]
    with pytest.raises(UnknownNameError, match="Unknown agent 'z'"):
        given_seconds(measured, {"z": Given(look=0.0, answer=1.0)}, ["a"])
