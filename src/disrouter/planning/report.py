"""Report: everything a plan says, as one value that prints, draws and becomes JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from disrouter.network import Network
from disrouter.planning.measures import Measured
from disrouter.planning.promise import Plan, Promise
from disrouter.planning.site import GATEWAY, Host, Site
from disrouter.planning.studies import Loaded, Lost, Variant
from disrouter.planning.trials import Load, alone
from disrouter.planning.workload import Workload
from disrouter.types import TokenPrice

__all__ = ["PlanReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """A plan with what it was made for, and the studies around it."""

    network: Network
    site: Site
    load: Load
    promise: Promise
    plan: Plan
    variants: Sequence[Variant] = ()
    loads: Sequence[Loaded] = ()
    lost: Sequence[Lost] = ()
    notes: Sequence[str] = ()
    """What a reader should know; those of the workload come before them."""

    @property
    def workload(self) -> Workload:
        """The routes that were simulated."""
        return self.load.workload

    @property
    def tokens_cost(self) -> float | None:
        """Money per hour at the prices per token of the network file; None where it has others."""
        prices = [agent.card.price for agent in self.network.agents.values()]
        units = {price.unit for price in prices if isinstance(price, TokenPrice)}
        if len(units) != 1 or not all(isinstance(price, TokenPrice) for price in prices):
            return None
        return self.workload.cost * units.pop() * self.load.qps * 3600

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values (schema 1); seconds and shares, nothing rounded."""
        plan, found = self.plan, self.plan.found
        return {
            "schema": 1,
            "network": self.network.name,
            "scenario": {"name": self.network.scenario.name, "alpha": self.network.scenario.alpha},
            "traces": self.workload.source.strip("'"),
            "routes": len(self.workload.routes),
            "qps": self.load.qps,
            "arrivals": self.load.arrivals,
            "seed": self.load.seed,
            "promise": asdict(self.promise),
            "kept": plan.kept,
            "problem": plan.problem,
            "cost_per_hour": plan.cost,
            "tokens_cost_per_hour": self.tokens_cost,
            "p95_without_waiting": alone(self.load),
            "hosts": [self._host(host) for host in self.site.hosts],
            **_measured(found),
            "variants": [_variant(variant) for variant in self.variants],
            "loads": [{"qps": one.qps, **_measured(one.found)} for one in self.loads],
            "one_replica_less": [
                {"host": one.host, "share_of_time": one.share, **_measured(one.found)} for one in self.lost
            ],
            "notes": [*self.workload.notes, *self.notes],
        }

    def _host(self, host: Host) -> dict[str, Any]:
        plan = self.plan
        return {
            "host": host.name,
            "replicas": plan.replicas[host.name],
            "least": plan.least[host.name],
            "utilisation": plan.found.utilisation[host.name],
            "delay": plan.found.delay[host.name],
            "cost_per_hour": host.cost,
            "slowdown": str(host.slowdown),
            "turn_seconds": host.turn,
            "agents": [
                {
                    "agent": agent.name,
                    "concurrency": agent.concurrency,
                    "queue": agent.queue,
                    **{
                        f"{step}_{what}": value
                        for step in ("look", "answer")
                        for what, value in (
                            ("share", self.workload.share(agent.name, step)),
                            ("seconds", self.workload.mean_seconds(agent.name, step)),
                        )
                    },
                }
                for agent in host.agents
                if host.name != GATEWAY
            ],
        }


def _measured(found: Measured) -> dict[str, Any]:
    values = asdict(found)
    return {**values, "utilisation": dict(found.utilisation), "delay": dict(found.delay)}


def _variant(variant: Variant) -> dict[str, Any]:
    plan = variant.plan
    return {
        "alpha": variant.alpha,
        "skips": variant.skips,
        "accuracy": variant.accuracy,
        "cost": variant.cost,
        "agents_asked": variant.agents_asked,
        "problem": variant.problem if plan is None else plan.problem,
        "kept": False if plan is None else plan.kept,
        "replicas": None if plan is None else dict(plan.replicas),
        "cost_per_hour": None if plan is None else plan.cost,
        "p95": None if plan is None or plan.found.end is None else plan.found.end.p95,
    }
