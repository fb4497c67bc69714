"""Reports: the summary of an evaluation as text tables for the terminal, complete without colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from disrouter.evaluation.overhead import LatencyRow
from disrouter.evaluation.summary import Interval, MethodRow, Summary

__all__ = ["agents_table", "differences_table", "latency_lines", "report", "singles_table", "utility_table"]


def report(summary: Summary) -> RenderableType:
    """Return everything a reader of an evaluation wants on one screen or two; print it with rich."""
    parts: list[RenderableType] = [utility_table(summary), differences_table(summary), agents_table(summary)]
    parts.append(Text(f"\n{_facts(summary)}"))
    parts.extend(Text(f"note: {note}", style="dim") for note in summary.notes)
    return Group(*parts)


def utility_table(summary: Summary) -> Table:
    """Return utility, its interval, accuracy and costs of every method in every scenario."""
    suite = summary.suite or "table"
    domain = f" ({summary.domain}-domain)" if summary.domain else ""
    table = _table(f"Utility on {suite}{domain}, {summary.n} queries, seed {summary.seed}")
    table.add_column("scenario, method", no_wrap=True)
    for name in ("utility [95 %]", "of\noracle", "accuracy", "cost", "full\ncost", "full\nutil."):
        table.add_column(name, justify="right", no_wrap=True)
    for scenario, rows in _grouped(summary):
        table.add_row(f"{scenario}, α={rows[0].alpha:g}", style="bold")
        for row in rows:
            table.add_row(
                f" {_method(summary, row.method, scenario)}",
                f"{_short(row.utility)} {_interval(row.utility_ci)}",
                _short(row.oracle_share, ".2f"),
                _short(row.accuracy),
                _short(row.cost),
                _short(row.cost_full),
                _short(row.utility_full),
                style="bold" if row.method == "ours" else None,
            )
    return table


def differences_table(summary: Summary) -> Table:
    """Return how much better ours is than every method and every agent alone, paired by query."""
    against: dict[str, dict[str, tuple[float, Interval | None]]] = {}
    for row in summary.paired:
        against.setdefault(row.method, {})[row.scenario] = (row.difference, row.difference_ci)
    for alone in summary.singles:
        against.setdefault(f"{alone.agent} alone", {})[alone.scenario] = (alone.difference, alone.difference_ci)
    return _by_scenario(summary, "Ours minus … (utility, paired by query)", against, "+.3f")


def singles_table(summary: Summary) -> Table:
    """Return utility of every agent asked alone, in every scenario."""
    alone: dict[str, dict[str, tuple[float, Interval | None]]] = {}
    for row in summary.singles:
        alone.setdefault(row.agent, {})[row.scenario] = (row.utility, row.utility_ci)
    return _by_scenario(summary, "Every agent alone (utility)", alone, ".3f")


def agents_table(summary: Summary) -> Table:
    """Return what every agent costs and can do, and how it judges itself, scenario by scenario."""
    scenarios = list(summary.unanswered)
    table = _table(f"Agents, by scenario ({', '.join(scenarios)})")
    table.add_column("agent")
    for name in ("cost", "accuracy", "answer rate", "answered\nin network", "AUROC", "ECE"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in summary.agents:
        table.add_row(
            row.agent,
            f"{row.cost:.3g}",
            _short(row.accuracy),
            _slashed(row.answer_rate, scenarios),
            _slashed(row.answered, scenarios),
            _slashed(row.auroc, scenarios),
            _slashed(row.ece, scenarios),
        )
    return table


def _by_scenario(
    summary: Summary, title: str, cells: Mapping[str, Mapping[str, tuple[float, Interval | None]]], form: str
) -> Table:
    table = _table(title)
    table.add_column("", no_wrap=True)
    scenarios = list(summary.unanswered)
    for scenario in scenarios:
        table.add_column(scenario, justify="right", no_wrap=True)
    for name, row in cells.items():
        table.add_row(name, *(f"{_short(row[s][0], form)} {_interval(row[s][1], form)}" for s in scenarios))
    return table


def _facts(summary: Summary) -> str:
    looking = (
        f" Looking costs {summary.look_share:.1%} of looking and answering at 1:4 token prices, "
        f"{summary.look_share_flops:.1%} in FLOPs."
        if summary.look_share is not None and summary.look_share_flops is not None
        else ""
    )
    return (
        f"{summary.unsolved:.1%} of the queries are solved by no agent; answers have {summary.answer_tokens_mean:.1f} "
        f"tokens on average.{looking}{_rejections(summary)}"
    )


def _rejections(summary: Summary) -> str:
    rows = summary.rejections
    if not any(row.per_query for row in rows):
        return ""
    return (
        f" Agents that look and do not answer ({'/'.join(_short(row.per_query, '.2f') for row in rows)} a query, in "
        f"the order of the scenarios) take {_percents(row.cost_share for row in rows)} of the cost, "
        f"{_percents(row.tokens_share for row in rows)} of the tokens and {_percents(row.flops_share for row in rows)} "
        "of the FLOPs."
    )


def latency_lines(rows: Sequence[LatencyRow]) -> Text:
    """Return what was measured of seconds, in one sentence; nothing where nothing was."""
    if not any(row.seconds for row in rows):
        return Text()
    weighed = f" A second costs {rows[0].beta:g} utility." if any(row.beta for row in rows) else ""
    whole, before = _millis(row.seconds for row in rows), _millis(row.seconds_before_answer for row in rows)
    return Text(
        f"A query takes {whole} ms, {before} of them before its answer begins; rejections take "
        f"{_percents(row.rejection_share for row in rows)} of the time.{weighed}"
    )


def _millis(values: Iterable[float]) -> str:
    return "/".join(f"{1000 * value:.3g}" for value in values)


def _percents(values: Iterable[float | None]) -> str:
    return "/".join("–" if value is None else f"{100 * value:.1f}" for value in values) + " %"


def _grouped(summary: Summary) -> Iterable[tuple[str, list[MethodRow]]]:
    names = list(dict.fromkeys(row.scenario for row in summary.rows))
    return ((name, [row for row in summary.rows if row.scenario == name]) for name in names)


def _table(title: str) -> Table:
    return Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        collapse_padding=True,
    )


def _method(summary: Summary, method: str, scenario: str) -> str:
    return f"best-single: {summary.best_single[scenario]}" if method == "best-single" else method


def _interval(interval: Interval | None, form: str = ".3f") -> str:
    return "" if interval is None else f"[{_short(interval[0], form)}, {_short(interval[1], form)}]"


def _short(value: float | None, form: str = ".3f") -> str:
    """Return a number as papers print it, without the zero before the point: tables must fit 80 columns."""
    return (
        "–" if value is None else format(value, form).replace("0.", ".", 1) if abs(value) < 1 else format(value, form)
    )


def _slashed(values: Mapping[str, float | None], scenarios: Sequence[str]) -> str:
    return "/".join(_short(values[s], ".2f") for s in scenarios)
