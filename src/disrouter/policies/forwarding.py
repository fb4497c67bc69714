"""Value of forwarding: answer, pass on, skip or recall, whichever is expected to be worth most.

With r_i the cost of a look of agent i and g_i that of an answer after it, the best rule without recall is to answer if

    p_i - alpha * g_i >= W_i,   W_i = max over j of E[-alpha * r_j + max(p_j - alpha * g_j, W_j)]

(Weitzman 1979 for looking and recalling; the design's section 4). W_i depends on what is known of the query so far.
That is kept as a *grade*: one of a few dozen beliefs over the pool's classes of difficulty, which every look moves to
another one. So the whole rule is a handful of tables, made by backward induction in milliseconds whenever a price,
a latency, the scenario or the pool changes, and live routing and replays read the same tables.

The rule is two-sided: an agent answers because it is sure, and also because nobody downstream is worth asking.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from disrouter.competence import Competence
from disrouter.errors import ConfigError
from disrouter.policies.contract import (
    ANSWER,
    Accept,
    Pass,
    Pool,
    Recall,
    Verdict,
    View,
    Views,
)
from disrouter.policies.simple import is_number
from disrouter.types import AgentCard, Scenario, Usage

if TYPE_CHECKING:
    from disrouter.policies.contract import FloatArray, IntArray

__all__ = ["ValueOfForwarding"]

STANDING = np.concatenate([[-np.inf], np.linspace(-1.0, 1.0, 33)])
"""Values that the best answer at hand may have while others are asked: the levels of the tables' last axis."""

TIE = 1e-9
"""Looking once more must promise at least this much: in a tie the query has travelled enough."""

SCENARIOS_KEPT = 64
"""Scenarios whose tables are kept: a service may be asked for any alpha."""


@dataclass(frozen=True, slots=True)
class ValueOfForwarding:
    """Do what is expected to be worth most, given the agents downstream and what they cost."""

    skip: bool = True
    """Pass to the best agent downstream, not merely to the next."""

    grades: bool = True
    """Let the confidences of those who rejected speak; otherwise only the agent's own counts."""

    recall: bool = True
    """Let the best agent asked so far answer where nobody downstream is worth asking."""

    floor: float = 0.0
    """In [0, 1]: nobody who can pass on answers with a smaller chance to be right. See ``--max-accuracy-drop``."""

    thrift: float = 1.0
    """From 1: how many times alpha counts when deciding. Above 1 where a budget is tighter than any scenario."""

    _pool: _Tables | None = field(default=None, repr=False, compare=False)

    name: ClassVar[str] = "value-of-forwarding"

    def __post_init__(self) -> None:
        for setting in ("skip", "grades", "recall"):
            if not isinstance(getattr(self, setting), bool):
                raise ConfigError(
                    f"Policy '{self.name}': {setting} {getattr(self, setting)!r} is neither true nor false.",
                    hint=f"for example `policy: {{name: {self.name}, {setting}: false}}`",
                )
        if not is_number(self.floor) or not 0.0 <= self.floor <= 1.0:
            raise ConfigError(
                f"Policy '{self.name}': floor {self.floor!r} is not a number from 0 to 1.",
                hint="0 sets no floor; `disrouter tune --max-accuracy-drop` finds one that keeps a promise",
            )
        if not is_number(self.thrift) or not 1.0 <= self.thrift < math.inf:
            raise ConfigError(
                f"Policy '{self.name}': thrift {self.thrift!r} is not a number from 1.",
                hint="1 weighs cost as the scenario says; `disrouter tune --budget` finds what keeps a budget",
            )

    def bound(self, pool: Pool) -> ValueOfForwarding:
        """Return the policy with the tables of a pool.

        Raises:
            ConfigError: An agent has no card, or the agents' cards are of different scales.
        """
        return replace(self, _pool=_Tables(self, pool))

    def decide(self, view: View) -> Verdict:
        """Say what becomes of one query; the policy must be bound.

        Raises:
            ConfigError: The policy is not bound to a pool.
        """
        tables = self._tables
        here, plan = tables.place(view.card.name), tables.plan(view.scenario)
        if not tables.after[here]:
            return Accept()
        # The steps of decide_many, one number at a time: a thousandth of a second would be long here.
        grade = 0
        seen: list[tuple[int, int]] = []
        for name, confidence in view.upstream:
            there = tables.place(name)
            seen.append((there, tables.agents[there].band_of(confidence)))
            if self.grades:
                grade = tables.agents[there].moves[grade, seen[-1][1]]
        band = tables.agents[here].band_of(view.confidence)
        best, code = plan.own[here][grade, band], ANSWER
        grade = tables.agents[here].moves[grade, band]
        if self.recall:
            for there, its_band in seen:
                value = plan.recalled[there][grade, its_band]
                if value > best:
                    best, code = value, -2 - there
        standing = best if self.recall else -np.inf
        for there in tables.after[here]:
            value = _at_one(plan.ask[there], grade, standing)
            if value > best + TIE:
                best, code = value, there
        if code == ANSWER:
            return Accept()
        return Pass(tables.names[code]) if code >= 0 else Recall(tables.names[-2 - code])

    def decide_many(self, views: Views) -> IntArray:
        """Say what becomes of n queries, as codes of :class:`~disrouter.policies.contract.PoolPolicy`; shape (n,).

        Raises:
            ConfigError: The policy is not bound to a pool.
        """
        tables, n = self._tables, len(views.confidence)
        here, plan = tables.place(views.agent), tables.plan(views.scenario)
        if not tables.after[here]:
            return np.full(n, ANSWER)
        grade = np.zeros(n, dtype=np.int64)
        bands: dict[int, IntArray] = {}
        for name, confidence in views.upstream.items():
            there = tables.place(name)
            bands[there] = tables.agents[there].bands_of(confidence)
            if self.grades:
                grade = np.where(views.consulted[name], tables.agents[there].moves[grade, bands[there]], grade)
        band = tables.agents[here].bands_of(views.confidence)
        best, code = plan.own[here][grade, band], np.full(n, ANSWER)
        grade = tables.agents[here].moves[grade, band]
        if self.recall:
            for there, its_band in bands.items():
                consulted = views.consulted[tables.names[there]]
                value = np.where(consulted, plan.recalled[there][grade, its_band], -np.inf)
                better = value > best
                best, code = np.where(better, value, best), np.where(better, -2 - there, code)
        standing = best if self.recall else np.full(n, -np.inf)
        for there in tables.after[here]:
            value = _at(plan.ask[there], grade, standing)
            better = value > best + TIE
            best, code = np.where(better, value, best), np.where(better, there, code)
        return code

    @property
    def _tables(self) -> _Tables:
        if self._pool is None:
            raise ConfigError(
                f"Policy '{self.name}' does not know the pool it decides for.",
                hint="give it to a network, which binds it: `network.replace(policy=...)`",
            )
        return self._pool


@dataclass(frozen=True, slots=True, eq=False)
class _Agent:
    """What the tables hold of one agent, whatever the scenario; G grades, B bands and one more for no confidence."""

    edges: FloatArray
    edges_listed: list[float]
    chance: FloatArray
    """Chance of each band in each grade, shape (G, B)."""

    right: FloatArray
    """Chance to be right after a look, from the grade before it, shape (G, B + 1)."""

    known_right: FloatArray
    """The same from the grade at hand, which the look has moved already, shape (G, B + 1)."""

    moves: IntArray
    """Grade after a look, shape (G, B + 1)."""

    look_cost: float
    answer_cost: float
    """Of the answer after the look."""

    look_seconds: float
    answer_seconds: float

    def band_of(self, confidence: float | None) -> int:
        """Return the band of one confidence, as :meth:`bands_of` does."""
        if confidence is None or confidence != confidence:
            return len(self.edges) + 1
        return bisect_right(self.edges_listed, confidence)

    def bands_of(self, confidence: FloatArray) -> IntArray:
        """Return the band of every confidence; the last one stands for none."""
        band = np.searchsorted(self.edges, confidence, side="right")
        return np.where(np.isnan(confidence), len(self.edges) + 1, band)


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """The values of one scenario; one entry per agent."""

    own: list[FloatArray]
    """Of answering after a look, by grade before the look and band, shape (G, B + 1)."""

    recalled: list[FloatArray]
    """Of answering when recalled, by grade at hand and the band once seen, shape (G, B + 1)."""

    ask: list[FloatArray]
    """Of asking the agent, by grade and standing value, shape (G, len(STANDING))."""


class _Tables:
    """A pool in tables, and the plans of the scenarios asked for lately."""

    def __init__(self, policy: ValueOfForwarding, pool: Pool) -> None:
        self._policy = policy
        self.names = tuple(pool.cards)
        self._places = {name: place for place, name in enumerate(self.names)}
        competences = _competences(pool)
        scale = np.array(competences[0].scale.grades)
        self.agents = [
            _agent(competence, pool.cards[name], scale)
            for name, competence in zip(self.names, competences, strict=True)
        ]
        self.after = _after(pool, everyone=policy.skip)
        self._plans: OrderedDict[tuple[float, float], _Plan] = OrderedDict()
        self._lock = Lock()

    def place(self, name: str) -> int:
        return self._places[name]

    def plan(self, scenario: Scenario) -> _Plan:
        """Return the values of a scenario, made on first use."""
        key = scenario.alpha * self._policy.thrift, scenario.beta
        with self._lock:
            plan = self._plans.pop(key, None) or self._induced(*key)
            self._plans[key] = plan
            if len(self._plans) > SCENARIOS_KEPT:
                self._plans.popitem(last=False)
        return plan

    def _induced(self, alpha: float, beta: float) -> _Plan:
        """Return the values by backward induction, the agents at the end first."""
        recall, floor = self._policy.recall, self._policy.floor
        levels = STANDING if recall else STANDING[:1]
        own: list[FloatArray] = [np.empty(0)] * len(self.agents)
        recalled, ask = list(own), list(own)
        for place in reversed(range(len(self.agents))):
            agent, after = self.agents[place], self.after[place]
            price = alpha * agent.answer_cost + beta * agent.answer_seconds
            least = floor if after else 0.0  # somebody has to answer
            own[place] = np.where(agent.right >= least, agent.right - price, -np.inf)
            recalled[place] = np.where(agent.known_right >= floor, agent.known_right - price, -np.inf)
            bands = agent.chance.shape[1]
            mine = own[place][:, :bands, None]
            if after:
                standing = np.maximum(mine, levels)
                moved = agent.moves[:, :bands]
                best = np.max([ask[other] for other in after], axis=0)
                onward = _at(best, moved[:, :, None], standing if recall else levels)
                mine = np.maximum(standing, onward) if recall else np.maximum(mine, onward)
            value = (agent.chance[:, :, None] * mine).sum(axis=1) - alpha * agent.look_cost - beta * agent.look_seconds
            ask[place] = np.broadcast_to(value, (len(agent.chance), len(levels)))
        return _Plan(own, recalled, ask)


def _at(table: FloatArray, grade: IntArray, standing: FloatArray) -> FloatArray:
    """Return a table's values between its levels of the standing value, linearly."""
    if table.shape[1] == 1:
        return np.broadcast_to(table[grade, 0], np.broadcast_shapes(grade.shape, standing.shape))
    step = STANDING[2] - STANDING[1]
    place = np.clip((standing - STANDING[1]) / step, 0.0, len(STANDING) - 2.0)
    low = np.minimum(place.astype(np.int64), len(STANDING) - 3)
    share = place - low
    between = (1.0 - share) * table[grade, low + 1] + share * table[grade, low + 2]
    # Below the levels there is practically nothing at hand.
    values: FloatArray = np.where(standing < STANDING[1], table[grade, 0], between)
    return values


def _at_one(table: FloatArray, grade: int, standing: float) -> float:
    """Return what :func:`_at` returns, for one grade and standing value."""
    if table.shape[1] == 1 or standing < STANDING[1]:
        return float(table[grade, 0])
    place = min(max((standing - STANDING[1]) / (STANDING[2] - STANDING[1]), 0.0), len(STANDING) - 2.0)
    low = min(int(place), len(STANDING) - 3)
    share = place - low
    return float((1.0 - share) * table[grade, low + 1] + share * table[grade, low + 2])


def _agent(competence: Competence, card: AgentCard, grades: FloatArray) -> _Agent:
    """Return an agent's tables on the grades (G, Z) of its scale."""
    speaks, solves = np.array(competence.speaks), np.array(competence.solves)
    chance = grades @ speaks
    chance /= chance.sum(axis=1, keepdims=True)
    joint = grades[:, None, :] * speaks.T[None]
    joint /= np.maximum(joint.sum(axis=2, keepdims=True), 1e-12)
    right = (joint * solves.T[None]).sum(axis=2)
    unsaid = grades @ (speaks * solves).sum(axis=1)
    # The nearest belief, by the angle between square roots (Hellinger); chances to solve are what it is used for.
    nearest = np.argmax(np.sqrt(joint) @ np.sqrt(grades).T, axis=2)
    usage = Usage(round(competence.prompt_tokens), round(competence.answer_tokens))
    look_cost = card.price.of(Usage(usage.prompt_tokens, 0), answered=False)
    return _Agent(
        edges=np.array(competence.bands),
        edges_listed=list(competence.bands),
        chance=chance,
        right=np.column_stack([right, unsaid]),
        known_right=np.column_stack([grades @ solves, unsaid]),
        moves=np.column_stack([nearest, np.arange(len(grades))]),
        look_cost=look_cost,
        answer_cost=card.price.of(usage, answered=True) - look_cost,
        look_seconds=competence.look_seconds,
        answer_seconds=competence.answer_seconds,
    )


def _competences(pool: Pool) -> list[Competence]:
    """Return the agents' competences, in the pool's order."""
    found = {name: card.competence for name, card in pool.cards.items()}
    missing = [name for name, competence in found.items() if competence is None]
    if missing:
        raise ConfigError(
            f"Policy '{ValueOfForwarding.name}' needs to know what every agent can do, and network '{pool.name}' has "
            f"no agent card of {', '.join(repr(name) for name in missing)}.",
            hint="measure the agents with `disrouter cards fit`, or choose another policy",
        )
    known = [competence for competence in found.values() if competence is not None]
    if len({competence.scale.id for competence in known}) > 1:
        scales = ", ".join(f"'{name}': {c.scale.id}" for name, c in found.items() if c is not None)
        raise ConfigError(
            f"The agent cards of network '{pool.name}' are of different scales of difficulty ({scales}).",
            hint="measure all its agents together, or the new ones onto the others' scale, with `disrouter cards fit`",
        )
    return known


def _after(pool: Pool, *, everyone: bool) -> list[tuple[int, ...]]:
    """Return for every agent whom it may pass to: its first successor, or everyone who can be reached."""
    names = list(pool.cards)
    reached: list[tuple[int, ...]] = [()] * len(names)
    for place in reversed(range(len(names))):
        direct = [names.index(to) for to in pool.edges[names[place]]]
        behind = {further for to in direct for further in reached[to]}
        reached[place] = tuple(sorted({*direct, *behind})) if everyone else tuple(direct)
    return reached
