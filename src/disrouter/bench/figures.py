"""Figures of a bench run: which there are, and how they become PNG and SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from disrouter.bench import drawings
from disrouter.evaluation.figures import STYLE
from disrouter.files import replacing

__all__ = ["draw", "figures_of"]

BENCH_STYLE = {**STYLE, "font.size": 10, "axes.titlesize": 11, "svg.fonttype": "none", "legend.fontsize": 9}

Drawing = Callable[[], Figure]


def figures_of(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, tuple[str, Drawing]]:
    """Return every figure that a run has numbers for: name → caption and drawing."""
    found: dict[str, tuple[str, Drawing]] = {}
    scenarios = [name for name, _ in config["scenarios"]]
    reference = config["reference"]
    for scenario in scenarios:
        rows = [r for r in metrics["rows"] if r["scenario"] == scenario]
        found[f"plane-{scenario}"] = (
            f"Accuracy over full cost, {scenario}, with 95 % intervals. The line is the front that no method beats.",
            partial(drawings.plane, rows, reference),
        )
    for scenario in scenarios:
        rows = [r for r in metrics["rows"] if r["scenario"] == scenario]
        found[f"differences-{scenario}"] = (
            f"Utility at full cost minus that of {reference}, {scenario}, paired by query, with 95 % intervals.",
            partial(drawings.differences, rows, reference),
        )
    if metrics["sweep"]:
        found["alphas"] = (
            "Utility at full cost over α: from caring for quality alone to weighing cost like quality.",
            lambda: drawings.alphas(metrics["sweep"], reference),
        )
    agents = list(config["agents"])
    for scenario in scenarios:
        found[f"answers-{scenario}"] = (
            f"Who answers, {scenario}: share of queries answered by each agent, the cheapest first.",
            partial(drawings.answers, _of_all(metrics["answers"], scenario), agents, "share of queries"),
        )
    ours = metrics["answers"].get("ours")
    if ours is not None and ours[scenarios[0]]["by_dataset"]:
        for scenario in scenarios:
            found[f"skills-{scenario}"] = (
                f"Who answers what in our network, {scenario}, by dataset.",
                partial(drawings.answers, ours[scenario]["by_dataset"], agents, "share of the dataset's queries"),
            )
    if "ours" in metrics["flow"]:
        found["flow"] = (
            "Queries on their way through our network: how many reach an agent, and how many it answers.",
            lambda: drawings.flow(metrics["flow"]["ours"], agents),
        )
    known = [a for a in metrics["agents"] if a["risk_coverage"] is not None]
    if known:
        found["reliability"] = (
            "Confidence against accuracy of every agent, in bins of 10 queries and more; the diagonal is the best.",
            lambda: drawings.reliability(known),
        )
        found["risk-coverage"] = (
            "Risk when an agent answers only the share of queries that it is surest of.",
            lambda: drawings.risk(known),
        )
    middle = scenarios[len(scenarios) // 2]
    if any(r["separation"] is not None for r in metrics["rows"]):
        found["separation"] = (
            f"Cost of queries that the cheapest agent gets right (easy) and wrong (hard), {middle}.",
            partial(drawings.separation, [r for r in metrics["rows"] if r["scenario"] == middle], reference),
        )
    for index, series in enumerate(metrics.get("series", ())):
        found[f"series-{index}"] = (series["caption"], partial(drawings.series, series))
    return found


def _of_all(answers: Mapping[str, Any], scenario: str) -> dict[str, Any]:
    return {method: by_scenario[scenario]["all"] for method, by_scenario in answers.items()}


def draw(name: str, drawing: Drawing, folder: Path) -> None:
    """Write one figure as PNG and SVG; equal numbers give equal bytes."""
    with mpl.rc_context(BENCH_STYLE):
        figure = drawing()
        for ending in ("png", "svg"):
            with replacing(folder / f"{name}.{ending}") as temporary:
                extra: Any = {"metadata": {"Date": None}} if ending == "svg" else {"metadata": {"Software": None}}
                figure.savefig(temporary, dpi=160, transparent=ending == "svg", bbox_inches="tight", **extra)
