"""``disrouter payback``: after how many queries a training has paid for itself."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from disrouter.cli._options import examples_as_typed, json_option, scenario_option
from disrouter.cli._quantities import money
from disrouter.errors import UsageError

if TYPE_CHECKING:
    from disrouter.network import Network
    from disrouter.training.payback import Payback, Saving, Spent
    from disrouter.types import Scenario

__all__ = ["payback"]


def _price(_context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    return None if value is None else money(value, parameter.opts[0])


@click.command(short_help="After how many queries a training has paid for itself.")
@click.argument("training", type=click.Path(path_type=Path, file_okay=False), metavar="TRAINING")
@click.option(
    "--without", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="RUN",
    help="Evaluation of a network without the trained agents.",
)  # fmt: skip
@click.option(
    "--with", "with_", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="RUN",
    help="Evaluation of the network with them, on the same queries.",
)  # fmt: skip
@scenario_option
@click.option(
    "--unit", callback=_price, metavar="MONEY",
    help="What a normalised cost of 1 is in money.  [default: the cost_unit of the network file]",
)  # fmt: skip
@click.option("--per-hour", callback=_price, metavar="MONEY", help="Of the machine that an agent trains on.")
@click.option("--per-million-tokens", callback=_price, metavar="MONEY", help="Sampled or trained.")
@click.option("--per-exaflop", callback=_price, metavar="MONEY", help="Per 10^18 FLOPs.")
@click.option("--watts", type=click.FloatRange(0), metavar="W", help="Power of the machine while it trains.")
@click.option("--per-kwh", callback=_price, metavar="MONEY", help="Per kilowatt-hour.")
@json_option("one JSON object")
@examples_as_typed
def payback(
    training: Path,
    without: Path,
    with_: Path,
    scenario: Scenario | None,
    unit: float | None,
    per_hour: float | None,
    per_million_tokens: float | None,
    per_exaflop: float | None,
    watts: float | None,
    per_kwh: float | None,
    as_json: bool,
) -> None:
    """Set what a training took against what it saves per query. All prices that are given are added up.

    disrouter payback runs/lab-paper --without runs/before --with runs/after --unit 0.01 --per-hour 2.50
    """
    from disrouter.cli._console import print_json, results
    from disrouter.evaluation.runs import read_run
    from disrouter.training import payback as paying

    prices = paying.Prices(
        hour=per_hour or 0.0,
        million_tokens=per_million_tokens or 0.0,
        exaflop=per_exaflop or 0.0,
        watts=watts or 0.0,
        kilowatt_hour=per_kwh or 0.0,
    )
    took = paying.spent(training)
    before, after = read_run(without), read_run(with_)
    named = (scenario or after.network.scenario).name
    saves = paying.saving(before, after, named)
    worth = unit if unit is not None else _unit(after.network)
    found = paying.payback(took, saves, prices, worth)
    if as_json:
        values = {"spent": asdict(took), "prices": asdict(prices), "saving": asdict(saves), **asdict(found)}
        print_json({"schema": 1, "unit": worth, **values})
    else:
        results().print("\n".join(_lines(took, saves, found)), soft_wrap=True)


def _unit(network: Network) -> float:
    """Return what a normalised cost of 1 is in money, if prices per token say so."""
    from disrouter.types import TokenPrice

    units = {agent.card.price.unit for agent in network.agents.values() if isinstance(agent.card.price, TokenPrice)}
    if len(units) != 1:
        raise UsageError(
            f"Network '{network.name}' has prices per query, which are no money.",
            hint="say what a normalised cost of 1 is: --unit 0.01",
        )
    return units.pop()


def _lines(took: Spent, saves: Saving, found: Payback) -> list[str]:
    lines = [
        f"training of {', '.join(took.agents)}: {took.tokens:,} tokens, {took.flops:.2g} FLOPs, {took.seconds:,.0f} s"
        f" = {found.money:,.4g} at these prices"
    ]
    if took.untimed:
        lines.append(f"the seconds of {', '.join(took.untimed)} are not known and count as none")
    lines.append(
        f"per query (scenario {saves.scenario}, {saves.queries:,} queries): cost {-saves.cost:+.4f}{_change(saves)}, "
        f"accuracy {saves.accuracy:+.3f}, utility {saves.utility:+.4f}"
    )
    if found.queries is None:
        lines.append(f"costs alone never pay for it: a query costs {-found.saved:.3g} more than before")
    else:
        lines.append(
            f"pays for itself after {found.queries:,} queries{_between(found)}, each {found.saved:.3g} cheaper"
        )
    if found.worth is not None:
        gain = f"with better or worse answers counted at alpha {saves.alpha:g} a query is worth {found.worth:+.3g}"
        after = "never" if found.queries_by_worth is None else f"after {found.queries_by_worth:,} queries"
        lines.append(f"{gain}: {after}")
    return lines


def _change(saves: Saving) -> str:
    """Return the interval of the change in cost: that of the saving turned round."""
    if saves.cost_interval is None:
        return ""
    low, high = saves.cost_interval
    return f" [{-high:+.4f}, {-low:+.4f}]"


def _between(found: Payback) -> str:
    if found.between is None:
        return ""
    low, high = found.between
    return f" [{low:,}, {'never' if high is None else f'{high:,}'}]"
