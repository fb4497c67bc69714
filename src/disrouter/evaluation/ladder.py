"""The ladder: policies from the agent's own word up to recall, each on the same outcomes, with the gain of each step.

All is arithmetic over outcome tables: no model runs. What has to be chosen (the best gamma) is chosen on validation
queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.agents.prompts import named_scenario
from disrouter.errors import DataError
from disrouter.evaluation import metrics
from disrouter.evaluation.methods import Choice, chosen, oracle
from disrouter.evaluation.outcomes import CELLS, OutcomeTable
from disrouter.evaluation.replay import fitted, replay
from disrouter.network import Network
from disrouter.policies import AnyPolicy, PaperThreshold, policy_of
from disrouter.types import Scenario
from disrouter.utility import scenario_of

__all__ = ["ALPHAS", "GAMMAS", "Area", "Ladder", "Rung", "area", "at_alphas", "best_gamma", "ladder"]

GAMMAS = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0)
"""What the best single gamma is chosen from."""

ALPHAS = tuple(round(0.05 * step, 2) for step in range(21))
"""21 values from 0 to 1, for the area under utility."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One policy in one scenario."""

    policy: str
    scenario: str
    alpha: float
    utility: float
    utility_full: float
    oracle_share: float | None
    """Of the utility at the paper's cost."""

    accuracy: float
    cost: float
    cost_full: float
    hops: float
    """Agents that a query reaches, on average."""

    rejections: float
    """Share of the full cost that goes to looks of agents that did not answer."""

    gain: float | None
    """Utility at full cost minus that of the rung below; None for the first."""

    gain_ci: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """All rungs, from the bottom up, scenario by scenario."""

    network: str
    n: int
    gamma: float
    """The best single gamma on validation queries."""

    rungs: tuple[Rung, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values (schema 1)."""
        return {"schema": 1, **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """Mean utility over :data:`ALPHAS`: the area under the curve of utility over alpha."""

    value: float
    value_full: float
    curve: tuple[float, ...]
    curve_full: tuple[float, ...]
    per_query: NDArray[np.float64]
    """Mean over alphas of each query's utility at full cost, shape (Q,), for paired differences."""


def policies_of(gamma: float) -> dict[str, AnyPolicy]:
    """Return the rungs by name, from the bottom up."""
    forwarding = {"name": "value-of-forwarding", "skip": False, "grades": False, "recall": False}
    return {
        "own word": policy_of("own-word"),
        "(1 − α)^0.5": PaperThreshold(0.5),
        f"(1 − α)^{gamma:g}": PaperThreshold(gamma),
        "value of forwarding": policy_of(forwarding),
        "+ skipping": policy_of({**forwarding, "skip": True}),
        "+ grades": policy_of({**forwarding, "skip": True, "grades": True}),
        "+ recall": policy_of({**forwarding, "skip": True, "grades": True, "recall": True}),
    }


def ladder(table: OutcomeTable, validation: OutcomeTable, network: Network, *, seed: int = 0) -> Ladder:
    """Return every rung on a table, in all its scenarios, at the network's prices.

    Args:
        table: The test queries.
        validation: Other queries, on which the best single gamma is chosen.
        network: Whose agents have cards.
        seed: Seed of the bootstrap.

    Raises:
        ConfigError: An agent has no card.
        DataError: The tables do not fit the network.
    """
    table, validation = fitted(table, network), fitted(validation, network)
    gamma = best_gamma(validation, network)
    best = chosen(table, oracle(table))
    rungs: list[list[Rung]] = [[] for _ in table.scenarios]
    below: list[NDArray[np.float64]] = []
    for name, policy in policies_of(gamma).items():
        routed = replay(table, network.replace(policy=policy))
        values = [_worth(routed.choice, s, scenario) for s, scenario in enumerate(table.scenarios)]
        for s, scenario in enumerate(table.scenarios):
            gain = None if not below else metrics.paired_difference(values[s][1], below[s], seed=seed)
            optimum = float(_worth(best, s, scenario)[0].mean())
            utility, cost, cost_full = (
                float(values[s][0].mean()),
                float(routed.choice.cost[s].mean()),
                float(routed.choice.cost_full[s].mean()),
            )
            rungs[s].append(
                Rung(
                    policy=name,
                    scenario=scenario.name,
                    alpha=scenario.alpha,
                    utility=utility,
                    utility_full=float(values[s][1].mean()),
                    oracle_share=metrics.oracle_share(utility, optimum),
                    accuracy=float(routed.choice.score[s].mean()),
                    cost=cost,
                    cost_full=cost_full,
                    hops=float(routed.received[s].sum(axis=0).mean()),
                    rejections=(cost_full - cost) / cost_full if cost_full > 0 else 0.0,
                    gain=None if gain is None else gain.value,
                    gain_ci=None if gain is None else gain.interval,
                )
            )
        below = [value[1] for value in values]
    return Ladder(
        network=network.name,
        n=table.shape[2],
        gamma=gamma,
        rungs=tuple(rung for scenario in rungs for rung in scenario),
    )


def best_gamma(validation: OutcomeTable, network: Network, gammas: Sequence[float] = GAMMAS) -> float:
    """Return the gamma of the paper's rule with the best mean utility over the scenarios (the smaller in a tie)."""

    def worth(gamma: float) -> float:
        choice = replay(validation, network.replace(policy=PaperThreshold(gamma))).choice
        return float(np.mean([_worth(choice, s, scenario)[0] for s, scenario in enumerate(validation.scenarios)]))

    return max(gammas, key=lambda gamma: (round(worth(gamma), 12), -gamma))


def at_alphas(table: OutcomeTable, alphas: Sequence[float] = ALPHAS) -> OutcomeTable:
    """Return the table under other alphas, each from the recorded scenario that an agent would have read for it.

    Raises:
        DataError: A scenario that is needed was not recorded.
    """
    scenarios = tuple(scenario_of(alpha) for alpha in alphas)
    recorded = [scenario.name for scenario in table.scenarios]
    # One scenario serves all where nothing depends on it.
    same = all(
        np.array_equal(cube, np.broadcast_to(cube[:1], cube.shape), equal_nan=cube.dtype != object)
        for cube in (table.confidence, table.accepts, table.score)
    )
    wanted = [recorded[0] if same else named_scenario(scenario).name for scenario in scenarios]
    missing = [name for name in wanted if name not in recorded]
    if missing:
        raise DataError(
            f"The outcome table has no scenario '{missing[0]}', which agents would read at some alpha.",
            hint="evaluate all three scenarios",
        )
    shape, places = (len(scenarios), *table.shape[1:]), [recorded.index(name) for name in wanted]

    def cells(cube: NDArray[Any]) -> Any:  # not copied for every alpha where one scenario serves all
        return np.broadcast_to(cube[:1], shape) if same else cube[places]

    return replace(table, scenarios=scenarios, **{name: cells(getattr(table, name)) for name in CELLS})


def area(table: OutcomeTable, network: Network) -> Area:
    """Return the area under a network's utility over :data:`ALPHAS`, at both costs."""
    wide = at_alphas(fitted(table, network))
    choice = replay(wide, network).choice
    values = np.array([_worth(choice, s, scenario) for s, scenario in enumerate(wide.scenarios)])  # (S, 2, Q)
    curves: Mapping[int, tuple[float, ...]] = {c: tuple(values[:, c].mean(axis=1).tolist()) for c in (0, 1)}
    return Area(
        value=float(values[:, 0].mean()),
        value_full=float(values[:, 1].mean()),
        curve=curves[0],
        curve_full=curves[1],
        per_query=values[:, 1].mean(axis=0),
    )


def _worth(choice: Choice, s: int, scenario: Scenario) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return every query's utility in one scenario at the paper's and at the full cost."""
    return (
        metrics.utilities(choice.score[s], choice.cost[s], scenario.alpha),
        metrics.utilities(choice.score[s], choice.cost_full[s], scenario.alpha),
    )
