"""The ladder, the area under utility, and settings that keep a promise about cost or accuracy."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pytest import approx

from disrouter.cli import cli
from disrouter.errors import ConfigError, DataError, UsageError
from disrouter.evaluation.ladder import ALPHAS, area, at_alphas, best_gamma, ladder
from disrouter.evaluation.outcomes import CELLS, OutcomeTable
from disrouter.evaluation.replay import fitted, replay
from disrouter.evaluation.tuning import alpha_for_budget, floor_for_drop, violations, with_floor
from disrouter.lab.suite import LabSuite
from disrouter.network import Network
from disrouter.policies import PaperThreshold, policy_of
from disrouter.utility import BALANCE, COST_FIRST
from planted import COSTS, planted_network, planted_table


@pytest.fixture(scope="module")
def network() -> Network:
    return planted_network()


def test_the_ladder_climbs_where_downstream_agents_are_known(network: Network) -> None:
    found = ladder(planted_table(1500, 1), planted_table(400, 2), network, seed=3)

    for scenario in ("performance-first", "balance", "cost-first"):
        rungs = [rung for rung in found.rungs if rung.scenario == scenario]
        assert [rung.policy for rung in rungs][3:] == ["value of forwarding", "+ skipping", "+ grades", "+ recall"]
        assert rungs[-1].utility_full >= rungs[1].utility_full - 1e-9
        assert rungs[0].gain is None
        assert all(
            rung.gain == approx(rung.utility_full - below.utility_full) for below, rung in itertools.pairwise(rungs)
        )
    # A fifth of the queries is hopeless: whoever knows that does not pay 0.9 for them where cost counts.
    last, paper = (
        next(r for r in found.rungs if r.scenario == "cost-first" and r.policy == p)
        for p in ("+ recall", "(1 − α)^0.5")
    )
    assert last.utility_full > paper.utility_full + 0.02


def test_the_best_gamma_is_chosen_by_utility_on_the_queries_given(network: Network) -> None:
    validation = fitted(planted_table(500, 4), network)

    chosen = best_gamma(validation, network)

    def worth(gamma: float) -> float:
        choice = replay(validation, network.replace(policy=PaperThreshold(gamma))).choice
        alphas = np.array([s.alpha for s in validation.scenarios])[:, None]
        return float((choice.score - alphas * choice.cost).mean())

    assert worth(chosen) == approx(max(worth(g) for g in (0.1, 0.25, 0.5, 1.0, chosen)))


def test_a_table_can_be_read_at_any_alpha() -> None:
    table = planted_table(60, 5)

    wide = at_alphas(table, [0.0, 0.35, 1.0])

    assert [s.alpha for s in wide.scenarios] == [0.0, 0.35, 1.0]
    assert np.array_equal(wide.score[1], table.score[0])


def test_alphas_that_agents_would_read_otherwise_need_their_scenario() -> None:
    table = planted_table(60, 5)
    confidence = table.confidence.copy()
    confidence[1] *= 0.5  # in balance the agents speak differently
    two = replace(
        table,
        scenarios=table.scenarios[:2],
        **{name: getattr(table, name)[:2] for name in CELLS if name != "confidence"},
        confidence=confidence[:2],
    )

    only = at_alphas(two, [0.5])

    assert np.array_equal(only.confidence[0], confidence[1], equal_nan=True)
    with pytest.raises(DataError, match="no scenario 'cost-first'"):
        at_alphas(two, [0.8])


def test_the_area_is_the_mean_of_the_curve(network: Network) -> None:
    found = area(planted_table(300, 6), network)

    assert len(found.curve_full) == len(ALPHAS) == 21
    assert found.value_full == approx(sum(found.curve_full) / 21)
    assert found.per_query.mean() == approx(found.value_full)
    assert found.value > found.value_full


@pytest.mark.parametrize("budget", [0.12, 0.2, 0.3])
def test_a_budget_is_spent_but_not_exceeded(network: Network, budget: float) -> None:
    validation = planted_table(800, 7)

    found = alpha_for_budget(validation, network, budget)

    assert budget - 0.02 <= found.cost <= budget
    assert found.thrift == 1.0 or found.alpha == 1.0
    spent = replay(
        at_alphas(fitted(planted_table(800, 8), network), [found.alpha]),
        network.replace(policy=policy_of({"name": "value-of-forwarding", "thrift": found.thrift})),
    ).choice.cost_full.mean()
    assert 0.1 <= spent <= 1.1 * budget  # other queries of the same mix


def test_a_budget_that_is_never_reached_costs_no_quality(network: Network) -> None:
    assert alpha_for_budget(planted_table(200, 7), network, 5.0).alpha == 0.0


@pytest.mark.parametrize("budget", [0.05, 0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_below_the_cheapest_agent_is_refused(network: Network, budget: float) -> None:
    with pytest.raises(UsageError, match=r"below 0\.1, what the cheapest agent costs"):
        alpha_for_budget(planted_table(100, 7), network, budget)


def test_a_budget_beyond_what_a_policy_can_save_is_refused() -> None:
    network = planted_network(PaperThreshold(8.0), cards=False)
    table = planted_table(200, 7)
    silent = np.where(np.isnan(table.confidence), np.nan, 0.0)
    table = replace(table, confidence=silent)  # everybody rejects, whatever the alpha

    with pytest.raises(UsageError, match="the least this network spends"):
        alpha_for_budget(table, network, 0.3)


def test_a_promised_accuracy_holds_on_other_queries(network: Network) -> None:
    promised = floor_for_drop(planted_table(2000, 9), network, 0.03, COST_FIRST)

    floored = network.replace(policy=with_floor(network.policy, promised.floor))
    table = fitted(planted_table(2000, 10), network)
    routed, free = replay(table, floored).choice, replay(table, network).choice
    most = table.score[2, table.agent_index("large")]
    assert promised.drop <= 0.03
    assert (most - routed.score[2]).mean() <= 0.045  # the promise is one of expectation
    assert (most - free.score[2]).mean() > (most - routed.score[2]).mean()
    assert routed.cost_full[2].mean() < 0.9


def test_promises_are_seldom_broken(network: Network) -> None:
    broken, mean = violations(planted_table(2000, 11), network, 0.05, BALANCE, splits=100, seed=1)

    assert broken <= 0.5
    assert mean <= 0.05


@pytest.mark.parametrize(("drop", "words"), [(1.5, "out of range"), (-0.1, "out of range"), (0.0, "No floor promises")])
def test_promises_nobody_can_keep_are_refused(network: Network, drop: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        floor_for_drop(planted_table(100, 12), network, drop, BALANCE)


def test_only_a_policy_with_a_floor_can_promise_accuracy() -> None:
    with pytest.raises(UsageError, match="Policy 'paper' has no confidence floor"):
        with_floor(PaperThreshold(), 0.5)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"floor": 1.5}, "floor 1.5"),
        ({"thrift": 0.5}, "thrift 0.5"),
        ({"thrift": 1e7}, "from 1 to 1,000,000"),
        ({"look_weight": 0.9}, "look_weight 0.9"),
        ({"look_weight": 2e6}, "from 1 to 1,000,000"),
        ({"skip": 1}, "skip 1 is neither"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        policy_of({"name": "value-of-forwarding", **setting})


NETWORK = """\
name: recorded
agents:
  - {name: small, backend: recorded, model: table.parquet, price: {cost: 0.1, look_share: 0.05}%s}
  - {name: middle, backend: recorded, model: table.parquet, price: {cost: 0.4, look_share: 0.05}%s}
  - {name: large, backend: recorded, model: table.parquet, price: {cost: 0.9, look_share: 0.05}%s}
policy: %s
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with recorded outcomes, a suite of their queries, and a network file without cards."""
    table = planted_table(900, 13)
    table.write(tmp_path / "table.parquet")
    with (tmp_path / "suite.jsonl").open("w") as suite:
        for place, query in enumerate(table.query_ids):
            split = "validation" if place % 3 == 0 else "test"
            row = {"id": query, "query": f"query {query}", "reference": "yes", "grader": "exact", "split": split}
            suite.write(json.dumps(row) + "\n")
    (tmp_path / "plain.yaml").write_text(NETWORK % ("", "", "", "paper"))
    cards = [f", card: cards/{name}/agent-card.json" for name in COSTS]
    (tmp_path / "net.yaml").write_text(NETWORK % (*cards, "value-of-forwarding"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def test_cards_are_measured_shown_and_routed_by(work: Path) -> None:
    fitted_ = run("cards", "fit", "--network", "plain.yaml", "--table", "table.parquet", "--output", "cards", "--json")
    assert fitted_.exit_code == 0, fitted_.output
    assert [row["name"] for row in json.loads(fitted_.stdout)["agents"]] == list(COSTS)

    shown = run("cards", "show", "--network", "net.yaml")
    assert shown.exit_code == 0, shown.output
    assert "large" in shown.stdout and "share of queries" in shown.stdout

    evaluated = run("eval", "--network", "net.yaml", "--suite", "suite.jsonl", "--limit", "400", "--run-dir", "run")
    assert evaluated.exit_code == 0, evaluated.output
    climbed = run("ladder", "run", "--json")
    assert climbed.exit_code == 0, climbed.output
    assert {rung["policy"] for rung in json.loads(climbed.stdout)["rungs"]} >= {"own word", "+ recall"}
    assert (work / "run" / "figures" / "ladder.png").stat().st_size > 10_000
    assert "Utility over 21 alphas" in run("ladder", "run", "--no-figures").stdout

    spent = run("tune", "run", "--budget", "0.3", "--json")
    assert spent.exit_code == 0, spent.output
    assert json.loads(spent.stdout)["validation_cost"] <= 0.3
    kept = run("tune", "run", "--max-accuracy-drop", "0.1")
    assert kept.exit_code == 0, kept.output
    assert "in the network file:" in kept.stdout


def test_pretraining_problems_are_asked_besides_and_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    agents = "".join(
        f"\n  - {{name: agent-{k}, backend: transformers, model: 'lab:agent-{k}', price: {{cost: 0.{k}}},"
        " self_assessment: head, scenario_prompt: false}"
        for k in (1, 2)
    )
    Path("two.yaml").write_text(f"name: two\nagents:{agents}\npolicy: paper\n")
    command = ("cards", "fit", "--network", "two.yaml", "--queries", "60", "--output", "cards")
    assert run(*command).exit_code == 0
    plain = Path("cards/agent-1/agent-card.json").read_text()
    (asked,) = Path("runs").glob("*-in-seed0-n60-*/table.parquet")
    before = asked.stat().st_mtime_ns

    replayed = run(*command, "--replay", "70")

    assert replayed.exit_code == 0, replayed.output
    card = json.loads(Path("cards/agent-1/agent-card.json").read_text())
    assert card["provenance"] == {"suite": "lab", "domain": "in", "seed": 0, "replay": 70, "queries": 130}
    assert card["solves"] != json.loads(plain)["solves"]
    assert asked.stat().st_mtime_ns == before
    (recited,) = Path("runs").glob("*-replay-seed0-n70-*/table.parquet")
    table = OutcomeTable.read(recited)
    drawn = LabSuite().replay(70, int(table.query_ids[0].split("-")[1]))
    assert {query.dataset for query, _ in drawn} > {"sub", "shift", "max"}
    solutions = [solution for _, solution in drawn]
    words = (table.answer[0] == np.array(solutions, dtype=object)).astype(float)
    assert 0.3 < words.mean() < 0.9
    np.testing.assert_array_equal(table.score[0], words)


def test_a_newcomer_is_measured_on_the_others_scale(work: Path) -> None:
    run("cards", "fit", "--network", "plain.yaml", "--table", "table.parquet", "--output", "cards")
    before = (work / "cards" / "small" / "agent-card.json").read_bytes()
    joined = run(
        *("cards", "fit", "--network", "net.yaml", "--table", "table.parquet", "--agents", "middle", "--output", "new")
    )

    assert joined.exit_code == 0, joined.output
    assert not (work / "new" / "small").exists()
    assert (work / "cards" / "small" / "agent-card.json").read_bytes() == before
    scales = [json.loads((work / d / "middle" / "agent-card.json").read_text())["scale"] for d in ("cards", "new")]
    assert scales[0] == scales[1]


def test_no_card_is_needed_to_measure_one_whatever_the_file_says_of_cards_and_of_the_rule(work: Path) -> None:
    (work / "cards" / "large").mkdir(parents=True)
    (work / "cards" / "large" / "agent-card.json").write_text("{}")  # of an earlier release, say

    measured = run("cards", "fit", "--network", "net.yaml", "--table", "table.parquet", "--output", "cards")

    assert measured.exit_code == 0, measured.output
    assert run("cards", "show", "--network", "net.yaml").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ladder", "nowhere"], "no run folder"),
        (["tune", "nowhere"], "Give either --budget or --max-accuracy-drop"),
        (["tune", "nowhere", "--budget", "0.2", "--scenario", "balance"], "leave one of them out"),
        (["cards", "fit", "--network", "lab", "--table", "table.parquet"], "part of the package"),
        (["cards", "fit", "--network", "plain.yaml", "--table", "table.parquet"], "no folder here"),
        (
            ["cards", "fit", "--network", "plain.yaml", "--table", "table.parquet", "--agents", "big", "--output", "o"],
            "Unknown agent 'big'",
        ),
        (
            [
                "cards",
                "fit",
                "--network",
                "plain.yaml",
                "--table",
                "table.parquet",
                "--agents",
                "small",
                "--output",
                "o",
            ],
            "no scale to measure",
        ),
        (
            ["cards", "fit", "--network", "plain.yaml", "--suite", "suite.jsonl", "--replay", "9", "--output", "o"],
            "no pretraining text to replay",
        ),
        (
            ["cards", "fit", "--network", "lab", "--table", "table.parquet", "--replay", "9", "--output", "o"],
            "--table takes outcomes as they are",
        ),
        (["cards", "fit", "--network", "lab", "--replay", "-1", "--output", "o"], "give a number from 0"),
        (
            ["cards", "fit", "--network", "plain.yaml", "--agents", "big", "--suite", "nowhere.jsonl"],
            "Unknown agent 'big'",
        ),
        (["cards", "show", "--network", "net.yaml"], "There is no agent card"),
        (
            ["eval", "--network", "plain.yaml", "--policy", "value-of-forwarding", "--suite", "suite.jsonl"],
            "no agent card of",
        ),
    ],
)
def test_mistakes_are_told_in_a_sentence(work: Path, arguments: list[str], words: str) -> None:
    result = run(*arguments)

    assert result.exit_code != 0
    assert words in " ".join(result.output.split())
    assert "Traceback" not in result.output
