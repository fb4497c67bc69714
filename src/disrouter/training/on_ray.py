"""Jobs as tasks of a Ray cluster: one that is there already, or one of this machine's own.

Ray listens on many ports of all interfaces, whatever it is told. So a cluster of our own answers nobody without a token
that is made up for this process, and has no dashboard. On a cluster of several machines the output folder and the
models must be in the same place on each of them.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from disrouter.errors import MissingExtraError, RunError, UsageError
from disrouter.training.side_by_side import Job, JobReport, alone, check_jobs, drive

__all__ = ["run_jobs_on_ray"]

_MANY = 10_000
"""Places of a cluster that keeps its own count of them."""

_RETRIES = 2
"""A task whose machine was lost is begun again so many times; it goes on from its files."""


def run_jobs_on_ray(
    jobs: Sequence[Job],
    at_once: int = 0,
    report: JobReport = lambda name, stage, step, steps, value: None,
    *,
    address: str | None = None,
    gpus: int = 0,
) -> None:
    """Run jobs as Ray tasks, ``at_once`` of them side by side (0: as many as the cluster bears).

    Args:
        jobs: What to run.
        at_once: Most tasks at any time.
        report: Called as the work goes on.
        address: Of the cluster, as ``ray.init`` takes it; None starts one on this machine and ends it afterwards.
        gpus: GPUs that each job needs.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: ``at_once`` is negative.
        RunError: The cluster cannot be reached or started.
        DisrouterError: A job failed; those that did not need it are finished.
    """
    check_jobs(at_once)
    if address is None:
        _ask_for_a_token()
    try:
        import ray
        from ray.util.queue import Queue
    except ModuleNotFoundError as exc:
        raise MissingExtraError.of("The engine 'ray'", "ray") from exc
    with _cluster(ray, address, at_once):
        channel = Queue(actor_options={"num_cpus": 0})
        # A fresh process for every job, as on one machine.
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_calls=1, max_retries=_RETRIES)(_run_one)
        refs: list[Any] = []

        def submit(job: Job, place: int) -> Future[None]:
            refs.append(task.remote(job, channel))
            future: Future[None] = refs[-1].future()
            return future

        try:
            drive(jobs, at_once or _MANY, submit, channel, report)
        except BaseException:
            for ref in refs:
                ray.cancel(ref, force=True)
            raise


def _run_one(job: Job, channel: Any) -> None:
    """Run one job in a worker of the cluster."""
    alone(job, lambda *values: channel.put((job.name, *values)))


def _ask_for_a_token() -> None:
    """Let the cluster that this process starts answer its own members only."""
    if "ray" in sys.modules and os.environ.get("RAY_AUTH_MODE") != "token":
        raise UsageError(
            "Ray was imported before its cluster could be protected by a token.",
            hint="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN before it is imported, or give the address of a cluster",
        )
    os.environ["RAY_AUTH_MODE"] = "token"  # read when Ray is imported
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@contextmanager
def _cluster(ray: Any, address: str | None, at_once: int) -> Iterator[None]:
    """Be connected to a cluster; one that was started for this is shut down at the end."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            cores = at_once or os.cpu_count() or 1
            ray.init(address="local", num_cpus=cores, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as exc:
        where = f"at '{address}' cannot be reached" if address else "cannot be started on this machine"
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise RunError(
            f"A Ray cluster {where}: {reason}",
            hint="check --ray-address, RAY_AUTH_TOKEN, and that the cluster runs the same versions of Ray and Python",
        ) from exc
    try:
        yield
    finally:
        ray.shutdown()
