"""Ray: the same training as tasks of a cluster, with the same result."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from disrouter.engines.ray_checks import FLAGS
from disrouter.engines.ray_tasks import run_jobs_on_ray
from disrouter.errors import MissingExtraError

RAY = find_spec("ray") is not None


@pytest.mark.skipif(RAY, reason="Ray is installed")
def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED", *FLAGS):
        monkeypatch.setenv(name, "token")  # what is set for Ray is put back

    with pytest.raises(MissingExtraError) as error:
        run_jobs_on_ray([])
    assert error.value.hint == "pip install 'disrouter[ray]'"


TRAIN = """
import sys
from pathlib import Path
from disrouter.lab.suite import LabSuite
from disrouter.training.fleet import train
from disrouter.training.recipes import load_recipe
from disrouter.training.rehearsal import RehearsalSuite, rehearsed

recipe = rehearsed(load_recipe("lab-paper"))
train(recipe, ["agent-1", "agent-2"], Path(sys.argv[2]), jobs=2, engine=sys.argv[1], suite=RehearsalSuite(LabSuite()))
"""


@pytest.mark.ray
@pytest.mark.skipif(not RAY, reason="Ray is not installed: pip install 'disrouter[ray]'")
def test_a_training_on_ray_ends_with_the_bytes_of_a_local_one(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(f"if __name__ == '__main__':\n    exec({TRAIN!r})\n")  # processes are spawned from it

    for engine in ("local", "ray"):
        command = [sys.executable, str(script), engine, str(tmp_path / engine)]
        subprocess.run(command, check=True, timeout=400, env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"})

    for agent in ("agent-1", "agent-2"):
        for file in ("profile.parquet", "sft/model.safetensors", "rl/model.safetensors", "ability.json"):
            local, ray = (tmp_path / engine / agent / file for engine in ("local", "ray"))
            assert ray.read_bytes() == local.read_bytes(), f"{agent}/{file}"
