"""The value of forwarding: planning against brute force, and replay against live routing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from disrouter.agents.recorded import RecordedAgent
from disrouter.competence import Competence, DifficultyScale
from disrouter.errors import ConfigError
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.evaluation.replay import fitted, recorded_network, replay, traces
from disrouter.evaluation.traces import trace_line
from disrouter.network import Network
from disrouter.policies import ANSWER, Accept, Pass, Recall, ValueOfForwarding, Verdict, View, Views
from disrouter.types import AgentCard, Query, QueryPrice, Scenario, TokenPrice, Trace

Floats = NDArray[np.float64]
CONFIDENCES = (0.25, 0.75)
"""One for either side of the only edge, 0.5."""


@dataclass(frozen=True)
class Planted:
    """A pool whose classes and chances are known: rows of ``speaks`` and ``solves`` are (agent, class, band)."""

    prior: Floats
    speaks: Floats
    solves: Floats
    costs: tuple[float, ...]
    look_share: float = 0.1

    @classmethod
    def drawn(cls, seed: int, agents: int, classes: int = 3) -> Planted:
        random = np.random.default_rng(seed)
        return cls(
            prior=random.dirichlet(np.ones(classes)),
            speaks=random.dirichlet(np.full(2, 0.7), (agents, classes)),
            solves=random.random((agents, classes, 2)),
            costs=tuple(sorted(random.uniform(0.05, 1.0, agents).tolist())),
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"agent-{a}" for a in range(len(self.costs)))

    def belief(self, evidence: Mapping[int, int]) -> Floats:
        """Bayes: the chance of every class given the bands of some agents."""
        weights = self.prior * np.prod([self.speaks[a][:, b] for a, b in evidence.items()], axis=0)
        found: Floats = weights / weights.sum()
        return found

    def right(self, agent: int, evidence: Mapping[int, int]) -> float:
        return float(self.belief(evidence) @ self.solves[agent][:, evidence[agent]])

    def worth(self, agent: int, evidence: Mapping[int, int], alpha: float) -> float:
        """Value of an answer by an agent whose look is paid."""
        return self.right(agent, evidence) - alpha * self.costs[agent] * (1 - self.look_share)

    def scale(self) -> DifficultyScale:
        """Every belief that any set of looks can lead to: no grade is an approximation."""
        said = itertools.product(*([(None, 0, 1)] * len(self.costs)))
        beliefs = (self.belief({a: b for a, b in enumerate(bands) if b is not None}) for bands in said)
        return DifficultyScale(tuple(self.prior.tolist()), tuple(tuple(belief.tolist()) for belief in beliefs))

    def network(self, policy: ValueOfForwarding, edges: Mapping[str, Sequence[str]] | None = None) -> Network:
        scale = self.scale()
        return Network(
            "planted",
            [
                recorded(name, self.costs[a], competence_of(scale, self.speaks[a], self.solves[a]))
                for a, name in enumerate(self.names)
            ],
            edges,
            policy=policy,
        )


def competence_of(scale: DifficultyScale, speaks: Floats, solves: Floats) -> Competence:
    return Competence(
        scale=scale,
        bands=(0.5,),
        speaks=tuple(tuple(row) for row in speaks.tolist()),
        solves=tuple(tuple(row) for row in solves.tolist()),
    )


def recorded(name: str, cost: float, competence: Competence | None) -> RecordedAgent:
    return RecordedAgent(AgentCard(name=name, price=QueryPrice(cost=cost), competence=competence), ())


def best(
    pool: Planted,
    after: Mapping[int, Sequence[int]],
    here: int,
    evidence: Mapping[int, int],
    alpha: float,
    *,
    recall: bool,
) -> tuple[float, Verdict]:
    """The most that can be had from here on, by trying everything, and the first step towards it."""
    options: list[tuple[float, Verdict]] = [(pool.worth(here, evidence, alpha), Accept())]
    if after[here]:
        if recall:
            asked = [a for a in evidence if a != here]
            options += [(pool.worth(a, evidence, alpha), Recall(pool.names[a])) for a in asked]
        for other in after[here]:
            belief, value = pool.belief(evidence), -alpha * pool.costs[other] * pool.look_share
            for band in (0, 1):
                chance = float(belief @ pool.speaks[other][:, band])
                further = best(pool, after, other, {**evidence, other: band}, alpha, recall=recall)[0]
                value += chance * further
            options.append((value, Pass(pool.names[other])))
    return max(options, key=lambda option: option[0])


def after_of(edges: Mapping[int, Sequence[int]], *, skip: bool) -> dict[int, tuple[int, ...]]:
    """Whom each agent may pass to: its successors, and with skipping all that they lead to."""

    def behind(agent: int) -> set[int]:
        return {x for to in edges[agent] for x in ({to} | (behind(to) if skip else set()))}

    return {agent: tuple(sorted(behind(agent))) for agent in edges}


GRAPHS: dict[str, dict[int, list[int]]] = {
    "chain": {0: [1], 1: [2], 2: [3], 3: []},
    "tree": {0: [1, 2, 3], 1: [], 2: [], 3: []},
    "mesh": {0: [1, 2, 3], 1: [2, 3], 2: [3], 3: []},
}


def decided(network: Network, pool: Planted, here: int, evidence: Mapping[int, int], alpha: float) -> Verdict:
    name = pool.names[here]
    return network.policy.decide(
        View(
            confidence=CONFIDENCES[evidence[here]],
            accepts=None,
            scenario=Scenario(name="any", alpha=alpha),
            card=network.agents[name].card,
            successors=network.successors(name),
            upstream=tuple((pool.names[a], CONFIDENCES[b]) for a, b in evidence.items() if a != here),
        )
    )


def earned(network: Network, pool: Planted, alpha: float) -> float:
    """The exact expected utility of a network's decisions, over all that its agents may say."""
    total = 0.0
    for bands in itertools.product((0, 1), repeat=len(pool.costs)):
        chance = float(pool.prior @ np.prod([pool.speaks[a][:, b] for a, b in enumerate(bands)], axis=0))
        evidence: dict[int, int] = {}
        here, looks = pool.names.index(network.entry), 0.0
        while True:
            evidence[here] = bands[here]
            looks += alpha * pool.costs[here] * pool.look_share
            verdict: Verdict = (
                decided(network, pool, here, evidence, alpha) if network.edges[pool.names[here]] else Accept()
            )
            if isinstance(verdict, Pass):
                here = pool.names.index(verdict.to)
                continue
            answering = pool.names.index(verdict.agent) if isinstance(verdict, Recall) else here
            total += chance * (pool.worth(answering, evidence, alpha) - looks)
            break
    return total


def optimum(pool: Planted, after: Mapping[int, Sequence[int]], alpha: float, *, recall: bool) -> float:
    return (
        sum(
            float(pool.prior @ pool.speaks[0][:, band]) * best(pool, after, 0, {0: band}, alpha, recall=recall)[0]
            for band in (0, 1)
        )
        - alpha * pool.costs[0] * pool.look_share
    )


# Planning


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("graph", ["chain", "tree", "mesh"])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), alpha=st.floats(0.0, 1.0))
def test_without_recall_the_network_earns_what_trying_everything_earns(
    graph: str, skip: bool, seed: int, alpha: float
) -> None:
    pool = Planted.drawn(seed, agents=4)
    edges = {pool.names[a]: [pool.names[b] for b in to] for a, to in GRAPHS[graph].items()}

    network = pool.network(ValueOfForwarding(skip=skip, recall=False), edges)

    after = after_of(GRAPHS[graph], skip=skip)
    assert earned(network, pool, alpha) == pytest.approx(optimum(pool, after, alpha, recall=False), abs=1e-9)


def test_with_recall_the_network_earns_nearly_what_trying_everything_earns() -> None:
    # Planning takes the value at hand as settled while others are asked, and keeps it in steps of 1/16: on 60 drawn
    # pools that costs .003 on average, a fifth of what doing without recall costs.
    lost, lost_without = [], []
    for seed in range(60):
        pool, alpha = Planted.drawn(seed, agents=4), seed * 37 % 100 / 100
        ceiling = optimum(pool, after_of(GRAPHS["chain"], skip=True), alpha, recall=True)
        lost.append(ceiling - earned(pool.network(ValueOfForwarding()), pool, alpha))
        lost_without.append(ceiling - earned(pool.network(ValueOfForwarding(recall=False)), pool, alpha))

    assert min(lost) > -1e-9
    assert np.mean(lost) < 0.006
    assert np.mean(lost) < 0.5 * np.mean(lost_without)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), alpha=st.floats(0.0, 1.0), band=st.sampled_from([0, 1]))
def test_a_pair_of_agents_answers_exactly_if_the_own_worth_reaches_that_of_forwarding(
    seed: int, alpha: float, band: int
) -> None:
    pool = Planted.drawn(seed, agents=2)
    network = pool.network(ValueOfForwarding(skip=False, grades=False, recall=False))
    belief = pool.belief({0: band})
    # p - alpha g >= W, W = -alpha r + E[p' - alpha g'] = -alpha c' + P(the other one is right)
    own = pool.right(0, {0: band}) - alpha * 0.9 * pool.costs[0]
    other = float((belief[:, None] * pool.speaks[1] * pool.solves[1]).sum()) - alpha * pool.costs[1]

    verdict = decided(network, pool, 0, {0: band}, alpha)

    assert verdict == (Pass("agent-1") if other > own + 1e-9 else Accept())


def sure_and_hopeless(**settings: bool | float) -> Network:
    """Easy, hard and hopeless queries: agent-0 knows the easy ones, agent-1 hardly more, agent-2 solves the hard."""
    always, never, coin = [0.01, 0.99], [0.99, 0.01], [0.5, 0.5]
    pool = Planted(
        prior=np.array([0.4, 0.3, 0.3]),
        speaks=np.array([[always, never, never], [always, coin, coin], [always, always, never]]),
        solves=np.array([[[1, 1], [0, 0], [0, 0]], [[1, 1], [0.1, 0.1], [0, 0]], [[1, 1], [1, 1], [0, 0]]], float),
        costs=(0.1, 0.3, 0.6),
    )
    return pool.network(ValueOfForwarding(**settings))  # type: ignore[arg-type]  # checked by the policy itself


def test_a_useless_agent_in_between_is_skipped() -> None:
    network = sure_and_hopeless()

    verdict = network.policy.decide(view(network, "agent-0", 0.2, alpha=0.2))

    assert verdict == Pass("agent-2")
    assert sure_and_hopeless(skip=False).policy.decide(view(network, "agent-0", 0.2, alpha=0.2)) == Pass("agent-1")


def test_a_query_that_turns_out_hopeless_goes_back_to_the_cheapest_who_looked() -> None:
    edges = {"agent-0": ["agent-2"], "agent-2": ["agent-1"], "agent-1": []}
    pool = sure_and_hopeless()
    network = Network("back", list(pool.agents.values()), edges, policy=ValueOfForwarding())

    verdict = network.policy.decide(view(network, "agent-2", 0.2, alpha=0.5, upstream=(("agent-0", 0.2),)))

    assert verdict == Recall("agent-0")


def test_an_unsure_agent_answers_where_the_others_are_dearer_than_they_are_worth() -> None:
    # passing on would bring .5 (the hard half is solved) for .6: at alpha 1 more loss than a wrong answer for .09
    network = sure_and_hopeless(recall=False)

    assert network.policy.decide(view(network, "agent-0", 0.2, alpha=1.0)) == Accept()


@pytest.mark.parametrize(("grades", "verdict"), [(True, Accept()), (False, Pass("agent-2"))])
def test_what_others_said_counts_with_grades_only(grades: bool, verdict: Verdict) -> None:
    # agent-1's own word leaves .57 for easy; that agent-0 was sure too makes it .99
    network = sure_and_hopeless(grades=grades, recall=False)

    found = network.policy.decide(view(network, "agent-1", 0.8, alpha=0.2, upstream=(("agent-0", 0.8),)))

    assert found == verdict


def view(
    network: Network,
    agent: str,
    confidence: float | None,
    *,
    alpha: float,
    beta: float = 0.0,
    upstream: tuple[tuple[str, float | None], ...] = (),
) -> View:
    return View(
        confidence=confidence,
        accepts=None,
        scenario=Scenario(name="any", alpha=alpha, beta=beta),
        card=network.agents[agent].card,
        successors=network.successors(agent),
        upstream=upstream,
    )


def fast_and_slow(**settings: float) -> Network:
    """Alike but for the time of the dear one: a second of looking, three of answering; it is right .6 more often."""
    scale = DifficultyScale((1.0,), ((1.0,),))
    one = np.array([[1.0, 0.0]])
    fast = competence_of(scale, one, np.array([[0.3, 0.3]]))
    slow = replace(competence_of(scale, one, np.array([[0.9, 0.9]])), look_seconds=1.0, answer_seconds=3.0)
    agents = [recorded("fast", 0.1, fast), recorded("slow", 0.2, slow)]
    return Network("slow", agents, policy=ValueOfForwarding(**settings))  # type: ignore[arg-type]


def test_seconds_weigh_like_cost() -> None:
    network = fast_and_slow()

    # .6 more quality for four more seconds: worth it below .15 a second
    assert network.policy.decide(view(network, "fast", 0.2, alpha=0.0, beta=0.14)) == Pass("slow")
    assert network.policy.decide(view(network, "fast", 0.2, alpha=0.0, beta=0.16)) == Accept()


def test_a_look_counts_as_often_as_is_asked_for() -> None:
    network = fast_and_slow(look_weight=3.0)

    # the second of looking counts three times, so .6 more quality takes six seconds: worth it below .1 a second
    assert network.policy.decide(view(network, "fast", 0.2, alpha=0.0, beta=0.09)) == Pass("slow")
    assert network.policy.decide(view(network, "fast", 0.2, alpha=0.0, beta=0.11)) == Accept()


def test_the_floor_keeps_the_unsure_from_answering() -> None:
    free, floored = sure_and_hopeless(), sure_and_hopeless(floor=0.999)

    assert free.policy.decide(view(free, "agent-0", 0.8, alpha=1.0)) == Accept()
    assert isinstance(floored.policy.decide(view(floored, "agent-0", 0.8, alpha=1.0)), Pass)


def test_the_last_agent_answers_below_the_floor_too() -> None:
    network = Planted.drawn(3, agents=3).network(ValueOfForwarding(floor=1.0))

    assert network.policy.decide(view(network, "agent-2", 0.2, alpha=0.5)) == Accept()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), alpha=st.floats(0, 1), rows=st.integers(1, 60))
def test_a_column_is_decided_like_its_rows(seed: int, alpha: float, rows: int) -> None:
    pool, random = Planted.drawn(seed, agents=4), np.random.default_rng(seed)
    network = pool.network(ValueOfForwarding())
    policy = network.policy
    assert isinstance(policy, ValueOfForwarding)
    confidence = np.where(random.random((4, rows)) < 0.2, np.nan, random.random((4, rows)))
    asked = random.random((2, rows)) < 0.6
    scenario = Scenario(name="any", alpha=alpha)

    column = policy.decide_many(
        Views(
            agent="agent-2",
            scenario=scenario,
            confidence=confidence[2],
            upstream={f"agent-{a}": confidence[a] for a in range(2)},
            consulted={f"agent-{a}": asked[a] for a in range(2)},
        )
    )

    for i in range(rows):
        said = [None if np.isnan(c) else float(c) for c in confidence[:, i]]
        upstream = tuple((f"agent-{a}", said[a]) for a in range(2) if asked[a, i])
        verdict = policy.decide(view(network, "agent-2", said[2], alpha=alpha, upstream=upstream))
        expected = Accept() if column[i] == ANSWER else verdict_of(int(column[i]), pool.names)
        assert verdict == expected


def verdict_of(code: int, names: Sequence[str]) -> Verdict:
    return Pass(names[code]) if code >= 0 else Recall(names[-2 - code])


def test_another_price_makes_another_plan_and_no_new_card() -> None:
    network = sure_and_hopeless()
    dear = {name: replace(agent.card, price=QueryPrice(cost=5.0)) for name, agent in network.agents.items()}
    agents = [network.agents["agent-0"], *(RecordedAgent(dear[n], ()) for n in ("agent-1", "agent-2"))]
    dearer = Network("dear", agents, network.edges, policy=ValueOfForwarding())

    assert network.policy.decide(view(network, "agent-0", 0.2, alpha=0.2)) == Pass("agent-2")
    assert dearer.policy.decide(view(dearer, "agent-0", 0.2, alpha=0.2)) == Accept()


def test_a_price_per_token_is_expected_to_come_to_the_mean_tokens_of_the_card() -> None:
    # reading 10 tokens costs .01, writing 40 costs .16: the second agent must be .17 better at alpha 1
    scale, one = DifficultyScale((1.0,), ((1.0,),)), np.array([[1.0, 0.0]])
    weak = competence_of(scale, one, np.array([[0.5, 0.5]]))

    def strong(right: float) -> Network:
        competence = replace(
            competence_of(scale, one, np.array([[right, right]])), prompt_tokens=10.0, answer_tokens=40.0
        )
        price = TokenPrice(input=1e3, output=4e3, unit=1.0)
        card = AgentCard(name="strong", price=price, competence=competence)
        free = RecordedAgent(AgentCard(name="weak", price=QueryPrice(cost=0.0), competence=weak), ())
        return Network(
            "t", [free, RecordedAgent(card, ())], {"weak": ["strong"], "strong": []}, policy=ValueOfForwarding()
        )

    below, above = strong(0.66), strong(0.68)

    assert below.policy.decide(view(below, "weak", 0.2, alpha=1.0)) == Accept()
    assert above.policy.decide(view(above, "weak", 0.2, alpha=1.0)) == Pass("strong")


# What cannot be planned


def test_an_unbound_policy_says_who_binds_it() -> None:
    network = Planted.drawn(0, agents=2).network(ValueOfForwarding())

    with pytest.raises(ConfigError, match="does not know the pool"):
        ValueOfForwarding().decide(view(network, "agent-0", 0.5, alpha=0.5))


def test_agents_without_a_card_are_named() -> None:
    scale = DifficultyScale((1.0,), ((1.0,),))
    known = competence_of(scale, np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]]))

    agents = [recorded("a", 0.1, known), recorded("b", 0.2, None), recorded("c", 0.3, None)]

    with pytest.raises(ConfigError, match="no agent card of 'b', 'c'") as caught:
        Network("n", agents, policy=ValueOfForwarding())

    assert "cards fit" in str(caught.value.hint)


def test_cards_of_different_scales_are_refused() -> None:
    one, other = Planted.drawn(1, agents=2), Planted.drawn(2, agents=2)
    cards = [competence_of(pool.scale(), pool.speaks[0], pool.solves[0]) for pool in (one, other)]

    with pytest.raises(ConfigError, match="different scales of difficulty"):
        Network("n", [recorded("a", 0.1, cards[0]), recorded("b", 0.2, cards[1])], policy=ValueOfForwarding())


@pytest.mark.parametrize("setting", [{"skip": 1}, {"grades": "yes"}, {"recall": None}, {"floor": 1.5}, {"floor": True}])
def test_unusable_settings_are_told(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        ValueOfForwarding(**setting)  # type: ignore[arg-type]


def test_a_card_read_back_decides_alike() -> None:
    pool = Planted.drawn(5, agents=3)
    network = pool.network(ValueOfForwarding())
    read = []
    for name, agent in network.agents.items():
        assert agent.card.competence is not None
        again = Competence.from_json(agent.card.competence.to_json(name))
        read.append(RecordedAgent(replace(agent.card, competence=again), ()))
    other = Network("read", read, network.edges, policy=ValueOfForwarding())

    for alpha in (0.2, 0.5, 0.8):
        for evidence in ({0: 0}, {0: 1}, {0: 0, 1: 1}, {0: 1, 1: 0}):
            here = max(evidence)
            assert decided(other, pool, here, evidence, alpha) == decided(network, pool, here, evidence, alpha)


# Replay and live routing


def cards_of(agents: int, random: np.random.Generator) -> Iterator[Competence]:
    """Cards of any kind on one scale of few grades, which are approximations here."""
    classes = 4
    prior = random.dirichlet(np.ones(classes))
    grades = np.vstack([prior, random.dirichlet(np.full(classes, 0.5), 9)])
    scale = DifficultyScale(tuple(prior.tolist()), tuple(tuple(row) for row in grades.tolist()))
    for _ in range(agents):
        bands = int(random.integers(1, 4))
        yield Competence(
            scale=scale,
            bands=tuple(np.sort(random.random(bands - 1)).tolist()),
            speaks=tuple(tuple(row) for row in random.dirichlet(np.ones(bands), classes).tolist()),
            solves=tuple(tuple(row) for row in random.random((classes, bands)).tolist()),
            look_seconds=random.random(),
            answer_seconds=random.random(),
        )


def graph_of(kind: str, names: Sequence[str], random: np.random.Generator) -> dict[str, list[str]]:
    """A cascade; a generalist in front of specialists with one last resort; or a mesh of random shortcuts."""
    chain = {name: list(names[i + 1 : i + 2]) for i, name in enumerate(names)}
    if kind == "chain":
        return chain
    if kind == "tree":
        return {name: list(names[1:]) if i == 0 else [] for i, name in enumerate(names)}
    return {
        name: to + [n for n in names[i + 2 :] if random.random() < 0.3] for i, (name, to) in enumerate(chain.items())
    }


def drawn_table(names: Sequence[str], queries: int, random: np.random.Generator, *, failing: float) -> OutcomeTable:
    shape = (2, len(names), queries)
    fails = random.random(shape) < failing
    unsure = fails | (random.random(shape) < 0.1)
    return OutcomeTable(
        query_ids=tuple(f"q{i}" for i in range(queries)),
        agents=tuple(names),
        scenarios=(Scenario(name="balance", alpha=0.5), Scenario(name="cost-first", alpha=0.8)),
        datasets=(None,) * queries,
        domains=(None,) * queries,
        levels=(None,) * queries,
        confidence=np.where(unsure, np.nan, random.random(shape)),
        accepts=np.full(shape, -1),
        answer=np.where(fails, np.array(None, dtype=object), np.array("an answer", dtype=object)),
        score=np.where(fails, 0.0, random.integers(0, 2, shape).astype(float)),
        prompt_tokens=np.where(unsure, 0, random.integers(1, 50, shape)),
        answer_tokens=np.where(fails, 0, random.integers(1, 50, shape)),
        look_cost=np.zeros(shape),
        answer_cost=np.zeros(shape),
        look_seconds=np.where(unsure, 0.0, random.random(shape)),
        answer_seconds=np.where(fails, 0.0, random.random(shape)),
        failure=np.where(fails, np.array("it broke", dtype=object), np.array(None, dtype=object)),
    )


@pytest.mark.parametrize("recall", [False, True])
@pytest.mark.parametrize("grades", [False, True])
@pytest.mark.parametrize("skip", [False, True])
@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["chain", "tree", "mesh"]),
    agents=st.sampled_from([3, 5, 9, 32]),
    failing=st.sampled_from([0.0, 0.15]),
    floor=st.sampled_from([0.0, 0.6]),
    beta=st.sampled_from([0.0, 0.2]),
    look_weight=st.sampled_from([1.0, 5.0]),
)
def test_replay_is_live_routing(
    skip: bool,
    grades: bool,
    recall: bool,
    seed: int,
    kind: str,
    agents: int,
    failing: float,
    floor: float,
    beta: float,
    look_weight: float,
) -> None:
    random = np.random.default_rng(seed)
    names = [f"a{i:02d}" for i in range(agents)]
    costs = np.sort(random.uniform(0.05, 1.0, agents)).tolist()
    made = [recorded(n, c, card) for n, c, card in zip(names, costs, cards_of(agents, random), strict=True)]
    policy = ValueOfForwarding(skip=skip, grades=grades, recall=recall, floor=floor, look_weight=look_weight)
    network = Network("pool", made, graph_of(kind, names, random), policy=policy)
    table = drawn_table(names, 12, random, failing=failing)
    table = fitted(replace(table, scenarios=tuple(replace(s, beta=beta) for s in table.scenarios)), network)

    replayed = list(traces(table, network))

    assert [trace_line(replace(t, score=None), timings=True) for t in replayed] == [
        trace_line(t, timings=True) for t in live(table, network)
    ]
    found = replay(table, network)
    for i, trace in enumerate(replayed):
        s, q = divmod(i, 12)
        answering = found.choice.agent[s, q]
        assert trace.agent == (None if answering < 0 else names[answering])
        assert found.choice.score[s, q] == trace.score
        assert found.choice.cost[s, q] == pytest.approx(trace.cost)
        assert found.choice.cost_full[s, q] == pytest.approx(trace.cost_full)
        assert {names[a] for a in np.flatnonzero(found.received[s, :, q])} == {hop.agent for hop in trace.hops}
        assert len(trace.hops) <= agents + 1


def live(table: OutcomeTable, network: Network) -> list[Trace]:
    recordings = recorded_network(table, network)

    async def run() -> list[Trace]:
        return [await recordings.route(Query(id=q, messages=()), s) for s in table.scenarios for q in table.query_ids]

    return asyncio.run(run())
