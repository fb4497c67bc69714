"""Tables of stored runs as Markdown, in the form the documents print them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from disrouter.bench.results import BOUNDS
from disrouter.bench.stored import StoredRun
from disrouter.evaluation import metrics

__all__ = ["RENDERERS", "compact"]


def compact(value: float, form: str = ".3f") -> str:
    """Return a number as tables print it: no zero before the point, a true minus sign, no negative zero."""
    text = format(value, form)
    if float(text) == 0:
        text = format(0.0, form)
    sign = text[0] if text[0] in "+-" else ""
    digits = text.removeprefix(sign)
    digits = digits[1:] if digits.startswith("0.") else digits
    return sign.replace("-", "−") + digits


def _interval(ends: Sequence[float] | None, form: str = ".3f") -> str:
    return "" if ends is None else f" [{compact(ends[0], form)}, {compact(ends[1], form)}]"


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _scenarios(run: StoredRun) -> list[str]:
    return [str(name) for name, _ in run.config["scenarios"]]


def methods(run: StoredRun) -> str:
    """Return utility at full cost of every method, and its paired difference to the reference, per scenario.

    A difference whose interval excludes 0 is set in bold.
    """
    return _methods(run, "_full")


def methods_paper(run: StoredRun) -> str:
    """Return the same at the paper's cost, which counts everything but the given answer as free."""
    return _methods(run, "")


def _methods(run: StoredRun, cost: str) -> str:
    scenarios, reference = _scenarios(run), run.config["reference"]
    head = ["method"]
    for scenario in scenarios:
        head += [scenario, f"− {reference}"]
    names = list(dict.fromkeys(r["method"] for r in run.rows))
    mean = {n: float(np.mean([r[f"utility{cost}"] for r in run.rows if r["method"] == n])) for n in names}
    lines = []
    for name in sorted(names, key=lambda n: (n in BOUNDS, -mean[n])):
        cells = [f"**{name}**" if name == reference else f"*{name}*" if name in BOUNDS else name]
        for scenario in scenarios:
            row = run.row(name, scenario)
            ends = row[f"difference{cost}_ci"]
            cells.append(compact(row[f"utility{cost}"]))
            said = f"{compact(row[f'difference{cost}'], '+.3f')}{_interval(ends, '+.3f')}"
            strong = ends is not None and not ends[0] <= 0 <= ends[1] and name not in BOUNDS
            cells.append("" if name == reference else f"**{said}**" if strong else said)
        lines.append(cells)
    for outcome in run.outcomes:
        if outcome["status"] != "done":
            lines.append([outcome["method"], f"{outcome['status']}: {outcome['reason']}"] + [""] * (len(head) - 2))
    return _lines(head, lines)


def details(run: StoredRun) -> str:
    """Return accuracy, both costs and the overhead of every method in every scenario."""
    head = [
        "method",
        "scenario",
        "utility [95 %]",
        "at full cost",
        "accuracy",
        "cost",
        "full cost",
        "overhead",
        "looks",
    ]
    return _lines(
        head,
        [
            [
                r["method"],
                r["scenario"],
                f"{compact(r['utility'])}{_interval(r['utility_ci'])}",
                compact(r["utility_full"]),
                compact(r["accuracy"]),
                compact(r["cost"]),
                compact(r["cost_full"]),
                "–" if r["overhead_share"] is None else f"{r['overhead_share']:.0%}",
                f"{r['looks']:.2f}",
            ]
            for r in run.rows
        ],
    )


def against_one_agent(run: StoredRun) -> str:
    """Return ours against the best of the agents asked alone, chosen on these very queries."""
    head = ["scenario", "ours", "full cost", "share of oracle", "best agent alone", "ours − best alone", "at full cost"]
    lines = []
    for scenario in _scenarios(run):
        found, row = run.against_best_alone(scenario), run.row("ours", scenario)
        lines.append(
            [
                scenario,
                f"{compact(row['utility'])}{_interval(row['utility_ci'])}",
                compact(row["utility_full"]),
                compact(row["oracle_share"], ".2f"),
                f"{compact(found.utility)} ({found.agent})",
                _estimate(found.difference),
                _estimate(found.difference_full),
            ]
        )
    return _lines(head, lines)


def front_page(run: StoredRun) -> str:
    """Return the few numbers that a first page shows."""
    head = ["scenario", "ours", "largest", "best agent alone", "ours − best alone", "share of the oracle"]
    lines = []
    for scenario, alpha in run.config["scenarios"]:
        found, row = run.against_best_alone(scenario), run.row("ours", scenario)
        lines.append(
            [
                f"{scenario}, α={alpha:g}",
                compact(row["utility"]),
                compact(run.row("largest", scenario)["utility"]),
                compact(found.utility),
                _estimate(found.difference),
                compact(row["oracle_share"], ".2f"),
            ]
        )
    return _lines(head, lines)


def _estimate(found: metrics.Estimate) -> str:
    return f"{compact(found.value, '+.3f')}{_interval(found.interval, '+.3f')}"


RENDERERS: dict[str, Callable[[StoredRun], str]] = {
    "methods": methods,
    "methods-paper": methods_paper,
    "details": details,
    "against-one-agent": against_one_agent,
    "front-page": front_page,
}
"""Kinds of tables by the name that markers use."""
