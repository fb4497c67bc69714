from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disrouter.agents.fakes import ScriptedAgent
from disrouter.competence import Competence
from disrouter.errors import ConfigError, DataError, UsageError
from disrouter.evaluation.difficulty import measure
from disrouter.evaluation.outcomes import Outcome, OutcomeTable
from disrouter.evaluation.replay import fitted, replay
from disrouter.network import Limits, Network
from disrouter.online.agents import retaken
from disrouter.online.audit import Auditor, Event, Record
from disrouter.online.budget import BudgetPacer, check_budget
from disrouter.online.drifts import DRIFTS, carded
from disrouter.online.feedback import Feedback, beliefs
from disrouter.online.refresh import Refresher, explored
from disrouter.online.simulate import ARMS, alpha_spending, serve
from disrouter.online.stream import World, route
from disrouter.online.study import joined, study
from disrouter.policies import policy_of
from disrouter.types import QueryPrice, Scenario

PRICES = {"small": 0.1, "middle": 0.3, "large": 0.8}
SKILL = {"small": 0.0, "middle": 1.0, "large": 2.0}


def outcomes(n: int, *, seed: int = 0, domain: str = "in", prefix: str = "q") -> OutcomeTable:
    """Agents that know exactly how likely they are right: chance = logistic(2 (skill - difficulty))."""
    random = np.random.default_rng(seed)
    rows = []
    for q in range(n):
        hard = random.normal(0.5, 1.2)
        for name, price in PRICES.items():
            chance = float(1 / (1 + np.exp(-2 * (SKILL[name] + random.normal(0, 0.4) - hard))))
            rows.append(
                Outcome(
                    query_id=f"{prefix}{q}",
                    agent=name,
                    scenario="balance",
                    alpha=0.5,
                    domain=domain,
                    level=1 + int(hard > 0.5),
                    confidence=chance,
                    accepts=None,
                    answer="x",
                    score=float(random.random() < chance),
                    prompt_tokens=1,
                    answer_tokens=1,
                    look_cost=0.05 * price,
                    answer_cost=price,
                )
            )
    return OutcomeTable.of(rows)


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return joined([outcomes(2200), outcomes(500, seed=1, domain="out", prefix="o")])


@pytest.fixture(scope="module")
def cards() -> dict[str, Competence]:
    return measure(outcomes(1500, seed=9, prefix="f"), classes=6, bands=8, grades=48)


@pytest.fixture(scope="module")
def network(cards: dict[str, Competence]) -> Network:
    plain = Network(
        "three", [ScriptedAgent(name, price=QueryPrice(cost=price, look_share=0.05)) for name, price in PRICES.items()]
    )
    return carded(plain, cards, policy_of("value-of-forwarding"))


# --- the budget


def test_the_mean_cost_comes_to_the_budget_although_prices_double_on_the_way() -> None:
    random = np.random.default_rng(0)
    pacer = BudgetPacer(budget=0.25)

    for query in range(4000):
        scale = 0.6 if query < 2000 else 1.2
        pacer = pacer.paid([random.uniform(0, 2) * scale / (1 + 2 * pacer.alpha)])

    assert pacer.mean_cost == pytest.approx(0.25, rel=0.01)
    # 1.2 / (1 + 2 alpha) = 0.25 at alpha = 1.9: beyond 1, which a budget may need
    assert pacer.alpha == pytest.approx(1.9, rel=0.25)


def test_without_repayment_the_debt_of_a_drift_stays() -> None:
    def after_doubling(repayment: float) -> float:
        pacer = BudgetPacer(budget=0.25, repayment=repayment)
        for query in range(3000):
            pacer = pacer.paid([(0.6 if query < 1500 else 1.2) / (1 + 2 * pacer.alpha)])
        return abs(pacer.debt)

    assert after_doubling(0.003) < 2.0 < after_doubling(0.0)


@given(
    costs=st.lists(st.floats(min_value=0.0, max_value=1e6), max_size=60),
    least=st.floats(min_value=0.0, max_value=1.0),
    most=st.floats(min_value=1.0, max_value=9.0),
)
def test_whatever_is_paid_the_price_stays_within_its_limits_and_the_state_bounded(
    costs: list[float], least: float, most: float
) -> None:
    pacer = BudgetPacer(budget=0.3, least=least, most=most)

    for cost in costs:
        pacer = pacer.paid([cost])

        assert least <= pacer.alpha <= most
        assert abs(pacer.debt) <= 1 / pacer.rate


def test_a_pacer_stopped_and_read_again_goes_on_alike() -> None:
    pacer = BudgetPacer.starting_at(0.4, 0.2).paid([0.3, 0.1, 0.9])

    again = BudgetPacer.from_json(json.loads(json.dumps(pacer.to_json())))

    assert again == pacer
    assert again.paid([0.5]) == pacer.paid([0.5])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"budget": 0.0}, "above 0"),
        ({"budget": float("nan")}, "not a finite number"),
        ({"budget": 0.2, "rate": 0.0}, "would swing"),
        ({"budget": 0.2, "repayment": 0.4}, "would swing"),
        ({"budget": 0.2, "least": 0.8, "most": 0.5}, "contradict each other"),
    ],
)
def test_a_pacer_refuses_what_cannot_be_kept(settings: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        BudgetPacer.from_json(settings)


@pytest.mark.parametrize("cost", [-0.1, float("nan"), float("inf")])
def test_a_cost_that_is_none_is_refused(cost: float) -> None:
    with pytest.raises(UsageError, match="cannot be paid"):
        BudgetPacer(budget=0.2).paid([cost])


def test_an_unreadable_state_of_a_pacer_is_refused() -> None:
    with pytest.raises(UsageError, match="state cannot be used"):
        BudgetPacer.from_json({"budget": 0.2, "wallet": 3})


def test_a_budget_below_the_cheapest_agent_is_refused(network: Network) -> None:
    with pytest.raises(UsageError, match="'small' of network 'three' costs"):
        check_budget(0.05, network)


def test_a_budget_above_what_a_query_may_cost_is_refused(network: Network) -> None:
    with pytest.raises(UsageError, match="contradict each other"):
        check_budget(0.5, network.replace(limits=Limits(max_cost=0.4)))


# --- routing a world


def test_a_world_is_routed_as_a_replay_routes_it(table: OutcomeTable, network: Network) -> None:
    fit = fitted(table, network)
    expected = replay(fit, network)

    routed = route(World.of(fit), network, fit.scenarios[0])

    np.testing.assert_array_equal(routed.feedback.agent, expected.choice.agent[0])
    np.testing.assert_array_equal(routed.feedback.consulted, expected.received[0])
    np.testing.assert_allclose(routed.cost, expected.choice.cost_full[0])


def test_a_query_whose_agent_breaks_goes_to_the_next_and_the_breakage_is_seen(
    table: OutcomeTable, network: Network
) -> None:
    world = World.of(fitted(table, network)).at(np.arange(50))
    world.failed[0] = True  # the entry

    routed = route(world, network, Scenario(name="s", alpha=0.5))

    assert routed.feedback.failed[0].all()
    assert not routed.feedback.consulted[0].any()
    assert (routed.feedback.agent > 0).all()


def test_who_answers_instead_is_charged_with_the_looks_before(table: OutcomeTable, network: Network) -> None:
    world = World.of(fitted(table, network)).at(np.arange(40))
    plain = route(world, network, Scenario(name="s", alpha=0.5))

    routed = route(world, network, Scenario(name="s", alpha=0.5), instead=np.full(40, 2))

    looks = (world.look_cost * plain.feedback.consulted)[:2].sum(axis=0)
    assert (routed.feedback.agent == 2).all()
    np.testing.assert_allclose(routed.cost, looks + world.answer_cost[2])


def test_alpha_for_a_budget_spends_nearly_all_of_it(table: OutcomeTable, network: Network) -> None:
    world = World.of(fitted(table, network))

    alpha = alpha_spending(0.3, world, network)

    spent = route(world, network, Scenario(name="s", alpha=alpha)).cost.mean()
    assert 0.25 < spent <= 0.3


# --- feedback and refreshed cards


def test_beliefs_follow_bayes_rule() -> None:
    from disrouter.competence import DifficultyScale

    scale = DifficultyScale((0.5, 0.5), ((0.5, 0.5),))
    card = Competence(scale=scale, bands=(0.5,), speaks=((0.2, 0.8), (0.6, 0.4)), solves=((0.5, 0.9), (0.1, 0.3)))
    feedback = Feedback(
        agents=("a",),
        confidence=np.array([[0.7]]),
        consulted=np.array([[True]]),
        failed=np.array([[False]]),
        agent=np.array([0]),
        score=np.array([1.0]),
    )

    believed = beliefs({"a": card}, feedback)

    # .5 * .8 against .5 * .4: two to one for the first class; 2/3 * .9 + 1/3 * .3 = .7
    assert believed.difficulty[:, 0] == pytest.approx([2 / 3, 1 / 3])
    assert believed.chance[0] == pytest.approx(0.7)
    assert believed.without(0)[:, 0] == pytest.approx([0.5, 0.5])


def served_feedback(table: OutcomeTable, network: Network, *, degraded: str | None = None) -> Feedback:
    world = World.of(fitted(table, network))
    if degraded:
        world.score[world.agents.index(degraded)] *= np.random.default_rng(5).random(world.score.shape[1]) < 0.3
    return route(world, network, Scenario(name="s", alpha=0.5)).feedback


def test_cards_that_are_true_stay_as_they_are(
    table: OutcomeTable, network: Network, cards: dict[str, Competence]
) -> None:
    refresher = Refresher.of(cards).seen(served_feedback(table, network))

    changed = [np.abs(refresher.solves(name) - np.array(cards[name].solves)).mean() for name in cards]

    assert max(changed) < 0.03


def test_an_agent_that_became_worse_is_found_out_and_the_others_are_not_blamed(
    table: OutcomeTable, network: Network, cards: dict[str, Competence]
) -> None:
    refresher = Refresher.of(cards)
    feedback = served_feedback(table, network, degraded="small")

    now = refresher.seen(feedback).refreshed()

    loss = {name: float((np.array(cards[name].solves) - np.array(now[name].solves)).mean()) for name in cards}
    assert loss["small"] > 0.2
    assert abs(loss["middle"]) < 0.06


def test_refreshed_cards_are_of_one_new_scale_and_can_be_routed_by(
    table: OutcomeTable, network: Network, cards: dict[str, Competence]
) -> None:
    now = Refresher.of(cards).seen(served_feedback(table, network)).refreshed()

    again = retaken(network, now)

    assert len({card.scale.id for card in now.values()}) == 1
    assert again.order == network.order
    assert again.agents["small"].card.competence == now["small"]


def test_a_refresher_is_read_again_as_it_was(
    table: OutcomeTable, network: Network, cards: dict[str, Competence]
) -> None:
    refresher = Refresher.of(cards).seen(served_feedback(table, network, degraded="small"))

    again = Refresher.from_json(json.loads(json.dumps(refresher.to_json())), cards)

    assert again.refreshed() == refresher.refreshed()
    assert (
        Refresher.of(cards).refreshed()["small"].solves
        == refresher.forget("small").forget("middle").forget("large").refreshed()["small"].solves
    )


def test_states_and_feedback_that_cannot_be_used_are_refused(cards: dict[str, Competence]) -> None:
    one = np.ones((1, 1))
    with pytest.raises(UsageError, match="state cannot be used"):
        Refresher.from_json({"memory": 100}, cards)
    with pytest.raises(UsageError, match="memory"):
        Refresher.of(cards, memory=float("nan"))
    with pytest.raises(UsageError, match="share"):
        explored(3, 10, 1.5, np.random.default_rng(0))
    with pytest.raises(DataError, match="score"):
        Feedback(
            agents=("a",),
            confidence=one,
            consulted=one > 0,
            failed=one < 0,
            agent=np.zeros(1, dtype=np.int64),
            score=np.array([np.nan]),
        )


# --- the audit


def watched(
    table: OutcomeTable, network: Network, cards: dict[str, Competence], *, power: float = 1.0, shuffled: bool = False
) -> tuple[Auditor, list[Event]]:
    """Serve a table under an audit while 'small' reports confidence ** power (or anybody's confidence)."""
    world = World.of(fitted(table, network))
    world.confidence[0] **= power
    if shuffled:
        world.confidence[0] = np.random.default_rng(3).permutation(world.confidence[0]) ** 0.25
    auditor = Auditor.of(cards)
    events: list[Event] = []
    for start in range(0, world.score.shape[1], 50):
        some = world.at(np.arange(start, min(start + 50, world.score.shape[1])))
        heard = np.array([auditor.hear(name, some.confidence[a]) for a, name in enumerate(some.agents)])
        feedback = route(some, network, Scenario(name="s", alpha=0.5), heard=heard).feedback
        auditor, found = auditor.seen(feedback, some.confidence, beliefs(cards, feedback), cards)
        events.extend(found)
    return auditor, events


def test_an_overclaimer_is_recalibrated_by_about_the_curve_it_lied_with(
    table: OutcomeTable, network: Network, cards: dict[str, Competence]
) -> None:
    auditor, events = watched(table, network, cards, power=0.25)

    assert [(event.agent, event.kind) for event in events[:1]] == [("small", "recalibrated")]
    assert 2.5 < auditor.records["small"].power < 6.0
    assert "of" in str(events[0]) and events[0].to_json()["after"] == events[0].after


def test_honest_agents_are_not_accused(table: OutcomeTable, network: Network, cards: dict[str, Competence]) -> None:
    _, events = watched(table, network, cards)

    assert events == []


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(min_value=0, max_value=10_000))
def test_the_bet_against_an_agent_that_keeps_its_word_seldom_wins(seed: int) -> None:
    """The wealth of a bet exceeds c with a chance of 1 / c at most (Ville); begun anew n times, of n / c."""
    from disrouter.competence import DifficultyScale

    random = np.random.default_rng(seed)
    bands = tuple(k / 10 for k in range(1, 10))
    levels = tuple((k + 0.5) / 10 for k in range(10))
    card = Competence(scale=DifficultyScale((1.0,), ((1.0,),)), bands=bands, speaks=((0.1,) * 10,), solves=(levels,))
    band = random.integers(0, 10, 400)
    feedback = Feedback(
        agents=("a",),
        confidence=np.array(levels)[band][None],
        consulted=np.ones((1, 400), dtype=bool),
        failed=np.zeros((1, 400), dtype=bool),
        agent=np.zeros(400, dtype=np.int64),
        score=(random.random(400) < np.array(levels)[band]).astype(float),
    )

    auditor, events = Auditor.of({"a": card}).seen(
        feedback, feedback.confidence, beliefs({"a": card}, feedback), {"a": card}
    )

    assert events == ()
    assert max(auditor.records["a"].wealth) < auditor.patience


def test_an_agent_whose_word_tells_nothing_is_no_longer_believed_as_it_speaks(
    table: OutcomeTable, network: Network, cards: dict[str, Competence]
) -> None:
    auditor, events = watched(table, network, cards, shuffled=True)

    assert {event.agent for event in events} == {"small"}
    assert events
    heard = auditor.hear("small", np.array([0.9]))
    assert np.isnan(heard).all() or heard[0] < 0.8


def test_a_broken_agent_is_left_out_and_comes_back_when_it_works(cards: dict[str, Competence]) -> None:
    def looks(broke: bool, n: int) -> Feedback:
        consulted = np.zeros((3, n), dtype=bool)
        consulted[0] = not broke
        failed = np.zeros((3, n), dtype=bool)
        failed[0] = broke
        return Feedback(
            agents=tuple(cards),
            confidence=np.full((3, n), np.nan),
            consulted=consulted,
            failed=failed,
            agent=np.full(n, -1),
            score=np.zeros(n),
        )

    auditor, kinds = Auditor.of(cards), []
    for feedback in (looks(True, 12), looks(False, 12)):
        auditor, events = auditor.seen(feedback, feedback.confidence, beliefs(cards, feedback), cards)
        kinds.append([event.kind for event in events])
        out = auditor.out
        assert out == (("small",) if feedback.failed.any() else ())

    assert kinds == [["broken"], ["restored"]]


def test_an_auditor_is_read_again_and_refuses_nonsense(cards: dict[str, Competence]) -> None:
    auditor = Auditor.of(cards)

    again = Auditor.from_json(json.loads(json.dumps(auditor.to_json())))

    assert again.to_json() == auditor.to_json()
    with pytest.raises(UsageError, match="state cannot be used"):
        Auditor.from_json({"records": 3})
    with pytest.raises(UsageError, match="patience"):
        Auditor.of(cards, patience=0.5)
    with pytest.raises(UsageError, match="slack"):
        Auditor.of(cards, slack=float("nan"))


def test_a_live_agent_is_heard_as_the_auditor_hears_it(cards: dict[str, Competence]) -> None:
    live = Network("live", [ScriptedAgent(name, cost=cost, confidence=0.9) for name, cost in PRICES.items()])
    lying = Auditor(records={**Auditor.of(cards).records, "small": Record(power=4.0)})
    deaf = Auditor(records={**Auditor.of(cards).records, "small": Record(heard=False)})

    # own word answers above .5: .9 ** 4 = .6561 is heard; nothing heard answers as well
    assert retaken(live, cards, lying).ask("?").hops[0].confidence == pytest.approx(0.6561)
    assert retaken(live, cards, deaf).ask("?").hops[0].confidence is None
    assert retaken(live, cards).ask("?").hops[0].confidence == 0.9


def test_whoever_is_left_out_is_not_asked_unless_nobody_else_is_left(cards: dict[str, Competence]) -> None:
    live = Network("live", [ScriptedAgent(name, cost=cost, confidence=0.9) for name, cost in PRICES.items()])
    trusted = Auditor.of(cards).records

    assert retaken(live, cards, Auditor(records={**trusted, "small": Record(out=True)})).entry == "middle"
    everybody = Auditor(records={name: Record(out=True) for name in PRICES})
    assert retaken(live, cards, everybody).entry == "small"


# --- streams


@pytest.mark.parametrize("name", list(DRIFTS))
def test_a_stream_repeats_no_query_and_changes_in_its_middle(name: str, table: OutcomeTable, network: Network) -> None:
    stream = DRIFTS[name].make(fitted(table, network), network, 600, np.random.default_rng(0))

    assert len(set(stream.rows.tolist())) == 600
    assert stream.turn == 300


def test_a_table_too_small_for_a_stream_says_so(table: OutcomeTable, network: Network) -> None:
    with pytest.raises(DataError, match="in-domain queries for the stream"):
        DRIFTS["none"].make(fitted(table, network), network, 9000, np.random.default_rng(0))


def test_a_network_that_learns_leaves_an_agent_that_became_worse(
    table: OutcomeTable, network: Network, cards: dict[str, Competence]
) -> None:
    stream = DRIFTS["degraded"].make(fitted(table, network), network, 1600, np.random.default_rng(0))

    static = serve(stream, cards, ARMS["static"], alpha=0.5)
    online = serve(stream, cards, ARMS["online"], alpha=0.5)

    late = slice(stream.turn, None)
    gain = (online.score - 0.5 * online.cost)[late].mean() - (static.score - 0.5 * static.cost)[late].mean()
    assert gain > 0.03
    assert (online.agent[late] == 1).mean() < (static.agent[late] == 1).mean() / 2


def test_serving_twice_gives_the_same(table: OutcomeTable, network: Network, cards: dict[str, Competence]) -> None:
    stream = DRIFTS["dearer"].make(fitted(table, network), network, 400, np.random.default_rng(0))

    one, two = (serve(stream, cards, ARMS["online-paced"], alpha=0.5, budget=0.3, seed=4) for _ in range(2))

    np.testing.assert_array_equal(one.agent, two.agent)
    np.testing.assert_array_equal(one.alpha, two.alpha)


def test_pacing_without_a_budget_is_refused(
    table: OutcomeTable, network: Network, cards: dict[str, Competence]
) -> None:
    stream = DRIFTS["none"].make(fitted(table, network), network, 200, np.random.default_rng(0))

    with pytest.raises(ConfigError, match="keeps a budget"):
        serve(stream, cards, ARMS["paced"], alpha=0.5)


def test_a_study_holds_the_budget_and_says_what_overclaiming_costs(table: OutcomeTable, network: Network) -> None:
    found = study(table, network, fit=1000, limit=1000, alphas=[0.5], budget=0.3, drifts=["overclaims"])

    assert found.budgets[0].worst < 0.1
    assert abs(found.budgets[0].end) < 0.03
    lost = found.overclaims[0]
    assert lost.agents == ("small", "large")
    assert lost.won == pytest.approx(lost.lost_unaudited - lost.lost_audited)
    assert json.loads(json.dumps(found.to_json()))["fitted_on"] == 1000


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"alphas": [1.5]}, "Alpha 1.5 is out of range"),
        ({"budget": 0.01}, "below the cheapest"),
        ({"limit": 10}, "shows nothing"),
        ({"fit": 5000}, "needed to measure"),
    ],
)
def test_a_study_refuses_what_it_cannot_do(
    changed: dict[str, object], words: str, table: OutcomeTable, network: Network
) -> None:
    asked: dict[str, object] = {"fit": 500, "limit": 400, "alphas": [0.5], "budget": 0.3, **changed}

    with pytest.raises(UsageError, match=words):
        study(table, network, **asked)  # type: ignore[arg-type]  # one of the values is wrong on purpose
