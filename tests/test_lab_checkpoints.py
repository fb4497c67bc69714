"""What the shipped lab models are: a family of rising ability that knows when it does not know.

One evaluation on a fresh seed serves all tests. The bounds are those of the lab's design, widened by the sampling error
of a small test set; the exact figures stand in the model card and in docs/lab.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from disrouter.config import load
from disrouter.evaluation.metrics import auroc
from disrouter.evaluation.replay import traces
from disrouter.evaluation.runs import Run, evaluate
from disrouter.evaluation.suites import suite_of
from disrouter.evaluation.traces import trace_line
from disrouter.lab.family import FAMILY, checkpoint_path
from disrouter.lab.suite import LabSuite

SEED = 4242
TARGETS = {"agent-1": 0.38, "agent-2": 0.60, "agent-3": 0.72, "agent-4": 0.81, "agent-5": 0.85}
SAMPLING = 0.03  # about 1.5 standard errors of a share at 560 queries


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("lab") / "run"
    return evaluate(
        load("lab"), suite_of("lab"), domain="in", seed=SEED, limit=560, run_dir=folder, progress=False, figures=False
    )


def test_accuracy_rises_with_size_towards_the_papers_spacing(run: Run) -> None:
    accuracies = {agent.agent: agent.accuracy for agent in run.summary.agents}

    assert list(accuracies.values()) == sorted(accuracies.values())
    assert accuracies == pytest.approx(TARGETS, abs=0.06 + SAMPLING)


def test_some_queries_are_beyond_every_agent(run: Run) -> None:
    assert 0.05 - SAMPLING <= run.summary.unsolved <= 0.12 + SAMPLING


def test_answers_are_long_and_looking_is_cheap(run: Run) -> None:
    assert run.summary.answer_tokens_mean >= 25
    assert run.summary.look_share is not None
    assert run.summary.look_share <= 0.10


def test_the_specialist_knows_more_facts_than_the_next_larger_agent(run: Run) -> None:
    facts = [place for place, dataset in enumerate(run.table.datasets) if dataset == "facts"]
    second, third = (run.table.agents.index(name) for name in ("agent-2", "agent-3"))

    assert run.table.score[:, second, facts].mean() > run.table.score[:, third, facts].mean()


def test_agents_know_what_they_know_and_say_it_in_numbers_that_mean_it(run: Run) -> None:
    # Measured at n = 2,100 (docs/lab.md): AUROC from .94, calibration error up to .03.
    for agent in run.summary.agents[:-1]:
        for scenario, value in agent.auroc.items():
            error = agent.ece[scenario]
            assert value is not None and error is not None
            assert value > 0.9, (agent.agent, scenario)
            assert error < 0.03 + SAMPLING, (agent.agent, scenario)


def test_agents_know_themselves_on_skills_of_which_no_answer_was_graded(tmp_path: Path) -> None:
    # Measured at n = 2,100 (docs/lab.md): above .9 for all. agent-4 would double the time.
    network = load("lab").without("agent-4")

    out = evaluate(
        network, suite_of("lab"), domain="out", seed=SEED, limit=300, run_dir=tmp_path / "run", progress=False,
        figures=False,
    )  # fmt: skip

    for agent in out.summary.agents[:-1]:
        assert agent.auroc["balance"] is not None
        assert agent.auroc["balance"] > 0.85, agent.agent


def test_every_rejecting_agent_answers_more_and_costs_fall_as_cost_matters_more(run: Run) -> None:
    order = ("performance-first", "balance", "cost-first")

    for agent in run.summary.agents[:-1]:
        rates = [agent.answer_rate[name] for name in order]
        assert rates == sorted(rates), agent.agent
    costs = [run.summary.row("ours", name).cost for name in order]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("scenario", ["performance-first", "balance", "cost-first"])
def test_self_routing_beats_random_and_every_single_agent(run: Run, scenario: str) -> None:
    ours = run.summary.row("ours", scenario)

    assert ours.utility > run.summary.row("random", scenario).utility
    for single in run.summary.singles:
        if single.scenario == scenario:
            assert single.difference_ci is not None
            assert single.difference_ci[0] > 0, single.agent


@pytest.mark.parametrize(
    ("scenario", "papers_share"), [("performance-first", 0.83), ("balance", 0.72), ("cost-first", 0.61)]
)
def test_the_share_of_the_oracle_is_at_least_that_of_the_papers_sft(
    run: Run, scenario: str, papers_share: float
) -> None:
    share = run.summary.row("ours", scenario).oracle_share

    assert share is not None
    assert share >= papers_share


def test_the_agents_trained_as_in_the_paper_answer_more_as_cost_matters_more(tmp_path: Path) -> None:
    network = load("lab-paper").without("agent-4")

    paper = evaluate(
        network, suite_of("lab"), domain="in", seed=SEED, limit=280, run_dir=tmp_path / "run", progress=False,
        figures=False,
    )  # fmt: skip

    for agent in paper.summary.agents[:-1]:
        rates = [agent.answer_rate[name] for name in ("performance-first", "balance", "cost-first")]
        assert rates == sorted(rates), agent.agent
    for scenario in ("performance-first", "balance"):
        assert paper.summary.row("ours", scenario).utility > paper.summary.row("best-single", scenario).utility


def test_dropping_two_agents_needs_no_retraining(run: Run, tmp_path: Path) -> None:
    network = load("lab").without("agent-2", "agent-4")

    smaller = evaluate(
        network,
        suite_of("lab"),
        domain="in",
        seed=SEED,
        limit=140,
        run_dir=tmp_path / "run",
        scenarios=["balance"],
        progress=False,
        figures=False,
    )

    assert [agent.agent for agent in smaller.summary.agents] == ["agent-1", "agent-3", "agent-5"]
    assert smaller.summary.row("ours", "balance").utility > smaller.summary.row("random", "balance").utility


async def test_replay_gives_the_traces_of_live_routing(run: Run) -> None:
    network = load("lab")
    queries = LabSuite().queries("in", SEED, 560)[:200]
    places = {query.id: place for place, query in enumerate(queries)}
    replayed = {
        (trace.query_id, trace.scenario.name): trace_line(trace)
        for trace in traces(run.table, run.network, scored=False)
        if trace.query_id in places
    }

    live = {}
    for index, query in enumerate(queries):
        scenario = run.table.scenarios[index % len(run.table.scenarios)]
        trace = await network.route(query, scenario)
        live[query.id, scenario.name] = trace_line(trace)

    assert len(live) == 200
    assert live == {key: replayed[key] for key in live}


def test_the_same_seed_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]

    for folder in folders:
        evaluate(
            load("lab"), suite_of("lab"), domain="out", seed=3, limit=30, run_dir=folder, progress=False, figures=False
        )

    for name in ("traces.jsonl", "table.parquet", "metrics.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_checkpoints_ship_small_and_as_safetensors_only() -> None:
    root = checkpoint_path(FAMILY[0].name).parents[1]
    files = [file for file in root.rglob("*") if file.is_file() and not file.relative_to(root).parts[0].startswith(".")]

    assert sum(file.stat().st_size for file in files) < 40e6
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".jinja", ".md"}


def test_auroc_is_computed_on_all_queries(run: Run) -> None:
    scores = run.table.score[1, 0]
    confidence = run.table.confidence[1, 0]

    assert run.summary.agents[0].auroc["balance"] == pytest.approx(auroc(confidence, scores >= 0.5))
