"""Clusters that must not be used, and how that is told: addresses, tokens, flags, versions, half-started ones."""

from __future__ import annotations

import socket
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from disrouter.engines.ray_checks import FLAGS, Found, Node, inspect, judge, prepare, require_address, require_version
from disrouter.errors import ConfigError, MissingExtraError, RunError, UsageError

GOOD = Node(address="10.0.0.2", ray="2.60.0", flags=FLAGS, token=True)


def found(*nodes: Node) -> Found:
    return Found("10.0.0.2:6379", nodes)


def test_a_cluster_with_token_flags_and_private_addresses_is_used() -> None:
    loopback = Node(address="127.0.0.1", ray="2.56.1", flags=FLAGS, token=True)

    judge(found(GOOD, loopback), serving=True)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Node(address="10.0.0.3", ray="2.60.0", flags=FLAGS, token=False), "10.0.0.3 asks nobody for a token"),
        (Node(address="8.8.8.8", ray="2.60.0", flags=FLAGS, token=True), "8.8.8.8 is a public address"),
        (
            Node(address="10.0.0.3", ray="2.55.0", flags=FLAGS, token=True),
            "10.0.0.3 runs Ray 2.55.0, and serving needs 2.56 or newer",
        ),
        (
            Node(address="10.0.0.3", ray="2.60.0", flags=dict.fromkeys(FLAGS), token=True),
            "10.0.0.3 was started without RAY_SERVE_THROUGHPUT_OPTIMIZED and RAY_SERVE_ENABLE_HA_PROXY",
        ),
        (
            Node(address="10.0.0.3", ray="2.60.0", flags={**FLAGS, "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}, token=True),
            "10.0.0.3 was started without RAY_SERVE_THROUGHPUT_OPTIMIZED",
        ),
    ],
    ids=["no token", "public", "old", "no flags", "a flag off"],
)
def test_a_cluster_with_one_machine_that_lacks_something_is_refused(node: Node, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        judge(found(GOOD, node), serving=True)

    assert message in error.value.message
    assert error.value.hint is not None and "RAY_AUTH_MODE=token" in error.value.hint


def test_work_needs_no_flags_of_serve_but_a_token() -> None:
    judge(found(Node(address="10.0.0.2", ray="2.40.0", flags={}, token=True)), serving=False)

    with pytest.raises(ConfigError, match="asks nobody for a token"):
        judge(found(Node(address="10.0.0.2", ray="2.60.0", flags={}, token=False)), serving=False)


def test_a_cluster_without_machines_is_refused() -> None:
    with pytest.raises(ConfigError, match="no machine that is alive"):
        judge(found(), serving=True)


def test_our_own_cluster_gets_a_token_and_both_flags() -> None:
    environment: dict[str, str] = {}

    prepare(joining=False, serving=True, environment=environment, imported=False)

    assert environment["RAY_AUTH_MODE"] == "token"
    assert len(environment["RAY_AUTH_TOKEN"]) == 64
    assert {name: environment[name] for name in FLAGS} == FLAGS
    other: dict[str, str] = {}
    prepare(joining=False, serving=True, environment=other, imported=False)
    assert other["RAY_AUTH_TOKEN"] != environment["RAY_AUTH_TOKEN"]


def test_replicas_that_people_wait_for_run_beside_other_programs_and_work_behind_them() -> None:
    serving: dict[str, str] = {}
    chosen = {"RAY_worker_niceness": "5"}
    working: dict[str, str] = {}

    prepare(joining=False, serving=True, environment=serving, imported=False)
    prepare(joining=False, serving=True, environment=chosen, imported=False)
    prepare(joining=False, serving=False, environment=working, imported=False)

    assert serving["RAY_worker_niceness"] == "0"
    assert chosen["RAY_worker_niceness"] == "5"
    assert "RAY_worker_niceness" not in working


def test_a_token_that_is_given_is_kept() -> None:
    environment = {"RAY_AUTH_TOKEN": "given"}

    prepare(joining=True, serving=True, environment=environment, imported=False)

    assert environment["RAY_AUTH_TOKEN"] == "given"


def test_authentication_that_is_switched_off_is_refused() -> None:
    with pytest.raises(UsageError, match="RAY_AUTH_MODE is 'disabled'"):
        prepare(joining=False, serving=True, environment={"RAY_AUTH_MODE": "disabled"}, imported=False)


def test_ray_that_was_imported_without_a_token_is_too_late() -> None:
    with pytest.raises(UsageError, match="imported before"):
        prepare(joining=False, serving=True, environment={}, imported=True)


def test_a_cluster_is_not_joined_without_its_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(UsageError, match="No token of the cluster is known"):
        prepare(joining=True, serving=True, environment={}, imported=False)


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:6379", "head.internal:6379", "[::1]:6379"])
def test_addresses_of_clusters_are_taken(address: str) -> None:
    require_address(address)


@pytest.mark.parametrize("address", ["ray://10.0.0.2:10001", "10.0.0.2", "http://x:1", "host:port", ""])
def test_what_is_no_address_of_a_cluster_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="--ray-address"):
        require_address(address)


def test_a_port_at_which_nobody_listens_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    started = time.monotonic()

    with pytest.raises(RunError, match="cannot be reached"):
        inspect(address)

    assert time.monotonic() - started < 10


@pytest.mark.parametrize("patience", [2.0])
def test_half_a_cluster_is_given_up_on(patience: float) -> None:
    # Something listens, and nobody answers: a client of Ray would wait for minutes and then end its process.
    with socket.socket() as half:
        half.bind(("127.0.0.1", 0))
        half.listen(8)
        address = f"127.0.0.1:{half.getsockname()[1]}"

        with pytest.raises(RunError if find_spec("ray") else MissingExtraError) as error:
            inspect(address, patience=patience if find_spec("ray") else 30.0)

    if find_spec("ray"):
        assert "nobody answered in 2 seconds" in str(error.value)
    else:
        assert error.value.hint == "pip install 'disrouter[ray]'"


@pytest.mark.parametrize("version", ["2.9.3", "2.55.1", "1.13.0"])
def test_a_ray_here_that_does_not_know_the_flags_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match=f"Ray {version} is installed here, and serving needs 2.56 or newer"):
        require_version(version)


@pytest.mark.parametrize("version", ["2.56.0", "2.60.0", "3.0.0rc1"])
def test_a_ray_here_that_knows_them_is_not(version: str) -> None:
    require_version(version)
