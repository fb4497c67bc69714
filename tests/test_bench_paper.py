"""The paper's experiments in one command, on tables of made-up outcomes of the lab's agents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from disrouter.bench.entries import Entry, assemble
from disrouter.bench.figures import draw, figures_of
from disrouter.bench.methods import methods_of
from disrouter.bench.paper import run_paper
from disrouter.bench.runs import read_bench_run
from disrouter.bench.tables import BenchTable, Split, write_bench_table
from disrouter.config import load
from disrouter.network import Network

AGENTS = {f"agent-{i}": cost for i, cost in enumerate((0.1, 0.2, 0.4, 0.7, 0.9), start=1)}


def made_up(counts: dict[Split, int], seed: int) -> BenchTable:
    """Outcomes of five agents that get better with their price, and know it."""
    rng = np.random.default_rng(seed)

    def entry(n: int, split: str, domain: str) -> Entry:
        chance = 1 / (1 + np.exp(-(4 * np.linspace(0.3, 0.9, 5) - 4 * rng.random())))
        right = rng.random(5) < chance
        return Entry(
            id=f"{domain}-{split}-{n}",
            text=f"{domain} {split} {n}",
            split=split,
            domain=domain,
            dataset=("add", "sort")[n % 2],
            scores=dict(zip(AGENTS, right.astype(float).tolist(), strict=True)),
            confidences=dict(zip(AGENTS, chance.tolist(), strict=True)),
        )

    wanted = [(s, "in") for s in counts] + [("test", "out")]
    return assemble([entry(n, s, d) for s, d in wanted for n in range(counts[s])], costs=AGENTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    lab = load("lab")
    for seed, name in enumerate(("lab", "lab-paper", "after-sft")):
        write_bench_table(made_up({"train": 30, "validation": 20, "test": 60}, seed), folder / f"{name}.parquet")
    run_paper(
        folder,
        methods_of(["smallest", "largest", "best-single"]),
        counts={"train": 30, "validation": 20, "test": 60},
        seed=3,
        beside=[Network("after-sft", list(lab.agents.values()), lab.edges)],
        progress=False,
    )
    return folder


def test_every_experiment_stands_beside_the_papers_number(folder: Path) -> None:
    page = (folder / "paper.md").read_text(encoding="utf-8")

    for heading in ("In-domain", "Out of domain", "Ablation", "Three of five", "Easy and hard", "Answer rates"):
        assert f"## {heading}" in page
    assert "(.61)" in page  # published: ours, balance, in-domain
    assert "(.48)" in page  # and out of domain
    assert "| ours, 3 agents |" in page
    assert "| after-sft, in-domain |" in page and "| after-sft, out of domain |" in page


def test_fewer_agents_are_the_same_network_without_retraining(folder: Path) -> None:
    found = json.loads((folder / "paper.json").read_text(encoding="utf-8"))

    line = found["series"][0]["lines"][1]
    full = next(r for r in found["rows"]["in"] if (r["method"], r["scenario"]) == ("ours", "balance"))
    assert line["x"] == [2, 3, 4, 5]
    assert line["y"][-1] == pytest.approx(full["utility_full"])
    three = next(r for r in found["rows"]["in"] if (r["method"], r["scenario"]) == ("ours-3-agents", "balance"))
    assert line["y"][1] == pytest.approx(three["utility_full"])


def test_the_report_of_a_run_has_figures_of_the_series_it_brings_along(folder: Path) -> None:
    run = read_bench_run(folder / "in")

    figures = figures_of(run.config, run.metrics)
    draw("series", figures["series-0"][1], folder / "figures")

    assert "over the number of agents" in figures["series-0"][0]
    assert {"flow", "skills-balance", "reliability"} <= set(figures)
    assert (folder / "figures" / "series.svg").is_file()
