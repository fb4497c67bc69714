"""A bench run as text tables for the terminal, complete without colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from disrouter.bench.results import BOUNDS

if TYPE_CHECKING:
    from disrouter.bench.runs import BenchRun

__all__ = ["outcomes_text", "table_of", "verdict"]


def table_of(run: BenchRun, scenario: str) -> Table:
    """Return the rows of one scenario, the best first, failed and skipped methods after them."""
    rows = [row for row in run.metrics["rows"] if row["scenario"] == scenario]
    alpha, n, reference = rows[0]["alpha"], run.config["queries"]["test"], run.config["reference"]
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        title=f"{scenario}, α={alpha:g}: {n} test queries of {run.config['table']}",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("method", no_wrap=True)
    for name in ("utility [95 %]", "at full cost", "accuracy", "cost", "full cost", f"− {reference} [95 %], full"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda r: (r["method"] not in BOUNDS, r["utility_full"]), reverse=False)[::-1]:
        own = row["method"] == reference
        table.add_row(
            row["method"] + (" (bound)" if row["method"] in BOUNDS else ""),
            f"{row['utility']:.4f} {interval(row['utility_ci'])}",
            f"{row['utility_full']:.4f}",
            f"{row['accuracy']:.4f}",
            f"{row['cost']:.4f}",
            f"{row['cost_full']:.4f}",
            "" if own else f"{row['difference_full']:+.4f} {interval(row['difference_full_ci'], '+')}",
            style="bold" if row["method"] == "ours" else ("dim" if row["method"] in BOUNDS else None),
        )
    for outcome in run.outcomes:
        if outcome.status != "done":
            table.add_row(outcome.method, outcome.status, style="red" if outcome.status == "failed" else "dim")
    return table


def outcomes_text(run: BenchRun) -> Text:
    """Return what is to be said of the methods that have no numbers."""
    lines = [f"{o.method} {o.status}: {o.reason}" for o in run.outcomes if o.status != "done"]
    total = sum(o.fit_seconds + o.route_seconds for o in run.outcomes)
    lines.append(f"fitting and routing took {total:.1f} s in all")
    return Text("\n".join(lines))


def interval(ends: list[float] | None, sign: str = "") -> str:
    """Return an interval in brackets, nothing where there is none."""
    return "" if ends is None else f"[{ends[0]:{sign}.3f}, {ends[1]:{sign}.3f}]"


def verdict(row: Mapping[str, Any]) -> str:
    """Return ``ahead``, ``behind`` or ``tied``: whether the paired interval of the full cost excludes 0."""
    ends = row.get("difference_full_ci")
    if ends is None or ends[0] <= 0 <= ends[1]:
        return "tied"
    return "ahead" if ends[0] > 0 else "behind"
