"""``disrouter ladder``: what each step from the agents' own word up to recall is worth, on a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import examples_as_typed, json_option, seed_option

if TYPE_CHECKING:
    from disrouter.evaluation.ladder import Ladder
    from disrouter.evaluation.runs import Run

__all__ = ["ladder"]


@click.command(short_help="What every step of the policies is worth.")
@click.argument("run_dir", type=click.Path(path_type=Path, file_okay=False), metavar="RUN")
@click.option(
    "--against",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="RUN",
    help="Compare utility over alpha with another run's network on the same queries.",
)
@seed_option(0, "Of the bootstrap.")
@click.option("--figures/--no-figures", default=True, show_default=True, help="Draw into the run's figures.")
@json_option("one JSON object")
@examples_as_typed
def ladder(run_dir: Path, against: Path | None, seed: int, figures: bool, as_json: bool) -> None:
    """Route a finished run's outcomes by every policy in turn, from the agents' own word up to recall.

    No model runs. The best gamma is chosen on the run's validation queries.

      disrouter eval --limit 2000 --seed 2026 --run-dir runs/mine
      disrouter ladder runs/mine
    """
    from disrouter.cli._console import print_json
    from disrouter.evaluation.ladder import ladder as ladder_of
    from disrouter.evaluation.runs import read_run

    run = read_run(run_dir)
    found = ladder_of(run.table, run.validation, run.network, seed=seed)
    areas = _areas(run, None if against is None else read_run(against), found.gamma, seed)
    if figures:
        _draw(run, found, areas)
    if as_json:
        print_json({**found.to_json(), "areas": areas})
        return
    _print(run, found, areas)
    if figures:
        click.echo(f"figures: {run_dir / 'figures'}", err=True)


def _areas(run: Run, other: Run | None, gamma: float, seed: int) -> dict[str, Any]:
    """Return the areas under utility over alpha, by what is routed how."""
    from disrouter.errors import DataError
    from disrouter.evaluation.ladder import area
    from disrouter.evaluation.metrics import paired_difference
    from disrouter.policies import PaperThreshold

    routed = {
        run.network.name: (run.table, run.network),
        f"{run.network.name} by (1 − α)^{gamma:g}": (run.table, run.network.replace(policy=PaperThreshold(gamma))),
    }
    if other is not None:
        if other.table.query_ids != run.table.query_ids:
            raise DataError(
                f"Runs '{run.folder}' and '{other.folder}' are of different queries.",
                hint="evaluate both with the same suite, domain, seed and limit",
            )
        routed[other.network.name] = (other.table, other.network)
    found = {name: area(table, network) for name, (table, network) in routed.items()}
    first = next(iter(found.values()))
    areas: dict[str, Any] = {}
    for name, each in found.items():
        lead = paired_difference(first.per_query, each.per_query, seed=seed)
        areas[name] = {
            "area": each.value,
            "area_full": each.value_full,
            "curve": list(each.curve),
            "curve_full": list(each.curve_full),
            "lead_full": None if each is first else lead.value,
            "lead_full_ci": None if each is first else lead.interval,
        }
    return areas


def _draw(run: Run, found: Ladder, areas: dict[str, Any]) -> None:
    from disrouter.evaluation.figures import save
    from disrouter.evaluation.policy_figures import draw_areas, draw_ladder

    domain = run.summary.domain
    save(draw_ladder(found, domain), run.folder / "figures" / "ladder")
    curves = {name: tuple(values["curve_full"]) for name, values in areas.items()}
    save(draw_areas(curves, n=found.n, domain=domain), run.folder / "figures" / "utility-over-alpha")


def _print(run: Run, found: Ladder, areas: dict[str, Any]) -> None:
    from rich.text import Text

    from disrouter.cli._console import results, table

    console = results()
    domain = f", {run.summary.domain}-domain" if run.summary.domain else ""
    shown = table(
        *("policy", ">utility", ">of oracle", ">full utility", ">gain", ">[95 %]", ">accuracy", ">hops", ">rejections"),
        title=f"Rung by rung — {found.network}{domain}, {found.n} queries",
    )
    scenario = None
    for rung in found.rungs:
        if rung.scenario != scenario:
            scenario = rung.scenario
            shown.add_row(Text(f"{scenario}, α={rung.alpha:g}", style="bold"))
        gain = "" if rung.gain is None else f"{rung.gain:+.3f}"
        interval = "" if rung.gain_ci is None else f"[{rung.gain_ci[0]:+.3f}, {rung.gain_ci[1]:+.3f}]"
        share = "-" if rung.oracle_share is None else f"{rung.oracle_share:.3f}"
        shown.add_row(
            Text(f"  {rung.policy}"),
            f"{rung.utility:.3f}",
            share,
            f"{rung.utility_full:.3f}",
            gain,
            interval,
            f"{rung.accuracy:.3f}",
            f"{rung.hops:.2f}",
            f"{100 * rung.rejections:.1f} %",
        )
    console.print(shown)
    console.print(
        f"gain: full utility minus that of the rung above; gamma {found.gamma:g} is the best on validation queries; "
        "rejections: share of the full cost",
        style="dim",
    )
    under = table("routed by", ">area", ">full area", ">lead of the first", ">[95 %]", title="Utility over 21 alphas")
    for name, values in areas.items():
        lead, interval = values["lead_full"], values["lead_full_ci"]
        under.add_row(
            name,
            f"{values['area']:.3f}",
            f"{values['area_full']:.3f}",
            "" if lead is None else f"{lead:+.3f}",
            "" if interval is None else f"[{interval[0]:+.3f}, {interval[1]:+.3f}]",
        )
    console.print()
    console.print(under)
