"""Faults between hosts that are really apart, in seconds; `make bench-faults` has more of them, and for longer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HARNESS = Path(__file__).parents[2] / "benchmarks" / "faults"
UNAVAILABLE = 3

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")


def harness(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({} if path is None else {"PATH": path})}
    command = [sys.executable, str(HARNESS), "--short", "--json", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)


@pytest.mark.slow
def test_no_query_is_lost_when_a_node_is_killed_or_frozen_or_cut_off() -> None:
    done = harness("--only", "killed", "--only", "frozen", "--only", "partition", "--dispatch", "caller")
    if done.returncode == UNAVAILABLE:
        pytest.skip(done.stderr.strip())

    said = json.loads(done.stdout)
    found: list[dict[str, Any]] = said["faults"]

    assert [one["fault"] for one in found] == ["killed", "frozen", "partition"], done.stderr
    for one in found:
        assert (one["lost"], one["hanging"], one["wrong_answers"]) == (0, 0, 0), one
        assert one["passed_over"] > 0.2, one  # the fault was felt,
        assert one["recovery"] is not None, one  # and has passed
        assert one["utility"] >= one["predicted"] - 0.1, one
    assert done.returncode == 0
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not [name for name in left.split("\n") if name.startswith(f"dr{said['maker']}-")]


def test_where_hosts_cannot_be_set_apart_the_harness_says_why(tmp_path: Path) -> None:
    done = harness(path=str(tmp_path))

    assert done.returncode == UNAVAILABLE
    assert "Hosts cannot be set apart here: the command `ip` is missing; install iproute2." in done.stderr
    assert "Traceback" not in done.stderr
