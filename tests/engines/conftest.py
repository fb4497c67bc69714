"""What tests of engines share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_agents import Cluster
from disrouter.engines.processes_of import descendants

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """A cluster that ends with the tests of a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
        made = Cluster()
        before = descendants(os.getpid())
        yield made
        made.close()
        assert [process.name for process in before if process.alive] == []


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    """The cluster of a file, empty again after the test."""
    yield shared
    shared.clear()
