"""The figure of a plan: replicas and how busy they are, seconds over load, and what alpha does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from disrouter.evaluation.figures import INK, METHOD_COLOURS, MUTED, figure_of, save
from disrouter.planning.report import PlanReport

__all__ = ["draw", "draw_plan"]

OURS, OTHER, THIRD = METHOD_COLOURS["ours"], METHOD_COLOURS["largest"], METHOD_COLOURS["random"]


def draw(report: PlanReport, folder: Path) -> Path:
    """Draw the figure into a folder and return the path of the PNG."""
    return save(draw_plan(report), folder / "plan")


def draw_plan(report: PlanReport) -> Figure:
    """Draw the plan: one panel for its hosts, one for its seconds over load, one for alphas where they were tried."""
    panels = [_hosts, *([_loads] if report.loads else []), *([_variants] if report.variants else [])]
    with figure_of(4.5 * len(panels), 3.2 + 0.16 * len(report.site.hosts)) as figure:
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            panel(axes, report)
        figure.suptitle(
            f"{report.network.name}: {report.load.qps:,.4g} queries a second, "
            + (f"p95 promised {report.promise.p95:g} s" if report.promise.p95 is not None else "the best p95 in budget")
            + f" — {sum(report.plan.replicas.values()):,} replicas",
            x=0.01,
            ha="left",
            fontsize=12,
            fontweight="bold",
        )
    return figure


def _hosts(axes: Any, report: PlanReport) -> None:
    names = [host.name for host in report.site.hosts]
    busy = [report.plan.found.utilisation[name] for name in names]
    axes.barh(range(len(names)), busy, 0.62, color=OTHER)
    for row, name in enumerate(names):
        count = report.plan.replicas[name]
        axes.text(1.02, row, f"× {count:,}", va="center", fontsize=10, fontweight="bold", color=INK)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(visible=False, axis="y")
    axes.set_title("Utilisation and replicas", fontsize=11)


def _loads(axes: Any, report: PlanReport) -> None:
    shown = [one for one in report.loads if one.found.end is not None and one.found.first is not None]
    loads = [one.qps for one in shown]
    for values, colour, label in (
        ([one.found.end.p95 for one in shown if one.found.end], OURS, "p95, whole answer"),
        ([one.found.end.p50 for one in shown if one.found.end], OTHER, "p50, whole answer"),
        ([one.found.first.p95 for one in shown if one.found.first], THIRD, "p95, first word"),
    ):
        axes.plot(loads, values, color=colour, marker="o", markersize=4, linewidth=1.6, label=label)
    if report.promise.p95 is not None:
        axes.axhline(report.promise.p95, color=MUTED, linewidth=1, linestyle="--")
    axes.axvline(report.load.qps, color=MUTED, linewidth=1, linestyle=":")
    axes.set_xlabel("queries a second")
    axes.set_ylabel("seconds")
    planned = next(one.found.end.p95 for one in shown if one.found.end and one.qps >= report.load.qps)
    # Overload rises without end: what matters is where it begins.
    axes.set_ylim(0, min(axes.get_ylim()[1], 4 * max(planned, report.promise.p95 or 0.0)))
    axes.legend(loc="upper left")
    axes.set_title("Seconds over load", fontsize=11)


def _variants(axes: Any, report: PlanReport) -> None:
    labels, values, colours = [], [], []
    for variant in report.variants:
        skip = "" if variant.skips is None else ", skipping" if variant.skips else ", step by step"
        labels.append(f"α {variant.alpha:g}{skip}")
        plan = variant.plan
        values.append(0.0 if plan is None else sum(plan.replicas.values()) if plan.cost is None else plan.cost)
        colours.append(OTHER if plan is not None and plan.kept else THIRD)
    axes.barh(range(len(labels)), values, 0.62, color=colours)
    for row, variant in enumerate(report.variants):
        sure = "" if variant.accuracy is None else f" {variant.accuracy:.1%} right"
        axes.text(values[row], row, sure or " ", va="center", fontsize=9, color=INK)
    axes.set_xlim(0, 1.45 * max([*values, 1e-9]))
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("replicas" if report.plan.cost is None else "money per hour")
    axes.set_title("The same promise at other α", fontsize=11)
