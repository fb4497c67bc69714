"""Budget: a price on cost that moves so that the mean cost per query stays at a budget.

Maximise quality subject to mean cost <= budget: the best rule maximises ``quality - alpha * cost`` query by query,
where alpha is the dual price of the budget. Nobody knows it beforehand and it changes with the queries and the prices,
so it is learnt: too dear a query raises it, too cheap a one lowers it. That is dual (sub)gradient descent, the adaptive
pacing of Balseiro and Gur (Management Science 2019, "Learning in repeated auctions with budgets"), with two changes:

- The step is taken in the *weight of cost* ``x = alpha / (1 + alpha)``, the share of cost in ``(1 - x) * quality - x *
  cost`` (mirror descent: Balseiro, Lu and Mirrokni, Operations Research 2023, "The best of both worlds"). Spending
  reacts to x about evenly, to alpha much more strongly near 0 than beyond 1. And alpha may go beyond 1: budgets of a
  pool often lie below what alpha = 1 spends.
- What was spent too much is paid back: the price follows the mean so far as well as the last queries (a PI controller:
  Balseiro, Lu, Mirrokni and Sivan 2022, arXiv 2202.06152). Plain descent would forget the debt of every drift.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from disrouter.errors import UsageError
from disrouter.network import Network
from disrouter.types import QueryPrice, Scenario

__all__ = ["GRID", "HIGHEST", "RATE", "REPAYMENT", "BudgetPacer", "check_budget"]

GRID = 64
"""Weights of cost are rounded to this many steps, so that a service plans for a few dozen scenarios only."""

HIGHEST = 9.0
"""The highest alpha, a weight of cost of 0.9: hardly any answer is worth more than the cheapest one then."""

RATE, REPAYMENT = 0.01, 0.003
"""Defaults: what is off at first is paid back within some hundred queries, without swinging."""

_SURPRISE = 4.0
"""One query moves the price like at most this many budgets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPacer:
    """The price of a budget after some queries. Frozen: :meth:`paid` returns the next one.

    Raises:
        UsageError: A number is out of its range.
    """

    budget: float
    """Mean full cost per query that is to be spent, above 0."""

    rate: float = RATE
    """How far a query that costs one budget too much moves the weight of cost."""

    repayment: float = REPAYMENT
    """Share of the debt's pressure that becomes permanent with every query; 0 never pays back. At most rate / 2."""

    least: float = 0.0
    most: float = HIGHEST
    """Between which the price stays: a scenario's alpha as ``least`` spends *up to* the budget only."""

    centre: float = 1 / 3
    """The weight of cost that has proven right so far."""

    debt: float = 0.0
    """What was spent beyond the budget and is not paid back, in budgets."""

    queries: int = 0
    spent: float = 0.0

    def __post_init__(self) -> None:
        for what in ("budget", "rate", "repayment", "least", "most", "centre", "debt", "spent"):
            if not math.isfinite(getattr(self, what)):
                raise UsageError(f"The pacer's {what} {getattr(self, what)!r} is not a finite number.")
        if self.budget <= 0.0:
            raise UsageError(
                f"Budget {self.budget:g} is not usable: give the mean cost per query, above 0.",
                hint="the cheapest agent's price is the least that can be spent",
            )
        if not 0.0 < self.rate <= 0.5 or not 0.0 <= self.repayment <= self.rate / 2:
            raise UsageError(
                f"Rate {self.rate:g} and repayment {self.repayment:g} would swing: rate must lie above 0 and at most "
                "0.5, repayment from 0 to rate / 2.",
                hint=f"the defaults are {RATE:g} and {REPAYMENT:g}",
            )
        if not 0.0 <= self.least <= self.most:
            raise UsageError(
                f"The limits of alpha contradict each other: least {self.least:g}, most {self.most:g}.",
                hint="give 0 <= least <= most",
            )

    @classmethod
    def starting_at(cls, alpha: float, budget: float, *, least: float = 0.0, most: float = HIGHEST) -> BudgetPacer:
        """Return a pacer whose first alpha is this one (say, the one that spent the budget on other queries).

        Raises:
            UsageError: Alpha is below 0 or no number; the limits contradict each other.
        """
        if not 0.0 <= alpha < math.inf:
            raise UsageError(f"Alpha {alpha:g} cannot be started at: it must be a number from 0.")
        return cls(budget=budget, centre=alpha / (1.0 + alpha), least=least, most=most)

    @property
    def alpha(self) -> float:
        """Return the price of cost for the next query, on a grid of :data:`GRID` weights, in [least, most]."""
        weight = min(round(self._weight * GRID) / GRID, 1.0 - 1.0 / GRID)
        return min(max(weight / (1.0 - weight), self.least), self.most)

    @property
    def scenario(self) -> Scenario:
        """Return the scenario for the next query; its alpha may lie beyond 1."""
        return Scenario(name="budget", alpha=self.alpha)

    @property
    def mean_cost(self) -> float | None:
        """Return the mean cost so far; None before the first query."""
        return self.spent / self.queries if self.queries else None

    def paid(self, costs: Iterable[float]) -> BudgetPacer:
        """Return the pacer after queries of these full costs.

        Raises:
            UsageError: A cost is negative, infinite or no number.
        """
        low, high = _weight_of(self.least), _weight_of(self.most)
        centre, debt, spent, count = self.centre, self.debt, self.spent, self.queries
        for cost in costs:
            if not 0.0 <= cost < math.inf:
                raise UsageError(
                    f"Cost {cost!r} cannot be paid: it must be a number from 0.", hint="bill what the trace says"
                )
            debt += min(cost / self.budget - 1.0, _SURPRISE)
            centre = min(max(centre + self.repayment * self.rate * debt, low), high)
            # Beyond its limits the price can do no more: debt that it cannot pay back is let go, not hoarded.
            debt = min(max(debt, (low - high) / self.rate), (high - low) / self.rate)
            spent, count = spent + cost, count + 1
        return replace(self, centre=centre, debt=debt, spent=spent, queries=count)

    def to_json(self) -> dict[str, Any]:
        """Return the whole state as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BudgetPacer:
        """Return the pacer of :meth:`to_json`.

        Raises:
            UsageError: The state is not whole, or a value is out of range.
        """
        try:
            return cls(**value)
        except TypeError as exc:
            raise UsageError(f"The pacer's state cannot be used: {exc}.", hint="start afresh with a budget") from exc

    @property
    def _weight(self) -> float:
        return min(max(self.centre + self.rate * self.debt, _weight_of(self.least)), _weight_of(self.most))


def check_budget(budget: float, network: Network) -> None:
    """Refuse a budget that no routing of a network can keep.

    Raises:
        UsageError: The budget is no number above 0, is below the cheapest answer, or beyond what the network's own
            limit lets a query cost.
    """
    BudgetPacer(budget=budget)
    prices = {name: agent.card.price for name, agent in network.agents.items()}
    flat = {name: price.cost for name, price in prices.items() if isinstance(price, QueryPrice)}
    if flat and len(flat) == len(prices):
        cheapest = min(flat, key=lambda name: flat[name])
        if budget < flat[cheapest]:
            raise UsageError(
                f"Budget {budget:g} is below the cheapest agent's price: '{cheapest}' of network '{network.name}' "
                f"costs {flat[cheapest]:g} per query.",
                hint=f"give at least {flat[cheapest]:g}, or add a cheaper agent",
            )
    most = network.limits.max_cost
    if most is not None and budget > most:
        raise UsageError(
            f"Budget {budget:g} and max_cost {most:g} of network '{network.name}' contradict each other: no query may "
            "cost what the average is to cost.",
            hint="raise max_cost or lower the budget",
        )


def _weight_of(alpha: float) -> float:
    return alpha / (1.0 + alpha)
