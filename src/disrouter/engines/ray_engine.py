"""The Ray engine: every agent a deployment of its own, jobs as tasks. Only imported when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from disrouter.engines.contract import EngineName, Reader
from disrouter.engines.jobs import Done, Job, JobReport
from disrouter.engines.ray_cluster import connected
from disrouter.engines.ray_tasks import work_off_on_ray
from disrouter.network import Network

__all__ = ["RayEngine"]


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Agents and work on a Ray cluster."""

    address: str | None = None
    """Of the cluster; None starts one on this machine, which ends with the work."""

    workers: int = 0
    """Jobs side by side; 0: as many as the cluster bears."""

    @property
    def name(self) -> EngineName:
        """What it is called."""
        return "ray"

    def work_off(self, jobs: Sequence[Job], report: JobReport) -> Iterator[Done]:
        """Run jobs as tasks of the cluster."""
        yield from work_off_on_ray(jobs, self.workers, report, address=self.address)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Stay connected to the cluster."""
        with connected(self.address, serving=False, cores=self.workers):
            yield

    @contextmanager
    def hosting(self, read: Reader) -> Iterator[Callable[[], Network]]:
        """Run the agents of networks on the cluster.

        Raises:
            RunError: The cluster cannot be reached or started, or an agent not be started on it.
        """
        from disrouter.engines.ray_deployments import Deployments, cores_for

        _, placements = read()  # what is wrong with the file is told before anything is started
        cores = max(os.cpu_count() or 1, cores_for(placements))
        with connected(self.address, serving=True, cores=cores):
            deployments = Deployments()
            try:
                yield lambda: deployments.host(*read())
            finally:
                deployments.close()
