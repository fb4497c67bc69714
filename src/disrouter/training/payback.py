"""Payback: after how many queries a training has paid for itself, at given prices.

What a training took stands in its ledgers, in tokens, FLOPs and seconds; prices turn that into money. What it saves per
query are two evaluations of the same queries, by a network without the trained agents and by one with them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disrouter.errors import DataError, UsageError

if TYPE_CHECKING:
    from disrouter.evaluation.runs import Run

__all__ = ["Payback", "Prices", "Saving", "Spent", "payback", "saving", "spent"]

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What training is paid by; all that are given are added up, so give what you really pay."""

    hour: float = 0.0
    """Money per hour of the machine that one agent trains on."""

    million_tokens: float = 0.0
    """Money per million tokens sampled or trained."""

    exaflop: float = 0.0
    """Money per 10^18 FLOPs."""

    watts: float = 0.0
    """Power of the machine while it trains."""

    kilowatt_hour: float = 0.0
    """Money per kilowatt-hour."""

    def __post_init__(self) -> None:
        values = asdict(self)
        for name, value in values.items():
            if not 0 <= value < math.inf:
                raise UsageError(f"A price {name} of {value:g} is not usable: give a number from 0.")
        if not (self.hour or self.million_tokens or self.exaflop or (self.watts and self.kilowatt_hour)):
            raise UsageError(
                "Without a price nothing is known to pay for.",
                hint="give --per-hour 2.50, --per-million-tokens, --per-exaflop, or --watts with --per-kwh",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the stages of some agents took."""

    agents: tuple[str, ...]
    tokens: int
    flops: float
    seconds: float
    untimed: tuple[str, ...]
    """Stages whose seconds are not known, as agent/stage."""

    def money(self, prices: Prices) -> float:
        """Return what that costs."""
        hours = self.seconds / 3600
        return (
            hours * (prices.hour + prices.watts / 1000 * prices.kilowatt_hour)
            + self.tokens / 1e6 * prices.million_tokens
            + self.flops / 1e18 * prices.exaflop
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What a query costs less with the trained agents, and what else changes; normalised, looks included."""

    scenario: str
    alpha: float
    queries: int
    cost: float
    cost_interval: Interval | None
    accuracy: float
    """Accuracy with the trained agents minus accuracy without them."""

    utility: float
    utility_interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payback:
    """A training against what it saves."""

    money: float
    saved: float
    """Money that a query costs less; below 0 where it costs more."""

    queries: int | None
    """After how many queries the training is paid for by lower costs; None if never."""

    between: tuple[int, int | None] | None
    """The same at the ends of the saving's 95 % interval; None as the upper end: perhaps never."""

    worth: float | None
    """Money that a query is worth more, its better or worse answer counted as the scenario counts it against cost; None
    at alpha 0, where no money equals quality."""

    queries_by_worth: int | None
    """After how many queries it is paid for by that."""


def spent(folder: Path) -> Spent:
    """Return what a training's folder says that its agents took.

    Raises:
        DataError: There is no training, or a ledger is damaged.
    """
    found = sorted(folder.glob("*/ledger.json"))
    if not found:
        raise DataError(f"There is no training in '{folder}'.", hint="give the --output folder of `disrouter train`")
    tokens, flops, seconds, untimed = 0, 0.0, 0.0, []
    for path in found:
        try:
            stages: Mapping[str, Any] = json.loads(path.read_text("utf-8"))["stages"]
            for stage, took in stages.items():
                tokens += int(took["sampled_tokens"]) + int(took["trained_tokens"])
                flops += float(took["flops"])
                if took["seconds"] is None:
                    untimed.append(f"{path.parent.name}/{stage}")
                seconds += float(took["seconds"] or 0.0)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise DataError(f"'{path}' is damaged: {exc!r}.", hint="train again in another folder") from exc
    names = tuple(path.parent.name for path in found)
    return Spent(agents=names, tokens=tokens, flops=flops, seconds=seconds, untimed=tuple(untimed))


def saving(without: Run, with_: Run, scenario: str) -> Saving:
    """Return what a run costs less than another one on the same queries, in a scenario of both.

    Raises:
        DataError: The runs are of other queries.
        UnknownNameError: A run has no such scenario.
    """
    from disrouter.evaluation.metrics import paired_difference
    from disrouter.evaluation.replay import fitted, replay

    if without.table.query_ids != with_.table.query_ids:
        raise DataError(
            f"Runs '{without.folder}' and '{with_.folder}' are of other queries, so their costs cannot be compared.",
            hint="evaluate both with the same --suite, --domain, --seed and --limit",
        )
    scores, costs = [], []
    for run in (without, with_):
        s = run.table.scenario_index(scenario)
        choice = replay(fitted(run.table, run.network), run.network).choice
        scores.append(choice.score[s])
        costs.append(choice.cost_full[s])
    alpha = with_.table.scenarios[with_.table.scenario_index(scenario)].alpha
    cost = paired_difference(costs[0], costs[1])
    utility = paired_difference(scores[1] - alpha * costs[1], scores[0] - alpha * costs[0])
    return Saving(
        scenario=scenario,
        alpha=alpha,
        queries=len(costs[0]),
        cost=cost.value,
        cost_interval=cost.interval,
        accuracy=float(scores[1].mean() - scores[0].mean()),
        utility=utility.value,
        utility_interval=utility.interval,
    )


def payback(took: Spent, saves: Saving, prices: Prices, unit: float) -> Payback:
    """Return after how many queries a training is paid for.

    Args:
        took: What the training took.
        saves: What a query saves, normalised.
        prices: What training is paid by.
        unit: Money that counts as a normalised cost of 1 (the network file's ``cost_unit``).

    Raises:
        UsageError: The unit is not above 0.
    """
    if not 0 < unit < math.inf:
        raise UsageError(f"A unit of {unit:g} is not usable: give the money above 0 that is a normalised cost of 1.")
    money = took.money(prices)
    between = None
    if saves.cost_interval is not None:
        low, high = (_queries(money, value * unit) for value in saves.cost_interval)
        between = None if high is None else (high, low)
    worth = saves.utility / saves.alpha * unit if saves.alpha > 0 else None
    return Payback(
        money=money,
        saved=saves.cost * unit,
        queries=_queries(money, saves.cost * unit),
        between=between,
        worth=worth,
        queries_by_worth=None if worth is None else _queries(money, worth),
    )


def _queries(money: float, each: float) -> int | None:
    return math.ceil(money / each) if each > 0 and math.isfinite(money / each) else None
