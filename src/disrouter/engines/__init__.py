"""Engines: where agents and work run: in this process and its children, or on a Ray cluster.

An engine hosts the agents of a network, and works off jobs. Which one it is changes no decision and no byte of a
result. Nothing here starts Ray unless the engine ``ray`` is asked for.
"""

from __future__ import annotations

from disrouter.engines.contract import Engine, EngineName, Reader
from disrouter.engines.here import LocalEngine, engine_of
from disrouter.engines.jobs import Job, JobReport, Progress
from disrouter.engines.placement import Placement

__all__ = [
    "Engine",
    "EngineName",
    "Job",
    "JobReport",
    "LocalEngine",
    "Placement",
    "Progress",
    "Reader",
    "engine_of",
]
