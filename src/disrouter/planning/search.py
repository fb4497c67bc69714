"""Search: the cheapest replicas that keep a promise, or the best that a budget buys.

The load alone says how many replicas a host needs at least. From there on the host that delays the slowest queries most
for its price gets more, until the promise is kept; then whatever turns out to be too much is taken back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from disrouter.errors import RunError, UnknownNameError, UsageError
from disrouter.planning.measures import Measured
from disrouter.planning.promise import Plan, Promise
from disrouter.planning.site import GATEWAY, Host, Replicas, Site
from disrouter.planning.trials import FINAL, QUICK, Effort, Load, Report, alone, trial

__all__ = ["capacity_plan", "fewest"]

BUSIEST = 0.9
"""Utilisation beyond which a little more load makes waits several times as long; no plan goes there."""

STEPS = 60
"""Most plans that are tried on the way up."""

STEP_SHARE, FASTER, MOST_SHARE = 0.03, 1.4, 0.25
"""Replicas are added one at a time, or by this share where there are many; a share that grows from step to step."""

EXACT = 0.03
"""Of many replicas, so many more or less make no difference worth a simulation."""

NOTHING = 1e-3
"""A delay of this share of the time that a query takes alone is none."""

FEW = 50
"""Up to so many replicas in all, a start that was too high is brought down: there a single one counts."""

MOST_REPLICAS = 100_000


def fewest(site: Site, load: Load) -> dict[str, int]:
    """Return the replicas that each host needs to bear the load at all."""
    return {host.name: _fewest(site, host, load) for host in site.hosts}


def capacity_plan(
    site: Site,
    load: Load,
    promise: Promise,
    *,
    fixed: Replicas | None = None,
    quick: Effort = QUICK,
    final: Effort = FINAL,
    start: Replicas | None = None,
    report: Report | None = None,
) -> Plan:
    """Return the cheapest plan that keeps a promise, or the best one there is with what is the matter.

    Args:
        site: How the network is served.
        load: What comes.
        promise: What is to be kept.
        fixed: Replicas that stand already, by host; if all are given, this very plan is judged.
        quick: What is simulated to compare plans.
        final: What is simulated of the plan that is returned.
        start: Where to begin; of many replicas nothing is taken back then. Default: what the load alone needs.
        report: Told of the progress.

    Raises:
        RunError: The time in agents alone is longer than promised, or the budget does not bear the load.
        UsageError: Replicas are given that are not usable, or a budget without prices.
    """
    _check(site, promise, fixed or {})
    search = _Search(site, load, promise, dict(fixed or {}), quick, final, report)
    if len(search.fixed) == len(site.hosts):
        return search.judged(search.fixed)
    search.require_possible()
    if promise.p95 is None:
        return search.best_within_budget()
    plan = search.cheapest(start)
    if promise.budget is None or not plan.kept or plan.cost is None or plan.cost <= promise.budget:
        return plan
    return search.best_within_budget(wanted=plan)


class _Search:
    def __init__(
        self,
        site: Site,
        load: Load,
        promise: Promise,
        fixed: dict[str, int],
        quick: Effort,
        final: Effort,
        report: Report | None,
    ) -> None:
        self.site, self.load, self.promise, self.fixed = site, load, promise, fixed
        self.quick, self.final, self.report = quick, final, report
        self.least = {**fewest(site, load), **fixed}
        self.alone = alone(load)
        self.known: dict[tuple[int, ...], Measured] = {}

    def require_possible(self) -> None:
        """Do nothing if a plan without any waiting would keep the promise, at a price that may be paid."""
        wanted, budget = self.promise.p95, self.promise.budget
        if wanted is not None and wanted < self.alone:
            means = {name: self.load.workload.mean_seconds(name, "answer") or 0.0 for name in self.site.agents}
            slowest = max(means, key=lambda name: means[name])
            raise RunError(
                f"No number of replicas keeps a p95 of {wanted:g} s: without any waiting it is {self.alone:.3g} s. "
                f"The longest part are answers of '{slowest}', {means[slowest]:.3g} s on average.",
                hint=f"promise at least {self.alone * 1.05:.2g} s, make '{slowest}' faster, or pass less on to it (a "
                "higher alpha)",
            )
        least = self.site.cost(self.least)
        if budget is not None and least > budget:
            raise RunError(
                f"A budget of {budget:g} an hour does not bear {self.load.qps:g} queries a second: the load alone "
                f"needs {_listed(self.least)}, {least:g} an hour.",
                hint=f"raise the budget to at least {least:g}, or let about {self.load.qps * budget / least:.3g} "
                "queries a second come",
            )

    def cheapest(self, start: Replicas | None = None) -> Plan:
        """Return the cheapest plan found that keeps the promise."""
        first = {name: max(least, (start or {}).get(name, 0)) for name, least in self.least.items()}
        here = self._up({**first, **self.fixed}, self.quick)
        small = start is None or sum(here.values()) <= FEW
        if small and self.promise.kept(self._try(here, self.quick)):
            here = self._down(here)
        here = self._up(here, self.final)
        return self.judged(here)

    def best_within_budget(self, wanted: Plan | None = None) -> Plan:
        """Return the plan with the best p95 that the budget bears."""
        budget = self.promise.budget
        assert budget is not None
        here, best = dict(self.least), dict(self.least)
        for _ in range(STEPS):
            found = self._try(here, self.quick)
            if _seconds(found) < _seconds(self._try(best, self.quick)):
                best = dict(here)
            left = budget - self.site.cost(here)
            affordable = [h for h in self._movable() if self.site.cost({**here, h.name: here[h.name] + 1}) <= budget]
            host = self._worst(found, affordable)
            if host is None:
                break
            price = self.site.cost({**here, host.name: here[host.name] + 1}) - self.site.cost(here)
            here[host.name] += min(_step(here[host.name], STEP_SHARE), math.floor(left / price) if price > 0 else 1)
        plan = self.judged(best)
        if wanted is None:
            return plan
        assert plan.found.end is not None and wanted.cost is not None and wanted.found.end is not None
        problem = (
            f"A budget of {budget:g} an hour buys a p95 of {plan.found.end.p95:.3g} s, not {self.promise.p95:g} s; "
            f"that takes {_listed(wanted.replicas)}, {wanted.cost:g} an hour."
        )
        return Plan(
            replicas=plan.replicas, least=plan.least, cost=plan.cost, found=plan.found, kept=False, problem=problem
        )

    def judged(self, replicas: Replicas) -> Plan:
        """Return a plan with what it does, simulated at full length."""
        found = self._try(replicas, self.final)
        return Plan(
            replicas=dict(replicas),
            least=dict(self.least) if len(self.fixed) < len(self.site.hosts) else fewest(self.site, self.load),
            cost=self.site.cost(replicas) if self.site.priced else None,
            found=found,
            kept=self.promise.kept(found),
            problem=None if self.promise.kept(found) else self.promise.shortfall(found, self.load.qps),
        )

    def _up(self, here: dict[str, int], effort: Effort) -> dict[str, int]:
        """Return the first plan on the way up that keeps the promise, or the last one that made a difference."""
        share = STEP_SHARE
        for _ in range(STEPS):
            found = self._try(here, effort)
            host = None if self.promise.kept(found) else self._worst(found, self._movable())
            if host is None:
                break
            here = {**here, host.name: min(MOST_REPLICAS, here[host.name] + _step(here[host.name], share))}
            share = min(MOST_SHARE, share * FASTER)
        return here

    def _down(self, here: dict[str, int]) -> dict[str, int]:
        """Return a plan from which nothing can be taken any more, the dearest host first."""
        for host in sorted(self._movable(), key=lambda host: -(host.cost or 0.0)):
            low, high = self.least[host.name], here[host.name]
            while high - low > EXACT * high:
                middle = (low + high) // 2
                if self.promise.kept(self._try({**here, host.name: middle}, self.quick)):
                    high = middle
                else:
                    low = middle + 1
            here = {**here, host.name: high}
        return here

    def _worst(self, found: Measured, among: list[Host]) -> Host | None:
        """Return the host whose next replica promises most for its price; None if none makes a difference."""
        # A query that is turned away waits for ever, so to say.
        harm = {h.name: found.delay[h.name] + 10 * self.alone * found.refusals.get(h.name, 0.0) for h in among}
        worth = {
            h: harm[h.name] / max(_price(h, self.site), 1e-6) for h in among if harm[h.name] > NOTHING * self.alone
        }
        return max(worth, key=lambda host: worth[host], default=None)

    def _movable(self) -> list[Host]:
        return [host for host in self.site.hosts if host.name not in self.fixed]

    def _try(self, replicas: Replicas, effort: Effort) -> Measured:
        key = (*(replicas[host.name] for host in self.site.hosts), effort.queries, effort.repetitions)
        if key not in self.known:
            self.known[key] = trial(self.site, replicas, self.load, effort, self.report)
        return self.known[key]


def _fewest(site: Site, host: Host, load: Load) -> int:
    agents = [agent.name for agent in host.agents]
    if host.name == GATEWAY:
        work = site.gateway_seconds * sum(route.hops for route in load.workload.routes) / len(load.workload.routes)
    else:
        work = sum(load.workload.work(name) for name in agents)
    return max(1, math.ceil(load.qps * work / (BUSIEST * host.rate * (1 - site.faults.down))))


def _check(site: Site, promise: Promise, fixed: Mapping[str, int]) -> None:
    if promise.p95 is None and promise.budget is None and len(fixed) < len(site.hosts):
        raise UsageError(
            "Nothing is asked of the plan.", hint="give --p95 2s, --budget 40, or --replicas of every agent"
        )
    if promise.budget is not None and not site.priced:
        raise UsageError("A budget needs prices.", hint="say what a replica costs: --cost-per-hour small=0.5")
    for name, count in fixed.items():
        if name not in [host.name for host in site.hosts]:
            raise UnknownNameError.of("agent", name, [host.name for host in site.hosts], where="the plan")
        if not 1 <= count <= MOST_REPLICAS:
            raise UsageError(f"{count} replicas of '{name}' are not usable: give a whole number from 1.")


def _seconds(found: Measured) -> float:
    """Return what plans are compared by where the promise is out of reach: p95, and unanswered queries as very slow."""
    return math.inf if found.end is None else found.end.p95 * (1 + 100 * found.unanswered)


def _step(replicas: int, share: float) -> int:
    return max(1, math.ceil(share * replicas)) if replicas * STEP_SHARE > 1 else 1


def _price(host: Host, site: Site) -> float:
    return 1.0 if not site.priced or host.cost is None else host.cost


def _listed(replicas: Replicas) -> str:
    return ", ".join(f"{count} x {name}" for name, count in replicas.items())
