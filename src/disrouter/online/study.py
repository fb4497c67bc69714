"""Study: what changing conditions cost a network that stays as it is, and one that learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.errors import DataError, UsageError
from disrouter.evaluation.difficulty import measure
from disrouter.evaluation.metrics import bootstrap_means, interval
from disrouter.evaluation.outcomes import CELLS, OutcomeTable
from disrouter.evaluation.replay import fitted
from disrouter.network import Network
from disrouter.online.audit import Event
from disrouter.online.budget import check_budget
from disrouter.online.drifts import DRIFTS, carded, overclaimers
from disrouter.online.simulate import ARMS, Served, alpha_spending, serve
from disrouter.online.stream import World
from disrouter.policies import AnyPolicy, PoolPolicy, policy_of
from disrouter.seeds import seed_of

__all__ = ["BudgetRow", "DriftRow", "OverclaimRow", "Study", "joined", "study"]

Floats = NDArray[np.float64]

GRADES = 128
"""Grades of the cards that are measured here: a plan takes a dozen milliseconds, and streams need hundreds of them."""

SETTLED = 1000
"""Queries after which the running mean cost is held against the budget."""

BLOCK = 100
"""Queries per point of a curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRow:
    """Utility after a change, under one price of cost."""

    drift: str
    alpha: float
    static: float
    """Mean utility (full cost) of the network that stays as it is, over all queries after the change."""

    online: float
    """The same of the network that learns."""

    difference: float
    """online - static, paired by query."""

    difference_ci: tuple[float, float]
    """95 % bootstrap interval over queries."""

    settled: float
    """The difference over the last half of the queries after the change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRow:
    """What was spent under a budget, and how well."""

    drift: str
    budget: float
    static_cost: float
    """Mean full cost after the change of the network that keeps the alpha which spent the budget before."""

    online_cost: float
    """Mean full cost after the change of the network that paces and learns."""

    worst: float
    """Furthest that the running mean cost was from the budget, as a share of it, at any query after the first 1000."""

    end: float
    """How far it was at the end; positive if too much was spent."""

    accuracy: float
    """Of the paced network that learns, after the change."""

    paced_accuracy: float
    """Of one that only paces, at the same cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverclaimRow:
    """What it costs that half of the agents report confidence ** (1/4), after they have begun."""

    alpha: float
    agents: tuple[str, ...]
    honest: float
    """Utility had they stayed honest."""

    unaudited: float
    audited: float
    lost_unaudited: float
    lost_unaudited_ci: tuple[float, float]
    lost_audited: float
    lost_audited_ci: tuple[float, float]
    won: float
    """By the audit."""

    won_ci: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """Everything a report or a figure is made of."""

    network: str
    queries: int
    turn: int
    seeds: tuple[int, ...]
    fitted_on: int
    """Queries that the cards and the first alpha come from; none of them is in a stream."""

    rows: tuple[DriftRow, ...]
    budgets: tuple[BudgetRow, ...]
    overclaims: tuple[OverclaimRow, ...]
    events: tuple[tuple[str, int, Event], ...]
    """Drift, seed and what the audit found, under the first alpha."""

    curves: Mapping[str, Mapping[str, tuple[float, ...]]]
    """By drift: utility of "static" and "online" per block of 100 queries, and the "running" mean cost over budget."""

    def to_json(self) -> dict[str, Any]:
        """Return the study as plain values."""
        return {
            "network": self.network,
            "queries": self.queries,
            "turn": self.turn,
            "seeds": list(self.seeds),
            "fitted_on": self.fitted_on,
            "drifts": [asdict(row) for row in self.rows],
            "budget": [asdict(row) for row in self.budgets],
            "overclaiming": [asdict(row) for row in self.overclaims],
            "events": [{"drift": drift, "seed": seed, **event.to_json()} for drift, seed, event in self.events],
            "curves": {drift: {name: list(curve) for name, curve in own.items()} for drift, own in self.curves.items()},
        }


def joined(tables: Sequence[OutcomeTable]) -> OutcomeTable:
    """Return the first scenario of several tables of the same agents as one table.

    Raises:
        DataError: The tables differ in their agents or share a query.
    """
    first = tables[0]
    if any(table.agents != first.agents for table in tables):
        raise DataError("The outcome tables are of different agents.", hint="give tables of one network")
    ids = [query for table in tables for query in table.query_ids]
    if len(set(ids)) < len(ids):
        twice = next(query for query in ids if ids.count(query) > 1)
        raise DataError(f"Query '{twice}' is in two of the outcome tables.", hint="give each table once")
    cells: Any = {name: np.concatenate([getattr(table, name)[:1] for table in tables], axis=2) for name in CELLS}
    return replace(
        first,
        scenarios=first.scenarios[:1],
        query_ids=tuple(ids),
        datasets=tuple(value for table in tables for value in table.datasets),
        domains=tuple(value for table in tables for value in table.domains),
        levels=tuple(value for table in tables for value in table.levels),
        **cells,
    )


def study(
    table: OutcomeTable,
    network: Network,
    *,
    fit: int,
    limit: int,
    alphas: Sequence[float],
    budget: float,
    drifts: Sequence[str] = tuple(DRIFTS),
    seeds: Sequence[int] = (0,),
    advance: Callable[[int], None] | None = None,
) -> Study:
    """Serve streams of recorded queries through a network that stays as it is and one that learns.

    Args:
        table: Outcomes of all the network's agents; its first scenario is the world.
        network: Agents, prices and edges. A policy that knows no pool is replaced by the value of forwarding.
        fit: In-domain queries, drawn at random, on which cards and the first alpha are fitted; in no stream.
        limit: Queries per stream; the change comes in the middle.
        alphas: Prices of cost under which utilities are compared.
        budget: Mean full cost per query that the pacing arms keep.
        drifts: Names of the changes.
        seeds: One stream per drift and seed.
        advance: Told how many queries were just served.

    Raises:
        UsageError: A number is out of range, or the budget cannot be kept.
        DataError: The table has too few queries.
    """
    if limit < 2 * BLOCK:
        raise UsageError(f"A stream of {limit} queries shows nothing: give at least {2 * BLOCK}.")
    for alpha in alphas:
        if not 0.0 <= alpha <= 1.0:
            raise UsageError(f"Alpha {alpha:g} is out of range: it must lie from 0 to 1.")
    check_budget(budget, network)
    table = fitted(joined([table]), network)
    inside = np.flatnonzero([(domain or "in") == "in" for domain in table.domains])
    if len(inside) <= fit:
        raise DataError(
            f"The outcome table has {len(inside)} in-domain queries, and {fit} are needed to measure the agents alone.",
            hint="give a larger table, or measure on fewer with --fit",
        )
    chosen = np.random.default_rng([seeds[0], 3]).permutation(inside)[:fit]
    held, rest = table.select(queries=chosen), np.setdiff1d(np.arange(len(table.query_ids)), chosen)
    cards = measure(held, grades=GRADES, provenance={"by": "disrouter drift"})
    policy: AnyPolicy = network.policy if isinstance(network.policy, PoolPolicy) else policy_of("value-of-forwarding")
    known = carded(network, cards, policy)
    start = alpha_spending(budget, World.of(held), known)
    world = table.select(queries=rest)
    rows: list[DriftRow] = []
    budgets: list[BudgetRow] = []
    overclaims: list[OverclaimRow] = []
    events: list[tuple[str, int, Event]] = []
    curves: dict[str, dict[str, tuple[float, ...]]] = {}
    for name in drifts:
        streams = [
            DRIFTS[name].make(world, known, limit, np.random.default_rng(seed_of(seed, "stream"))) for seed in seeds
        ]

        def served(arm: str, alpha: float, paced: float | None = None, streams: Any = streams) -> list[Served]:
            return [
                serve(stream, cards, ARMS[arm], alpha=alpha, budget=paced, seed=seed, advance=advance)
                for stream, seed in zip(streams, seeds, strict=True)
            ]

        late, ids = slice(limit // 2, None), np.concatenate([stream.rows[limit // 2 :] for stream in streams])
        for alpha in alphas:
            static, online = served("static", alpha), served("online", alpha)
            before, after = (_utilities(arm, alpha)[:, late] for arm in (static, online))
            half = before.shape[1] // 2
            rows.append(
                DriftRow(
                    drift=name,
                    alpha=alpha,
                    static=float(before.mean()),
                    online=float(after.mean()),
                    difference=float((after - before).mean()),
                    difference_ci=_ci((after - before).ravel(), ids),
                    settled=float((after - before)[:, half:].mean()),
                )
            )
            if alpha == alphas[0]:
                events.extend((name, seed, e) for seed, arm in zip(seeds, online, strict=True) for e in arm.events)
                curves[name] = {
                    "static": _blocks(_utilities(static, alpha)),
                    "online": _blocks(_utilities(online, alpha)),
                }
            if name == "overclaims":
                honest = [
                    DRIFTS["none"].make(world, known, limit, np.random.default_rng(seed_of(seed, "stream")))
                    for seed in seeds
                ]
                kept = _utilities(served("static", alpha, streams=honest), alpha)[:, late]
                audited = _utilities(served("audit", alpha), alpha)[:, late]
                overclaims.append(_overclaim(alpha, overclaimers(known), kept, before, audited, ids))
        fixed, only = served("static", start), served("paced", start, budget)
        paced = served("online-paced", start, budget)
        running = np.cumsum([arm.cost for arm in paced], axis=1) / np.arange(1, limit + 1) / budget - 1.0
        budgets.append(
            BudgetRow(
                drift=name,
                budget=budget,
                static_cost=_mean(fixed, "cost", late),
                online_cost=_mean(paced, "cost", late),
                worst=float(np.abs(running[:, min(SETTLED, limit // 4) :]).max()),
                end=float(running[:, -1][np.argmax(np.abs(running[:, -1]))]),
                accuracy=_mean(paced, "score", late),
                paced_accuracy=_mean(only, "score", late),
            )
        )
        still = np.cumsum([arm.cost for arm in fixed], axis=1) / np.arange(1, limit + 1) / budget
        curves[name]["running"] = tuple((1.0 + running).mean(axis=0)[BLOCK - 1 :: BLOCK].round(5).tolist())
        curves[name]["running_static"] = tuple(still.mean(axis=0)[BLOCK - 1 :: BLOCK].round(5).tolist())
    return Study(
        network=network.name,
        queries=limit,
        turn=limit // 2,
        seeds=tuple(seeds),
        fitted_on=fit,
        rows=tuple(rows),
        budgets=tuple(budgets),
        overclaims=tuple(overclaims),
        events=tuple(events),
        curves=curves,
    )


def _overclaim(
    alpha: float, agents: tuple[str, ...], honest: Floats, unaudited: Floats, audited: Floats, ids: NDArray[np.int64]
) -> OverclaimRow:
    def of(difference: Floats) -> tuple[float, tuple[float, float]]:
        return float(difference.mean()), _ci(difference.ravel(), ids)

    (lost, lost_ci), (left, left_ci), (won, won_ci) = (
        of(honest - unaudited),
        of(honest - audited),
        of(audited - unaudited),
    )
    return OverclaimRow(
        alpha=alpha,
        agents=agents,
        honest=float(honest.mean()),
        unaudited=float(unaudited.mean()),
        audited=float(audited.mean()),
        lost_unaudited=lost,
        lost_unaudited_ci=lost_ci,
        lost_audited=left,
        lost_audited_ci=left_ci,
        won=won,
        won_ci=won_ci,
    )


def _utilities(arms: Sequence[Served], alpha: float) -> Floats:
    """Return quality - alpha x full cost of every query, shape (seeds, n)."""
    return np.array([arm.score - alpha * arm.cost for arm in arms])


def _mean(arms: Sequence[Served], what: str, where: slice) -> float:
    return float(np.mean([getattr(arm, what)[where] for arm in arms]))


def _blocks(values: Floats) -> tuple[float, ...]:
    n = values.shape[1] // BLOCK * BLOCK
    means = values.mean(axis=0)[:n].reshape(-1, BLOCK).mean(axis=1)
    return tuple(means.round(5).tolist())


def _ci(difference: Floats, ids: NDArray[np.int64]) -> tuple[float, float]:
    """Return the 95 % interval of a mean; a query that comes in several streams is drawn with all its occurrences."""
    _, place, count = np.unique(ids, return_inverse=True, return_counts=True)
    sums = np.bincount(place, weights=difference)
    means = bootstrap_means(np.array([sums, count.astype(np.float64)]))
    return interval(means[:, 0] / means[:, 1])
