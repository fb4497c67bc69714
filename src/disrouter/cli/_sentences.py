"""The worth of a network in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from disrouter.evaluation.summary import MethodRow, PairedRow, Summary

__all__ = ["sentences"]


def sentences(summary: Summary) -> Table:
    """Return one plain statement per scenario: what routing saves, at which accuracy, and whether that is worth it."""
    shown = Table.grid(padding=(0, 2, 0, 0))
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(max_width=60)
    for scenario in dict.fromkeys(row.scenario for row in summary.rows):
        ours, largest = summary.row("ours", scenario), summary.row("largest", scenario)
        against = next(p for p in summary.paired if (p.method, p.scenario) == ("best-single", scenario))
        shown.add_row(
            scenario,
            f"Right on {_percent(ours.accuracy)} for {ours.cost_full:.2f} a query, looks included; the largest agent "
            f"alone: {_percent(largest.accuracy)} for {largest.cost_full:.2f}. {_saving(ours, largest)} "
            f"{_worth(against, summary.best_single[scenario])}",
        )
    return shown


def _worth(row: PairedRow, best: str) -> str:
    """Return whether ours beats the best single agent, and how sure that is."""
    rival = f"the best single agent ({best})"
    if row.difference_ci is None:
        return f"Utility {row.difference:+.3f} against {rival}; too few queries to be sure."
    low, high = row.difference_ci
    sure = f"95 % interval {low:+.3f} to {high:+.3f}"
    if low > 0:
        return f"Utility {row.difference:.3f} above {rival}, {sure}."
    if high < 0:
        return f"Utility {-row.difference:.3f} below {rival}, {sure}."
    return f"Utility {row.difference:+.3f} against {rival}: no clear difference, {sure}."


def _saving(ours: MethodRow, largest: MethodRow) -> str:
    if largest.cost_full <= 0:
        return "It costs nothing."
    saved = 1 - ours.cost_full / largest.cost_full
    return f"Saved: {_percent(saved)} of the cost." if saved >= 0 else f"That is {_percent(-saved)} more cost."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
