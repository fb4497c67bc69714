"""Files for real clusters say what ours needs; they cannot run here, so what can be checked of them is."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from disrouter.config import load, ray_entries
from disrouter.engines.ray_app import agent, application_name
from disrouter.engines.ray_checks import FLAGS, require_address
from disrouter.errors import UnknownNameError, UsageError

EXAMPLES = Path(__file__).parents[2] / "examples" / "ray"
LAUNCHER: dict[str, Any] = yaml.safe_load((EXAMPLES / "cluster.yaml").read_text())
SERVICE: dict[str, Any] = yaml.safe_load((EXAMPLES / "rayservice.yaml").read_text())


@pytest.mark.parametrize("name", ["cluster.yaml", "rayservice.yaml"])
def test_a_file_that_has_not_run_says_so(name: str) -> None:
    assert "NOT RUN HERE" in (EXAMPLES / name).read_text()


@pytest.mark.parametrize("key", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_every_machine_of_the_launcher_starts_with_token_and_flags(key: str) -> None:
    start = next(command for command in LAUNCHER[key] if "ray start" in command)

    for name, value in {**FLAGS, "RAY_AUTH_MODE": "token"}.items():
        assert f"{name}={value}" in start.partition("ray start")[0]


def test_the_launcher_copies_the_token_and_opens_no_dashboard() -> None:
    assert "~/.ray/auth_token" in LAUNCHER["file_mounts"]
    assert "--include-dashboard=false" in " ".join(LAUNCHER["head_start_ray_commands"])


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray's schema is not installed: make test-ray")
@pytest.mark.ray
def test_the_launcher_is_what_ray_takes() -> None:
    import jsonschema  # type: ignore[import-untyped]
    import ray

    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(LAUNCHER, schema)


def pods() -> dict[str, dict[str, Any]]:
    """Every container of the service by name."""
    cluster = SERVICE["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return {pod["name"]: pod for group in groups for pod in group["template"]["spec"]["containers"]}


def test_the_service_is_one_of_kuberay() -> None:
    assert (SERVICE["apiVersion"], SERVICE["kind"]) == ("ray.io/v1", "RayService")
    assert set(SERVICE["spec"]) == {"serveConfigV2", "rayClusterConfig"}
    assert set(pods()) == {"ray-head", "gateway", "ray-worker"}


@pytest.mark.parametrize("name", ["ray-head", "gateway", "ray-worker"])
def test_every_container_of_the_service_has_token_and_flags(name: str) -> None:
    given = {variable["name"]: variable for variable in pods()[name]["env"]}

    assert {flag: given[flag]["value"] for flag in FLAGS} == FLAGS
    assert given["RAY_AUTH_MODE"]["value"] == "token"
    assert "secretKeyRef" in given["RAY_AUTH_TOKEN"]["valueFrom"]  # no secret stands in the file


def test_the_gateway_of_the_service_lets_in_only_who_has_a_key() -> None:
    command = pods()["gateway"]["command"]

    assert "--require-keys" in command
    require_address(command[command.index("--ray-address") + 1])


def test_the_service_has_an_application_for_every_agent_under_the_name_that_a_gateway_looks_for() -> None:
    config = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])

    wanted = {application_name("lab", name): name for name in ray_entries("lab")}
    assert {app["name"]: app["args"]["agent"] for app in config["applications"]} == wanted
    assert set(wanted.values()) == set(load("lab").agents)
    for app in config["applications"]:
        module, _, function = app["import_path"].partition(":")
        assert callable(getattr(import_module(module), function))


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray's schema is not installed: make test-ray")
@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_the_service_is_what_serve_takes() -> None:
    from ray.serve.schema import ServeDeploySchema

    ServeDeploySchema.model_validate(yaml.safe_load(SERVICE["spec"]["serveConfigV2"]))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, UsageError),
        ({"network": "lab", "agent": "agent-1", "extra": 1}, UsageError),
        ({"network": "lab", "agent": "agent-9"}, UnknownNameError),
    ],
)
def test_arguments_of_an_application_that_make_no_sense_are_refused(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        agent(arguments)
