"""The commands of self-awareness training: profile, train, calibrate, recipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from disrouter.cli import cli
from disrouter.lab.family import checkpoint_path

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

RECIPE = """
name: one
mode: calibrated
suite: lab
max_tokens: 32
agents:
  - {name: small, model: "lab:agent-1", price: {cost: 0.1}}
  - {name: last, model: "lab:agent-5", price: {cost: 0.9}, train: false}
profile: {queries: 40, samples: 2}
head: {hidden: 4, epochs: 2}
calibration: {queries: 40}
"""

PROFILE = ["profile", "--model", "lab:agent-1", "--queries", "14", "--samples", "3", "--max-tokens", "32"]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.yaml").write_text(RECIPE)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def test_a_profile_says_what_the_agent_gets_right_and_is_never_made_twice(work: Path) -> None:
    first = run(*PROFILE, "--json")
    again = run(*PROFILE)

    value = json.loads(first.stdout)
    overall = value["overall"]
    assert first.exit_code == 0, first.stderr
    assert (value["agent"], value["samples"], overall["queries"]) == ("agent-1", 3, 14)
    assert overall["never"] + overall["sometimes"] + overall["always"] == pytest.approx(1.0)
    assert sum(dataset["queries"] for dataset in value["datasets"]) == 14
    assert again.exit_code == 0
    assert again.stderr.splitlines() == ["agent-1 14/14 queries", "profile: profiles/agent-1.parquet"]
    assert "success rate" in again.stdout


def test_a_profile_with_other_settings_in_the_same_place_is_refused() -> None:
    run(*PROFILE)

    result = run(*PROFILE, "--temperature", "0.5")

    assert result.exit_code == 2
    assert "'profiles/agent-1.parquet' is the profile of another model or of other queries" in result.stderr


def test_an_agent_of_a_network_can_be_profiled() -> None:
    result = run("profile", "--network", "lab", "--agent", "agent-5", "--queries", "7", "--samples", "1", "--json")

    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["agent"] == "agent-5"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Whom to profile is not clear"),
        (("--network", "lab"), "--network needs --agent"),
        (("--network", "lab", "--agent", "agent-9"), "Unknown agent 'agent-9' in network 'lab'"),
        (("--network", "lab", "--model", "x"), "Whom to profile is not clear"),
        (("--server", "http://127.0.0.1:9/v1"), "Whom to profile is not clear"),
        (("--model", "lab:agent-1", "--api-key-env", "KEY"), "--api-key-env goes with --server only"),
        (
            ("--model", "m", "--server", "http://127.0.0.1:9/v1", "--api-key-env", "NO_KEY_HERE"),
            "'NO_KEY_HERE' is not set",
        ),
        (("--model", "m", "--server", "file:///etc"), "file:///etc"),
        (("--model", "lab:agent-1", "--temperature", "0"), "--temperature 0 is out of range"),
        (("--model", "lab:agent-1", "--suite", "nope"), "Unknown suite 'nope'"),
        (("--model", "lab:agent-1", "--queries", "0"), "--queries 0 is not usable"),
    ],
)
def test_a_wrong_call_of_profile_is_answered_in_two_lines(arguments: tuple[str, ...], message: str) -> None:
    result = run("profile", *arguments)

    said = [line for line in result.stderr.splitlines() if "queries" not in line or line.startswith("error")]
    assert result.exit_code == 2
    assert message in said[0]
    assert len(said) <= 2


def test_the_recipes_that_ship_are_listed() -> None:
    listed = run("recipes")
    value = json.loads(run("recipes", "--json").stdout)

    names = [recipe["name"] for recipe in value["recipes"]]
    assert {"lab-paper", "lab-calibrated", "qwen2.5-paper", "mixed-calibrated"} <= set(names)
    assert all(name in listed.stdout for name in names)
    assert all(Path(recipe["file"]).is_file() for recipe in value["recipes"])


@pytest.mark.usefixtures("in_this_process")
def test_a_training_ends_with_a_network_that_eval_judges(work: Path) -> None:
    trained = run("train", "--recipe", "one.yaml", "--json")
    judged = run("eval", "--network", "runs/one/network.yaml", "--limit", "14", "--json")

    value = json.loads(trained.stdout)
    assert trained.exit_code == 0, trained.stderr
    assert value["network"] == "runs/one/network.yaml"
    (small,) = value["agents"]
    assert [stage["stage"] for stage in small["stages"]] == ["profile", "head"]
    assert small["ability_before"] == small["ability_after"]  # a head changes no answer
    assert judged.exit_code == 0, judged.stderr
    assert [agent["agent"] for agent in json.loads(judged.stdout)["agents"]] == ["small", "last"]


@pytest.mark.usefixtures("in_this_process")
def test_a_stopped_training_says_what_is_kept_and_goes_on(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("disrouter.training.stages.train_head", stopped)
        result = run("train", "--recipe", "one.yaml")
    profile = work / "runs" / "one" / "small" / "profile.parquet"
    made = profile.stat().st_mtime_ns
    again = run("train", "--recipe", "one.yaml")

    assert result.exit_code == 130
    assert "is kept in 'runs/one'. Run the same command again to go on from there." in result.stderr
    assert again.exit_code == 0, again.stderr
    assert profile.stat().st_mtime_ns == made
    assert "accuracy with rejection masked" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--recipe", "nope"), "Recipe 'nope' does not exist"),
        (("--recipe", "lab-paper", "--agents", "agent-9"), "Unknown agent 'agent-9' in recipe 'lab-paper'"),
        (("--recipe", "lab-paper", "--agents", ","), "--agents names nobody"),
        (("--recipe", "lab-paper", "--jobs", "-1"), "--jobs -1 is out of range"),
        (("--recipe", "lab-paper", "--ray-address", "auto"), "--ray-address goes with --engine ray only"),
    ],
)
def test_a_wrong_call_of_train_is_answered_in_two_lines(arguments: tuple[str, ...], message: str) -> None:
    result = run("train", *arguments)

    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) <= 2


@pytest.mark.slow
def test_a_dry_run_tells_what_ran_and_leaves_nothing(work: Path) -> None:
    result = run("train", "--recipe", "mixed-calibrated", "--agents", "gemma-1b,phi-4b", "--dry-run", "--json")

    value = json.loads(result.stdout)
    assert result.exit_code == 0, result.stderr
    assert value["dry_run"] is True
    assert [agent["architecture"] for agent in value["agents"]] == ["gemma3_text", "phi3"]
    assert "made up in the schema of 'paper'" in value["questions"]
    assert [path.name for path in work.iterdir()] == ["one.yaml"]


def test_a_calibration_of_a_model_that_ships_goes_where_it_is_told_and_nowhere_else(work: Path) -> None:
    shipped = checkpoint_path("agent-1")
    before = {path.name: path.stat().st_mtime_ns for path in shipped.iterdir()}

    refused = run("calibrate", "--network", "lab", "--agents", "agent-1", "--queries", "40")
    done = run("calibrate", "--network", "lab", "--agents", "agent-1", "--queries", "40", "--output", "here", "--json")

    assert refused.exit_code == 2
    assert "part of the package, which is not written to" in refused.stderr
    assert done.exit_code == 0, done.stderr
    (agent,) = json.loads(done.stdout)["agents"]
    assert agent["name"] == "agent-1"
    for fit in agent["fit"].values():
        assert set(fit) == {"brier_before", "brier_after", "ece_before", "ece_after"}
    assert {path.name for path in (work / "here" / "agent-1").iterdir()} == {
        "calibration.json",
        "calibration.png",
        "calibration.svg",
    }
    assert {path.name: path.stat().st_mtime_ns for path in shipped.iterdir()} == before


@pytest.mark.usefixtures("in_this_process")
def test_a_calibration_lies_beside_the_model_and_is_made_from_raw_confidences(work: Path) -> None:
    run("train", "--recipe", "one.yaml")
    arguments = ("calibrate", "--network", "runs/one/network.yaml", "--method", "platt", "--queries", "40", "--json")

    first, again = run(*arguments), run(*arguments)

    assert first.exit_code == 0, first.stderr
    assert first.stdout == again.stdout  # the calibration in place has no part in the next one
    written = json.loads((work / "runs" / "one" / "small" / "head" / "calibration.json").read_text())
    assert (written["method"], written["assessment"]) == ("platt", "head")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Whom to calibrate is not said"),
        (("--network", "lab", "--agents", "agent-5"), "gives no confidence that could be calibrated"),
        (("--network", "lab", "--agents", "agent-7"), "Unknown agent 'agent-7' in network 'lab'"),
        (("--network", "lab", "--queries", "5"), "--queries 5 is not usable: give a number from 20"),
    ],
)
def test_a_wrong_call_of_calibrate_is_answered_in_two_lines(arguments: tuple[str, ...], message: str) -> None:
    result = run("calibrate", *arguments)

    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) <= 2
