"""After how many queries a training has paid for itself: ledgers, savings, prices, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from disrouter.cli import cli
from disrouter.errors import DataError, UsageError
from disrouter.evaluation.outcomes import Outcome, OutcomeTable
from disrouter.training.payback import Prices, Saving, payback, spent

NETWORK = """\
name: {name}
agents:
  - {{name: small, backend: recorded, model: {name}.parquet, price: {{cost: 0.1, look_share: 0}}}}
  - {{name: large, backend: recorded, model: {name}.parquet, price: {{cost: 0.9, look_share: 0}},
     self_assessment: none}}
"""


def saves(cost: float, low: float, high: float, *, utility: float = 0.0, alpha: float = 0.5) -> Saving:
    return Saving(
        scenario="balance",
        alpha=alpha,
        queries=100,
        cost=cost,
        cost_interval=(low, high),
        accuracy=0.0,
        utility=utility,
        utility_interval=None,
    )


def write_ledger(folder: Path, agent: str, seconds: float | None = 1800.0) -> None:
    stages = {"head": {"sampled_tokens": 1_000_000, "trained_tokens": 500_000, "flops": 2e15, "seconds": seconds}}
    (folder / agent).mkdir(parents=True)
    (folder / agent / "ledger.json").write_text(json.dumps({"weights": 10, "stages": stages}))


def test_ledgers_of_all_agents_are_added_up_and_priced(tmp_path: Path) -> None:
    write_ledger(tmp_path, "small")
    write_ledger(tmp_path, "large", seconds=None)

    took = spent(tmp_path)

    assert (took.agents, took.tokens, took.seconds) == (("large", "small"), 3_000_000, 1800.0)
    assert took.untimed == ("large/head",)
    assert took.money(Prices(hour=4.0)) == 2.0
    assert took.money(Prices(million_tokens=0.5)) == 1.5
    assert took.money(Prices(exaflop=1000.0)) == pytest.approx(4.0)
    assert took.money(Prices(watts=400.0, kilowatt_hour=0.30)) == pytest.approx(0.5 * 0.4 * 0.30)
    assert took.money(Prices(hour=4.0, million_tokens=0.5)) == 3.5


def test_a_saving_pays_for_the_training_after_so_many_queries(tmp_path: Path) -> None:
    write_ledger(tmp_path, "small")
    took = spent(tmp_path)

    found = payback(took, saves(0.2, 0.1, 0.4, utility=0.05), Prices(hour=4.0), unit=0.01)

    # 2.00 at 0.2 x 0.01 = 0.002 a query: 1,000; at the ends of the interval 500 and 2,000.
    # A utility of .05 at alpha .5 is worth a cost of .1, 0.001 a query: 2,000.
    assert (found.money, found.queries, found.between, found.queries_by_worth) == (2.0, 1_000, (500, 2_000), 2_000)
    assert found.saved == pytest.approx(0.002)
    assert found.worth == pytest.approx(0.001)


def test_a_saving_that_may_be_none_may_never_pay(tmp_path: Path) -> None:
    write_ledger(tmp_path, "small")

    unsure = payback(spent(tmp_path), saves(0.1, -0.1, 0.2), Prices(hour=4.0), unit=0.01)
    never = payback(spent(tmp_path), saves(-0.1, -0.2, -0.05, alpha=0.0), Prices(hour=4.0), unit=0.01)

    assert unsure.between == (1_000, None)
    assert (never.queries, never.between, never.worth) == (None, None, None)


def test_what_cannot_be_paid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Without a price"):
        Prices()
    with pytest.raises(UsageError, match="Without a price"):
        Prices(watts=400.0)
    with pytest.raises(UsageError, match="from 0"):
        Prices(hour=-1.0)
    with pytest.raises(DataError, match="no training"):
        spent(tmp_path)
    write_ledger(tmp_path, "small")
    with pytest.raises(UsageError, match="unit of 0"):
        payback(spent(tmp_path), saves(0.1, 0.0, 0.2), Prices(hour=1.0), unit=0.0)
    (tmp_path / "small" / "ledger.json").write_text('{"stages": {"sft": {}}}')
    with pytest.raises(DataError, match="damaged"):
        spent(tmp_path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two evaluations: before, small passes everything on; after, it answers every second query."""
    folder = tmp_path_factory.mktemp("runs")
    queries = [
        {"id": f"q{q}", "query": f"{q}?", "reference": "1", "grader": "exact", "split": split}
        for q, split in [*((q, "test") for q in range(40)), *((q, "validation") for q in range(40, 50))]
    ]
    (folder / "suite.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    write_ledger(folder / "training", "small")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, answers in (("before", 0), ("after", 2)):
            OutcomeTable.of(
                Outcome(
                    query_id=f"q{q}",
                    agent=agent,
                    scenario="balance",
                    alpha=0.5,
                    score=1.0,
                    confidence=float(answers > 0 and q % answers == 0) if agent == "small" else None,
                    answer="1",
                )
                for agent in ("small", "large")
                for q in range(50)
            ).write(folder / f"{name}.parquet")
            (folder / f"{name}.yaml").write_text(NETWORK.format(name=name))
            made = run("eval", "--network", f"{name}.yaml", "--suite", "suite.jsonl", "--limit", "40", "--scenario",
                       "balance", "--run-dir", name)  # fmt: skip
            assert made.exit_code == 0, made.stderr
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_the_command_compares_two_runs(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    options = ("payback", "training", "--without", "before", "--with", "after", "--per-hour", "€4", "--unit", "0.01")

    text, values = run(*options), json.loads(run(*options, "--json").stdout)

    # Every second query costs .1 instead of .9: .4 saved on average, and 2.00 / (.4 x 0.01) = 500.
    assert values["saving"]["cost"] == pytest.approx(0.4)
    assert values["queries"] == 500
    assert values["between"][0] < 500 < values["between"][1]
    assert "pays for itself after 500 queries" in text.stdout


def test_the_command_refuses_what_does_not_fit(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    options = ("payback", "training", "--without", "before", "--with", "after")

    assert "Without a price" in run(*options, "--unit", "1").stderr
    assert "--unit 0.01" in run(*options, "--per-hour", "1").stderr
    assert run(*options, "--per-hour", "1", "--unit", "1", "--scenario", "cost-first").exit_code == 2
    assert run("payback", "before", *options[2:], "--per-hour", "1", "--unit", "1").exit_code == 2
