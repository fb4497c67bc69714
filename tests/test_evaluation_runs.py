from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from rich.console import Console

from disrouter.agents import ScriptedAgent
from disrouter.errors import DataError, InterruptedRunError, UsageError
from disrouter.evaluation.figures import METHOD_COLOURS, draw_all
from disrouter.evaluation.methods import METHODS
from disrouter.evaluation.replay import fitted
from disrouter.evaluation.report import report, singles_table
from disrouter.evaluation.runs import Run, evaluate, read_run, remake
from disrouter.network import Network
from disrouter.seeds import seed_of
from disrouter.types import Completion, Look, Query, QueryPrice, Sampling, Scenario, TokenPrice, Usage

ABILITY = {"small": 0.4, "middle": 0.7, "large": 0.9}
COSTS = {"small": 0.1, "middle": 0.4, "large": 0.9}

CLOCK = itertools.count()


class Guesser(ScriptedAgent):
    """An agent whose ability, confidence and answers follow from the query's id, and whose clock never repeats."""

    async def look(self, query: Query, scenario: Scenario) -> Look:
        self.looked.append(query.id)
        confidence = 1 - self._hardness(query) * (1 - scenario.alpha / 4)
        return Look(
            confidence=None if self.card.name == "large" else confidence,
            accepts=None if self.card.name == "large" else confidence > (1 - scenario.alpha) ** 0.5,
            usage=Usage(prompt_tokens=5),
            seconds=float(next(CLOCK)),
        )

    async def answer(
        self, query: Query, scenario: Scenario, look: Look | None, sampling: Sampling
    ) -> AsyncIterator[str | Completion]:
        right = self._hardness(query) < ABILITY[self.card.name]
        text = "A: 4" if right else "A: 5"
        yield text
        yield Completion(text=text, usage=Usage(completion_tokens=30), seconds=float(next(CLOCK)))

    def _hardness(self, query: Query) -> float:
        return seed_of(0, query.id) / 2**63


class Sums:
    """A suite of generated queries; its grader may be told to interrupt the run."""

    name = "sums"

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.left = interrupt_after

    def queries(self, domain: str, seed: int, n: int, *, split: Literal["test", "validation"] = "test") -> list[Query]:
        return [
            replace(Query.from_text(f"{split} {seed} {i}", id=f"{split}-{seed}-{i}"), reference="4", dataset="sums")
            for i in range(n)
        ]

    def grade(self, query: Query, text: str) -> float:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return float(text == f"A: {query.reference}")


def network(**prices: float) -> Network:
    agents = [Guesser(name, cost=prices.get(name, cost)) for name, cost in COSTS.items()]
    return Network("three", agents)


def run(folder: Path, suite: Sums | None = None, *, net: Network | None = None, **more: object) -> Run:
    settings: dict[str, object] = {
        "domain": "in", "seed": 7, "limit": 40, "validation_limit": 20, "chunk": 16, "progress": False,
        "figures": False, **more,
    }  # fmt: skip
    return evaluate(net or network(), suite or Sums(), run_dir=folder, **settings)  # type: ignore[arg-type]  # by name


def digests(folder: Path, *, timings: bool = False) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (timings or "timings" not in path.name)
    }


def test_a_run_leaves_everything_in_its_folder(tmp_path: Path) -> None:
    found = run(tmp_path / "run", figures=True)

    assert sorted(p.name for p in found.folder.iterdir()) == [
        "config.json",
        "environment.json",
        "figures",
        "metrics.json",
        "table.parquet",
        "timings.json",
        "timings.parquet",
        "traces.jsonl",
        "validation-timings.parquet",
        "validation.parquet",
    ]
    assert [p.name for p in found.figures] == ["answers.png", "cost-accuracy.png", "reliability.png", "utility.png"]
    assert len((found.folder / "traces.jsonl").read_text(encoding="utf-8").splitlines()) == 3 * 40
    assert found.table.look_seconds.max() > 0


def test_the_metrics_follow_the_contract(tmp_path: Path) -> None:
    run(tmp_path / "run")

    found = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))

    assert (found["schema"], found["seed"], found["n"]) == (1, 7, 40)
    assert [row["method"] for row in found["rows"]] == list(METHODS) * 3
    wanted = [
        "method",
        "scenario",
        "alpha",
        "accuracy",
        "cost",
        "cost_full",
        "utility",
        "utility_full",
        "utility_ci",
        "oracle_share",
    ]
    assert all(set(wanted) <= set(row) for row in found["rows"])
    assert [agent["agent"] for agent in found["agents"]] == ["small", "middle", "large"]
    for agent in found["agents"]:
        assert set(agent["answer_rate"]) == set(agent["auroc"]) == {"performance-first", "balance", "cost-first"}
    assert found["agents"][2]["auroc"]["balance"] is None
    assert any("'large'" in note and "no confidence" in note for note in found["notes"])


def test_the_summary_agrees_with_sums_by_hand(tmp_path: Path) -> None:
    found = run(tmp_path / "run", limit=200)
    table, summary = fitted(found.table, found.network), found.summary
    hardness = np.array([seed_of(0, q) / 2**63 for q in table.query_ids])

    ours, oracle = summary.row("ours", "balance"), summary.row("oracle", "balance")

    # At balance an agent answers if 1 - h * (1 - .5/4) > .5^.5, that is h < .3347: only the small one ever does, and
    # it is right up to .4. All other queries reach the large one, which is right up to .9.
    easy = hardness < (1 - 0.5**0.5) / (1 - 0.5 / 4)
    assert ours.accuracy == pytest.approx((hardness < 0.9).mean())
    assert ours.cost == pytest.approx(np.where(easy, 0.1, 0.9).mean())
    assert ours.cost_full == pytest.approx(np.where(easy, 0.1, 0.9 + 0.01 + 0.04).mean())
    assert ours.utility == pytest.approx(ours.accuracy - 0.5 * ours.cost)
    assert ours.utility_full == pytest.approx(ours.accuracy - 0.5 * ours.cost_full)
    solved = np.select([hardness < 0.4, hardness < 0.7, hardness < 0.9], [0.1, 0.4, 0.9], 0.1)
    assert oracle.cost == pytest.approx(solved.mean())
    assert ours.oracle_share == pytest.approx(ours.utility / oracle.utility)
    assert summary.unsolved == pytest.approx((hardness >= 0.9).mean())
    # 5 tokens read, 30 written at four times the price: 5 / 125; in FLOPs 5 / 35
    assert summary.look_share == pytest.approx(0.04)
    assert summary.look_share_flops == pytest.approx(1 / 7)
    small = summary.agents[0]
    assert small.answer_rate["balance"] == pytest.approx(easy.mean())
    assert small.answer_rate["balance"] < small.answer_rate["cost-first"]
    assert small.auroc["balance"] == 1.0
    # The middle one sees the rest, and rejects all of it.
    assert summary.agents[1].answer_rate["balance"] == pytest.approx(easy.mean())
    assert summary.agents[1].answer_rate_received["balance"] == 0.0
    against = next(r for r in summary.paired if (r.method, r.scenario) == ("largest", "balance"))
    assert against.difference == pytest.approx(ours.utility - summary.row("largest", "balance").utility)
    assert against.difference_ci is not None
    assert against.difference_ci[0] < against.difference < against.difference_ci[1]


def test_equal_evaluations_differ_in_their_timings_only(tmp_path: Path) -> None:
    run(tmp_path / "one", figures=True)
    run(tmp_path / "two", figures=True)

    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert digests(tmp_path / "one", timings=True) != digests(tmp_path / "two", timings=True)


@pytest.mark.parametrize("graded", [0, 16, 100, 370, 400])
def test_an_interrupted_run_ends_with_the_bytes_of_an_uninterrupted_one(tmp_path: Path, graded: int) -> None:
    # 3 agents x 3 scenarios x 40 test queries = 360 grades, then 180 for the validation queries
    run(tmp_path / "whole")

    with pytest.raises(InterruptedRunError, match=r"(?s)kept in .*run the same command again") as stopped:
        run(tmp_path / "halted", Sums(interrupt_after=graded))
    unfinished = digests(tmp_path / "halted", timings=True)
    resumed = run(tmp_path / "halted")

    assert stopped.value.hint is not None
    assert not any(".tmp" in name for name in unfinished)
    assert ("table.parquet" in unfinished) == (graded >= 360)
    assert digests(resumed.folder) == digests(tmp_path / "whole")


def test_resuming_runs_only_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        run(tmp_path / "run", Sums(interrupt_after=130))
    net = network()

    run(tmp_path / "run", net=net)

    looked = [len(agent.looked) for agent in net.agents.values() if isinstance(agent, Guesser)]
    # The small agent's 120 test outcomes are there, and of the middle one's nothing; validation adds 3 x 20 each.
    assert looked == [60, 180, 180]


def test_a_finished_run_is_read_and_not_run_again(tmp_path: Path) -> None:
    first = run(tmp_path / "run")
    net = network()

    again = run(tmp_path / "run", net=net)

    assert again.summary == first.summary
    assert not any(agent.looked for agent in net.agents.values() if isinstance(agent, Guesser))


def test_a_folder_of_another_evaluation_is_refused_naming_the_difference(tmp_path: Path) -> None:
    run(tmp_path / "run")

    with pytest.raises(DataError, match=r"another evaluation: config\.seed is 7 there and 8 now"):
        run(tmp_path / "run", seed=8)
    with pytest.raises(DataError, match=r"config\.network\.agents\[0\]\.price\.cost is 0\.1 there and 0\.05 now"):
        run(tmp_path / "run", net=network(small=0.05))


def test_starting_afresh_replaces_what_the_folder_held(tmp_path: Path) -> None:
    run(tmp_path / "run")

    found = run(tmp_path / "run", seed=8, resume=False)

    assert found.summary.seed == 8
    run(tmp_path / "fresh", seed=8)
    assert digests(tmp_path / "run") == digests(tmp_path / "fresh")


def test_a_strangers_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    for resume in (True, False):
        with pytest.raises(DataError, match="not empty and no run folder"):
            run(tmp_path, resume=resume)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")

    with pytest.raises(DataError, match="is a file, not a run folder"):
        run(tmp_path / "run")


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(tmp_path: Path, limit: int) -> None:
    with pytest.raises(UsageError, match=f"limit {limit} leaves nothing to evaluate"):
        run(tmp_path / "run", limit=limit)
    assert not (tmp_path / "run").exists()


def test_an_empty_suite_is_refused(tmp_path: Path) -> None:
    class Empty(Sums):
        def queries(
            self, domain: str, seed: int, n: int, *, split: Literal["test", "validation"] = "test"
        ) -> list[Query]:
            return []

    with pytest.raises(DataError, match="Suite 'sums' is empty"):
        run(tmp_path / "run", Empty())


def test_a_suite_whose_validation_queries_are_its_test_queries_is_refused(tmp_path: Path) -> None:
    class Leaky(Sums):
        def queries(
            self, domain: str, seed: int, n: int, *, split: Literal["test", "validation"] = "test"
        ) -> list[Query]:
            return super().queries(domain, seed, n)

    with pytest.raises(DataError, match="no validation queries"):
        run(tmp_path / "run", Leaky())


def test_a_scenario_that_weighs_latency_charges_the_seconds_of_the_route(tmp_path: Path) -> None:
    found = run(tmp_path / "run", scenarios=[Scenario(name="fast", alpha=0.5, beta=2.0)])

    assert [(s.name, s.beta) for s in (*found.table.scenarios, *found.validation.scenarios)] == [("fast", 2.0)] * 2
    assert found.validation.look_seconds.max() > 0  # the best single agent is chosen by what it is worth
    row, waited = found.summary.row("ours", "fast"), found.latency[0]
    assert row.utility == pytest.approx(row.accuracy - 0.5 * row.cost - 2.0 * waited.seconds)
    assert row.utility_full == pytest.approx(row.accuracy - 0.5 * row.cost_full - 2.0 * waited.seconds)
    assert 0 < waited.seconds_before_answer < waited.seconds
    assert read_run(found.folder).summary == found.summary


def test_latency_does_not_show_in_the_metrics_where_it_has_no_weight(tmp_path: Path) -> None:
    found = run(tmp_path / "run")

    assert "seconds" not in (found.folder / "metrics.json").read_text(encoding="utf-8")
    assert {row["beta"] for row in json.loads((found.folder / "timings.json").read_text())["latency"]} == {0.0}


def test_any_alpha_is_a_scenario(tmp_path: Path) -> None:
    found = run(tmp_path / "run", scenarios=["balance", 0.35])

    assert [(r.scenario, r.alpha) for r in found.summary.rows if r.method == "ours"] == [
        ("balance", 0.5),
        ("alpha=0.35", 0.35),
    ]


def test_one_query_has_numbers_but_no_intervals(tmp_path: Path) -> None:
    found = run(tmp_path / "run", limit=1, figures=True)

    assert all(row.utility_ci is None for row in found.summary.rows)
    assert any("at least 2 queries" in note for note in found.summary.notes)
    assert len(found.figures) == 4


def test_tables_and_figures_are_remade_without_a_model(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", figures=True).folder
    before = digests(folder, timings=True)
    for path in [folder / "metrics.json", folder / "traces.jsonl", *(folder / "figures").iterdir()]:
        path.unlink()

    found = remake(folder)

    assert digests(folder, timings=True) == before
    assert found.network.chain == ("small", "middle", "large")


def test_a_run_of_token_prices_is_remade_too(tmp_path: Path) -> None:
    agents = [Guesser(name, price=TokenPrice(input=cost, output=4 * cost, unit=1e-4)) for name, cost in COSTS.items()]

    found = run(tmp_path / "run", net=Network("tokens", agents))

    # 5 tokens read at .1 and 30 written at .4 per million, a unit being 1e-4: 12.5e-6 / 1e-4
    assert found.summary.agents[0].cost == pytest.approx(0.125)
    assert read_run(found.folder).summary == found.summary


def test_an_unfinished_run_cannot_be_remade(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        run(tmp_path / "run", Sums(interrupt_after=20))

    with pytest.raises(DataError, match=r"not finished: it has no table\.parquet"):
        remake(tmp_path / "run")


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "is no run folder"), ("{", "damaged"), ("[]", "not the record"), ("{}", "not the record")],
)
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
        (tmp_path / "table.parquet").write_bytes(b"")
        (tmp_path / "validation.parquet").write_bytes(b"")

    with pytest.raises(DataError, match=message):
        read_run(tmp_path)


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    folder = run(tmp_path / "run").folder
    whole = (folder / "table.parquet").read_bytes()
    (folder / "table.parquet").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_run(folder)


def test_the_report_fits_eighty_columns_without_colour(tmp_path: Path) -> None:
    summary = run(tmp_path / "run").summary
    console = Console(width=80, record=True, color_system=None, file=open(os.devnull, "w"))  # noqa: SIM115

    console.print(report(summary))
    console.print(singles_table(summary))

    text = console.export_text()
    console.file.close()
    assert "…" not in text.replace("Ours minus …", "")
    assert "Utility on sums (in-domain), 40 queries, seed 7" in text
    for method in METHODS:
        assert method in text
    assert f"{summary.row('ours', 'balance').utility:.3f}".removeprefix("0") in text


def test_every_method_has_a_colour() -> None:
    assert list(METHOD_COLOURS) == list(METHODS)


def test_figures_are_labelled_pictures_in_both_formats(tmp_path: Path) -> None:
    found = run(tmp_path / "run")

    drawn = draw_all(found.summary, fitted(found.table, found.network), tmp_path / "figures")

    for path in drawn:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.with_suffix(".svg").read_text(encoding="utf-8").startswith("<?xml")
        assert b"Date" not in path.read_bytes()


def test_prices_of_the_network_file_count_not_those_of_the_recording(tmp_path: Path) -> None:
    found = run(tmp_path / "run")
    dearer = Network(
        "dearer",
        [ScriptedAgent(name, price=QueryPrice(cost=cost / 2)) for name, cost in COSTS.items()],
    )

    assert fitted(found.table, dearer).answer_cost.max() == pytest.approx(0.45)
