"""Studies: what alpha, skipping, more load and a lost replica do to a plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from disrouter.errors import RunError
from disrouter.network import Network
from disrouter.planning.measures import Measured
from disrouter.planning.outcomes import skipping
from disrouter.planning.promise import Plan, Promise
from disrouter.planning.search import capacity_plan, fewest
from disrouter.planning.site import Replicas, Site
from disrouter.planning.sources import Source
from disrouter.planning.trials import Effort, Load, Report, trial
from disrouter.planning.workload import Workload
from disrouter.utility import scenario_of

__all__ = ["SWEEP", "Loaded", "Lost", "Variant", "lost_replicas", "promised_plan", "sweep", "variants"]

SHORT = Effort(4_000, 1)

SWEEP = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5)
"""Loads, as shares of the planned one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The same promise under another weight of cost, or with a policy that skips or does not."""

    alpha: float
    skips: bool | None
    """None where the policy knows no such setting."""

    accuracy: float | None
    cost: float
    """Mean normalised cost of a query."""

    agents_asked: float
    """Mean number of agents that look at a query or answer it."""

    plan: Plan | None
    problem: str | None = None
    """Why there is no plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The plan under another load."""

    qps: float
    found: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The plan with one replica of a host less."""

    host: str
    share: float
    """Share of the time that at least one of them is away."""

    found: Measured


def variants(
    source: Source,
    network: Network,
    alphas: Sequence[float],
    plan_of: Callable[[Workload], Plan],
    *,
    done: Callable[[], None] | None = None,
) -> list[Variant]:
    """Return the plan for each alpha, and for the network's own alpha also with skipping turned round."""
    made = []
    wanted = [(alpha, network) for alpha in alphas]
    own = getattr(network.policy, "skip", None)
    turned = None if own is None else skipping(network, not own)
    if turned is not None:
        wanted.append((network.scenario.alpha, turned))
    for alpha, asked in wanted:
        workload = source.workload(asked, replace(scenario_of(alpha), beta=network.scenario.beta))
        made.append(_variant(alpha, asked, workload, plan_of))
        if done is not None:
            done()
    return made


def _variant(alpha: float, network: Network, workload: Workload, plan_of: Callable[[Workload], Plan]) -> Variant:
    plan, problem = None, None
    try:
        plan = plan_of(workload)
    except RunError as error:
        problem = error.message
    asked = sum(len({visit.agent for visit in route.visits}) for route in workload.routes) / len(workload.routes)
    return Variant(
        alpha=alpha,
        skips=getattr(network.policy, "skip", None),
        accuracy=workload.accuracy,
        cost=workload.cost,
        agents_asked=asked,
        plan=plan,
        problem=problem,
    )


def sweep(site: Site, replicas: Replicas, load: Load, *, report: Report | None = None) -> list[Loaded]:
    """Return what the replicas do under less and more load than they were planned for."""
    loads = [replace(load, qps=load.qps * share) for share in SWEEP]
    return [Loaded(qps=one.qps, found=trial(site, replicas, one, SHORT, report)) for one in loads]


def lost_replicas(site: Site, replicas: Replicas, load: Load, *, report: Report | None = None) -> list[Lost]:
    """Return what happens while one replica of one host is away, host by host."""
    made = []
    for host in site.hosts:
        less = {**replicas, host.name: replicas[host.name] - 1}
        found = trial(site, less, load, SHORT, report)
        share = 1 - (1 - site.faults.down) ** replicas[host.name]
        made.append(Lost(host=host.name, share=share, found=found))
    return made


def promised_plan(
    site: Site, load: Load, promise: Promise, workload: Workload, known: Plan, report: Report | None
) -> Plan:
    """Return the plan of another workload under the same load and promise, simulated briefly.

    It begins with hosts as busy as those of a plan that is known, which is where the search has ended before.
    """
    other = replace(load, workload=workload)
    promised = Promise(p95=promise.p95, unanswered=promise.unanswered)
    if promise.p95 is None:
        promised = promise
    before, after = fewest(site, load), fewest(site, other)
    start = {name: math.ceil(known.replicas[name] / before[name] * after[name]) for name in after}
    return capacity_plan(site, other, promised, quick=SHORT, final=Effort(SHORT.queries, 3), start=start, report=report)
