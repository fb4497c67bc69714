"""The paper's experiments on the lab, in one command, written beside the paper's own numbers.

Main table, out of domain, ablation (as far as shipped networks go), five agents to three, easy and hard queries, answer
rates; and utility over the number of agents. Everything but the first two steps is replay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from disrouter.baselines.contract import Router
from disrouter.baselines.decide import decide
from disrouter.bench.build import build_bench_table
from disrouter.bench.markdown import compact
from disrouter.bench.ours import Ours
from disrouter.bench.results import join
from disrouter.bench.runs import BenchRun, compare
from disrouter.bench.tables import BenchTable, Split, read_bench_table, write_bench_table
from disrouter.config import load
from disrouter.evaluation.suites import suite_of
from disrouter.files import write_json, write_text
from disrouter.network import Network
from disrouter.policies import AnyPolicy
from disrouter.utility import SCENARIOS

__all__ = ["PAPER", "run_paper"]

PAPER: dict[str, dict[str, tuple[float, float, float]]] = {
    "in": {
        "oracle": (0.87, 0.79, 0.70),
        "largest": (0.67, 0.40, 0.13),
        "smallest": (0.36, 0.33, 0.30),
        "random": (0.58, 0.44, 0.30),
        "routellm-mf": (0.41, 0.36, 0.31),
        "frugalgpt": (0.64, 0.52, 0.43),
        "automix": (0.63, 0.29, 0.18),
        "forc": (0.65, 0.47, 0.37),
        "graphrouter": (0.68, 0.53, 0.45),
        "ours": (0.73, 0.61, 0.52),
    }
}
"""Published in-domain utilities at α = .2, .5, .8 (arXiv 2510.19208, table 1)."""

PAPER_OUT = {"oracle": 0.72, "graphrouter": 0.39, "frugalgpt": 0.42, "ours": 0.48}
"""Published out-of-domain utilities in balance."""

PAPER_THREE = 0.60
"""Published utility in balance with three of the five agents, nothing retrained."""

PAPER_SFT = (0.72, 0.57, 0.43)
"""Published utilities after SFT, before RL."""

THREE = ("agent-1", "agent-3", "agent-5")


def run_paper(
    folder: Path,
    methods: Sequence[Router],
    *,
    counts: Mapping[Split, int],
    seed: int,
    policy: AnyPolicy | None = None,
    beside: Sequence[Network] = (),
    progress: bool = True,
) -> dict[str, Any]:
    """Run all experiments and return their numbers; ``paper.md`` and ``paper.json`` are written into the folder.

    Finished tables and methods in the folder are not run again.

    Args:
        folder: Where everything is kept.
        methods: Rivals; those that the tables lack something for are left out with the reason.
        counts: Queries per split; test queries are drawn per domain.
        seed: Seed of queries and fits.
        policy: Decide by this policy instead of the network's own.
        beside: Other networks to show in the ablation, on the same queries: after SFT alone, of mixed families.
        progress: Show bars on stderr.
    """
    network = load("lab").replace(policy=policy)
    table = _table(folder / "lab.parquet", network, counts, seed, progress)
    three = network.without(*(name for name in network.agents if name not in THREE))
    ours: list[Router] = [Ours(network), Ours(three, name="ours-3-agents")]
    runs = {
        domain: compare(
            table,
            [*ours, *methods],
            run_dir=folder / domain,
            name=f"lab, {domain}-domain",
            domain=domain,
            seeds=(seed,),
            progress=progress,
        )
        for domain in ("in", "out")
    }
    few: dict[Split, int] = {"train": 10, "validation": 10, "test": counts["test"]}
    ablation: dict[str, dict[str, BenchRun]] = {}
    for other in (load("lab-paper"), *beside):
        kept = other.name.replace("/", "-")
        outcomes = _table(folder / f"{kept}.parquet", other, few, seed, progress)
        ablation[other.name] = {
            domain: compare(
                outcomes,
                [Ours(other)],
                run_dir=folder / f"{kept}-{domain}",
                name=f"{other.name}, {domain}-domain",
                domain=domain,
                seeds=(seed,),
                progress=progress,
            )
            for domain in ("in", "out")
        }
    series = [_over_agents(table, network)]
    _add_series(runs["in"], series)
    found = {
        "schema": 1,
        "counts": dict(counts),
        "seed": seed,
        "rows": {d: run.metrics["rows"] for d, run in runs.items()},
        "ablation": {name: {d: run.metrics["rows"] for d, run in of.items()} for name, of in ablation.items()},
        "answers": {d: run.metrics["answers"]["ours"] for d, run in runs.items()},
        "outcomes": runs["in"].metrics["outcomes"],
        "series": series,
    }
    write_json(folder / "paper.json", found)
    write_text(folder / "paper.md", _page(runs, ablation, found))
    return found


def _table(path: Path, network: Network, counts: Mapping[Split, int], seed: int, progress: bool) -> BenchTable:
    """Return the table in a file, made if it is not there."""
    if not path.is_file():
        made = build_bench_table(
            network,
            suite_of("lab"),
            counts=counts,
            test_domains=("in", "out"),
            seed=seed,
            parts=path.with_name(f"{path.stem}.parts"),
            progress=progress,
        )
        write_bench_table(made, path)
    return read_bench_table(path)


def _over_agents(table: BenchTable, network: Network) -> dict[str, Any]:
    """Return utility at full cost over the number of agents, evenly chosen from cheapest to dearest."""
    rows = table.of("test", domain="in")
    names = list(network.chain)
    numbers = list(range(2, len(names) + 1))
    lines = []
    for scenario in rows.table.scenarios:
        worth = []
        for k in numbers:
            kept = {names[round(i * (len(names) - 1) / (k - 1))] for i in range(k)}
            some = Ours(network.without(*(n for n in names if n not in kept)))
            got = join(decide(some, some.fit(rows, rows, seed=0), rows, scenario), rows, scenario)
            worth.append(float((got.score - scenario.alpha * got.cost_full).mean()))
        lines.append({"label": scenario.name, "x": numbers, "y": worth})
    return {
        "caption": "Utility at full cost over the number of agents, in-domain, nothing retrained.",
        "x": "agents",
        "y": "utility at full cost",
        "lines": lines,
    }


def _add_series(run: BenchRun, series: list[dict[str, Any]]) -> None:
    """Let the run's report draw these lines too."""
    write_json(run.folder / "metrics.json", {**run.metrics, "series": series})


def _page(
    runs: Mapping[str, BenchRun], ablation: Mapping[str, Mapping[str, BenchRun]], found: Mapping[str, Any]
) -> str:
    head = "| method | " + " | ".join(f"{s}, α={x.alpha:g}" for s, x in SCENARIOS.items()) + " |\n|---|---|---|---|\n"
    parts = [
        "# The paper's experiments on the lab\n",
        f"{found['counts']['test']} test queries per domain, seed {found['seed']}. Utility at the paper's cost, its "
        "95 % interval, and in brackets the paper's number for its own models, which are other models on other data: "
        "compare orders and gaps, not levels.\n",
        "## In-domain\n",
        head + _main(runs["in"], PAPER["in"]),
        "## Out of domain\n",
        head + _main(runs["out"], {m: (np.nan, u, np.nan) for m, u in PAPER_OUT.items()}),
        "## Ablation: how the agents were trained\n",
        f"The paper: SFT {_published(PAPER_SFT)}, with RL {_published(PAPER['in']['ours'])}. Agents after SFT alone "
        "are not shipped: `disrouter train --recipe lab-paper` leaves them, and `--beside` takes its "
        "`network-sft.yaml`.\n",
        head + _ablation(runs, ablation),
        f"## Three of five agents, nothing retrained (the paper, balance: {compact(PAPER_THREE, '.2f')})\n",
        head
        + _line("ours, 5 agents", runs["in"], "ours", None)
        + _line("ours, 3 agents", runs["in"], "ours-3-agents", None),
        "## Easy and hard queries: mean cost where the cheapest agent is right / wrong, in-domain\n",
        head + _separation(runs["in"]),
        "## Answer rates in the network, in-domain: share of all queries\n",
        "| agent | " + " | ".join(SCENARIOS) + " |\n|---|---|---|---|\n" + _rates(runs["in"], found),
        "## Left out\n",
        "".join(f"- {o.method}: {o.status}, {o.reason}\n" for o in runs["in"].outcomes if o.status != "done")
        or "Nothing.\n",
        "Mixed model families are not part of the shipped lab: `--beside` takes such a pool.\n",
    ]
    return "\n".join(parts)


def _published(utilities: Sequence[float]) -> str:
    return " / ".join(compact(u, ".2f") for u in utilities)


def _cells(run: BenchRun, method: str) -> list[dict[str, Any]]:
    return [r for r in run.metrics["rows"] if r["method"] == method]


def _line(label: str, run: BenchRun, method: str, published: Sequence[float] | None) -> str:
    cells = []
    for index, row in enumerate(_cells(run, method)):
        ends = row["utility_ci"]
        text = compact(row["utility"]) + ("" if ends is None else f" [{compact(ends[0])}, {compact(ends[1])}]")
        if published is not None and not np.isnan(published[index]):
            text += f" ({compact(published[index], '.2f')})"
        cells.append(text)
    return f"| {label} | {' | '.join(cells)} |\n"


def _main(run: BenchRun, published: Mapping[str, Sequence[float]]) -> str:
    names = list(dict.fromkeys(r["method"] for r in run.metrics["rows"]))
    return "".join(
        _line(f"**{n}**" if n == "ours" else n, run, n, published.get(n)) for n in names if n != "ours-3-agents"
    )


def _ablation(runs: Mapping[str, BenchRun], ablation: Mapping[str, Mapping[str, BenchRun]]) -> str:
    published = {"in": PAPER["in"]["ours"], "out": (np.nan, PAPER_OUT["ours"], np.nan)}
    lines = []
    for domain, where in (("in", "in-domain"), ("out", "out of domain")):
        lines.append(_line(f"lab, calibrated heads, {where}", runs[domain], "ours", None))
        for name, of in ablation.items():
            beside = published[domain] if name == "lab-paper" else None
            label = "lab-paper, SFT and RL" if name == "lab-paper" else name
            lines.append(_line(f"{label}, {where}", of[domain], "ours", beside))
    return "".join(lines)


def _separation(run: BenchRun) -> str:
    names = list(dict.fromkeys(r["method"] for r in run.metrics["rows"]))
    return "".join(
        f"| {n} | "
        + " | ".join(
            "–" if r["separation"] is None else f"{compact(r['cost_easy'])} / {compact(r['cost_hard'])}"
            for r in _cells(run, n)
        )
        + " |\n"
        for n in names
    )


def _rates(run: BenchRun, found: Mapping[str, Any]) -> str:
    answers = found["answers"]["in"]
    return "".join(
        f"| {agent} | " + " | ".join(f"{answers[s]['all'][a]:.0%}" for s in SCENARIOS) + " |\n"
        for a, agent in enumerate(run.config["agents"])
    )
