"""Engine options on the command line: contradictions, and a Ray that is not installed, are told; nothing is started."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from disrouter.cli import cli

ALL = {
    "serve": ["serve", "--network", "lab", "--port", "0"],
    "eval": ["eval", "--network", "lab", "--limit", "5"],
    "profile": ["profile", "--model", "lab:agent-1", "--queries", "5"],
    "bench": ["bench", "build", "--network", "lab", "-o", "t.parquet"],
    "train": ["train", "--recipe", "lab-calibrated"],
}


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", ALL.values(), ids=ALL)
def test_an_address_of_a_cluster_without_the_engine_is_refused(command: list[str], in_a_folder: None) -> None:
    done = CliRunner().invoke(cli, [*command, "--ray-address", "127.0.0.1:6379"])

    assert done.exit_code == 2
    assert "--ray-address goes with --engine ray only" in done.stderr


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
@pytest.mark.parametrize("address", [[], ["--ray-address", "127.0.0.1:1"]], ids=["here", "there"])
@pytest.mark.parametrize("command", ALL.values(), ids=ALL)
def test_without_ray_the_extra_is_named(command: list[str], address: list[str], in_a_folder: None) -> None:
    before = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    done = CliRunner().invoke(cli, [*command, "--engine", "ray", *address])

    assert done.exit_code == 2, done.stderr
    assert "pip install 'disrouter[ray]'" in done.stderr
    assert "ray" not in sys.modules
    assert {name: value for name, value in os.environ.items() if name.startswith("RAY_")} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "--workers", "-1"], "--workers -1 is out of range"),
        (["eval", "--engine", "ray", "--ray-address", "ray://10.0.0.1:10001"], "a Ray client cannot call deployments"),
        (["eval", "--engine", "ray", "--ray-address", "nowhere"], "no address of a cluster"),
        (
            ["profile", "--server", "http://127.0.0.1:1/v1", "--model", "m", "--workers", "2"],
            "--engine and --workers go with local models only",
        ),
    ],
    ids=["workers", "ray client", "address", "server"],
)
def test_options_that_mean_nothing_are_refused(arguments: list[str], message: str, in_a_folder: None) -> None:
    done = CliRunner().invoke(cli, arguments)

    assert done.exit_code == 2, done.stderr
    assert message in done.stderr


def test_commands_of_one_machine_never_load_ray() -> None:
    script = "import sys, disrouter.cli.serve, disrouter.engines.ray_engine; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
