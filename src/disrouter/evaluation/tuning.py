"""Tuning: the setting that keeps a promise about cost or accuracy, chosen on validation queries.

- A *budget* is a mean cost per query: the alpha that spends it is found by bisection.
- A *guarantee* is a largest drop in accuracy against always asking the largest agent: conformal risk control
  (Angelopoulos et al. 2022, arXiv 2208.02814) chooses the confidence floor below which nobody may answer who can pass
  on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disrouter.errors import DataError, UsageError
from disrouter.evaluation.ladder import at_alphas
from disrouter.evaluation.methods import chosen, largest
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.evaluation.replay import fitted, replay
from disrouter.network import Network
from disrouter.policies import AnyPolicy, policy_of, spec_of
from disrouter.types import Scenario
from disrouter.utility import scenario_of

__all__ = ["FLOORS", "Budgeted", "Guaranteed", "alpha_for_budget", "floor_for_drop", "violations", "with_floor"]

FLOORS = tuple(round(0.02 * step, 2) for step in range(51))
"""Floors tried, from none to certainty."""

MOST_THRIFT = 16.0
"""At this weight an answer is worth asking for only where it is practically free."""

STEPS = 24
"""Halvings of the interval of weights: finer than a millionth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgeted:
    """The setting that spends a budget on validation queries, and what it spends there."""

    alpha: float
    thrift: float
    """Above 1 only where alpha 1 would still spend too much."""

    cost: float
    """Mean full cost per query."""

    @property
    def scenario(self) -> Scenario:
        return scenario_of(self.alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guaranteed:
    """The floor that keeps a promised accuracy, and the drop seen on the validation queries it was chosen on."""

    floor: float
    drop: float


def alpha_for_budget(validation: OutcomeTable, network: Network, budget: float) -> Budgeted:
    """Return the least weight on cost with which the network spends no more than a mean full cost per query.

    Raises:
        UsageError: The budget is below the price of the cheapest agent or what the network can come down to.
    """
    table = fitted(validation, network)
    cheapest = float(table.answer_cost.mean(axis=(0, 2)).min())
    if not cheapest <= budget < np.inf:
        raise UsageError(
            f"A budget of {budget:g} per query is below {cheapest:.4g}, what the cheapest agent costs.",
            hint="raise the budget, or add a cheaper agent",
        )
    thrifty = "thrift" in spec_of(network.policy)

    def setting(weight: float) -> Budgeted:
        alpha, thrift = min(weight, 1.0), max(weight, 1.0)
        asked = network.replace(policy=policy_of({**spec_of(network.policy), "thrift": thrift})) if thrifty else network
        cost = float(replay(at_alphas(table, [alpha]), asked).choice.cost_full.mean())
        return Budgeted(alpha=alpha, thrift=thrift, cost=cost)

    loose, tight = setting(0.0), setting(MOST_THRIFT if thrifty else 1.0)
    if budget < tight.cost:
        raise UsageError(
            f"A budget of {budget:g} per query is below {tight.cost:.4g}, the least this network spends on such "
            "queries.",
            hint="raise the budget" if thrifty else "raise the budget, or use policy value-of-forwarding",
        )
    if budget >= loose.cost:
        return loose
    low, high = 0.0, MOST_THRIFT if thrifty else 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        found = setting(middle)
        low, high, tight = (low, middle, found) if found.cost <= budget else (middle, high, tight)
    return tight


def floor_for_drop(validation: OutcomeTable, network: Network, drop: float, scenario: Scenario) -> Guaranteed:
    """Return the lowest floor whose expected drop in accuracy against the largest agent is at most ``drop``.

    With the losses L_i(λ) of n exchangeable validation queries, in [-1, 1] and taken as falling in λ, the floor is the
    smallest λ with n/(n+1)·mean L(λ') + 1/(n+1) ≤ drop for every λ' ≥ λ; then E[L] ≤ drop on a new query (theorem 1;
    the losses of single queries fall only nearly, so the bound is of the kind of its section 4).

    Raises:
        UsageError: The drop is not from 0 to 1, or too small for so few queries.
    """
    if not 0.0 <= drop <= 1.0:
        raise UsageError(f"An accuracy drop of {drop:g} is out of range: it must lie from 0 to 1.")
    risks = _drops(validation, network, scenario).mean(axis=1)
    n = validation.shape[2]
    bounds = n / (n + 1) * risks + 1 / (n + 1)
    # The worst of all higher floors: what a falling risk would have at this one.
    worst = np.maximum.accumulate(bounds[::-1])[::-1]
    kept = np.flatnonzero(worst <= drop)
    if not len(kept):
        raise UsageError(
            f"No floor promises an accuracy drop of at most {drop:g} by {n} validation queries "
            f"(the best that can be promised is {worst.min():.3g}).",
            hint="allow a larger drop, or use more validation queries",
        )
    first = int(kept[0])
    return Guaranteed(floor=FLOORS[first], drop=float(risks[first]))


def violations(
    table: OutcomeTable, network: Network, drop: float, scenario: Scenario, *, splits: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Return how often the promise is broken over random splits, and the mean drop on the queries judged.

    In every split half of the queries choose the floor and the other half are judged.

    Raises:
        DataError: There are too few queries to split.
    """
    n = table.shape[2]
    if n < 100:
        raise DataError(f"{n} queries are too few to split: at least 100 are needed.")
    drops = _drops(table, network, scenario)
    random = np.random.default_rng(seed)
    seen = []
    for _ in range(splits):
        order = random.permutation(n)
        ours, theirs = order[: n // 2], order[n // 2 :]
        bounds = len(ours) / (len(ours) + 1) * drops[:, ours].mean(axis=1) + 1 / (len(ours) + 1)
        worst = np.maximum.accumulate(bounds[::-1])[::-1]
        kept = np.flatnonzero(worst <= drop)
        seen.append(float(drops[int(kept[0]) if len(kept) else -1, theirs].mean()))
    return float(np.mean(np.array(seen) > drop)), float(np.mean(seen))


def with_floor(policy: AnyPolicy, floor: float) -> AnyPolicy:
    """Return a policy of value of forwarding with another floor.

    Raises:
        UsageError: The policy knows no floor.
    """
    spec = spec_of(policy)
    if "floor" not in spec:
        raise UsageError(
            f"Policy '{policy.name}' has no confidence floor that a promised accuracy could set.",
            hint="use --policy value-of-forwarding",
        )
    return policy_of({**spec, "floor": floor})


def _drops(table: OutcomeTable, network: Network, scenario: Scenario) -> NDArray[np.float64]:
    """Return how much worse than the largest agent every query is answered at every floor, shape (floors, Q)."""
    there = replace(at_alphas(fitted(table, network), [scenario.alpha]), scenarios=(scenario,))
    best = chosen(there, largest(there)).score[0]
    return np.array(
        [
            best - replay(there, network.replace(policy=with_floor(network.policy, floor))).choice.score[0]
            for floor in FLOORS
        ]
    )
