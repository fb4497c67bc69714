"""``disrouter plan``: what it prints and keeps, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from disrouter.cli import cli
from disrouter.cli._quantities import money, rate, seconds
from disrouter.errors import UsageError
from disrouter.evaluation.outcomes import Outcome, OutcomeTable
from disrouter.planning import Effort, Plan

NETWORK = """\
name: pool
agents:
  - {name: small, backend: recorded, model: table.parquet, price: {cost: 0.1}, concurrency: 4}
  - {name: large, backend: recorded, model: table.parquet, price: {cost: 0.9}, self_assessment: none, concurrency: 4}
policy: paper
"""
LOAD = ("plan", "--network", "pool.yaml", "--traces", "table.parquet", "--queries", "500", "--qps", "20")
PRICES = ("--cost-per-hour", "small=€0.50", "--cost-per-hour", "large=4")


@pytest.fixture(autouse=True)
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network of two recorded agents that look for .05 s and answer for .2 s and 1 s; studies stay short."""
    OutcomeTable.of(
        Outcome(
            query_id=f"q{q}",
            agent=agent,
            scenario="balance",
            alpha=0.5,
            score=float(agent == "large" or q % 2 == 0),
            confidence=q / 40 if agent == "small" else None,
            answer="so",
            answer_tokens=10,
            look_cost=cost / 10,
            answer_cost=cost,
            look_seconds=0.05 if agent == "small" else 0.0,
            answer_seconds=0.2 if agent == "small" else 1.0,
        )
        for agent, cost in (("small", 0.1), ("large", 0.9))
        for q in range(40)
    ).write(tmp_path / "table.parquet")
    (tmp_path / "pool.yaml").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("disrouter.planning.studies.SHORT", Effort(500, 1))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_a_plan_is_printed_drawn_and_kept(pool: Path) -> None:
    result = run(*LOAD, "--p95", "2s", *PRICES)

    assert result.exit_code == 0
    for words in (
        "small",
        "large",
        "whole answer: p50",
        "first word: p50",
        "an hour",
        "at other alphas",
        "other loads",
    ):
        assert words in result.stdout
    kept = json.loads((pool / "runs/plan-pool/plan.json").read_text())
    assert kept["kept"]
    assert (pool / "runs/plan-pool/plan.png").stat().st_size > 10_000
    assert "figure: runs/plan-pool/plan.png" in result.stderr


def test_json_is_the_whole_plan() -> None:
    result = run(*LOAD, "--p95", "2s", *PRICES, "--mtbf", "1h", "--json", "--out", "here")

    found = json.loads(result.stdout)
    assert found["schema"] == 1
    assert found["promise"] == {"p95": 2.0, "unanswered": 0.001, "budget": None}
    small, large = found["hosts"]
    assert small["agents"][0]["look_share"] == 1.0
    # A confidence of q/40 above (1 - .5)^.5 = .707 answers: q from 29 on, 11 of 40.
    assert small["agents"][0]["answer_share"] == pytest.approx(11 / 40)
    assert large["agents"][0]["answer_seconds"] == 1.0
    assert found["cost_per_hour"] == pytest.approx(small["replicas"] * 0.5 + large["replicas"] * 4)
    assert [variant["alpha"] for variant in found["variants"]] == [0.2, 0.5, 0.8]
    assert found["variants"][0]["accuracy"] > found["variants"][2]["accuracy"]
    assert [one["host"] for one in found["one_replica_less"]] == ["small", "large"]
    assert len(found["loads"]) == 8
    assert found["end"]["p95"] <= 2.0


def test_the_same_seed_prints_the_same_bytes_and_another_one_others() -> None:
    one, same, other = (
        run(*LOAD, "--p95", "2s", "--alphas", "none", "--json", "--seed", seed).stdout for seed in ("1", "1", "2")
    )

    assert one == same
    assert one != other


def test_a_promise_that_cannot_be_kept_says_why_and_what_would_help() -> None:
    result = run(*LOAD, "--p95", "500ms")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "No number of replicas keeps a p95 of 0.5 s: without any waiting it is 1.05 s" in result.stderr
    assert "make 'large' faster" in result.stderr


def test_a_budget_that_is_too_small_prints_the_best_plan_and_fails() -> None:
    needed = json.loads(run(*LOAD, "--p95", "1.2s", *PRICES, "--alphas", "none", "--json").stdout)["cost_per_hour"]

    result = run(*LOAD, "--p95", "1.2s", *PRICES, "--budget", str(needed - 3.5), "--alphas", "none")

    assert result.exit_code == 1
    assert "whole answer" in result.stdout
    assert "buys a p95 of" in result.stderr
    assert f"{needed:g} an hour" in result.stderr


def test_standing_replicas_are_judged() -> None:
    result = run(*LOAD, "--replicas", "small=2", "--replicas", "large=5", "--p95", "9s", "--alphas", "none", "--json")

    assert [host["replicas"] for host in json.loads(result.stdout)["hosts"]] == [2, 5]


def test_agents_on_one_machine_gateways_and_given_seconds_are_planned() -> None:
    options = ("--together", "small,large", "--seconds", "large=0,0.4,1", "--gateway-time", "1ms", "--slowdown",
               "small+large=1:1,8:2", "--cost-per-hour", "2", "--alphas", "none", "--json")  # fmt: skip

    found = json.loads(run(*LOAD, "--p95", "4s", *options).stdout)

    assert [host["host"] for host in found["hosts"]] == ["small+large", "gateway"]
    assert found["hosts"][0]["agents"][1]["answer_seconds"] == pytest.approx(0.4)
    assert found["hosts"][0]["slowdown"] == "1:1,8:2"


def test_traces_of_a_gateway_say_nothing_of_other_alphas(pool: Path) -> None:
    hop = {"agent": "large", "decision": "answer", "cost": 0.9, "seconds": 1.0, "reason": None}
    lines = [json.dumps({"time": 5.0 + n, "alpha": 0.5, "scenario": "balance", "hops": [hop]}) for n in range(9)]
    (pool / "traces.jsonl").write_text("\n".join(lines))
    options = ("plan", "--network", "pool.yaml", "--traces", "traces.jsonl", "--queries", "500")

    result = run(*options, "--qps", "7200/h", "--p95", "2s", "--arrivals", "traces")

    assert result.exit_code == 0
    assert "at other alphas" not in result.stdout
    assert "only outcomes of every agent tell" in result.stdout


def test_a_plan_can_be_stopped(monkeypatch: pytest.MonkeyPatch, pool: Path) -> None:
    def stop(*_: object, **__: object) -> Plan:
        raise KeyboardInterrupt

    monkeypatch.setattr("disrouter.planning.search.trial", stop)

    result = run(*LOAD, "--p95", "2s")

    assert result.exit_code == 130
    assert result.stderr.endswith("Stopped by the user.\n")
    assert not (pool / "runs").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--qps", "0"), "--qps '0' is not usable"),
        (("--qps", "-5"), "--qps '-5' is not usable"),
        (("--qps", "ten"), "--qps 'ten' is not usable"),
        (("--p95", "soon"), "--p95 'soon' is not usable"),
        (("--p95", "0s"), "--p95 '0s' is not usable"),
        (("--traces", "nowhere"), "There is nothing at 'nowhere'"),
        (("--seconds", "medium=1,2"), "Unknown agent 'medium'"),
        (("--seconds", "large=1"), "'1' is not usable"),
        (("--seconds", "1,2"), "names no agent"),
        (("--seconds", "large=0,0"), "are not usable"),
        (("--concurrency", "large=0"), "'0' is not usable"),
        (("--concurrency", "medium=2"), "Unknown agent 'medium'"),
        (("--slowdown", "large=2:1"), "it must begin with 1:1"),
        (("--cost-per-hour", "large=2"), "missing of 'small'"),
        (("--cost-per-hour", "large=much"), "'much' is not usable"),
        (("--cost-per-hour", "1", "--cost-per-hour", "2"), "given twice"),
        (("--budget", "5"), "A budget needs prices"),
        (("--replicas", "medium=2"), "Unknown agent 'medium'"),
        (("--together", "small,medium"), "Unknown agent 'medium'"),
        (("--arrivals", "traces"), "not known when"),
        (("--alphas", "2"), "alpha 2 is out of range"),
        (("--queries", "10"), "give a number from 500"),
        (("--policy", "guess"), "Unknown policy 'guess'"),
        (("--max-unanswered", "1"), "--max-unanswered"),
    ],
)
def test_unusable_options_are_refused(options: tuple[str, ...], said: str) -> None:
    result = run(*LOAD, "--p95", "2s", *options)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_something_must_be_asked_of_a_plan() -> None:
    assert "Nothing is asked of the plan" in run(*LOAD).stderr


def test_agents_whose_seconds_nobody_knows_are_named(pool: Path) -> None:
    hop = {"agent": "large", "decision": "answer", "cost": 0.9, "reason": None}
    (pool / "eval.jsonl").write_text(json.dumps({"scenario": {"alpha": 0.5}, "hops": [hop]}))

    result = run("plan", "--network", "pool.yaml", "--traces", "eval.jsonl", "--qps", "1", "--p95", "2s")

    assert result.exit_code == 2
    assert "There are no seconds of 'large'" in result.stderr
    assert "--seconds large=" in result.stderr


def test_quantities_are_read_with_their_units() -> None:
    assert [seconds(text, "--x") for text in ("2s", "500ms", "1.5", "10m", "24h", "1d")] == [
        2,
        0.5,
        1.5,
        600,
        86400,
        86400,
    ]
    assert [rate(text, "--x") for text in ("500", "30/m", "7200/h", "5/s")] == [500, 0.5, 2, 5]
    assert [money(text, "--x") for text in ("2.50", "€2.50", "$ 3", "0")] == [2.5, 2.5, 3, 0]
    for read, text in ((seconds, "1y"), (seconds, ""), (rate, "5/w"), (rate, "nan"), (money, "-1"), (money, "inf")):
        with pytest.raises(UsageError, match="not usable"):
            read(text, "--x")
