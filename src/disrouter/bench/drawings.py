"""Drawings of a bench run: one function per figure, from numbers to a matplotlib figure.

Three colours mean the same everywhere: ours, the reference, and bounds that nobody can reach; all others are calm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from disrouter.bench.results import BOUNDS
from disrouter.evaluation.curves import pareto_front
from disrouter.evaluation.figures import GRID, INK, MUTED

__all__ = [
    "AGENTS",
    "BOUND",
    "OTHER",
    "OURS",
    "REFERENCE",
    "Rows",
    "alphas",
    "answers",
    "differences",
    "flow",
    "plane",
    "reliability",
    "risk",
    "separation",
    "series",
]

OURS, REFERENCE, BOUND, OTHER = "#d55e00", "#008a64", "#a3a3a3", "#7d93b2"
AGENTS = ("#c9dcea", "#93bfdb", "#5b9bc4", "#2f73a3", "#174b73", "#0c2d48")
"""From the cheapest agent to the dearest."""

FEWEST = 10
"""Queries in a bin of confidences below which its accuracy says nothing and is not drawn."""

Rows = Sequence[Mapping[str, Any]]


def _canvas(height: float = 3.6) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.6, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _colour(method: str, reference: str) -> str:
    if method == "ours":
        return OURS
    return REFERENCE if method == reference else BOUND if method in BOUNDS else OTHER


def plane(rows: Rows, reference: str) -> Figure:
    """Draw accuracy over full cost with intervals, and the front that no method beats."""
    figure, axes = _canvas(4.0)
    peers = [r for r in rows if r["method"] not in BOUNDS]
    cost, accuracy = (np.array([r[key] for r in peers]) for key in ("cost_full", "accuracy"))
    front = pareto_front(cost, accuracy)
    order = np.flatnonzero(front)[np.argsort(cost[front])]
    axes.plot(cost[order], accuracy[order], drawstyle="steps-post", color=MUTED, linewidth=1, zorder=1)
    for row in rows:
        x, y, colour = row["cost_full"], row["accuracy"], _colour(row["method"], reference)
        for key, along in (("accuracy_ci", "yerr"), ("cost_full_ci", "xerr")):
            if row[key] is not None:
                at = y if along == "yerr" else x
                spread: Any = [[max(0.0, at - row[key][0])], [max(0.0, row[key][1] - at)]]
                axes.errorbar(x, y, **{along: spread}, color=colour, alpha=0.55, linewidth=1, zorder=2)
        axes.plot(x, y, marker="D" if row["method"] in BOUNDS else "o", color=colour, markersize=5, zorder=3)
    alpha = peers[0]["alpha"]
    ends = {peers[order[0]]["method"], peers[order[-1]]["method"]}
    best = max(peers, key=lambda r: float(r["accuracy"] - alpha * r["cost_full"]))["method"]
    at = {r["method"]: (r["cost_full"], r["accuracy"]) for r in rows if r["method"] in BOUNDS}
    bounds = BOUNDS[:1] if len(set(at.values())) == 1 else BOUNDS  # one name where they are one point
    named = {"ours", reference, best, *ends, *bounds}
    axes.margins(0.12)
    _label(axes, [(r["cost_full"], r["accuracy"], r["method"]) for r in rows if r["method"] in named])
    axes.set_xlabel("full cost per query")
    axes.set_ylabel("accuracy")
    return figure


def _label(axes: Axes, points: Sequence[tuple[float, float, str]], *, outside: bool = False) -> None:
    """Write names beside points, each at a height that no other name near it has; a thin line leads back.

    ``outside`` writes all of them to the right of their points.
    """
    taken: list[tuple[float, float]] = []
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    width, height = (right - left) or 1.0, (high - low) or 1.0
    for x, y, name in sorted(points, key=lambda p: -p[1]):
        at = y
        while any(abs(x - a) < 0.34 * width and abs(at - b) < 0.055 * height for a, b in taken):
            at -= 0.0275 * height
        taken.append((x, at))
        on_right = outside or x < left + 0.6 * width
        side = 0.035 * width * (1 if on_right else -1)
        if at != y:
            axes.plot([x, x + 0.8 * side], [y, at], color=MUTED, linewidth=0.6, zorder=1)
        axes.annotate(name, (x + side, at), ha="left" if on_right else "right", va="center", fontsize=8.5, color=INK)


def differences(rows: Rows, reference: str) -> Figure:
    """Draw every method's paired difference to the reference with its interval, the best on top."""
    shown = sorted(
        (r for r in rows if r["method"] not in (*BOUNDS, reference)), key=lambda r: float(r["difference_full"])
    )
    figure, axes = _canvas(max(1.8, 0.24 * len(shown) + 0.8))
    for place, row in enumerate(shown):
        colour = _colour(row["method"], reference)
        if row["difference_full_ci"] is not None:
            axes.plot(row["difference_full_ci"], [place, place], color=colour, linewidth=2, alpha=0.6)
        axes.plot(row["difference_full"], place, "o", color=colour, markersize=5)
    axes.axvline(0, color=REFERENCE if reference != "ours" else OURS, linewidth=1.2)
    axes.set_yticks(range(len(shown)), [r["method"] for r in shown], color=INK)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"utility − that of {reference}")
    return figure


def alphas(sweep: Mapping[str, Sequence[Mapping[str, float]]], reference: str) -> Figure:
    """Draw utility at full cost over α; only a few lines have names."""
    figure, axes = _canvas(4.0)
    ends = []
    means = {m: float(np.mean([p["utility_full"] for p in points])) for m, points in sweep.items()}
    peers = sorted((m for m in sweep if m not in (*BOUNDS, "ours", reference)), key=lambda m: -means[m])
    bounds = BOUNDS[:1] if len({round(means[m], 9) for m in BOUNDS if m in means}) == 1 else BOUNDS
    named = {"ours", reference, *bounds, *peers[:1]}
    for method, points in sweep.items():
        x, y = [p["alpha"] for p in points], [p["utility_full"] for p in points]
        colour = _colour(method, reference)
        plain = method not in named
        axes.plot(
            x,
            y,
            color=colour,
            linewidth=0.8 if plain else 1.8,
            alpha=0.5 if plain else 1.0,
            linestyle="--" if method in BOUNDS else "-",
        )
        if not plain:
            ends.append((x[-1], y[-1], method))
    axes.set_xlim(0, 1.4)
    axes.set_xticks(np.linspace(0, 1, 6))
    _label(axes, ends, outside=True)
    axes.set_xlabel("α: how much cost matters")
    axes.set_ylabel("utility at full cost")
    return figure


def _shades(count: int, among: Sequence[str] = AGENTS) -> list[str]:
    if count <= len(among):
        return [among[round(i * (len(among) - 1) / max(1, count - 1))] for i in range(count)]
    return [among[i * len(among) // count] for i in range(count)]


def answers(shares: Mapping[str, Sequence[float]], agents: Sequence[str], what: str) -> Figure:
    """Draw which share of queries each agent answers, one bar per name."""
    names = list(shares)[::-1]
    figure, axes = _canvas(max(2.0, 0.24 * len(names) + 1.1))
    left = np.zeros(len(names))
    for a, (agent, shade) in enumerate(zip(agents, _shades(len(agents)), strict=True)):
        width = np.array([shares[name][a] for name in names])
        axes.barh(range(len(names)), width, left=left, height=0.72, color=shade, label=_short(agent))
        left += width
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel(what)
    figure.legend(loc="outside upper left", ncols=min(3, len(agents)), handlelength=1, columnspacing=1.2)
    return figure


def _short(agent: str) -> str:
    return agent.rpartition("/")[2]


def flow(flow: Mapping[str, Mapping[str, Sequence[float]]], agents: Sequence[str]) -> Figure:
    """Draw how many queries reach an agent and how many it answers, one row per scenario."""
    figure = Figure(figsize=(5.6, 1.5 * len(flow) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    places: Any = figure.subplots(len(flow), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (scenario, held) in zip(places, flow.items(), strict=True):
        reached, answered = np.array(held["reached"]), np.array(held["answered"])
        x = np.arange(len(agents))
        axes.bar(x, reached, width=0.62, color=GRID, label="reached")
        axes.bar(x, answered, width=0.62, color=OURS, label="answered")
        for i in range(len(agents) - 1):  # what is passed on
            axes.fill_between(
                [i + 0.31, i + 0.69],
                [answered[i], 0],
                [reached[i], reached[i + 1]],
                color=GRID,
                alpha=0.55,
                linewidth=0,
            )
        for i, share in enumerate(answered):
            axes.annotate(
                f"{share:.0%}", (i, share), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=8.5
            )
        axes.set_title(scenario)
        axes.set_ylim(0, 1.15)
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
    places[-1].set_xticks(range(len(agents)), [_short(a) for a in agents], rotation=0 if len(agents) <= 6 else 30)
    handles, labels = places[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, handlelength=1)
    return figure


def reliability(agents: Rows) -> Figure:
    """Draw confidence against accuracy, one line per agent."""
    figure, axes = _canvas(4.0)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    for agent, shade in zip(agents, _shades(len(agents), AGENTS[1:]), strict=True):
        confidence, accuracy, count = (np.array(v) for v in agent["reliability"])
        held = count >= FEWEST
        confidence, accuracy, count = confidence[held], accuracy[held], count[held]
        axes.plot(
            confidence, accuracy, color=shade, linewidth=1.6, label=f"{_short(agent['agent'])}, ECE {agent['ece']:.3f}"
        )
        axes.scatter(confidence, accuracy, s=6 + 60 * count / count.sum(), color=shade, zorder=3)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share right")
    axes.legend(loc="upper left")
    return figure


def risk(agents: Rows) -> Figure:
    """Draw risk over coverage, one line per agent."""
    figure, axes = _canvas(4.0)
    for agent, shade in zip(agents, _shades(len(agents), AGENTS[1:]), strict=True):
        coverage, risk = agent["risk_coverage"]
        label = f"{_short(agent['agent'])}, AURC {agent['aurc']:.3f}"
        axes.plot(coverage, risk, color=shade, linewidth=1.6, label=label)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("coverage: share of queries answered")
    axes.set_ylabel("risk: mean loss of those")
    axes.legend(loc="upper left")
    return figure


def separation(rows: Rows, reference: str) -> Figure:
    """Draw the mean cost of easy and of hard queries, one line per method."""
    shown = sorted((r for r in rows if r["separation"] is not None), key=lambda r: float(r["separation"]))
    figure, axes = _canvas(max(1.8, 0.24 * len(shown) + 0.8))
    for place, row in enumerate(shown):
        colour = _colour(row["method"], reference)
        axes.plot([row["cost_easy"], row["cost_hard"]], [place, place], color=colour, linewidth=2, alpha=0.6)
        axes.plot(row["cost_easy"], place, "o", color=colour, markersize=5, markerfacecolor="none")
        axes.plot(row["cost_hard"], place, "o", color=colour, markersize=5)
    axes.set_yticks(range(len(shown)), [r["method"] for r in shown], color=INK)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("mean cost: ○ easy, ● hard queries")
    return figure


def series(series: Mapping[str, Any]) -> Figure:
    """Draw any lines a run brings along, such as utility over the number of agents or over a drift of prices."""
    figure, axes = _canvas(3.8)
    for index, line in enumerate(series["lines"]):
        colour = (OURS, REFERENCE, *AGENTS[2:], BOUND)[index % 7]
        axes.plot(line["x"], line["y"], marker="o", markersize=4, color=colour, label=line["label"])
    axes.set_xlabel(series["x"])
    axes.set_ylabel(series["y"])
    axes.legend(loc="best")
    return figure
