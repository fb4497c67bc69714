"""The reliability diagram of a calibration, in the style of the evaluation's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from disrouter.agents.calibrators import EVERY_SCENARIO, Curve
from disrouter.evaluation.figures import GRID, METHOD_COLOURS, MUTED, STYLE
from disrouter.evaluation.metrics import reliability

__all__ = ["draw_calibration"]


def draw_calibration(
    curves: Mapping[str, Curve],
    before: Mapping[str, NDArray[np.float64]],
    after: Mapping[str, NDArray[np.float64]],
    right: Mapping[str, NDArray[np.float64]],
    *,
    title: str,
    bins: int = 10,
    fewest: int = 5,
) -> Figure:
    """Draw confidence against the share of right answers before and after, and the curve; one panel per curve.

    Args:
        curves: By the name of their scenario.
        before: Raw confidences in [0, 1] by the same names, shape (queries,).
        after: Calibrated confidences, likewise.
        right: Scores in [0, 1] of the answers, likewise.
        title: The agent's name.
        bins: Of equal width, that confidences are gathered in.
        fewest: Queries below which a bin is left out: its share right is an accident.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3 * max(2, len(curves)), 4.0), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        panels: Sequence[Axes] = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
        for (name, curve), axes in zip(curves.items(), panels, strict=True):
            axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
            axes.plot([0, *curve.x, 1], [curve.y[0], *curve.y, curve.y[-1]], color=GRID, linewidth=3, label="curve")
            for said, colour, marker, label in (
                (before[name], METHOD_COLOURS["largest"], "o", "before"),
                (after[name], METHOD_COLOURS["ours"], "s", "after"),
            ):
                by_bin = reliability(said, right[name] >= 0.5, bins)
                held = by_bin.count >= fewest
                confidence, share = by_bin.confidence[held], by_bin.accuracy[held]
                sizes = 12 + 90 * by_bin.count[held] / len(said)
                axes.plot(confidence, share, color=colour, linewidth=1.2)
                axes.scatter(confidence, share, s=sizes, color=colour, marker=marker, label=label, zorder=3)
            axes.set_xlim(-0.03, 1.03)
            axes.set_ylim(-0.03, 1.03)
            axes.set_aspect("equal")
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", ".5", "", "1"])
            axes.set_xlabel("confidence")
            axes.set_title("" if name == EVERY_SCENARIO else name)
        panels[0].set_ylabel("share right")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(handles))
        queries = len(next(iter(before.values())))
        text = f"Calibration of {title} ({queries:,} queries)"
        figure.suptitle(text, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure
