"""Planning: how many replicas of every agent a network needs, simulated as queues."""

from __future__ import annotations

from disrouter.planning.curves import SIDE_BY_SIDE, TAKING_TURNS, Slowdown
from disrouter.planning.measures import Measured, Quantiles
from disrouter.planning.promise import Plan, Promise
from disrouter.planning.search import capacity_plan
from disrouter.planning.site import Faults, Host, Served, Site, site_of
from disrouter.planning.sources import open_source
from disrouter.planning.trials import Effort, Load, trial
from disrouter.planning.workload import Behaviour, Given, Route, Visit, Workload, given_seconds

__all__ = [
    "SIDE_BY_SIDE",
    "TAKING_TURNS",
    "Behaviour",
    "Effort",
    "Faults",
    "Given",
    "Host",
    "Load",
    "Measured",
    "Plan",
    "Promise",
    "Quantiles",
    "Route",
    "Served",
    "Site",
    "Slowdown",
    "Visit",
    "Workload",
    "capacity_plan",
    "given_seconds",
    "open_source",
    "site_of",
    "trial",
]
