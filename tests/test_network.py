from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disrouter.agents import ScriptedAgent
from disrouter.errors import AgentError, ConfigError, UnknownNameError, UsageError
from disrouter.limits import Limits
from disrouter.network import Network
from disrouter.policies import OwnWord, Threshold
from disrouter.types import Agent, Completion, Look, Price, Query, QueryPrice, Sampling, Scenario, TokenPrice
from disrouter.utility import BALANCE, COST_FIRST

QUERY = Query.from_text("2 + 2?", id="q1")


def agents(*names: str) -> list[ScriptedAgent]:
    """Agents that cost .1, .2, .3 and so on in the order given."""
    return [ScriptedAgent(name, cost=(i + 1) / 10) for i, name in enumerate(names)]


def test_without_edges_the_cascade_runs_by_rising_price() -> None:
    network = Network("n", [ScriptedAgent("c", cost=0.9), ScriptedAgent("a", cost=0.1), ScriptedAgent("b", cost=0.4)])

    assert network.entry == "a"
    assert network.chain == ("a", "b", "c")
    assert network.successors("b") == ("c",)
    assert network.successors("c") == ()


def test_equal_prices_keep_the_order_given() -> None:
    network = Network("n", [ScriptedAgent("y", cost=0.5), ScriptedAgent("x", cost=0.5), ScriptedAgent("a", cost=0.1)])

    assert network.chain == ("a", "y", "x")


def test_token_prices_order_a_cascade_by_input_and_output_together() -> None:
    # 1 + 2 = 3 money per million against 2 + 2 = 4
    cheap, dear = TokenPrice(input=1, output=2, unit=1), TokenPrice(input=2, output=2, unit=1)

    network = Network("n", [ScriptedAgent("dear", price=dear), ScriptedAgent("cheap", price=cheap)])

    assert network.chain == ("cheap", "dear")


def test_given_edges_override_prices() -> None:
    network = Network("n", agents("a", "b", "c"), {"c": ["b", "a"], "b": ["a"]})

    assert network.entry == "c"
    assert network.chain == ("c", "b", "a")
    assert network.edges == {"a": (), "b": ("a",), "c": ("b", "a")}


def test_one_agent_is_a_network() -> None:
    network = Network("n", agents("a"))

    assert network.chain == ("a",)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, r"cycle a -> b -> c -> a"),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, r"cycle b -> c -> b"),
        ({"a": ["b"], "b": ["b", "c"]}, r"cycle b -> b"),
        ({"a": ["bb"], "b": ["c"]}, r"unknown agent 'bb' in the edges; known: 'a', 'b', 'c'; did you mean 'b'\?"),
        ({"x": ["a"], "a": ["b"], "b": ["c"]}, r"unknown agent 'x' in the edges"),
        ({"a": ["c"], "b": ["c"]}, r"more than one entry: nobody passes to 'a', 'b'"),
        ({"a": ["b"]}, r"'c' can never be asked: no edge leads there"),
        ({}, r"'a', 'b', 'c' can never be asked"),
        ({"a": ["b", "c", "b"]}, r"agent 'a' lists 'b' more than once"),
    ],
)
def test_an_unusable_graph_is_refused(edges: Mapping[str, list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Network("n", agents("a", "b", "c"), edges)


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(ConfigError) as error:
        Network("n", agents("a", "b"), {"a": ["b"], "b": ["a", "z"]})

    assert "cycle a -> b -> a" in error.value.message
    assert "unknown agent 'z'" in error.value.message


def test_a_long_cycle_is_found_without_running_out_of_stack() -> None:
    names = [f"a{i}" for i in range(3000)]
    edges = {name: [names[(i + 1) % 3000]] for i, name in enumerate(names)}

    with pytest.raises(ConfigError, match="cycle a0 -> a1 -> "):
        Network("n", [ScriptedAgent(name) for name in names], edges)


def test_a_dead_end_that_may_reject_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'b' is declared always_answers: false but passes to nobody"):
        Network("n", agents("a", "b"), always_answers={"b": False})


def test_an_agent_that_may_reject_needs_only_a_successor() -> None:
    assert Network("n", agents("a", "b"), always_answers={"a": False}).chain == ("a", "b")


def test_a_network_without_agents_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no agents"):
        Network("n", [])


def test_two_agents_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two agents are called 'a'"):
        Network("n", agents("a", "b", "a"))


def test_agents_stand_under_their_own_names() -> None:
    (agent,) = agents("a")

    assert Network("n", {"a": agent}).agents == {"a": agent}
    with pytest.raises(ConfigError, match="agent 'a' is listed under the name 'b'"):
        Network("n", {"b": agent})


def test_prices_of_two_kinds_need_edges() -> None:
    mixed = [ScriptedAgent("q"), ScriptedAgent("t", price=TokenPrice(input=1, output=4, unit=1))]

    assert Network("n", mixed, {"t": ["q"]}).chain == ("t", "q")
    with pytest.raises(ConfigError, match="cannot be ordered into a cascade; give the edges"):
        Network("n", mixed)


def test_an_unknown_agent_has_no_successors() -> None:
    with pytest.raises(UnknownNameError, match="Unknown agent 'z' in network 'n'"):
        Network("n", agents("a")).successors("z")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_hops": 0}, "max_hops 0 is not usable: give a whole number from 1"),
        ({"max_hops": 1.5}, "max_hops 1.5"),
        ({"max_cost": 0.0}, "max_cost 0.0 is not usable: give a number above 0"),
        ({"max_seconds": -1.0}, "max_seconds -1.0"),
        ({"max_cost": float("nan")}, "max_cost nan"),
    ],
)
def test_limits_that_allow_nothing_are_refused(limits: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Limits(**limits)  # type: ignore[arg-type]  # what a caller may give


def test_a_cost_limit_below_the_first_agents_price_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_cost 0\.05 is below the price 0\.1 of 'a', the first agent asked"):
        Network("n", agents("a", "b"), limits=Limits(max_cost=0.05))


def test_dropping_an_agent_closes_the_gap() -> None:
    network = Network("n", agents("a", "b", "c", "d"))

    assert network.without("b", "c").edges == {"a": ("d",), "d": ()}
    assert network.without("a").chain == ("b", "c", "d")
    assert network.without("d").chain == ("a", "b", "c")


def test_dropping_an_agent_of_a_graph_leaves_its_successors_to_whoever_passed_to_it() -> None:
    # a -> b -> d, a -> c -> d; without b, a passes to d where it passed to b
    network = Network("n", agents("a", "b", "c", "d"), {"a": ["b", "c"], "b": ["d"], "c": ["d"]})

    assert network.without("b").edges == {"a": ("d", "c"), "c": ("d",), "d": ()}


def test_dropping_agents_changes_nothing_else() -> None:
    limits = Limits(max_hops=2)
    network = Network(
        "n",
        agents("a", "b", "c"),
        policy=Threshold(0.3),
        scenario="cost-first",
        limits=limits,
        always_answers={"b": True},
    )

    smaller = network.without("b")

    assert (smaller.name, smaller.policy, smaller.scenario, smaller.limits) == ("n", Threshold(0.3), COST_FIRST, limits)
    assert smaller.agents["a"] is network.agents["a"]
    assert network.chain == ("a", "b", "c")


def test_dropping_everybody_or_a_stranger_is_refused() -> None:
    network = Network("n", agents("a", "b"))

    with pytest.raises(ConfigError, match="has no agents"):
        network.without("a", "b")
    with pytest.raises(UnknownNameError, match="'c'"):
        network.without("c")


def test_dropping_the_only_entry_of_a_fork_is_refused() -> None:
    network = Network("n", agents("a", "b", "c"), {"a": ["b", "c"]})

    with pytest.raises(ConfigError, match="can never be asked"):
        network.without("a")


def test_replacing_policy_scenario_and_limits_keeps_the_agents() -> None:
    network = Network("n", agents("a", "b"))

    other = network.replace(policy=Threshold(0.5), scenario=0.8, limits=Limits(max_hops=1))

    assert (other.policy, other.scenario, other.limits) == (Threshold(0.5), COST_FIRST, Limits(max_hops=1))
    assert (network.policy, network.scenario, network.limits) == (OwnWord(), BALANCE, Limits())
    assert other.agents == network.agents


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[str], dict[str, list[str]]]:
    """Connected acyclic graphs with the one entry a0: every later agent has an earlier one that passes to it."""
    names = [f"a{i}" for i in range(draw(st.integers(1, 8)))]
    edges: dict[str, list[str]] = {name: [] for name in names}
    for i, name in enumerate(names[1:], start=1):
        for parent in draw(st.sets(st.integers(0, i - 1), min_size=1)):
            edges[names[parent]].append(name)
    return names, {name: draw(st.permutations(successors)) for name, successors in edges.items()}


@given(graph=graphs(), data=st.data())
def test_any_agent_but_the_entry_can_be_dropped_from_any_graph(
    graph: tuple[list[str], dict[str, list[str]]], data: st.DataObject
) -> None:
    names, edges = graph
    network = Network("n", agents(*names), edges)
    dropped = data.draw(st.sets(st.sampled_from(names[1:] or ["a0"])) if names[1:] else st.just(set()))

    smaller = network.without(*dropped)

    assert set(smaller.agents) == set(names) - dropped
    assert smaller.entry == "a0"


# A network as an agent


def test_a_network_is_an_agent() -> None:
    network = Network("inner", agents("a", "b"))

    assert isinstance(network, Agent)
    assert network.card.name == "inner"


def test_a_nested_network_costs_what_its_dearest_agent_costs() -> None:
    assert Network("inner", agents("a", "b")).card.price == QueryPrice(cost=0.2, look_share=0.0)


def test_a_nested_network_can_have_a_price_of_its_own() -> None:
    price = QueryPrice(cost=0.15)

    network = Network("inner", agents("a", "b", "c"), price=price)

    assert network.card.price == price
    assert network.without("b").card.price == price


async def test_a_network_accepts_without_asking_anybody() -> None:
    inner = agents("a", "b")

    look = await Network("inner", inner).look(QUERY, BALANCE)

    assert look == Look(confidence=None, accepts=True)
    assert [agent.looked for agent in inner] == [[], []]


async def test_a_network_streams_the_answer_of_its_route_with_the_tokens_of_all() -> None:
    small = ScriptedAgent("small", cost=0.1, confidence=0.1)
    large = ScriptedAgent("large", cost=0.9, reply="it is four")
    network = Network("inner", [small, large])

    pieces = [piece async for piece in network.answer(QUERY, BALANCE, None, Sampling())]

    # both read the three words of the query; three words are written
    assert "".join(piece for piece in pieces if isinstance(piece, str)) == "it is four"
    assert isinstance(pieces[-1], Completion)
    assert pieces[-1].text == "it is four"
    assert (pieces[-1].usage.prompt_tokens, pieces[-1].usage.completion_tokens) == (6, 3)


def test_networks_nest() -> None:
    inner = Network("inner", [ScriptedAgent("a", cost=0.2, confidence=0.1), ScriptedAgent("b", cost=0.6, reply="four")])
    outer = Network("outer", [ScriptedAgent("first", cost=0.1, confidence=0.1), inner])

    trace = outer.ask(QUERY)

    assert trace.answer == "four"
    assert [hop.agent for hop in trace.hops] == ["first", "inner"]
    assert trace.cost == 0.6


async def test_a_network_in_which_everybody_breaks_is_a_broken_agent() -> None:
    network = Network("inner", [ScriptedAgent("a", fails="look")])

    with pytest.raises(AgentError, match="No agent of network 'inner' answered"):
        async for _ in network.answer(QUERY, BALANCE, None, Sampling()):
            pass


# Asking


def test_ask_takes_plain_text_and_any_form_of_scenario() -> None:
    network = Network("n", agents("a"), scenario=0.3)

    assert network.ask("2 + 2?").scenario.alpha == 0.3
    assert network.ask("2 + 2?", "cost-first").scenario == COST_FIRST
    assert network.ask("2 + 2?", 0.5).scenario == BALANCE
    assert network.ask("2 + 2?", COST_FIRST).scenario == COST_FIRST


@pytest.mark.parametrize("alpha", [1.5, -0.1, math.nan])
def test_a_scenario_made_by_hand_is_held_to_the_same_range(alpha: float) -> None:
    network = Network("n", agents("a", "b"))

    with pytest.raises(UsageError, match="out of range"):
        network.ask(QUERY, Scenario(name="mine", alpha=alpha))


@pytest.mark.parametrize(
    ("price", "problem"),
    [
        (QueryPrice(cost=-0.1), "cost -0.1; give a number from 0"),
        (QueryPrice(cost=math.nan), "cost nan; give a number from 0"),
        (TokenPrice(input=1.0, output=math.inf, unit=1.0), "output inf; give a number from 0"),
        (TokenPrice(input=1.0, output=1.0, unit=0.0), "unit 0; give a number above 0"),
    ],
)
def test_prices_that_cannot_be_summed_are_refused(price: Price, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"the price of agent 'a' has {problem}"):
        Network("n", [ScriptedAgent("a", price=price)])


def test_ask_refuses_a_scenario_out_of_range() -> None:
    with pytest.raises(UsageError, match=r"alpha 1\.5 is out of range"):
        Network("n", agents("a")).ask("2 + 2?", 1.5)


async def test_ask_inside_an_event_loop_says_what_to_await() -> None:
    with pytest.raises(UsageError, match=r"await network\.route"):
        Network("n", agents("a")).ask("2 + 2?")


async def test_many_queries_travel_at_once() -> None:
    network = Network("n", [ScriptedAgent("a", delay=0.05)])

    traces = await asyncio.gather(*(network.route(Query.from_text("hi", id=f"q{i}")) for i in range(50)))

    assert [trace.query_id for trace in traces] == [f"q{i}" for i in range(50)]
