"""What holds for every test: no hub is ever reached, and torch stays on few threads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from disrouter.engines.jobs import Job, JobReport

# Set before anything imports the hub's client, which reads them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train agents one after the other right here, which takes no time to start."""

    def run(jobs: Sequence[Job], at_once: int, report: JobReport) -> None:
        for job in jobs:
            job.work(lambda *values, name=job.name: report(name, *values))

    monkeypatch.setattr("disrouter.training.fleet.run_jobs", run)
