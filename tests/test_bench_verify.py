"""The numbers of README and docs, derived again from the runs that the repository keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from disrouter.bench.stored import read_stored
from disrouter.bench.verify import verify

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "benchmarks" / "runs"


def test_every_marked_number_of_the_documents_is_what_its_run_says() -> None:
    findings = verify(ROOT, RUNS)

    assert [f"{f.document.name}:{f.line}: {f.problem}" for f in findings if f.problem] == []
    assert sum(f.numbers for f in findings) > 100


def test_stored_runs_stay_small() -> None:
    size = sum(path.stat().st_size for path in RUNS.rglob("*") if path.is_file())

    assert size < 1_500_000


@pytest.mark.parametrize("name", sorted(p.name for p in RUNS.iterdir()) if RUNS.is_dir() else [])
def test_no_method_of_a_stored_run_beats_the_bound(name: str) -> None:
    run = read_stored(RUNS / name)

    for row in run.rows:
        assert row["utility"] <= run.row("rate-aware-oracle", row["scenario"])["utility"] + 1e-9
