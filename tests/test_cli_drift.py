"""``disrouter drift`` over recorded agents. No model runs here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from disrouter.cli import cli
from disrouter.evaluation.outcomes import Outcome, OutcomeTable

AGENTS = {"small": (0.1, 0.0), "large": (0.6, 1.5)}
NETWORK = """\
name: pool
agents:
  - {name: small, backend: recorded, model: table.parquet, price: {cost: 0.1}}
  - {name: large, backend: recorded, model: table.parquet, price: {cost: 0.6}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of two recorded agents that know how likely they are right, and their outcomes."""
    random, rows = np.random.default_rng(0), []
    for query in range(700):
        hard = random.normal(0.5, 1.0)
        for name, (cost, skill) in AGENTS.items():
            chance = float(1 / (1 + np.exp(-2 * (skill - hard))))
            rows.append(
                Outcome(
                    query_id=f"q{query}",
                    agent=name,
                    scenario="balance",
                    alpha=0.5,
                    confidence=chance,
                    answer="x",
                    score=float(random.random() < chance),
                    prompt_tokens=3,
                    answer_tokens=3,
                    look_cost=0.1 * cost,
                    answer_cost=cost,
                )
            )
    made = tmp_path_factory.mktemp("pool")
    OutcomeTable.of(rows).write(made / "table.parquet")
    (made / "pool.yaml").write_text(NETWORK, encoding="utf-8")
    return made


def drift(folder: Path, *arguments: str) -> Result:
    before = Path.cwd()
    os.chdir(folder)
    try:
        given = ("drift", "--network", "pool.yaml", "--table", "table.parquet", "--fit", "200", *arguments)
        return CliRunner().invoke(cli, given)
    finally:
        os.chdir(before)


def test_a_drift_is_told_in_words_and_kept_with_its_figures(folder: Path) -> None:
    done = drift(folder, "--limit", "200", "--streams", "1", "--drift", "dearer", "--run-dir", "kept")

    assert done.exit_code == 0, done.stderr
    assert "an agent's price triples" in done.stdout
    assert "per drift 1 x 200 queries" in done.stdout
    kept = {str(path.relative_to(folder / "kept")) for path in (folder / "kept").rglob("*") if path.is_file()}
    assert kept == {
        "study.json",
        *(f"figures/drift-{what}.{kind}" for what in ("budget", "utility") for kind in ("png", "svg")),
    }


def test_json_is_one_object_and_equal_seeds_give_equal_numbers(folder: Path) -> None:
    asked = ("--limit", "200", "--streams", "2", "--drift", "overclaims", "--seed", "3", "--json", "--run-dir")

    one, two = (drift(folder, *asked, name) for name in ("a", "b"))

    assert one.exit_code == 0, one.stderr
    assert one.stdout == two.stdout
    found = json.loads(one.stdout)
    assert found["seeds"] == [3, 4]
    assert found["overclaiming"][0]["agents"] == ["small"]
    assert len(found["curves"]["overclaims"]["static"]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--drift", "earthquake"), "Unknown drift 'earthquake'"),
        (("--budget", "0.05"), "below the cheapest agent's price: 'small'"),
        (("--budget", "nan"), "not a finite number"),
        (("--scenario", "1.2"), "must lie from 0 to 1"),
        (("--limit", "20"), "--limit 20 is too few"),
        (("--fit", "5"), "--fit 5 is too few"),
        (("--streams", "0"), "--streams 0 is too few"),
        (("--limit", "2000", "--drift", "none"), "hint: shorten the stream"),
        (("--table", "table.parquet"), "in two of the outcome tables"),
        (("--table", "absent.parquet"), "no outcome table"),
        (("--drift", "harder", "--limit", "200"), "does not say how hard"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(arguments: tuple[str, ...], words: str, folder: Path) -> None:
    done = drift(folder, *arguments)

    assert done.exit_code == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
