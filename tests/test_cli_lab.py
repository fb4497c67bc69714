"""The command line over the lab that ships with the package: the main job on real models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from disrouter.cli import cli
from disrouter.cli.demo import SOUGHT

AGENTS = [f"agent-{number}" for number in range(1, 6)]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.mark.slow
def test_the_demo_draws_three_kinds_of_route_and_what_they_are_worth(work: Path) -> None:
    result = CliRunner().invoke(cli, ["demo", "--limit", "100"])

    assert result.exit_code == 0, result.stderr
    assert "none of the" not in result.stdout  # every kind of route was found
    assert all(words in result.stdout for words in SOUGHT.values())
    assert result.stdout.count("◇") == 3
    assert "Utility on lab (in-domain), 100 queries, seed 7" in result.stdout
    (folder,) = (work / "runs").iterdir()
    assert f"figures: runs/{folder.name}/figures/" in result.stdout
    assert list((folder / "figures").glob("*.png"))
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.slow
def test_eval_on_the_lab_prints_one_json_object_with_all_methods_and_agents() -> None:
    result = CliRunner().invoke(cli, ["eval", "--domain", "out", "--seed", "3", "--limit", "30", "--json"])

    value = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (value["schema"], value["seed"], value["n"], value["domain"]) == (1, 3, 30, "out")
    assert len(value["rows"]) == 18  # six methods in three scenarios
    assert [agent["agent"] for agent in value["agents"]] == AGENTS
    assert [agent["cost"] for agent in value["agents"]] == pytest.approx([0.1, 0.2, 0.4, 0.7, 0.9])


def test_ask_answers_with_the_worked_solution() -> None:
    result = CliRunner().invoke(cli, ["ask", "47+38", "--max-hops", "5", "--trace"])

    assert result.exit_code == 0
    assert result.stdout.strip().endswith("#85")
    assert "● agent-" in result.stderr


@pytest.mark.parametrize("network", ["lab", "lab-flops"])
def test_the_agents_of_an_embedded_network_grow_in_weights_and_price(network: str) -> None:
    value = json.loads(CliRunner().invoke(cli, ["agents", "--network", network, "--json"]).stdout)

    assert [agent["name"] for agent in value["agents"]] == AGENTS
    weights = [agent["parameters"] for agent in value["agents"]]
    costs = [agent["price"].get("cost", agent["price"].get("input")) for agent in value["agents"]]
    assert weights == sorted(weights)
    assert costs == sorted(costs)


def test_the_model_card_names_every_agent() -> None:
    result = CliRunner().invoke(cli, ["lab", "card"])

    assert result.exit_code == 0
    assert all(name in result.stdout for name in AGENTS)
