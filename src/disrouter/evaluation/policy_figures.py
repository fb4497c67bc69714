"""Figures of policies: the ladder with the gain of each step, and utility over alpha."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from disrouter.evaluation.figures import INK, MUTED, figure_of
from disrouter.evaluation.ladder import ALPHAS, Ladder

__all__ = ["draw_areas", "draw_ladder"]

RUNG, LAST = "#56B4E9", "#D55E00"
CURVES = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")


def draw_ladder(ladder: Ladder, domain: str | None = None) -> Figure:
    """Draw every rung's utility at full cost, scenario by scenario, with the gain of the step and its interval."""
    scenarios = list(dict.fromkeys((rung.scenario, rung.alpha) for rung in ladder.rungs))
    names = list(dict.fromkeys(rung.policy for rung in ladder.rungs))
    with figure_of(9, 0.9 + 0.36 * len(names)) as figure:
        panels = figure.subplots(1, len(scenarios), sharey=True, squeeze=False)[0]
        for axes, (scenario, alpha) in zip(panels, scenarios, strict=True):
            rungs = [rung for rung in ladder.rungs if rung.scenario == scenario]
            values = [rung.utility_full for rung in rungs]
            colours = [LAST if place == len(rungs) - 1 else RUNG for place in range(len(rungs))]
            axes.barh(range(len(rungs)), values, 0.68, color=colours)
            low = min(0.0, *values)
            top = max(values)
            for place, rung in enumerate(rungs):
                worth = f"{rung.utility_full:.3f}".replace("0.", ".", 1)
                axes.text(
                    rung.utility_full - 0.01 * (top - low),
                    place,
                    worth,
                    ha="right",
                    va="center",
                    color="white" if colours[place] == LAST else INK,
                    fontsize=9.5,
                )
                if rung.gain is not None and rung.gain_ci is not None:
                    sure = rung.gain_ci[0] > 0 or rung.gain_ci[1] < 0
                    axes.text(
                        rung.utility_full + 0.015 * (top - low),
                        place,
                        f"{rung.gain:+.3f}".replace("0.", ".", 1),
                        ha="left",
                        va="center",
                        color=INK if sure else MUTED,
                        fontsize=9.5,
                        fontweight="bold" if sure else "normal",
                    )
            axes.set_title(f"{scenario}\nα = {alpha:g}", fontsize=11)
            axes.set_xlim(low, low + 1.24 * (top - low))
            axes.grid(visible=False)
            axes.set_xticks([])
            axes.spines["bottom"].set_visible(False)
            axes.tick_params(axis="y", length=0)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].invert_yaxis()
        where = f", {domain}-domain" if domain else ""
        figure.suptitle(
            f"Utility at full cost, rung by rung — {ladder.network}{where}, {ladder.n:,} queries\n"
            "right of a bar: gain over the rung above it, bold where its 95 % interval leaves out 0",
            x=0.01,
            ha="left",
            fontsize=11,
            fontweight="bold",
        )
    return figure


def draw_areas(curves: Mapping[str, tuple[float, ...]], *, n: int, domain: str | None = None) -> Figure:
    """Draw utility at full cost over alpha, one curve per pool or policy; the legend tells the areas under them."""
    with figure_of(9, 4.8) as figure:
        axes = figure.subplots()
        for place, (name, curve) in enumerate(curves.items()):
            area = f"{sum(curve) / len(curve):.3f}".replace("0.", ".", 1)
            axes.plot(ALPHAS, curve, color=CURVES[place % len(CURVES)], linewidth=2, label=f"{name} (area {area})")
        axes.set_xlabel("α, the weight of cost")
        axes.set_ylabel("utility at full cost")
        axes.set_xlim(0, 1)
        where = f", {domain}-domain" if domain else ""
        axes.set_title(f"Utility over α{where}, {n:,} queries")
        axes.legend(loc="lower left")
    return figure
