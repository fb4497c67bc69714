"""AutoMix: the agent verifies its own answer, and a meta-verifier that knows how noisy that is decides what to do next.

Paper: AutoMix: Automatically Mixing Language Models (arXiv 2310.12963).
Algorithm: ask the smallest agent; show it its answer and ask a few times (few-shot) whether it is right; the share of
yes is a noisy observation. A meta-verifier keeps the answer or goes on to a larger agent. Two meta-verifiers, as in
the paper: thresholds on the share, and a POMDP whose hidden state is which agents would be right on this query, whose
observations are shares, and whose actions are "keep" and "ask that agent".
Departures: the paper has two models (three in an appendix); here up to four of the pool's, the smallest first. States
are the patterns of right and wrong seen in train, with chances of shares per agent counted there, so the POMDP is
exact and is solved by looking ahead over all histories. An agent may also be asked without verification, as the
paper's large model is. What the share would have been where nobody asked (NaN) is an observation of its own. Which
meta-verifier and how many levels of the share is chosen on validation.
May look at: recorded verifications, after paying for the answer and all its samples. Charged: every answer and every
verification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from disrouter.baselines._tuning import best_of, by_cost, column_of, worth
from disrouter.baselines.contract import AgentPlaces, Need, Queries, Rows, Seen
from disrouter.baselines.ledger import Ledger
from disrouter.errors import DataError
from disrouter.evaluation.metrics import right
from disrouter.types import Scenario

__all__ = ["AutoMix"]

Floats = NDArray[np.float64]

SETTINGS = (("threshold", 5), ("threshold", 9), ("pomdp", 3), ("pomdp", 6))
"""Meta-verifier, levels of the share that it tells apart."""

_POMDP_AGENTS, _LIST = 4, 3
"""Most agents of a POMDP and of a list with thresholds."""


@dataclass(frozen=True, slots=True)
class AutoMix:
    """Asks, lets verify, and decides knowing how noisy that is."""

    name: ClassVar[str] = "automix"
    needs: ClassVar[frozenset[Need]] = frozenset({"verifications"})

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> FittedAutoMix:
        """Count on train how verification and rightness go together; choose the meta-verifier on validation.

        Raises:
            DataError: No verifications were recorded.
        """
        if train.verifications is None or validation.verifications is None:
            raise DataError("Method 'automix' needs verifications, which these rows do not hold.")
        chosen = []
        for s, scenario in enumerate(train.table.scenarios):
            plans: list[Step] = []
            for kind, levels in SETTINGS:
                if kind == "pomdp":
                    plans.append(_pomdp(train, s, levels))
                else:
                    plans.append(_thresholds(validation, validation.column(scenario), by_cost(train.table), levels))

            def value(plan: Step, scenario: Scenario = scenario) -> float:
                fitted = FittedAutoMix(Seen(train="", validation=""), (scenario,), (plan,))
                return worth(fitted.route, validation, scenario, AutoMix.needs)

            chosen.append(best_of(plans, value))
        return FittedAutoMix(Seen.of(train, validation), train.table.scenarios, tuple(chosen))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """Ask an agent; if there are cuts, let it verify and go on by the share of yes."""

    agent: int
    cuts: tuple[float, ...] = ()
    """Shares that part the levels; a share on a cut belongs to the higher level."""

    then: tuple[Step | None, ...] = ()
    """What comes after each level, and last what comes where there is no share; None keeps this answer."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedAutoMix:
    """One plan per scenario."""

    seen: Seen
    scenarios: tuple[Scenario, ...]
    plans: tuple[Step, ...]

    def route(self, queries: Queries, scenario: Scenario, ledger: Ledger) -> AgentPlaces:
        """Walk every query down the plan."""
        agent = np.zeros(len(queries), dtype=np.int64)

        def walk(step: Step, places: NDArray[np.int64]) -> None:
            agent[places] = step.agent
            if not step.then or len(places) == 0:
                return
            level = _level(ledger.verify(step.agent, places), step.cuts)
            for i, following in enumerate(step.then):
                if following is not None:
                    walk(following, places[level == i])

        walk(self.plans[column_of(self.scenarios, scenario)], np.arange(len(queries)))
        return agent


def _level(share: Floats, cuts: tuple[float, ...]) -> NDArray[np.int64]:
    """Return the level of each share, 0 the lowest; one above the highest where there is none."""
    level = np.searchsorted(cuts, np.round(share, 9), side="right")
    return np.where(np.isnan(share), len(cuts) + 1, level)


def _thresholds(validation: Rows, s: int, order: list[int], levels: int) -> Step:
    """Return the list from the smallest agent on, with the thresholds, of the highest mean utility on validation."""
    verifications, table = validation.verifications, validation.table
    assert verifications is not None
    alpha = table.scenarios[s].alpha
    gain = table.score[s] - alpha * table.answer_cost[s]
    checked = alpha * verifications.cost[s]
    trusted = np.nan_to_num(verifications.share[s], nan=-1.0)
    cuts = np.linspace(0.0, 1.0, levels + 1)[1:]
    best, found = -np.inf, Step(agent=order[0])

    def extend(agents: tuple[int, ...], kept: tuple[float, ...]) -> None:
        """Try every list that begins like this; shorter lists come first, so that they win ties."""
        nonlocal best, found
        worth = gain[agents[-1]]
        for a, cut in zip(agents[-2::-1], kept[::-1], strict=True):
            onward = worth - alpha * table.answer_cost[s, a]
            worth = np.where(trusted[a] >= cut, gain[a], onward) - checked[a]
        if worth.mean() > best + 1e-12:
            best, found = float(worth.mean()), _listed(agents, kept)
        if len(agents) < _LIST:
            for following in order[order.index(agents[-1]) + 1 :]:
                for cut in cuts:
                    extend((*agents, following), (*kept, float(cut)))

    extend((order[0],), ())
    return found


def _listed(agents: tuple[int, ...], cuts: tuple[float, ...]) -> Step:
    """Return the plan of asking in turn until a share reaches its cut."""
    step = Step(agent=agents[-1])
    for agent, cut in zip(agents[-2::-1], cuts[::-1], strict=True):
        step = Step(agent=agent, cuts=(cut,), then=(step, None, step))
    return step


@dataclass(frozen=True, slots=True, eq=False)
class Pomdp:
    """Patterns of right and wrong, how likely they are and what they make agents say."""

    chain: tuple[int, ...]
    score: Mapping[int, Floats]
    """Agent → mean score in each pattern."""

    seen: Mapping[int, Floats]
    """Agent → chance of each level in each pattern, shape (levels + 1, patterns); the last level is "no share"."""

    asking: Mapping[int, float]
    """Agent → alpha times its mean answer cost."""

    checking: Mapping[int, float]
    cuts: tuple[float, ...]

    def ask(self, agent: int, belief: Floats, *, first: bool = False) -> tuple[float, Step]:
        """Return what asking an agent is worth under a belief over patterns, and the best plan from there on."""
        blind = float(belief @ self.score[agent]) - self.asking[agent]
        value, then = -self.asking[agent] - self.checking[agent], []
        later = self.chain[self.chain.index(agent) + 1 :]
        for chances in self.seen[agent]:
            joint = belief * chances
            total = float(joint.sum())
            updated = joint / total if total > 0 else belief
            options: list[tuple[float, Step | None]] = [(float(updated @ self.score[agent]), None)]
            options += [self.ask(other, updated) for other in later]
            best = max(options, key=lambda option: option[0])  # the first one in a tie: keeping is simplest
            value += total * best[0]
            then.append(best[1])
        # The method begins with a verified answer of the smallest agent, worth it or not.
        if first or value > blind + 1e-12:
            return value, Step(agent=agent, cuts=self.cuts, then=tuple(then))
        return blind, Step(agent=agent)


def _pomdp(train: Rows, s: int, levels: int) -> Step:
    """Return the best plan over at most four agents, the smallest first."""
    verifications, table = train.verifications, train.table
    assert verifications is not None
    alpha, order = table.scenarios[s].alpha, by_cost(train.table)
    utility = table.score[s] - alpha * table.answer_cost[s]
    size = min(_POMDP_AGENTS, len(order)) - 1
    chain = best_of(
        [(order[0], *rest) for rest in combinations(order[1:], size)],
        lambda agents: float(utility[list(agents)].max(axis=0).mean()),
    )
    ok = right(table.score[s])
    patterns, pattern = np.unique(ok[list(chain)], axis=1, return_inverse=True)
    member = np.eye(patterns.shape[1])[pattern.ravel()]
    cuts = tuple(float(cut) for cut in np.linspace(0.0, 1.0, levels + 1)[1:-1])
    seen = {}
    for i, a in enumerate(chain):
        level = np.eye(levels + 1)[_level(verifications.share[s, a], cuts)]
        counted = {flag: level[ok[a] == flag].sum(axis=0) + 0.5 for flag in (False, True)}
        chances = {flag: counts / counts.sum() for flag, counts in counted.items()}
        seen[a] = np.stack([chances[bool(flag)] for flag in patterns[i]], axis=1)
    model = Pomdp(
        chain=chain,
        score={a: (table.score[s, a] @ member) / member.sum(axis=0) for a in chain},
        seen=seen,
        asking={a: alpha * float(table.answer_cost[s, a].mean()) for a in chain},
        checking={a: alpha * float(verifications.cost[s, a].mean()) for a in chain},
        cuts=cuts,
    )
    return model.ask(chain[0], member.mean(axis=0), first=True)[1]
