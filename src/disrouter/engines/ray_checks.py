"""What a Ray cluster must be before anything of ours runs on it, and how it is asked from a safe distance.

A cluster is first looked at from a process of its own: a client that finds half a cluster waits for minutes and then
ends the process that it is in. What is found there is judged here, without Ray.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disrouter.errors import ConfigError, MissingExtraError, RunError, UsageError

__all__ = ["FLAGS", "Found", "Node", "inspect", "judge", "prepare", "require_address", "require_version"]

FLAGS = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1"}
"""Without the first a hop takes several times as long; with the second no HTTP proxy of Serve's own is started."""

NEEDED = (2, 56)
"""The first Ray that knows both flags."""

_NEEDED = ".".join(map(str, NEEDED))

PATIENCE = 40.0
"""Seconds that a cluster has to say what it is."""

_PROBE = """
import json, sys
from disrouter.engines.ray_probe import probe
print("\\n" + json.dumps(probe(sys.argv[1])))
"""


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of a cluster, as a task on it sees it."""

    address: str
    ray: str
    flags: Mapping[str, str | None]
    """Flags of Serve by name, as they are set there."""

    token: bool
    """Whether it talks to those only who have the cluster's token."""


@dataclass(frozen=True, slots=True)
class Found:
    """A cluster as it was found."""

    address: str
    nodes: Sequence[Node]


def require_address(address: str) -> None:
    """Do nothing if an address may be that of a cluster.

    Raises:
        UsageError: It is not ``host:port`` or ``auto``.
    """
    if address == "auto":
        return
    if address.startswith("ray://"):
        raise UsageError(
            f"--ray-address {address}: a Ray client cannot call deployments.",
            hint="run on a machine of the cluster (`ray start --address …`) and give host:port, or auto",
        )
    if re.fullmatch(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:/]+):\d{1,5}", address) is None:
        raise UsageError(f"--ray-address {address} is no address of a cluster.", hint="give host:port, or auto")


def require_version(version: str) -> None:
    """Do nothing if the Ray that is installed here can serve.

    Raises:
        ConfigError: It is too old: what it does not know of is left out without a word.
    """
    if _version(version) < NEEDED:
        raise ConfigError(
            f"Ray {version} is installed here, and serving needs {_NEEDED} or newer.",
            hint="pip install --upgrade 'disrouter[ray]'",
        )


def prepare(
    *, joining: bool, serving: bool, environment: dict[str, str] | None = None, imported: bool | None = None
) -> None:
    """Set what Ray reads when it is imported: token authentication, both flags, no statistics to anybody.

    Args:
        joining: Whether a cluster is there already, whose token must be known.
        serving: Whether it shall serve agents, and not only work something off.
        environment: Changed in place; that of this process by default.
        imported: Whether Ray has been imported.

    Raises:
        UsageError: Authentication is switched off, or Ray was imported too early.
    """
    env = os.environ if environment is None else environment
    mode = env.get("RAY_AUTH_MODE")
    if mode not in (None, "", "token"):
        raise UsageError(
            f"RAY_AUTH_MODE is '{mode}': whoever reaches the ports of such a cluster can run programs on it.",
            hint="unset it, or set RAY_AUTH_MODE=token on every machine of the cluster",
        )
    if ("ray" in sys.modules if imported is None else imported) and mode != "token":
        raise UsageError(
            "Ray was imported before its cluster could be protected by a token.",
            hint="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN before it is imported",
        )
    has_token = any(env.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if joining and not has_token and not (Path.home() / ".ray" / "auth_token").is_file():
        raise UsageError(
            "No token of the cluster is known here, and one without a token is not joined.",
            hint="export RAY_AUTH_TOKEN=… or RAY_AUTH_TOKEN_PATH=…, as on the cluster's machines",
        )
    env["RAY_AUTH_MODE"] = "token"
    if not joining and not has_token:
        env["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    if serving:  # somebody waits for replicas: Ray would have every other program of the machine run before them
        env.setdefault("RAY_worker_niceness", "0")
    env.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    env.update(FLAGS)


def inspect(address: str, *, patience: float = PATIENCE) -> Found:
    """Return what a cluster says of itself.

    Raises:
        MissingExtraError: Ray is not installed.
        RunError: Nobody answers in time, or no cluster does.
    """
    _require_port(address)
    command = [sys.executable, "-c", _PROBE, address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False)
    except subprocess.TimeoutExpired:
        raise _unreachable(
            address, f"nobody answered in {patience:g} seconds; it may be starting, or half of it"
        ) from None
    last = done.stdout.strip().rpartition("\n")[2]
    try:
        said: dict[str, Any] = json.loads(last)
    except ValueError:
        raise _unreachable(address, f"the attempt ended with status {done.returncode}") from None
    if "missing" in said:
        raise MissingExtraError.of("The engine 'ray'", "ray")
    if "error" in said:
        raise _unreachable(address, said["error"])
    return Found(address, [Node(**node) for node in said["nodes"]])


def judge(found: Found, *, serving: bool) -> None:
    """Do nothing if a cluster is safe and fast enough.

    Args:
        found: The cluster.
        serving: Whether it shall serve agents, and not only work something off.

    Raises:
        ConfigError: It is not; all reasons are told.
    """
    problems = list(_problems(found, serving=serving))
    if problems:
        flags = " ".join(f"{name}={value}" for name, value in FLAGS.items())
        raise ConfigError(
            f"The Ray cluster at '{found.address}' cannot be used: {'; '.join(problems)}.",
            hint=f"start every machine with RAY_AUTH_MODE=token {flags} ray start …, in a private network",
        )


def _problems(found: Found, *, serving: bool) -> Iterator[str]:
    if not found.nodes:
        yield "it has no machine that is alive"
    for node in found.nodes:
        if not node.token:
            yield f"{node.address} asks nobody for a token (RAY_AUTH_MODE)"
        if not _is_private(node.address):
            yield f"{node.address} is a public address"
        if not serving:
            continue
        if _version(node.ray) < NEEDED:
            yield f"{node.address} runs Ray {node.ray}, and serving needs {_NEEDED} or newer"
            continue
        missing = [name for name, value in FLAGS.items() if node.flags.get(name) != value]
        if missing:
            yield f"{node.address} was started without {' and '.join(missing)}"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _is_private(address: str) -> bool:
    try:
        return not ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _require_port(address: str) -> None:
    """Ask the port before anything that waits long."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=3.0).close()
    except (OSError, OverflowError) as exc:
        raise _unreachable(address, getattr(exc, "strerror", None) or str(exc)) from exc


def _unreachable(address: str, reason: str) -> RunError:
    return RunError(
        f"The Ray cluster at '{address}' cannot be reached: {reason}.",
        hint="check --ray-address, the token, that `ray start` has run on this machine too, and that the versions of "
        "Ray and Python are those of the cluster",
    )
