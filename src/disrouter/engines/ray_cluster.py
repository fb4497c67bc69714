"""A Ray cluster to work on: one that is there already, or one of this machine's own that ends with this process.

Ray listens on many ports of all interfaces, whatever it is told. So a cluster of our own answers nobody without a token
that is made up for this process, and has no dashboard; one that is given must ask for a token too.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from disrouter.engines.processes_of import descendants, ended
from disrouter.engines.ray_checks import inspect, judge, prepare, require_address, require_version
from disrouter.errors import MissingExtraError, RunError

__all__ = ["connected"]

LAST_CALL = 10.0
"""Seconds that the processes of a cluster have to end by themselves."""


@contextmanager
def connected(address: str | None, *, serving: bool, cores: int = 0) -> Iterator[Any]:
    """Be connected to a cluster and yield the module ``ray``; one that was started for this ends with the block.

    In another such block the same cluster is used.

    Args:
        address: Of the cluster; None starts one on this machine.
        serving: Whether it shall serve agents, and not only work something off.
        cores: How many places for work a cluster of our own has at least; 0: one per core.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: The address is none, or authentication is switched off.
        ConfigError: The cluster is not safe, or it or the Ray that is installed here lacks what serving needs.
        RunError: It cannot be reached or started.
    """
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        yield ray  # by a block around this one
        return
    if address is not None:
        require_address(address)
    if find_spec("ray") is None:
        raise MissingExtraError.of("The engine 'ray'", "ray")
    if serving:
        require_version(version("ray"))
    prepare(joining=address is not None, serving=serving)
    if address is not None:
        judge(inspect(address), serving=serving)
    ray = import_module("ray")
    try:
        _connect(ray, address, cores or os.cpu_count() or 1)
        yield ray
    finally:
        ours = [] if address is not None else descendants(os.getpid())
        ray.shutdown()
        ended([process for process in ours if process.name.startswith(_NAMES)], LAST_CALL)


_NAMES = ("gcs_server", "raylet", "ray::")
"""How processes of a cluster are called. Python's own (log monitor, agents) end with their raylet."""


def _connect(ray: Any, address: str | None, cores: int) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        _init(ray, address, cores)
    finally:
        if (
            before is not None and signal.getsignal(signal.SIGTERM) is not before
        ):  # Ray answers it, and nobody has asked it to
            signal.signal(signal.SIGTERM, before)


def _init(ray: Any, address: str | None, cores: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    try:
        if address is None:
            ray.init(address="local", num_cpus=cores, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, SystemExit) as exc:
        if isinstance(exc, SystemExit) and address is None:
            raise KeyboardInterrupt from exc  # that is how Ray answers SIGTERM while it starts
        where = f"at '{address}' cannot be reached" if address else "cannot be started on this machine"
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise RunError(
            f"A Ray cluster {where}: {reason}",
            hint=f"look into {Path('/tmp/ray/session_latest/logs')}" if address is None else "check --ray-address",
        ) from exc
