"""The report of a bench run: one HTML page that needs nothing else, offline, on paper, by day and by night."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from disrouter.bench.drawings import AGENTS, BOUND, OTHER, OURS, REFERENCE
from disrouter.bench.figures import draw, figures_of
from disrouter.bench.results import BOUNDS
from disrouter.bench.runs import BenchRun
from disrouter.bench.text import verdict
from disrouter.evaluation.figures import GRID, INK, MUTED
from disrouter.files import write_text

__all__ = ["write_report"]

_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    OURS: "ours",
    REFERENCE: "reference",
    BOUND: "bound",
    OTHER: "other",
    **{colour: f"agent-{i}" for i, colour in enumerate(AGENTS)},
}
"""Colours of the figures that the page turns into variables, so that they follow light and dark."""

COLUMNS = (
    ("utility_full", "utility, full cost"),
    ("difference_full", "− reference"),
    ("utility", "utility, paper's cost"),
    ("accuracy", "accuracy"),
    ("cost_full", "full cost"),
    ("overhead_share", "overhead"),
    ("oracle_share", "of oracle"),
    ("separation", "hard − easy cost"),
    ("pareto_distance", "from front"),
)


def write_report(run: BenchRun) -> Path:
    """Draw every figure of a run, write its page, and return the page's path."""
    figures = figures_of(run.config, run.metrics)
    for name, (_, drawing) in figures.items():
        draw(name, drawing, run.folder / "figures")
    drawn = {name: (caption, run.folder / "figures" / f"{name}.svg") for name, (caption, _) in figures.items()}
    page = run.folder / "report.html"
    write_text(page, _page(run, drawn))
    return page


def _page(run: BenchRun, figures: Mapping[str, tuple[str, Path]]) -> str:
    config = run.config
    title = f"Routing methods on {config['table']}"
    body = "".join(
        [
            f"<header><p class=mark>DiSRouter bench</p><h1>{escape(title)}</h1>{_facts(run)}</header>",
            _findings(run),
            _controls([name for name, _ in config["scenarios"]]),
            _table(run),
            _group(
                f"Quality against cost, and against {config['reference']}",
                figures,
                *(f"{kind}-{name}" for name, _ in config["scenarios"] for kind in ("plane", "differences")),
            ),
            _group("Any α, and where the money goes", figures, "alphas", "separation"),
            _group("Who answers", figures, "answers-", "flow"),
            _group("Who answers what", figures, "skills-"),
            _group("Knowing oneself", figures, "reliability", "risk-coverage"),
            _group("More", figures, "series-"),
            _areas(run),
            _small_print(run),
        ]
    )
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<meta name=color-scheme content='light dark'><title>{escape(title)}</title>"
        f"<style>{_asset('report.css')}</style></head><body><main>{body}</main>"
        f"<script>{_asset('report.js')}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return files("disrouter.bench").joinpath(name).read_text(encoding="utf-8")


def _facts(run: BenchRun) -> str:
    q, config = run.config["queries"], run.config
    where = f", domain {escape(str(config['domain']))}" if config["domain"] else ""
    agents = ", ".join(f"{escape(n.rpartition('/')[2])} ({c:.2f})" for n, c in config["agents"].items())
    return (
        f"<p class=lead>{q['test']:,} test queries{where}, every method fitted on the same {q['train']:,} and tuned on "
        f"the same {q['validation']:,} others. Decisions were sealed before a score was looked at.</p>"
        f"<p class=muted>Agents and mean cost of an answer: {agents}.</p>"
    )


def _findings(run: BenchRun) -> str:
    """Say in words, per scenario, who is best and whether that is more than chance."""
    reference, lines = run.config["reference"], []
    for scenario, alpha in run.config["scenarios"]:
        rows = [r for r in run.metrics["rows"] if r["scenario"] == scenario and r["method"] not in BOUNDS]
        others = [r for r in rows if r["method"] != reference]
        own = next(r for r in rows if r["method"] == reference)
        ahead = [r for r in others if verdict(r) == "ahead"]
        tied = [r for r in others if verdict(r) == "tied"]
        said = (
            f"Ahead of it: {_names(ahead)}"
            if ahead
            else f"Nothing is ahead of it; {len(tied)} of {len(others)} methods cannot be told from it"
        )
        lines.append(
            f"<li><b>{escape(scenario)}</b> <span class=muted>α = {alpha:g}</span><br><b class=number>"
            f"{own['utility_full']:.3f}</b> {escape(reference)}<br>{said}.</li>"
        )
    return f"<ul class=findings>{''.join(lines)}</ul>"


def _names(rows: list[dict[str, Any]]) -> str:
    names = [escape(r["method"]) for r in sorted(rows, key=lambda r: -r["difference_full"])]
    if len(names) > 3:
        names = [*names[:2], f"{len(names) - 2} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _controls(scenarios: list[str]) -> str:
    buttons = "".join(
        f"<button type=button data-scenario='{escape(s)}' aria-pressed={str(not i).lower()}>{escape(s)}</button>"
        for i, s in enumerate(scenarios)
    )
    return f"<section><h2>All methods</h2><div class=choice role=group aria-label=Scenario>{buttons}</div>"


def _table(run: BenchRun) -> str:
    heads = "".join(f"<th scope=col><button type=button>{escape(label)}</button></th>" for _, label in COLUMNS)
    head = f"<tr><th scope=col><button type=button>method</button></th>{heads}</tr>"
    tables = []
    for index, (scenario, _) in enumerate(run.config["scenarios"]):
        rows = [r for r in run.metrics["rows"] if r["scenario"] == scenario]
        rows.sort(key=lambda r: -r["utility_full"])
        lines = "".join(_row(r, run.config["reference"]) for r in rows)
        lines += "".join(
            f"<tr class=none><th scope=row>{escape(o.method)}</th><td colspan={len(COLUMNS)}>{o.status}: "
            f"{escape(o.reason or '')}</td></tr>"
            for o in run.outcomes
            if o.status != "done"
        )
        tables.append(
            f"<div class='scroll pane{'' if not index else ' off'}' data-pane='{escape(scenario)}' tabindex=0>"
            f"<table><caption>{escape(scenario)}</caption><thead>{head}</thead><tbody>{lines}</tbody></table></div>"
        )
    return (
        f"{''.join(tables)}<p class=muted>Brackets are 95 % bootstrap intervals; differences are paired by query. "
        "Click a column to sort. Overhead is the share of all cost that bought no given answer.</p></section>"
    )


def _row(row: Mapping[str, Any], reference: str) -> str:
    kind = "ours" if row["method"] == "ours" else "reference" if row["method"] == reference else ""
    kind = "bound" if row["method"] in BOUNDS else kind
    cells = []
    for key, _ in COLUMNS:
        value = row.get(key)
        if value is None or (key == "difference_full" and row["method"] == reference):
            cells.append("<td data-v=''>–</td>")
            continue
        ends = row.get(f"{key}_ci") if key in ("utility_full", "difference_full") else None
        sign = "+" if key in ("difference_full", "separation") else ""
        value = 0.0 if abs(value) < 5e-4 else value  # no negative zero
        shown = f"{value:{sign}.3f}" if key not in ("overhead_share", "oracle_share") else f"{value:.0%}"
        if ends is not None:
            shown += f" <small>[{ends[0]:{sign}.3f}, {ends[1]:{sign}.3f}]</small>"
        shown = shown.replace("-", "−")
        state = f" class={verdict(row)}" if key == "difference_full" and row["method"] not in BOUNDS else ""
        cells.append(f"<td data-v='{value:.6f}'{state}>{shown}</td>")
    note = " <small>bound</small>" if kind == "bound" else ""
    return f"<tr class='{kind}'><th scope=row>{escape(row['method'])}{note}</th>{''.join(cells)}</tr>"


def _group(title: str, figures: Mapping[str, tuple[str, Path]], *prefixes: str) -> str:
    chosen = [(n, c, p) for prefix in prefixes for n, (c, p) in figures.items() if n.startswith(prefix)]
    if not chosen:
        return ""
    shown = "".join(
        f"<figure>{_inline(path, name)}<figcaption>{escape(caption)}</figcaption></figure>"
        for name, caption, path in chosen
    )
    return f"<section><h2>{escape(title)}</h2><div class=figures>{shown}</div></section>"


def _inline(path: Path, name: str) -> str:
    """Return a figure's SVG to stand in the page: own ids, the page's font, and colours as variables."""
    svg = path.read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("<svg ", "<svg role=img ", 1)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)([^")]+)', rf"\g<1>{name}-\2", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"font: (?:\w+ )*([\d.]+)px '[^\"]*?(?=[;\"])", r"font-size: \1px", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def _areas(run: BenchRun) -> str:
    areas = run.metrics["areas"]
    if not areas:
        return ""
    labels = {
        "utility_area": "area under utility",
        "apgr": "APGR",
        "cpt50": "CPT 50 %",
        "cpt80": "CPT 80 %",
        "aiq": "AIQ",
    }
    head = "".join(f"<th scope=col><button type=button>{v}</button></th>" for v in labels.values())
    lines = "".join(
        f"<tr class='{'ours' if m == 'ours' else 'bound' if m in BOUNDS else ''}'><th scope=row>{escape(m)}</th>"
        + "".join(
            "<td data-v=''>–</td>" if a[k] is None else f"<td data-v='{a[k]:.6f}'>{a[k]:.3f}</td>" for k in labels
        )
        + "</tr>"
        for m, a in sorted(areas.items(), key=lambda item: -item[1]["utility_area"])
    )
    return (
        "<section><h2>Whole curves</h2><div class=scroll tabindex=0><table><thead><tr><th scope=col>"
        f"<button type=button>method</button></th>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
        "<p class=muted>Over α from 0 to 1. APGR and CPT (RouteLLM) take the cost between the cheapest and the dearest "
        "agent as the share of strong calls; AIQ is RouterBench's.</p></section>"
    )


def _small_print(run: BenchRun) -> str:
    seconds = "".join(
        f"<tr><th scope=row>{escape(o.method)}</th><td>{o.fit_seconds:.2f}</td><td>{o.route_seconds:.2f}</td></tr>"
        for o in run.outcomes
        if o.status == "done"
    )
    seeds = ", ".join(map(str, run.config["seeds"]))
    return (
        "<section class=print-small><details><summary>How this was made</summary>"
        f"<p>Table fingerprint <code>{run.config['table_digest']}</code>, seeds {seeds}. No text of the test split "
        "occurs in the other two. The full cost holds every look, consulted agent and verification.</p>"
        "<div class=scroll><table><thead><tr><th>method</th><th>seconds to fit</th>"
        f"<th>to route, all scenarios</th></tr></thead><tbody>{seconds}</tbody></table></div></details></section>"
    )
