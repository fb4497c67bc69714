"""The table of what every stage of training buys, made from run folders."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "scripts" / "training_stages.py"


def run_folder(path: Path, *, utility: float, accuracy: float, seed: int = 7) -> str:
    """A run folder with one network of two agents, as far as the script reads it."""
    judged: dict[str, Any] = {name: {"balance": 0.25} for name in ("brier", "ece", "accept_f1")}
    agents = [
        {"agent": "small", "accuracy": accuracy, "auroc": {"balance": 0.9}, **judged},
        {"agent": "large", "accuracy": 0.95, "auroc": {"balance": None}, **judged},
    ]
    ours = {"method": "ours", "alpha": 0.5, "utility": utility, "utility_full": utility - 0.01, "oracle_share": 0.8}
    metrics = {"seed": seed, "n": 100, "suite": "lab", "domain": "in", "rows": [ours], "agents": agents}
    path.mkdir()
    (path / "metrics.json").write_text(json.dumps(metrics))
    return str(path)


def table_of(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)


def test_stages_are_told_with_the_spread_of_their_seeds_and_the_change_of_ability(tmp_path: Path) -> None:
    before = run_folder(tmp_path / "a", utility=0.5, accuracy=0.6)
    after = [run_folder(tmp_path / name, utility=0.5 + more, accuracy=0.59) for name, more in (("b", 0.1), ("c", 0.2))]

    found = table_of("untrained", before, "--", "RL", *after)

    assert found.returncode == 0, found.stderr
    assert "| untrained | 1 | .500 | .490 | .800 |" in found.stdout
    assert "| RL | 2 | .650 ± .071 | .640 ± .071 | .800 ± .000 |" in found.stdout
    assert "| RL | .900 ± .000 | .250 ± .000 | .250 ± .000 | .250 ± .000 | -.010 ± .000 |" in found.stdout


def test_runs_of_other_queries_are_not_compared(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / str(seed), utility=0.5, accuracy=0.6, seed=seed) for seed in (1, 2)]

    found = table_of("one", runs[0], "--", "other", runs[1])

    assert found.returncode == 1 and "not of the same test queries" in found.stderr


def test_a_folder_without_metrics_is_named(tmp_path: Path) -> None:
    found = table_of("one", str(tmp_path))

    assert found.returncode == 1 and str(tmp_path) in found.stderr
