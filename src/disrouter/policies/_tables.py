"""Tables of the value of forwarding: what every agent of a pool is worth at every grade, by backward induction."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from disrouter.competence import Competence
from disrouter.errors import ConfigError
from disrouter.policies.contract import Pool
from disrouter.types import AgentCard, Scenario, Seconds, Usage

if TYPE_CHECKING:
    from disrouter.policies.contract import FloatArray, IntArray

__all__ = ["STANDING", "AgentTables", "Between", "Plan", "Tables", "at_one", "kinds_of"]

STANDING = np.concatenate([[-np.inf], np.linspace(-1.0, 1.0, 33)])
"""Values that the best answer at hand may have while others are asked: the levels of the tables' last axis."""

SCENARIOS_KEPT = 64
"""Scenarios whose tables are kept: a service may be asked for any alpha."""


@dataclass(frozen=True, slots=True, eq=False)
class AgentTables:
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
class Plan:
    """The values of one scenario; one entry per agent."""

    own: list[FloatArray]
    """Of answering after a look, by grade before the look and band, shape (G, B + 1)."""

    recalled: list[FloatArray]
    """Of answering when recalled, by grade at hand and the band once seen, shape (G, B + 1)."""

    ask: list[FloatArray]
    """Of asking the agent, by grade and standing value, shape (G, len(STANDING))."""


class Tables:
    """A pool in tables, and the plans of the scenarios asked for lately."""

    def __init__(
        self, pool: Pool, *, skip: bool, recall: bool, floor: float, thrift: float, look_weight: float
    ) -> None:
        self._recall, self._floor, self._thrift, self._look_weight = recall, floor, thrift, look_weight
        self.names = tuple(pool.cards)
        self._places = {name: place for place, name in enumerate(self.names)}
        competences = _competences(pool)
        scale = np.array(competences[0].scale.grades)
        self.agents = [
            _agent(competence, pool.cards[name], scale)
            for name, competence in zip(self.names, competences, strict=True)
        ]
        self.after = _after(pool, everyone=skip)
        self._plans: OrderedDict[tuple[float, float], Plan] = OrderedDict()
        self._lock = Lock()

    def place(self, name: str) -> int:
        return self._places[name]

    def plan(self, scenario: Scenario) -> Plan:
        """Return the values of a scenario, made on first use."""
        key = scenario.alpha * self._thrift, scenario.beta
        with self._lock:
            plan = self._plans.pop(key, None) or self._induced(*key)
            self._plans[key] = plan
            if len(self._plans) > SCENARIOS_KEPT:
                self._plans.popitem(last=False)
        return plan

    def _induced(self, alpha: float, beta: float) -> Plan:
        """Return the values by backward induction, the agents at the end first."""
        recall, floor = self._recall, self._floor
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
                onward = Between(moved[:, :, None], standing if recall else levels)(best)
                mine = np.maximum(standing, onward) if recall else np.maximum(mine, onward)
            look = self._look_weight * (alpha * agent.look_cost + beta * agent.look_seconds)
            value = (agent.chance[:, :, None] * mine).sum(axis=1) - look
            ask[place] = np.broadcast_to(value, (len(agent.chance), len(levels)))
        return Plan(own, recalled, ask)


class Between:
    """Values between a table's levels of the standing value, linearly: the places are found once for many tables."""

    def __init__(self, grade: IntArray, standing: FloatArray) -> None:
        """Take grades and standing values, which need not be of one shape."""
        self._shape = np.broadcast_shapes(grade.shape, standing.shape)
        step = STANDING[2] - STANDING[1]
        place = np.clip((standing - STANDING[1]) / step, 0.0, len(STANDING) - 2.0)
        low = np.minimum(place.astype(np.int64), len(STANDING) - 3)
        self._grade, self._share = grade, place - low
        self._low = grade * len(STANDING) + low + 1
        # Below the levels there is practically nothing at hand.
        self._below = standing < STANDING[1]
        self._any_below = bool(self._below.any())

    def __call__(self, table: FloatArray) -> FloatArray:
        """Return the values of a table, shape (G, levels); one of a single level does not depend on the standing."""
        if table.shape[1] == 1:
            return np.broadcast_to(table[self._grade, 0], self._shape)
        flat = table.ravel()
        values: FloatArray = (1.0 - self._share) * flat[self._low] + self._share * flat[self._low + 1]
        if self._any_below:
            values = np.where(self._below, table[self._grade, 0], values)
        return values


def kinds_of(columns: Sequence[IntArray], sizes: Sequence[int]) -> tuple[Sequence[IntArray], IntArray | None]:
    """Return columns without repeated rows, and the place of every row among what is left; None if none were dropped.

    ``sizes`` bounds the values of each column. Where there are more possible rows than rows, nothing is gained.
    """
    space = math.prod(sizes)
    if space > len(columns[0]):
        return columns, None
    key = np.ravel_multi_index(tuple(columns), tuple(sizes))
    found = np.zeros(space, dtype=np.int64)
    found[key] = 1
    present = np.flatnonzero(found)
    found[present] = np.arange(len(present))
    return np.unravel_index(present, tuple(sizes)), found[key]


def at_one(table: FloatArray, grade: int, standing: float) -> float:
    """Return what :class:`Between` returns, for one grade and standing value."""
    if table.shape[1] == 1 or standing < STANDING[1]:
        return float(table[grade, 0])
    place = min(max((standing - STANDING[1]) / (STANDING[2] - STANDING[1]), 0.0), len(STANDING) - 2.0)
    low = min(int(place), len(STANDING) - 3)
    share = place - low
    return float((1.0 - share) * table[grade, low + 1] + share * table[grade, low + 2])


def _agent(competence: Competence, card: AgentCard, grades: FloatArray) -> AgentTables:
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
    seconds = card.seconds or Seconds(look=competence.look_seconds, answer=competence.answer_seconds)
    usage = Usage(round(competence.prompt_tokens), round(competence.answer_tokens))
    look_cost = card.price.of(Usage(usage.prompt_tokens, 0), answered=False)
    return AgentTables(
        edges=np.array(competence.bands),
        edges_listed=list(competence.bands),
        chance=chance,
        right=np.column_stack([right, unsaid]),
        known_right=np.column_stack([grades @ solves, unsaid]),
        moves=np.column_stack([nearest, np.arange(len(grades))]),
        look_cost=look_cost,
        answer_cost=card.price.of(usage, answered=True) - look_cost,
        look_seconds=seconds.look,
        answer_seconds=seconds.answer,
    )


def _competences(pool: Pool) -> list[Competence]:
    """Return the agents' competences, in the pool's order."""
    found = {name: card.competence for name, card in pool.cards.items()}
    missing = [name for name, competence in found.items() if competence is None]
    if missing:
        raise ConfigError(
            f"Policy 'value-of-forwarding' needs to know what every agent can do, and network '{pool.name}' has "
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
