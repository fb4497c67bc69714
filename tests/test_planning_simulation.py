"""The simulation against queueing theory, and what becomes of queries when agents are full, broken or slow."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disrouter.errors import ConfigError
from disrouter.planning import TAKING_TURNS, Behaviour, Effort, Faults, Load, Slowdown, Visit, trial
from disrouter.planning.curves import slowdown_of
from disrouter.planning.simulation import simulate
from planning_sites import ENDLESS, answers, host, passed, site, workload

COUNT = 40_000


def mean_delay(concurrency: int, rate: float, variation: float, replicas: int = 1) -> float:
    """Mean wait at one agent with service times of mean 1, the first tenth of the queries left out."""
    random = np.random.default_rng(101)
    gaps = np.random.default_rng(1).exponential(1 / rate, COUNT)
    where = site(host("a", concurrency))
    found = simulate(where, {"a": replicas}, answers("a", variation=variation), gaps, random)
    return float(found.delay[COUNT // 10 :, 0].mean())


def erlang_c(servers: int, load: float) -> float:
    """Chance to wait with Poisson arrivals and exponential service (Erlang 1917)."""
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


@pytest.mark.parametrize(("servers", "rate"), [(1, 0.6), (4, 3.0), (8, 6.4)])
def test_waiting_is_that_of_erlang(servers: int, rate: float) -> None:
    expected = erlang_c(servers, rate) / (servers - rate)

    assert mean_delay(servers, rate, 1.0) == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize(("servers", "rate"), [(1, 0.9), (8, 7.6)])
def test_every_wait_is_that_of_the_recursion_of_kiefer_and_wolfowitz(servers: int, rate: float) -> None:
    work = np.random.default_rng(7).gamma(0.5, 2.0, 5_000)
    gaps = np.random.default_rng(8).exponential(1 / rate, 5_000)
    free, waits = [0.0] * servers, []
    for came, seconds in zip(np.cumsum(gaps).tolist(), work.tolist(), strict=True):
        begins = max(heapq.heappop(free), came)
        heapq.heappush(free, begins + seconds)
        waits.append(begins - came)

    found = passed(site(host("a", servers)), workload([[Visit("a", "answer", x)] for x in work.tolist()]), gaps)

    assert found.delay[:, 0] == pytest.approx(waits, abs=1e-6)


def test_replicas_of_one_place_each_are_one_agent_with_as_many_places() -> None:
    assert mean_delay(1, 3.0, 1.0, replicas=4) == pytest.approx(mean_delay(4, 3.0, 1.0), rel=1e-9)


def test_constant_times_halve_the_wait_at_one_server() -> None:
    # M/D/1: rate / (2 (1 - rate)) = 0.75 at a rate of 0.6; M/M/1 waits twice as long.
    random = np.random.default_rng(101)
    gaps = np.random.default_rng(1).exponential(1 / 0.6, COUNT)

    found = simulate(site(host("a")), {"a": 1}, answers("a"), gaps, random)

    assert found.delay[COUNT // 10 :, 0].mean() == pytest.approx(0.75, rel=0.08)


@pytest.mark.parametrize("variation", [0.0, 1.0, 2.0])
def test_turns_take_as_long_whatever_the_spread_of_the_work(variation: float) -> None:
    # Processor sharing is insensitive: the mean time is 1 / (1 - 0.6) = 2.5 for every distribution of work of mean 1.
    random, count = np.random.default_rng(101), COUNT // 2
    gaps = np.random.default_rng(1).exponential(1 / 0.6, count)
    work = answers("a", variation=variation) if variation else answers("a")

    found = simulate(site(host("a", 200, slowdown=TAKING_TURNS)), {"a": 1}, work, gaps, random)

    assert found.end[count // 10 :].mean() == pytest.approx(2.5, rel=0.1)


def one_by_one(gaps: Sequence[float], routes: Sequence[tuple[int, float]]) -> list[float]:
    """Seconds until each job of (turns, seconds of a turn) is done by a thread that takes turns: whoever has had one
    goes to the end of the queue."""
    came, ends, queue, now = np.cumsum(gaps).tolist(), [0.0] * len(gaps), deque[int](), 0.0
    left, coming = [turns for turns, _ in routes], deque(range(len(gaps)))
    while queue or coming:
        if not queue:
            now = max(now, came[coming[0]])
        while coming and came[coming[0]] <= now:
            queue.append(coming.popleft())
        job = queue.popleft()
        now += routes[job][1]
        left[job] -= 1
        while coming and came[coming[0]] <= now:  # whoever comes during a turn stands before whoever had it
            queue.append(coming.popleft())
        if left[job]:
            queue.append(job)
        else:
            ends[job] = now - came[job]
    return ends


def test_turns_are_those_of_one_thread_that_takes_them_one_by_one() -> None:
    # Long answers of short and of long turns, and looks of a single one, at a load of about 0.8.
    random = np.random.default_rng(3)
    kinds = [
        (int(n), s) for n, s in zip(random.integers(1, 60, 3_000), random.choice([0.01, 0.04], 3_000), strict=True)
    ]
    kinds = [(1, 0.05) if n % 3 == 0 else kind for n, kind in enumerate(kinds)]
    gaps = random.exponential(np.mean([n * s for n, s in kinds]) / 0.8, len(kinds))
    routes = workload([[Visit("a", "answer", n * s, turns=n)] for n, s in kinds])

    found = passed(site(host("a", 10_000, slowdown=TAKING_TURNS, turn=0.0)), routes, gaps)
    shared = passed(site(host("a", 10_000, slowdown=TAKING_TURNS)), routes, gaps)

    exact = np.array(one_by_one(gaps.tolist(), kinds))
    looks = np.arange(len(kinds)) % 3 == 0
    for cut in (0.5, 0.95, 0.99):
        assert np.quantile(found.end, cut) == pytest.approx(np.quantile(exact, cut), rel=0.04)
    assert found.end[looks].mean() == pytest.approx(exact[looks].mean(), rel=0.15)
    # Equal shares of the processor are another thing: who looks would wait for a round of its own length.
    assert shared.end[looks].mean() > 1.2 * exact[looks].mean()


def test_a_turn_of_several_tokens_is_as_long_as_the_site_says() -> None:
    # 100 tokens of 10 ms in turns of 0.25 s: one to begin, one for the first word, four more, of 1/6 s each.
    # A look of 0.5 s comes when the answer is at work for a second: it waits for one turn of it.
    routes = workload([[Visit("a", "answer", 1.0, turns=100)], [Visit("a", "answer", 0.5)]])

    found = passed(site(host("a", 9, slowdown=TAKING_TURNS, turn=0.25)), routes, [0.0, 0.5])

    assert found.end.tolist() == pytest.approx([1.0 + 0.5, 0.5 + 1 / 6])


def test_equal_turns_are_equal_shares_of_the_processor() -> None:
    random = np.random.default_rng(5)
    counts = random.integers(1, 40, 2_000).tolist()
    gaps = random.exponential(20 / 0.7, len(counts))
    routes = workload([[Visit("a", "answer", float(n), turns=n)] for n in counts])

    turns = passed(site(host("a", 10_000, slowdown=TAKING_TURNS, turn=0.0)), routes, gaps)
    shares = passed(site(host("a", 10_000, slowdown=TAKING_TURNS)), routes, gaps)

    assert turns.end == pytest.approx(shares.end)


def test_an_agent_without_a_queue_turns_away_as_erlang_b_says() -> None:
    # Four servers, load 3: 3^4/4! / (1 + 3 + 9/2 + 27/6 + 81/24) = 3.375 / 16.375
    gaps = np.random.default_rng(1).exponential(1 / 3, COUNT)
    random = np.random.default_rng(101)

    found = simulate(site(host("a", 4, queue=0)), {"a": 1}, answers("a", variation=1.0), gaps, random)

    assert (found.refused[COUNT // 10 :] == 0).mean() == pytest.approx(3.375 / 16.375, rel=0.05)


def test_work_and_utilisation_are_what_was_brought() -> None:
    found = trial(
        site(host("a", 4)), {"a": 2}, Load(workload=answers("a", 0.5, variation=1.0), qps=8.0), Effort(8_000, 2)
    )

    assert found.utilisation["a"] == pytest.approx(8.0 * 0.5 / 8, rel=0.05)
    assert found.answered == pytest.approx(8.0, rel=0.05)
    assert found.unanswered == 0.0


def test_at_twice_the_slowdown_a_replica_bears_half() -> None:
    slow = Slowdown(((1, 1.0), (4, 2.0)))

    assert host("a", 4, slowdown=slow).rate == 2.0  # four at work, each at half speed
    assert slow.at(2) == pytest.approx(4 / 3)
    assert slow.at(7) == pytest.approx(3.0)  # the last line goes on


@pytest.mark.parametrize("text", ["2:1", "1:2", "1:1,4:0.5", "1:1,1:2", "1:1,8", "fast", "", "1:1,4:nan"])
def test_a_slowdown_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="slowdown"):
        slowdown_of(text)


GAPS = st.lists(st.floats(0.0, 3.0), min_size=1, max_size=25)
SECONDS = st.floats(0.01, 4.0)
ROUTES = st.lists(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), SECONDS), min_size=1, max_size=4), min_size=1, max_size=6
)


@given(gaps=GAPS, routes=ROUTES, queue=st.integers(0, 3), deadline=st.sampled_from([2.0, 1e9]), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_every_query_has_one_end(
    gaps: list[float], routes: list[list[tuple[str, float]]], queue: int, deadline: float, seed: int
) -> None:
    visits = [
        [*(Visit(name, "look", seconds) for name, seconds in route), Visit(route[-1][0], "answer", route[-1][1])]
        for route in routes
    ]
    usual = Behaviour(looks=(0.1,), answers=(0.5,), answer_share=0.5)
    where = site(host("a", 2, queue=queue), host("b", 1, queue=queue), faults=Faults(between=9.0, repair=1.0),
                 deadline=deadline)  # fmt: skip

    found = passed(where, workload(visits, behaviours={"a": usual, "b": usual}), gaps, seed, a=2)

    answered = np.isfinite(found.end)
    assert (answered == np.isfinite(found.first)).all()
    assert (found.first[answered] <= found.end[answered] + 1e-9).all()
    assert (found.end[answered] <= deadline + 1e-6).all()
    assert (found.delay > -1e-6).all()  # nothing is faster than alone
    # Whoever got no answer was turned away, broken or late.
    assert ((found.refused >= 0) | found.broken | found.late)[~answered].all()


@given(gaps=GAPS, work=st.lists(SECONDS, min_size=1, max_size=9), servers=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_one_more_replica_makes_nobody_wait_longer(gaps: list[float], work: list[float], servers: int) -> None:
    routes = workload([[Visit("a", "answer", seconds)] for seconds in work])

    less = passed(site(host("a")), routes, gaps, a=servers)
    more = passed(site(host("a")), routes, gaps, a=servers + 1)

    assert (more.end <= less.end + 1e-9).all()


@given(gaps=GAPS, work=st.lists(SECONDS, min_size=1, max_size=9))
@settings(max_examples=40, deadline=None)
def test_taking_turns_does_as_much_work_in_all_as_one_after_the_other(gaps: list[float], work: list[float]) -> None:
    routes = workload([[Visit("a", "answer", seconds)] for seconds in work])

    turns = passed(site(host("a", 99, slowdown=TAKING_TURNS)), routes, gaps)
    queue = passed(site(host("a", 1)), routes, gaps)

    # Neither is ever idle while there is work, so both are done with everything at the same moment.
    assert (turns.arrived + turns.end).max() == pytest.approx((queue.arrived + queue.end).max())


def test_equal_seeds_give_equal_results_and_others_give_others() -> None:
    where, work = site(host("a", 2), faults=Faults(between=50.0, repair=5.0)), answers("a", variation=1.0)

    one, same, other = (trial(where, {"a": 2}, Load(workload=work, qps=2.0, seed=s), Effort(500, 2)) for s in (1, 1, 2))

    assert one == same
    assert one != other


def test_an_agent_holds_no_place_while_another_thinks() -> None:
    # a has one place and looks for 1 s; b answers for 10 s. The second query is looked at while the first is answered.
    routes = workload([[Visit("a", "look", 1.0), Visit("b", "answer", 10.0)]])

    found = passed(site(host("a"), host("b", 2)), routes, [0.0, 0.0])

    assert found.end.tolist() == [11.0, 12.0]


def test_a_look_that_has_begun_the_answer_keeps_its_place() -> None:
    kept = host("a")
    kept = type(kept)(name="a", agents=(type(kept.agents[0])(name="a", concurrency=1, queue=9, keeps_place=True),))
    routes = workload([[Visit("a", "look", 1.0), Visit("a", "answer", 2.0, 0.5)]])

    found = passed(site(kept), routes, [0.0, 0.0])
    freed = passed(site(host("a")), routes, [0.0, 0.0])

    assert found.end.tolist() == [3.0, 6.0]
    assert found.first.tolist() == [1.5, 4.5]
    assert freed.end.tolist() == [4.0, 6.0]  # both are looked at before the first is answered


def test_a_query_that_finds_the_queue_full_goes_to_the_successor() -> None:
    usual = Behaviour(looks=(), answers=(5.0,), answer_share=0.0)
    routes = workload([[Visit("a", "answer", 1.0)]], behaviours={"b": usual})

    found = passed(site(host("a", queue=0), host("b")), routes, [0.0, 0.0])

    assert found.end.tolist() == [1.0, 5.0]
    assert found.refused.tolist() == [-1, 0]


def test_a_full_agent_that_would_have_passed_on_costs_no_detour() -> None:
    routes = workload([[Visit("a", "look", 4.0), Visit("b", "answer", 1.0)]])

    found = passed(site(host("a", queue=0), host("b", 9)), routes, [0.0, 1.0])

    assert found.end.tolist() == [5.0, 1.0]


def test_the_dearest_that_looked_answers_where_nobody_else_can() -> None:
    usual = {
        "a": Behaviour(looks=(0.1,), answers=(1.0,), answer_share=0.0),
        "b": Behaviour(looks=(0.1,), answers=(2.0,), answer_share=0.0),
        "c": Behaviour(looks=(), answers=(7.0,), answer_share=1.0),
    }
    routes = workload([[Visit("a", "look", 0.1), Visit("b", "look", 0.1), Visit("c", "answer", 7.0)]], behaviours=usual)
    where = site(host("a", rank=0.1), host("b", rank=0.5), host("c", queue=0, rank=0.9))

    found = passed(where, routes, [0.0, 1.0])

    assert found.end == pytest.approx([7.2, 2.2])


def test_a_query_is_given_up_at_the_deadline_and_frees_its_place() -> None:
    routes = workload([[Visit("a", "answer", 3.0)], [Visit("a", "answer", 0.25)]])

    found = passed(site(host("a"), deadline=2.0), routes, [0.0, 0.5])

    assert math.isnan(found.end[0])
    assert found.late.tolist() == [True, False]
    assert found.end[1] == pytest.approx(
        1.75
    )  # it comes at 0.5, begins at 2, when the first has left, and ends at 2.25


def test_a_query_that_waits_is_given_up_too() -> None:
    routes = workload([[Visit("a", "answer", 1.9)]])

    found = passed(site(host("a"), deadline=2.0), routes, [0.0, 0.1])

    assert found.late.tolist() == [False, True]


def test_replicas_are_down_as_long_as_they_are_said_to_be() -> None:
    # One of four times down: so often a query finds nobody, and there is no one else to ask.
    where = site(host("a", 99), faults=Faults(between=30.0, repair=10.0))

    found = trial(where, {"a": 1}, Load(workload=answers("a", 0.001), qps=50.0), Effort(20_000, 4))

    assert found.unanswered == pytest.approx(0.25, abs=0.1)
    assert found.broken == pytest.approx(found.unanswered, abs=0.01)


def test_a_broken_replica_is_survived_by_the_next_agent() -> None:
    usual = Behaviour(looks=(), answers=(0.01,), answer_share=1.0)
    where = site(host("a", 9), host("b", 9), faults=Faults(between=30.0, repair=10.0))
    routes = workload([[Visit("a", "answer", 0.01)]], behaviours={"b": usual})

    found = trial(where, {"a": 2, "b": 4}, Load(workload=routes, qps=50.0), Effort(10_000, 2))

    assert found.broken > 0.02
    assert found.unanswered < found.broken / 5


def test_agents_that_stand_together_share_a_processor() -> None:
    both = host("a", 9, slowdown=TAKING_TURNS)
    served = (*both.agents, *host("b", 9).agents)
    together = type(both)(name="a+b", agents=served, slowdown=TAKING_TURNS)
    routes = workload([[Visit("a", "answer", 1.0)], [Visit("b", "answer", 1.0)]])

    where = type(site())(hosts=(together,), successors={"a": (), "b": ()}, deadline=1e9)
    found = passed(where, routes, [0.0, 0.0])
    apart = passed(site(both, host("b")), routes, [0.0, 0.0])

    assert found.end.tolist() == [2.0, 2.0]
    assert apart.end.tolist() == [1.0, 1.0]


def test_a_gateway_is_a_station_before_every_agent() -> None:
    from disrouter.planning.site import GATEWAY, Host, Served

    gateway = Host(name=GATEWAY, agents=(Served(name=GATEWAY, concurrency=1, queue=ENDLESS),))
    made = site(host("a", 9), host("b", 9))
    where = type(made)(hosts=(*made.hosts, gateway), successors=made.successors, deadline=1e9, gateway_seconds=0.5)
    routes = workload([[Visit("a", "look", 1.0), Visit("b", "answer", 2.0)]])

    found = passed(where, routes, [0.0, 0.0])

    # 0.5 + 1 + 0.5 + 2; the second query waits half a second for the gateway at first, and once more at b.
    assert found.end.tolist() == [4.0, 4.5]
    assert found.work[:, -1].tolist() == [1.0, 1.0]


def test_an_answer_right_after_its_look_is_one_hop_of_the_gateway() -> None:
    from disrouter.planning.site import GATEWAY, Host, Served

    gateway = Host(name=GATEWAY, agents=(Served(name=GATEWAY, concurrency=1, queue=ENDLESS),))
    made = site(host("a", 9))
    where = type(made)(hosts=(*made.hosts, gateway), successors=made.successors, deadline=1e9, gateway_seconds=0.5)
    routes = workload([[Visit("a", "look", 1.0), Visit("a", "answer", 2.0)]])

    found = passed(where, routes, [0.0])

    assert routes.routes[0].hops == 1
    assert found.end.tolist() == [3.5]


def test_bursts_stay_bursts_at_another_rate() -> None:
    times = [0.0, 0.1, 0.2, 10.0, 10.1, 10.2, 20.0]
    load = Load(workload=workload([[Visit("a", "answer", 0.1)]] * 7, times=times), qps=70.0, arrivals="traces")

    gaps = load.gaps(7_000, np.random.default_rng(0), 0)

    assert gaps.mean() == pytest.approx(1 / 70, rel=0.01)
    assert gaps.max() / gaps.min() == pytest.approx(9.8 / 0.1, rel=0.01)
