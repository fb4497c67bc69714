"""The contract of engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeAlias

from disrouter.engines.jobs import Done, Job, JobReport
from disrouter.engines.placement import Placement
from disrouter.network import Network

__all__ = ["Engine", "EngineName", "Reader"]

EngineName = Literal["local", "ray"]

Reader: TypeAlias = Callable[[], tuple[Network, Mapping[str, Placement]]]
"""Reads a network and where its agents shall run, the first time or anew."""


class Engine(Protocol):
    """Where agents and work run."""

    @property
    def name(self) -> EngineName: ...

    def work_off(self, jobs: Sequence[Job], report: JobReport) -> Iterator[Done]:
        """Run jobs and yield each one that is finished with what it returned.

        Raises:
            DisrouterError: A job failed; those that did not need it are finished.
        """
        ...

    def session(self) -> AbstractContextManager[None]:
        """Keep what is costly to start until the block ends, where work comes in several portions."""
        ...

    def hosting(self, read: Reader) -> AbstractContextManager[Callable[[], Network]]:
        """Run the agents of networks as long as the block lasts.

        Yields what reads a network and returns it with agents that can be asked; to be called once, and for a reload.
        """
        ...
