"""The figure: for every fault the utility, how queries were answered and how long they took, second by second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from experiment import VICTIM
from load import Asked
from pool import Pool

from disrouter.types import Trace

__all__ = ["Course", "draw"]

WINDOW = 2.0


@dataclass(frozen=True, slots=True)
class Course:
    """What one fault did, query by query."""

    name: str
    gone: bool
    asked: Sequence[Asked]
    began: float
    ended: float


def draw(courses: Sequence[Course], pool: Pool, there: dict[str, Trace], gone: dict[str, Trace], path: Path) -> None:
    """Draw one column per fault."""
    figure, axes = plt.subplots(
        3, len(courses), figsize=(2.3 * len(courses), 6.2), sharex="col", sharey="row", squeeze=False
    )
    for column, course in enumerate(courses):
        _utility(axes[0, column], course, pool, there, gone)
        _answers(axes[1, column], course)
        _latency(axes[2, column], course)
        axes[0, column].set_title(course.name, fontsize=10)
        axes[2, column].set_xlabel("seconds")
        for axis in axes[:, column]:
            axis.axvspan(course.began, course.ended, color="0.9", zorder=0)
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("utility")
    axes[1, 0].set_ylabel("answers per second")
    axes[2, 0].set_ylabel("seconds per query")
    handles, labels = [], []
    for row in (0, 1):
        more = axes[row, 0].get_legend_handles_labels()
        handles, labels = handles + more[0], labels + more[1]
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.legend(handles, labels, fontsize=9, frameon=False, loc="lower center", ncols=len(labels))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _utility(axis: plt.Axes, course: Course, pool: Pool, there: dict[str, Trace], gone: dict[str, Trace]) -> None:
    at = np.array([one.at for one in course.asked])
    found = np.array([pool.utility(one.query_id, one.agent, one.cost) for one in course.asked])
    faulty = course.gone & (at >= course.began) & (at < course.ended)
    traces = [(gone if away else there)[one.query_id] for one, away in zip(course.asked, faulty, strict=True)]
    predicted = np.array([pool.utility(t.query_id, t.agent, t.cost_full) for t in traces])
    healthy = np.array(
        [pool.utility(t.query_id, t.agent, t.cost_full) for t in (there[o.query_id] for o in course.asked)]
    )
    times = np.arange(WINDOW / 2, at.max() - WINDOW / 2, 0.25)
    for values, style in (
        (healthy, {"color": "#9ecae1", "label": "of the same queries, were every agent there"}),
        (predicted, {"color": "0.3", "ls": "--", "label": "predicted"}),
        (found, {"color": "#1f5f9f", "label": "found"}),
    ):
        axis.plot(times, [values[abs(at - time) <= WINDOW / 2].mean() for time in times], lw=1.2, **style)


def _answers(axis: plt.Axes, course: Course) -> None:
    done = np.array([one.at + one.seconds for one in course.asked])
    kinds = np.array(
        [
            "lost" if one.status != 200 else f"{VICTIM} passed over" if (VICTIM, "failure") in one.route else "as ever"
            for one in course.asked
        ]
    )
    edges = np.arange(0, done.max() + 1, 1.0)
    bottom = np.zeros(len(edges) - 1)
    for kind, colour in (("as ever", "#4c9f70"), (f"{VICTIM} passed over", "#e0a030"), ("lost", "#c03030")):
        counts = np.histogram(done[kinds == kind], edges)[0]
        axis.bar(edges[:-1], counts, width=1.0, bottom=bottom, align="edge", color=colour, label=kind)
        bottom += counts


def _latency(axis: plt.Axes, course: Course) -> None:
    axis.semilogy([one.at for one in course.asked], [one.seconds for one in course.asked], ".", ms=2, alpha=0.6)
    axis.set_ylim(1e-3, 10)
