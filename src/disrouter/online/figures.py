"""Figures of a study of changing conditions: utility over time and the running budget."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from disrouter.evaluation.figures import METHOD_COLOURS, MUTED, STYLE, save
from disrouter.online.drifts import DRIFTS
from disrouter.online.study import BLOCK, Study

__all__ = ["draw_all", "draw_budget", "draw_utility"]

COLUMNS = 4
SMOOTH = 3
"""Blocks that a point of the utility curves is averaged over."""


def draw_all(study: Study, folder: Path) -> list[Path]:
    """Draw both figures into a folder and return the paths of the PNG files."""
    return [save(draw_utility(study), folder / "drift-utility"), save(draw_budget(study), folder / "drift-budget")]


def draw_utility(study: Study) -> Figure:
    """Draw utility over time, static against online, one panel per drift."""
    alpha = study.rows[0].alpha
    return _panels(
        study,
        (("static", METHOD_COLOURS["largest"], "as it was"), ("online", METHOD_COLOURS["ours"], "learning online")),
        f"Utility over time (α = {alpha:g}, full cost, {len(study.seeds)} streams, mean over {SMOOTH * BLOCK} queries)",
        smooth=SMOOTH,
    )


def draw_budget(study: Study) -> Figure:
    """Draw the running mean cost as a share of the budget, static against online."""
    return _panels(
        study,
        (
            ("running_static", METHOD_COLOURS["largest"], "fixed α"),
            ("running", METHOD_COLOURS["ours"], "paced online"),
        ),
        f"Running mean cost ÷ budget {study.budgets[0].budget:g} (mean of {len(study.seeds)} streams; band: ±2 %)",
        band=True,
    )


def _panels(
    study: Study, lines: tuple[tuple[str, str, str], ...], title: str, *, smooth: int = 1, band: bool = False
) -> Figure:
    names = list(study.curves)
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(2.9 * columns, 5.0), 2.5 * rows + 0.9), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, sharex=True, sharey=band, squeeze=False).ravel()
        for axes, name in zip(panels, names, strict=False):
            if band:
                axes.axhspan(0.98, 1.02, color="#e3e3e3")
            for curve, colour, label in lines:
                values = np.array(study.curves[name][curve])
                width = min(smooth, len(values))
                values = np.convolve(values, np.ones(width) / width, mode="valid")
                times = (np.arange(len(values)) + 1 + (width - 1) / 2) * BLOCK
                axes.plot(times, values, color=colour, linewidth=1.6, label=label)
            axes.axvline(study.turn, color=MUTED, linewidth=1, linestyle=":")
            axes.set_title(fill(DRIFTS[name].words, 30), fontsize=9)
            axes.tick_params(labelsize=8)
        for axes in panels[len(names) :]:
            axes.set_visible(False)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))
        figure.suptitle(f"{title} — {study.network}", x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure
