"""Drifts: what may change under a network while it serves, made from recorded outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disrouter.agents.recorded import RecordedAgent
from disrouter.competence import Competence
from disrouter.errors import DataError
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.network import Network
from disrouter.online.stream import World
from disrouter.policies import AnyPolicy
from disrouter.types import Price, QueryPrice, TokenPrice

__all__ = ["DRIFTS", "Drift", "Stream", "carded"]

Ints = NDArray[np.int64]

DEGRADED = 0.6
"""Share of its right answers that a degraded agent gets wrong."""

DEARER = 3.0
OVERCLAIM = 0.25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stream:
    """Queries in order of arrival, with something that changes in the middle."""

    world: World
    turn: int
    """The first query after the change."""

    rows: Ints
    """Place in the table of every query, shape (n,)."""

    before: Network
    after: Network
    """What the operator's configuration says before and after: prices and members. The agents never say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A kind of change."""

    name: str
    words: str
    make: Callable[[OutcomeTable, Network, int, np.random.Generator], Stream]
    """Table, network with cards, number of queries and chance to a stream."""


def carded(network: Network, cards: Mapping[str, Competence], policy: AnyPolicy | None = None) -> Network:
    """Return a network of agents without models that have these cards: enough to route recorded outcomes.

    Its policy is the one given, or the network's own, which must know its pool.
    """
    agents = {
        name: RecordedAgent(replace(agent.card, competence=cards[name]), ()) for name, agent in network.agents.items()
    }
    return _with(network, agents, policy)


def _with(network: Network, agents: Mapping[str, RecordedAgent], policy: AnyPolicy | None = None) -> Network:
    return Network(
        network.name,
        agents,
        network.edges,
        policy=policy or network.policy,
        scenario=network.scenario,
        always_answers=network.always_answers,
    )


def _steady(table: OutcomeTable, network: Network, n: int, random: np.random.Generator) -> Stream:
    rows = _drawn(_of_domain(table, "in"), n, random, "in-domain")
    return _stream(table, network, rows, n // 2)


def _harder(table: OutcomeTable, network: Network, n: int, random: np.random.Generator) -> Stream:
    """From queries of every level, as far as the hard ones last, to the harder half alone."""
    places, half = _of_domain(table, "in"), n // 2
    levels = np.array([np.nan if level is None else float(level) for level in table.levels])[places]
    if np.isnan(levels).any():
        raise DataError(
            "The outcome table does not say how hard its queries are (column 'level').",
            hint="leave out the drift 'harder'",
        )
    shuffled = random.permutation(len(places))
    ranked = places[shuffled[np.argsort(levels[shuffled], kind="stable")]]
    soft, hard = (random.permutation(part) for part in np.split(ranked, [len(ranked) // 2]))
    if len(hard) < n - half:
        raise _few("hard", len(hard), n - half)
    late, spare = hard[: n - half], hard[n - half :][: half // 2]
    if len(spare) + len(soft) < half:
        raise _few("in-domain", len(places), n)
    early = random.permutation(np.concatenate([spare, soft[: half - len(spare)]]))
    return _stream(table, network, np.concatenate([early, late]), half)


def _elsewhere(table: OutcomeTable, network: Network, n: int, random: np.random.Generator) -> Stream:
    half = n // 2
    early = _drawn(_of_domain(table, "in"), half, random, "in-domain")
    late = _drawn(_of_domain(table, "out"), n - half, random, "out-of-domain")
    return _stream(table, network, np.concatenate([early, late]), half)


def _dearer(table: OutcomeTable, network: Network, n: int, random: np.random.Generator) -> Stream:
    stream = _steady(table, network, n, random)
    name = _busiest(network)
    a, late = stream.world.agents.index(name), slice(stream.turn, None)
    look, answer = stream.world.look_cost.copy(), stream.world.answer_cost.copy()
    look[a, late] *= DEARER
    answer[a, late] *= DEARER
    agents = {other: RecordedAgent(agent.card, ()) for other, agent in network.agents.items()}
    card = network.agents[name].card
    agents[name] = RecordedAgent(replace(card, price=_times(card.price, DEARER)), ())
    world = replace(stream.world, look_cost=look, answer_cost=answer)
    return replace(stream, world=world, after=_with(network, agents))


def _degraded(table: OutcomeTable, network: Network, n: int, random: np.random.Generator) -> Stream:
    stream = _steady(table, network, n, random)
    a, score = stream.world.agents.index(_busiest(network)), stream.world.score.copy()
    score[a, stream.turn :] *= random.random(n - stream.turn) >= DEGRADED
    return replace(stream, world=replace(stream.world, score=score))


def _dead(table: OutcomeTable, network: Network, n: int, random: np.random.Generator) -> Stream:
    stream = _steady(table, network, n, random)
    failed = stream.world.failed.copy()
    failed[stream.world.agents.index(_busiest(network)), stream.turn :] = True
    return replace(stream, world=replace(stream.world, failed=failed))


def _joined(table: OutcomeTable, network: Network, n: int, random: np.random.Generator) -> Stream:
    if len(network.agents) < 2:
        raise DataError("Nobody can join a network of one agent whom it did not have.", hint="leave out 'joins'")
    stream = _steady(table, network, n, random)
    return replace(stream, before=network.without(_busiest(network)))


def _overclaiming(table: OutcomeTable, network: Network, n: int, random: np.random.Generator) -> Stream:
    stream = _steady(table, network, n, random)
    confidence = stream.world.confidence.copy()
    for name in overclaimers(network):
        confidence[stream.world.agents.index(name), stream.turn :] **= OVERCLAIM
    return replace(stream, world=replace(stream.world, confidence=confidence))


DRIFTS = {
    drift.name: drift
    for drift in (
        Drift(name="none", words="nothing changes", make=_steady),
        Drift(name="harder", words="the queries become harder", make=_harder),
        Drift(name="elsewhere", words="the queries come from other skills", make=_elsewhere),
        Drift(name="dearer", words="an agent's price triples", make=_dearer),
        Drift(name="degraded", words="an agent gets 60 % of its right answers wrong", make=_degraded),
        Drift(name="dead", words="an agent breaks on every query", make=_dead),
        Drift(name="joins", words="an agent joins", make=_joined),
        Drift(name="overclaims", words="half of the agents report confidence ** (1/4)", make=_overclaiming),
    )
}
"""By name."""


def overclaimers(network: Network) -> tuple[str, ...]:
    """Return who will overclaim: every second, in the order of asking, of the agents that give a confidence."""
    cards = {name: network.agents[name].card.competence for name in network.order}
    return tuple(name for name, card in cards.items() if card is not None and card.bands)[::2]


def _busiest(network: Network) -> str:
    """Return the agent that things happen to: the second of the order, which answers most in the lab."""
    return network.order[min(1, len(network.order) - 1)]


def _times(price: Price, factor: float) -> Price:
    if isinstance(price, QueryPrice):
        return replace(price, cost=price.cost * factor)
    return TokenPrice(input=price.input * factor, output=price.output * factor, unit=price.unit)


def _stream(table: OutcomeTable, network: Network, rows: Ints, turn: int) -> Stream:
    return Stream(world=World.of(table).at(rows), turn=turn, rows=rows, before=network, after=network)


def _of_domain(table: OutcomeTable, domain: str) -> Ints:
    """Return the places of a domain's queries; a table that names no domain is in-domain."""
    return np.flatnonzero([(named or "in") == domain for named in table.domains])


def _drawn(places: Ints, n: int, random: np.random.Generator, what: str) -> Ints:
    if len(places) < n:
        raise _few(what, len(places), n)
    return random.permutation(places)[:n]


def _few(what: str, found: int, needed: int) -> DataError:
    return DataError(
        f"The outcome table has {found} {what} queries for the stream, and {needed} are needed.",
        hint="shorten the stream with --limit, leave the drift out with --drift, or give a larger table",
    )
