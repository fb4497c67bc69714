"""Replay: route a whole outcome table through a network, without its models, as routing live would.

Routes in which nothing goes wrong are arithmetic over columns. A query on which an agent of the network broke, and a
network with limits or with a policy that picks among several successors, goes through the live router itself, over
recorded agents: those rules exist once. A limit on seconds is then held against the recorded seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disrouter.agents.recorded import RecordedAgent, Recording
from disrouter.errors import DataError
from disrouter.evaluation.methods import Choice
from disrouter.evaluation.outcomes import Outcome, OutcomeTable, distinct
from disrouter.limits import Limits
from disrouter.network import Network
from disrouter.policies import ANSWER, POLICIES, PoolPolicy, Views
from disrouter.types import Hop, Query, Trace, Usage

__all__ = ["Replay", "accepted", "fitted", "recorded_network", "replay", "traces"]


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """All routes of a table through a network."""

    choice: Choice
    """Who answered, with which score, at which cost."""

    received: NDArray[np.bool_]
    """Which queries reached which agent, shape (S, A, Q): the stream it actually sees."""

    answered: NDArray[np.bool_]
    """Which queries which agent answered, shape (S, A, Q)."""


def fitted(table: OutcomeTable, network: Network) -> OutcomeTable:
    """Return the table of the network's agents at the network's prices, and with the seconds that it sets.

    Raises:
        DataError: The network has an agent that the table has no outcomes of.
    """
    missing = [name for name in network.agents if name not in table.agents]
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing)
        raise DataError(
            f"The outcome table has no outcomes of {listed} of network '{network.name}'. "
            f"It has: {', '.join(repr(name) for name in table.agents)}.",
            hint="evaluate the network itself, or drop the agent with `network.without(...)`",
        )
    prices = {name: agent.card.price for name, agent in network.agents.items()}
    seconds = {name: agent.card.seconds for name, agent in network.agents.items() if agent.card.seconds is not None}
    return table.select(agents=list(network.agents)).repriced(prices).timed(seconds)


def accepted(table: OutcomeTable, network: Network) -> NDArray[np.bool_]:
    """Return what every agent would do with *every* query, shape (S, A, Q): True answers, False rejects or breaks.

    This is the local decision if the agent were asked first, whoever was asked before it in truth.
    """
    said, confidences = distinct(table.accepts), distinct(table.confidence)
    words = np.where(said >= 0, said == 1, np.isnan(confidences) | (confidences > 0.5))
    words = np.broadcast_to(words, table.shape)
    decided = np.ones(table.shape, dtype=bool)
    policy = network.policy
    for a, name in enumerate(table.agents):
        if not network.successors(name) or network.always_answers.get(name):
            continue
        for s, scenario in enumerate(table.scenarios):
            confidence = table.confidence[s, a]
            if isinstance(policy, PoolPolicy):
                alone = policy.decide_many(Views(agent=name, scenario=scenario, confidence=confidence))
                decided[s, a] = alone == ANSWER
            else:
                decided[s, a] = policy.accepts(confidence, words[s, a], scenario)
    decided &= ~table.failed
    return decided


def replay(table: OutcomeTable, network: Network) -> Replay:
    """Route every query of a table in every scenario. The table must be :func:`fitted` to the network."""
    routes = _routes(table, network)
    agent, received = routes.agent, routes.received
    answered = np.zeros(table.shape, dtype=bool)
    np.put_along_axis(answered, agent[:, None], True, axis=1)
    score, cost, cost_full, seconds = (np.empty(agent.shape) for _ in range(4))
    for s in range(len(agent)):  # one scenario at a time: the looks of all would be as large as the table
        at = agent[s][None]
        score[s] = np.take_along_axis(table.score[s], at, axis=0)[0]
        cost[s] = np.take_along_axis(table.answer_cost[s], at, axis=0)[0]
        cost_full[s] = np.where(received[s] & ~answered[s], table.look_cost[s], 0.0).sum(axis=0) + cost[s]
        seconds[s] = np.take_along_axis(table.answer_seconds[s], at, axis=0)[0]
        seconds[s] += np.where(received[s], table.look_seconds[s], 0.0).sum(axis=0)
    for s, q, trace in _routed(table, network, _irregular(table, network)):
        places = [table.agent_index(hop.agent) for hop in trace.hops]
        received[s, :, q] = answered[s, :, q] = False
        received[s, places, q] = True
        last = places[-1] if trace.agent is not None else -1
        agent[s, q] = last
        if last >= 0:
            answered[s, last, q] = True
        score[s, q] = 0.0 if last < 0 else table.score[s, last, q]
        cost[s, q], cost_full[s, q], seconds[s, q] = trace.cost, trace.cost_full, trace.seconds
    choice = Choice(agent=agent, score=score, cost=cost, cost_full=cost_full, seconds=seconds)
    return Replay(choice=choice, received=received, answered=answered)


def traces(table: OutcomeTable, network: Network, *, scored: bool = True) -> Iterator[Trace]:
    """Yield the trace of every query in every scenario, equal to that of routing live over the recorded agents.

    Scenario by scenario, in the table's order of queries. Live routing does not grade: without ``scored`` neither
    does this. The table must be :func:`fitted` to the network.
    """
    routes = _routes(table, network)
    order = [table.agent_index(name) for name in network.order]
    irregular = _irregular(table, network)
    routed = {(s, q): trace for s, q, trace in _routed(table, network, irregular)}
    for s in range(table.shape[0]):
        for q in range(table.shape[2]):
            trace = routed.get((s, q)) or _regular(table, routes, order, s, q)
            yield replace(trace, score=_score(table, trace, s, q)) if scored else trace


def recorded_network(table: OutcomeTable, network: Network, places: Sequence[int] | None = None) -> Network:
    """Return the network with every agent replaced by its recordings (of the queries at these places only)."""
    chosen = range(table.shape[2]) if places is None else places
    agents = {}
    for name, agent in network.agents.items():
        a = table.agent_index(name)
        cells = (table.cell(s, a, q) for s in range(table.shape[0]) for q in chosen)
        recordings = [
            Recording(
                query_id=row.query_id,
                scenario=row.scenario,
                confidence=row.confidence,
                accepts=row.accepts,
                answer=row.answer,
                prompt_tokens=row.prompt_tokens,
                answer_tokens=row.answer_tokens,
                look_seconds=row.look_seconds,
                answer_seconds=row.answer_seconds,
                failure=row.failure,
            )
            for row in cells
        ]
        agents[name] = RecordedAgent(agent.card, recordings)
    return network.with_agents(agents, network.edges)


@dataclass(frozen=True, slots=True, eq=False)
class _Routes:
    """Routes in which nothing goes wrong."""

    agent: NDArray[np.int64]
    """Place of the agent that answers, shape (S, Q)."""

    received: NDArray[np.bool_]
    """Shape (S, A, Q)."""


def _routes(table: OutcomeTable, network: Network) -> _Routes:
    """Return the route of every query, as if no agent broke and there were no limits."""
    if isinstance(network.policy, PoolPolicy):
        return _pool_routes(table, network, network.policy)
    decided = accepted(table, network)
    scenarios, _, queries = table.shape
    received = np.zeros(table.shape, dtype=bool)
    agent = np.full((scenarios, queries), table.agent_index(network.chain[-1]))
    travelling = np.ones((scenarios, queries), dtype=bool)
    for name in network.chain:
        a = table.agent_index(name)
        received[:, a] = travelling
        agent[travelling & decided[:, a]] = a
        travelling = travelling & ~decided[:, a]
    return _Routes(agent, received)


def _pool_routes(table: OutcomeTable, network: Network, policy: PoolPolicy) -> _Routes:
    """Return the routes of a policy that may skip and recall: agents are asked in the network's order."""
    scenarios, _, queries = table.shape
    order = network.order
    places = np.array([table.agent_index(name) for name in order])
    received = np.zeros(table.shape, dtype=bool)
    agent = np.full((scenarios, queries), -1)
    for s, scenario in enumerate(table.scenarios):
        # Where each query stands, on the axis of the order.
        at = np.full(queries, order.index(network.entry))
        for k, name in enumerate(order):
            here = np.flatnonzero((at == k) & (agent[s] < 0))
            if not len(here):
                continue
            received[s, places[k], here] = True
            upstream = {other: received[s, places[i], here] for i, other in enumerate(order[:k])}
            code = policy.decide_many(
                Views(
                    agent=name,
                    scenario=scenario,
                    confidence=table.confidence[s, places[k], here],
                    upstream={
                        other: table.confidence[s, places[i], here]
                        for i, other in enumerate(order[:k])
                        if upstream[other].any()
                    },
                    consulted=upstream,
                )
            )
            agent[s, here[code == ANSWER]] = places[k]
            recalled = code < ANSWER
            agent[s, here[recalled]] = places[-2 - code[recalled]]
            at[here] = np.where(code >= 0, code, k)
    return _Routes(agent, received)


def _irregular(table: OutcomeTable, network: Network) -> NDArray[np.bool_]:
    """Return which routes, shape (S, Q), need the live router."""
    limited = network.limits != Limits()
    plain = isinstance(network.policy, PoolPolicy) or network.policy.name in POLICIES
    picks = not plain and any(len(to) > 1 for to in network.edges.values())
    if limited or picks:
        return np.ones((table.shape[0], table.shape[2]), dtype=bool)
    return np.asarray(table.failed.any(axis=1), dtype=np.bool_)


def _routed(table: OutcomeTable, network: Network, which: NDArray[np.bool_]) -> Iterator[tuple[int, int, Trace]]:
    """Yield the routes marked in ``which`` (S, Q) as the live router goes them."""
    if not which.any():
        return
    live = recorded_network(table, network, np.flatnonzero(which.any(axis=0)).tolist())

    async def route_all() -> list[tuple[int, int, Trace]]:
        return [
            (int(s), int(q), await live.route(Query(id=table.query_ids[q], messages=()), table.scenarios[s]))
            for s, q in np.argwhere(which)
        ]

    yield from asyncio.run(route_all())


def _regular(table: OutcomeTable, routes: _Routes, order: list[int], s: int, q: int) -> Trace:
    """Return the trace of a route in which no agent broke and no limit held."""
    answering = int(routes.agent[s, q])
    path = [a for a in order if routes.received[s, a, q]]
    hops = [_hop(table.cell(s, a, q), answers=a == answering and a == path[-1]) for a in path]
    if path[-1] != answering:
        row = table.cell(s, answering, q)
        hops.append(
            replace(
                _hop(row, answers=True),
                usage=Usage(0, row.answer_tokens),
                cost=row.answer_cost - row.look_cost,
                seconds=row.answer_seconds,
                reason="recall",
            )
        )
    answer: str | None = table.answer[s, answering, q]
    return Trace(query_id=table.query_ids[q], scenario=table.scenarios[s], hops=tuple(hops), answer=answer)


def _hop(row: Outcome, *, answers: bool) -> Hop:
    return Hop(
        agent=row.agent,
        decision="answer" if answers else "reject",
        confidence=row.confidence,
        usage=Usage(row.prompt_tokens, row.answer_tokens if answers else 0),
        cost=row.answer_cost if answers else row.look_cost,
        seconds=row.look_seconds + row.answer_seconds if answers else row.look_seconds,
    )


def _score(table: OutcomeTable, trace: Trace, s: int, q: int) -> float:
    return 0.0 if trace.agent is None else float(table.score[s, table.agent_index(trace.agent), q])
