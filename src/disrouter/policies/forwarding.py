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

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from disrouter.errors import ConfigError
from disrouter.policies._tables import Between, Plan, Tables, at_one, kinds_of
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

if TYPE_CHECKING:
    from disrouter.policies.contract import IntArray

__all__ = ["ValueOfForwarding"]

MOST_WEIGHT = 1e6
"""Of thrift and looks: far beyond what anybody needs; values of much larger ones would overflow."""

TIE = 1e-9
"""Looking once more must promise at least this much: in a tie the query has travelled enough."""


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
    """From 1 to a million: how many times alpha counts when deciding. Above 1 where a budget is tighter than any
    scenario."""

    look_weight: float = 1.0
    """From 1 to a million: how many times the cost and the seconds of a look count when deciding. Above 1 where
    rejections shall be few: fewer agents look at a query, and more of them answer it."""

    _pool: Tables | None = field(default=None, repr=False, compare=False)

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
        for setting, hint in (
            ("thrift", "1 weighs cost as the scenario says; `disrouter tune --budget` finds what keeps a budget"),
            ("look_weight", "1 weighs looks as they cost; 4 or so makes rejections fewer at little or no loss"),
        ):
            weight = getattr(self, setting)
            if not is_number(weight) or not 1.0 <= weight <= MOST_WEIGHT:
                raise ConfigError(
                    f"Policy '{self.name}': {setting} {weight!r} is not a number from 1 to {MOST_WEIGHT:,.0f}.",
                    hint=hint,
                )

    def bound(self, pool: Pool) -> ValueOfForwarding:
        """Return the policy with the tables of a pool.

        Raises:
            ConfigError: An agent has no card, or the agents' cards are of different scales.
        """
        return replace(
            self,
            _pool=Tables(
                pool,
                skip=self.skip,
                recall=self.recall,
                floor=self.floor,
                thrift=self.thrift,
                look_weight=self.look_weight,
            ),
        )

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
            value = at_one(plan.ask[there], grade, standing)
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
        # The columns a verdict rests on: the own band, and for everyone asked before its band (0: not asked).
        columns = [tables.agents[here].bands_of(views.confidence)]
        seen = {tables.place(name): name for name in views.upstream} if self.grades or self.recall else {}
        for there, name in seen.items():
            band = tables.agents[there].bands_of(views.upstream[name])
            columns.append(np.where(views.consulted[name], band + 1, 0))
        sizes = [len(tables.agents[place].edges) + 3 for place in (here, *seen)]
        # Many queries look alike: each kind is decided once.
        kinds, kind = kinds_of(columns, sizes) if n > 1 else (columns, None)
        code = self._decided(tables, plan, here, kinds[0], dict(zip(seen, kinds[1:], strict=True)))
        return code if kind is None else code[kind]

    def _decided(
        self, tables: Tables, plan: Plan, here: int, band: IntArray, upstream: Mapping[int, IntArray]
    ) -> IntArray:
        """Return the codes by the own bands and by those of everyone asked before (0: not asked; else one more)."""
        grade = np.zeros(len(band), dtype=np.int64)
        if self.grades:
            for there, seen in upstream.items():
                grade = np.where(seen > 0, tables.agents[there].moves[grade, seen - 1], grade)
        best, code = plan.own[here][grade, band], np.full(len(band), ANSWER)
        grade = tables.agents[here].moves[grade, band]
        if self.recall:
            for there, seen in upstream.items():
                value = np.where(seen > 0, plan.recalled[there][grade, seen - 1], -np.inf)
                better = value > best
                best, code = np.where(better, value, best), np.where(better, -2 - there, code)
        look_up = Between(grade, best if self.recall else np.full(len(band), -np.inf))
        for there in tables.after[here]:
            value = look_up(plan.ask[there])
            better = value > best + TIE
            best, code = np.where(better, value, best), np.where(better, there, code)
        return code

    @property
    def _tables(self) -> Tables:
        if self._pool is None:
            raise ConfigError(
                f"Policy '{self.name}' does not know the pool it decides for.",
                hint="give it to a network, which binds it: `network.replace(policy=...)`",
            )
        return self._pool
