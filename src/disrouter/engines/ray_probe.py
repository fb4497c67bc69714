"""The look at a cluster from a process of its own; see :mod:`disrouter.engines.ray_checks`."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["describe", "probe"]


def probe(address: str) -> dict[str, Any]:
    """Return what every machine of a cluster says of itself, or why nobody does, as plain values."""
    try:
        import ray
    except ModuleNotFoundError:
        return {"missing": "ray"}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = []
        for node in ray.nodes():
            if node["Alive"]:
                here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                task = ray.remote(num_cpus=0, scheduling_strategy=here, max_retries=0)(describe)
                asked.append(task.remote(node["NodeManagerAddress"]))
        return {"nodes": ray.get(asked)}
    except (Exception, SystemExit) as error:  # on purpose: whatever it is, somebody is told
        reason = str(error).strip().splitlines()
        return {"error": f"{type(error).__name__}: {reason[0].rstrip('.')}" if reason else type(error).__name__}


def describe(address: str) -> dict[str, Any]:
    """Return what the machine that this runs on was started with."""
    import ray

    flags = ("RAY_SERVE_THROUGHPUT_OPTIMIZED", "RAY_SERVE_ENABLE_HA_PROXY")
    return {
        "address": address,
        "ray": ray.__version__,
        "flags": {name: os.environ.get(name) for name in flags},
        "token": os.environ.get("RAY_AUTH_MODE") == "token",
    }
