"""Figures of an evaluation: pure drawing, from the summary and the outcome table to PNG and SVG.

Colours are those of Okabe and Ito, told apart by colour-blind readers too; equal input gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from disrouter.evaluation.methods import METHODS
from disrouter.evaluation.metrics import reliability, right
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.evaluation.summary import Summary
from disrouter.files import replacing

__all__ = ["draw_all", "draw_answers", "draw_plane", "draw_reliability", "draw_utility", "figure_of", "save"]

INK, MUTED, GRID = "#222222", "#6b6b6b", "#e3e3e3"

METHOD_COLOURS = {
    "ours": "#D55E00",
    "oracle": "#999999",
    "random": "#56B4E9",
    "smallest": "#F0E442",
    "largest": "#0072B2",
    "best-single": "#009E73",
}

SCENARIO_MARKERS = ("^", "o", "s", "D", "v", "P", "X")

STYLE: Any = {  # matplotlib types its settings by a list of all their names
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "grid.color": GRID,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "svg.fonttype": "path",
    # Otherwise every drawing gives its elements other ids.
    "svg.hashsalt": "disrouter",
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}

DPI = 150
"""With 9 inches of width: 1350 pixels, shown at 900 on most pages."""


def draw_all(summary: Summary, table: OutcomeTable, folder: Path) -> list[Path]:
    """Draw every figure of an evaluation into a folder and return the paths of the PNG files."""
    drawn = {
        "utility": draw_utility(summary),
        "cost-accuracy": draw_plane(summary),
        "answers": draw_answers(summary),
        "reliability": draw_reliability(table),
    }
    return [save(figure, folder / name) for name, figure in drawn.items()]


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG and SVG beside each other, without dates, and return the path of the PNG."""
    png, svg = path.with_suffix(".png"), path.with_suffix(".svg")
    with mpl.rc_context(STYLE):
        with replacing(png) as temporary:
            figure.savefig(temporary, dpi=DPI, metadata={"Software": None})
        with replacing(svg) as temporary:
            figure.savefig(temporary, metadata={"Date": None, "Creator": None})
    return png


def draw_utility(summary: Summary) -> Figure:
    """Draw utility with its 95 % interval, by method and scenario."""
    scenarios = _scenarios(summary)
    with figure_of(9, 4.8) as figure:
        axes = figure.subplots()
        width = 0.82 / len(METHODS)
        for i, method in enumerate(METHODS):
            rows = [summary.row(method, name) for name in scenarios]
            places = np.arange(len(scenarios)) + (i - (len(METHODS) - 1) / 2) * width
            values = np.array([row.utility for row in rows])
            axes.bar(
                places,
                values,
                width * 0.92,
                color=METHOD_COLOURS[method],
                label=method,
                hatch="///" if method == "oracle" else None,
                edgecolor="white",
                linewidth=0.5,
            )
            for place, row in zip(places, rows, strict=True):
                if row.utility_ci is not None:
                    axes.plot([place, place], row.utility_ci, color=INK, linewidth=1.1, solid_capstyle="butt")
            tops = np.array([max(row.utility, row.utility_ci[1] if row.utility_ci else row.utility) for row in rows])
            for place, value, top in zip(places, values, tops, strict=True):
                axes.annotate(
                    f"{value:.2f}".replace("0.", ".", 1),
                    (place, max(top, 0.0)),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="center",
                    fontsize=9,
                    fontweight="bold" if method == "ours" else "normal",
                )
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set_xticks(
            range(len(scenarios)), [f"{name}\nα = {summary.row('ours', name).alpha:g}" for name in scenarios]
        )
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("utility = accuracy − α · cost")
        axes.set_title(_title("Utility by scenario, with 95 % intervals", summary), pad=34)
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=len(METHODS), columnspacing=1.1, handlelength=1.1
        )
    return figure


def draw_plane(summary: Summary) -> Figure:
    """Draw accuracy against cost: every agent alone with their Pareto front, and the methods by scenario."""
    scenarios = _scenarios(summary)
    with figure_of(9, 5.6) as figure:
        axes = figure.subplots()
        points = sorted((agent.cost, agent.accuracy, agent.agent) for agent in summary.agents)
        front = _front([(cost, accuracy) for cost, accuracy, _ in points])
        axes.plot(*zip(*front, strict=True), color=MUTED, linewidth=1.2, linestyle="--", label="Pareto front of agents")
        axes.scatter([p[0] for p in points], [p[1] for p in points], s=55, color="white", edgecolor=INK, zorder=3)
        for cost, accuracy, name in points:
            axes.annotate(name, (cost, accuracy), xytext=(8, -13), textcoords="offset points", fontsize=10, color=MUTED)
        for method, label in (("oracle", "oracle"), ("random", "random"), ("ours", "ours")):
            rows = [summary.row(method, name) for name in scenarios]
            if method == "ours":
                for row in rows:
                    axes.plot(
                        [row.cost, row.cost_full],
                        [row.accuracy] * 2,
                        color=METHOD_COLOURS[method],
                        linewidth=1.2,
                        zorder=4,
                    )
                    axes.scatter(row.cost_full, row.accuracy, s=26, marker="|", color=METHOD_COLOURS[method], zorder=4)
            # Random draws the same agents in every scenario: one point is enough.
            for i, row in enumerate(rows[:1] if method == "random" else rows):
                axes.scatter(
                    row.cost,
                    row.accuracy,
                    s=95,
                    marker="*" if method == "random" else SCENARIO_MARKERS[i % len(SCENARIO_MARKERS)],
                    # The oracle's points nearly coincide: hollow ones show what lies under them.
                    facecolor="none" if method == "oracle" else METHOD_COLOURS[method],
                    edgecolor=METHOD_COLOURS[method] if method == "oracle" else "white",
                    linewidth=1.6 if method == "oracle" else 0.8,
                    zorder=5,
                    label=label if method == "random" else f"{label}, {row.scenario}",
                )
        axes.set_xlabel(
            "normalised cost per query (the tick to the right of ours: with the looks of those that rejected)"
        )
        axes.set_ylabel("accuracy")
        axes.margins(0.1)
        axes.set_xlim(0, 1.12 * max(cost for cost, _, _ in points))  # room for the last agent's name
        axes.set_title(_title("Accuracy and cost", summary))
        axes.legend(loc="lower right")
    return figure


def draw_answers(summary: Summary) -> Figure:
    """Draw which share of the queries each agent answers in the network, by scenario."""
    scenarios = _scenarios(summary)
    with figure_of(9, 1.9 + 0.62 * len(scenarios)) as figure:
        axes = figure.subplots()
        shades = mpl.colormaps["cividis"](np.linspace(0.05, 0.95, len(summary.agents)))
        left = np.zeros(len(scenarios))
        rows = np.arange(len(scenarios))
        for agent, shade in zip(summary.agents, shades, strict=True):
            shares = np.array([agent.answered[name] for name in scenarios])
            axes.barh(rows, shares, 0.66, left=left, color=shade, edgecolor="white", label=agent.agent)
            dark = float(np.dot(shade[:3], (0.299, 0.587, 0.114))) < 0.55
            for row, share, start in zip(rows, shares, left, strict=True):
                if share >= 0.04:
                    colour = "white" if dark else INK
                    middle = start + share / 2
                    axes.text(middle, float(row), f"{share:.0%}", ha="center", va="center", fontsize=10, color=colour)
            left += shares
        axes.set_yticks(rows, scenarios)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("share of queries answered by each agent")
        axes.set_title(_title("Who answers", summary), pad=30)
        _legend_above(axes, min(len(summary.agents), 6))
    return figure


def draw_reliability(table: OutcomeTable, *, bins: int = 10, fewest: int = 5) -> Figure:
    """Draw confidence against accuracy of every agent that gives a confidence, one panel per scenario.

    Agents that never hear of the scenario look the same in all of them: one panel is enough. Bins of fewer than
    ``fewest`` queries are left out: their share right is an accident.
    """
    labels = right(table.score)
    shown = [a for a in range(len(table.agents)) if not np.isnan(table.confidence[:, a]).all()]
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
    titles = [scenario.name for scenario in table.scenarios]
    if all(np.array_equal(cube, cube[:1].repeat(len(cube), 0), equal_nan=True) for cube in (table.confidence, labels)):
        titles = ["in every scenario"]
    with figure_of(9 if len(titles) > 1 else 5.2, 4.0 if len(titles) > 1 else 5.2) as figure:
        panels: Sequence[Axes] = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
        for s, (title, axes) in enumerate(zip(titles, panels, strict=True)):
            axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
            for i, a in enumerate(shown):
                by_bin = reliability(table.confidence[s, a], labels[s, a], bins)
                held = by_bin.count >= fewest
                confidence, share = by_bin.confidence[held], by_bin.accuracy[held]
                colour, marker = colours[i % len(colours)], SCENARIO_MARKERS[i % len(SCENARIO_MARKERS)]
                axes.plot(confidence, share, color=colour, linewidth=1.4)
                sizes = 12 + 90 * by_bin.count[held] / max(1, table.shape[2])
                axes.scatter(confidence, share, s=sizes, color=colour, marker=marker, label=table.agents[a])
            axes.set_xlim(-0.03, 1.03)
            axes.set_ylim(-0.03, 1.03)
            axes.set_aspect("equal")
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", ".5", "", "1"])
            axes.set_xlabel("confidence")
            axes.set_title(title)
        panels[0].set_ylabel("share right")
        handles, names = panels[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, names, loc="outside lower center", ncols=len(handles), markerscale=1.0)
        else:
            panels[0].text(0.5, 0.9, "no agent gives a confidence", ha="center", color=MUTED)
        figure.suptitle(
            f"Reliability ({table.shape[2]:,} queries, bins of {fewest} or more;"
            f"{' ' if len(titles) > 1 else chr(10)}the larger a marker, the more)",
            x=0.01,
            ha="left",
            fontsize=12,
            fontweight="bold",
        )
    return figure


@contextmanager
def figure_of(width: float, height: float) -> Iterator[Figure]:
    """Yield a figure in the house style, without pyplot and its global state."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        yield figure


def _legend_above(axes: Axes, columns: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=columns, columnspacing=1.1, handlelength=1.1)


def _scenarios(summary: Summary) -> list[str]:
    return list(dict.fromkeys(row.scenario for row in summary.rows))


def _title(what: str, summary: Summary) -> str:
    domain = f", {summary.domain}-domain" if summary.domain else ""
    return f"{what} — {summary.network}{domain}, {summary.n:,} queries"


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points, by rising cost, that no cheaper or equally dear one matches in accuracy."""
    front: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points, key=lambda p: (p[0], -p[1])):
        if not front or accuracy > front[-1][1]:
            front.append((cost, accuracy))
    return front
