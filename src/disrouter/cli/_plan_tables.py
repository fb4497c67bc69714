"""A capacity plan as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from disrouter.planning.measures import Measured, Quantiles
    from disrouter.planning.report import PlanReport

__all__ = ["print_plan"]


def print_plan(report: PlanReport) -> None:
    """Print a plan and its studies to standard output."""
    from disrouter.cli._console import results

    console = results()
    routes = f"{len(report.workload.routes):,} routes of {report.workload.source}"
    console.print(f"{report.network.name} at {report.load.qps:,.4g} queries a second, by {routes}\n", soft_wrap=True)
    console.print(_hosts(report))
    console.print()
    console.print("\n".join(_lines(report)))
    for made in (_variants(report), _loads(report), _lost(report)):
        if made is not None:
            console.print()
            console.print(made)
    for note in [*report.workload.notes, *report.notes]:
        console.print(f"\n{note}.", style="dim", soft_wrap=True)


def _hosts(report: PlanReport) -> Any:
    from rich.text import Text

    from disrouter.cli._console import table
    from disrouter.planning.site import GATEWAY

    plan, workload = report.plan, report.workload
    columns = ["agent", ">replicas", ">least", ">busy", ">looks", ">answers", ">look s", ">answer s", ">at once"]
    shown = table(*columns, *([">an hour"] if plan.cost is not None else []))
    for host in report.site.hosts:
        for place, agent in enumerate(host.agents):
            first, ours = place == 0, host.name != GATEWAY
            replicas = plan.replicas[host.name]
            cells = [
                f"{replicas:,}" if first else "",
                f"{plan.least[host.name]:,}" if first else "",
                f"{plan.found.utilisation[host.name]:.0%}" if first else "",
                f"{workload.share(agent.name, 'look'):.0%}" if ours else "",
                f"{workload.share(agent.name, 'answer'):.0%}" if ours else "",
                _seconds(workload.mean_seconds(agent.name, "look")) if ours else _seconds(report.site.gateway_seconds),
                _seconds(workload.mean_seconds(agent.name, "answer")) if ours else "",
                str(agent.concurrency),
            ]
            if plan.cost is not None:
                cells.append(f"{replicas * (host.cost or 0.0):,.2f}" if first else "")
            shown.add_row(Text(agent.name, style="bold"), *cells)
    return shown


def _lines(report: PlanReport) -> list[str]:
    plan, found = report.plan, report.plan.found
    flow = f"offered {found.offered:,.4g}, answered {found.answered:,.4g} queries a second"
    lines = [
        f"{flow}, {found.in_flight:,.3g} on their way at a time",
        _quantiles("whole answer", found.end),
        _quantiles("first word", found.first),
        f"without an answer {found.unanswered:.2%}  turned away by an agent {found.refused:.2%}"
        + (f"  given up {found.late:.2%}" if found.late else "")
        + (f"  met a broken replica {found.broken:.2%}" if report.site.faults.down else ""),
    ]
    if plan.cost is not None:
        lines.append(
            f"cost {plan.cost:,.2f} an hour, {1000 * plan.cost / (report.load.qps * 3600):,.4g} per 1,000 queries"
        )
    if report.tokens_cost is not None:
        lines.append(f"tokens cost {report.tokens_cost:,.2f} an hour at the prices of the network file")
    return lines


def _quantiles(what: str, values: Quantiles | None) -> str:
    if values is None:
        return f"{what}: none"
    between = ""
    if values.p95_interval is not None:
        between = f" [{_seconds(values.p95_interval[0])}, {_seconds(values.p95_interval[1])}]"
    p50, p95, p99 = (_seconds(value) for value in (values.p50, values.p95, values.p99))
    return f"{what}: p50 {p50} s  p95 {p95} s{between}  p99 {p99} s"


def _variants(report: PlanReport) -> Any:
    from disrouter.cli._console import table

    if not report.variants:
        return None
    columns = [">alpha", "policy", ">asked", ">accuracy", ">cost", "replicas", ">p95 s"]
    shown = table(
        *columns, *([">an hour"] if report.plan.cost is not None else []), title="The same promise at other alphas"
    )
    for variant in report.variants:
        skips = "" if variant.skips is None else "skips" if variant.skips else "step by step"
        cells = [f"{variant.alpha:g}", skips, f"{variant.agents_asked:.2f}"]
        cells += ["-" if variant.accuracy is None else f"{variant.accuracy:.3f}", f"{variant.cost:.3f}"]
        if variant.plan is None:
            cells += [variant.problem or "", "-"] + (["-"] if report.plan.cost is not None else [])
        else:
            end = variant.plan.found.end
            cells.append(" + ".join(f"{count:,}" for count in variant.plan.replicas.values()))
            cells.append(("-" if end is None else _seconds(end.p95)) + ("" if variant.plan.kept else " (missed)"))
            if variant.plan.cost is not None:
                cells.append(f"{variant.plan.cost:,.2f}")
        shown.add_row(*cells)
    return shown


def _loads(report: PlanReport) -> Any:
    if not report.loads:
        return None
    rows = [(f"{one.qps:,.4g}", one.found) for one in report.loads]
    return _rows(report, "These replicas under other loads", ">queries/s", rows)


def _lost(report: PlanReport) -> Any:
    if not report.lost:
        return None
    rows = [(f"{one.host} ({one.share:.1%} of the time)", one.found) for one in report.lost]
    return _rows(report, "While one replica is away", "of", rows)


def _rows(report: PlanReport, title: str, what: str, rows: list[tuple[str, Measured]]) -> Any:
    from disrouter.cli._console import table

    shown = table(what, ">busiest", ">p50 s", ">p95 s", ">first word p95 s", ">without an answer", title=title)
    for name, found in rows:
        end, first = found.end, found.first
        shown.add_row(
            name,
            f"{max(found.utilisation.values()):.0%}",
            "-" if end is None else _seconds(end.p50),
            "-" if end is None else _seconds(end.p95),
            "-" if first is None else _seconds(first.p95),
            f"{found.unanswered:.2%}",
        )
    return shown


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
