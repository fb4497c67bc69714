"""Jobs as tasks of a Ray cluster: one that is there already, or one of this machine's own.

On a cluster of several machines the models, and the output folder of a training, must be in the same place on each of
them. A pure job needs no folder: what it returns travels back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from disrouter.engines.jobs import Done, Job, JobReport, alone, check_jobs, drive
from disrouter.engines.processes import silent
from disrouter.engines.ray_cluster import connected

__all__ = ["run_jobs_on_ray", "work_off_on_ray"]

_MANY = 10_000
"""Places of a cluster that keeps its own count of them."""

_RETRIES = 2
"""A task whose machine was lost is begun again so many times; it goes on from its files."""


def run_jobs_on_ray(
    jobs: Sequence[Job],
    at_once: int = 0,
    report: JobReport = silent,
    *,
    address: str | None = None,
    gpus: float = 0,
) -> None:
    """Run jobs on a cluster for what they leave behind; see :func:`work_off_on_ray`."""
    for _ in work_off_on_ray(jobs, at_once, report, address=address, gpus=gpus):
        pass


def work_off_on_ray(
    jobs: Sequence[Job],
    at_once: int = 0,
    report: JobReport = silent,
    *,
    address: str | None = None,
    gpus: float = 0,
) -> Iterator[Done]:
    """Run jobs as Ray tasks, ``at_once`` of them side by side (0: as many as the cluster bears); yield results.

    Args:
        jobs: What to run.
        at_once: Most tasks at any time.
        report: Called as the work goes on.
        address: Of the cluster; None starts one on this machine and ends it afterwards.
        gpus: GPUs that each job needs.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: ``at_once`` is negative.
        RunError: The cluster cannot be reached or started.
        DisrouterError: A job failed; those that did not need it are finished.
    """
    check_jobs(at_once)
    with connected(address, serving=False, cores=at_once) as ray:
        from ray.util.queue import Queue

        channel = Queue(actor_options={"num_cpus": 0})
        resources = {"num_cpus": 1, "num_gpus": gpus, "max_retries": _RETRIES}
        shared = ray.remote(**resources)(_run_one)
        # A fresh process for a job that leaves files, as on one machine.
        fresh = ray.remote(max_calls=1, **resources)(_run_one)
        refs: list[Any] = []

        def submit(job: Job, place: int) -> Future[Any]:
            refs.append((shared if job.pure else fresh).remote(job, channel))
            future: Future[Any] = refs[-1].future()
            return future

        finished = False
        try:
            yield from drive(jobs, at_once or _places(ray, jobs), submit, channel, report)
            finished = True
        finally:
            if not finished or any(job.pure for job in jobs):  # copies that came second may still run
                for ref in refs:
                    ray.cancel(ref, force=True)


def _places(ray: Any, jobs: Sequence[Job]) -> int:
    """Return how many jobs to hand in at a time; a pure one that waits there would be taken for a slow one."""
    pure = all(job.pure for job in jobs)
    return max(1, int(ray.cluster_resources().get("CPU", 1))) if pure else _MANY


def _run_one(job: Job, channel: Any) -> Any:
    """Run one job in a worker of the cluster."""
    value = alone(job, lambda *values: channel.put((job.name, *values)))
    return value if job.pure else None
