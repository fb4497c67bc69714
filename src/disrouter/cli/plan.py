"""``disrouter plan``: how many replicas of every agent a network needs, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import (
    examples_as_typed,
    json_option,
    network_of,
    network_option,
    policy_option,
    scenario_option,
    seed_option,
)
from disrouter.cli._plan_options import alphas_of, count_of, given_of, groups_of, hosts_of, slowdown_of, spread
from disrouter.cli._quantities import money, named, rate, seconds_option
from disrouter.errors import RunError, UsageError

if TYPE_CHECKING:
    from disrouter.network import Network
    from disrouter.planning import Effort, Given, Load, Plan, Promise, Site, Slowdown, Workload
    from disrouter.planning.report import PlanReport
    from disrouter.planning.sources import Source
    from disrouter.types import Scenario

__all__ = ["plan"]

RUNS = Path("runs")

QUERIES = (500, 40_000)
"""Fewest and most that are counted in a simulation."""


@click.command(short_help="How many replicas a load needs, and what that costs.")
@network_option
@click.option(
    "--traces",
    "where",
    required=True,
    metavar="FILE|STORE|RUN",
    help="Where routes and times come from: what `disrouter traces --export` wrote, a gateway's store, a run folder or "
    "an outcome table.",
)
@click.option(
    "--qps", required=True, metavar="RATE", help="Queries a second: 500; or by the minute or hour: 30/m, 1000/h.",
    callback=lambda _context, _parameter, value: rate(value, "--qps"),
)  # fmt: skip
@seconds_option("--p95", "Most time that 95 % of the answers may take, from the query to the last word.")
@click.option(
    "--budget",
    metavar="MONEY",
    callback=lambda _context, _parameter, value: None if value is None else money(value, "--budget"),
    help="Most money per hour; if the promise needs more, the best that this buys.",
)
@click.option(
    "--cost-per-hour", "costs", multiple=True, metavar="[NAME=]MONEY", callback=named(money, default=True),
    help="What a replica costs; without a name: every agent's that is not named.",
)  # fmt: skip
@click.option(
    "--seconds", "given", multiple=True, metavar="NAME=LOOK,ANSWER[,SPREAD]", callback=named(given_of),
    help="How long an agent takes, alone on a replica. Measured times are scaled to these means; a spread (standard "
    "deviation / mean) draws them anew.",
)  # fmt: skip
@click.option(
    "--concurrency", multiple=True, metavar="[NAME=]N", callback=named(count_of, default=True),
    help="Queries that one replica works on at a time, if not what the network file says.",
)  # fmt: skip
@click.option(
    "--slowdown", "slowdowns", multiple=True, metavar="[NAME=]N:TIMES,…", callback=named(slowdown_of, default=True),
    help="How much longer everything takes with N at work on a replica: 1:1,8:1.6,32:3.",
)  # fmt: skip
@click.option(
    "--together", multiple=True, metavar="NAME,NAME",
    help="Agents that share their replicas and the processor of each; the group's name has + between them. Models in "
    "this process do anyway; name one alone to have it stand alone.",
)  # fmt: skip
@click.option(
    "--replicas", multiple=True, metavar="NAME=N", callback=named(count_of),
    help="Replicas that stand already; if all are given, this very plan is judged.",
)  # fmt: skip
@click.option(
    "--arrivals", type=click.Choice(["poisson", "traces"]), default="poisson", show_default=True,
    help="Queries come independently of each other, or as in the traces, brought to the rate.",
)  # fmt: skip
@scenario_option
@policy_option
@click.option(
    "--alphas", metavar="ALPHA,…|none", callback=alphas_of,
    help="Plan for these too, where there are outcomes of every agent.  [default: 0.2,0.5,0.8]",
)  # fmt: skip
@seconds_option("--mtbf", "Mean time that a replica runs until it breaks; never if left out.")
@seconds_option("--repair", "Mean time until it is back.", default="10m", show_default=True)
@seconds_option("--deadline", "Time after which a query is given up.", default="10m", show_default=True)
@seconds_option("--gateway-time", "Plan gateways too: processor time of one for each agent that is asked.")
@click.option(
    "--max-unanswered", type=click.FloatRange(0, 1, max_open=True), default=0.001, show_default=True, metavar="SHARE",
    help="Largest share of queries without an answer.",
)  # fmt: skip
@click.option(
    "--queries", type=int, default=8_000, show_default=True, help="Queries counted in each of five simulations."
)
@seed_option(0, "Of everything drawn.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Where plan.json and the figure are kept.  [default: runs/plan- and the network's name]",
)  # fmt: skip
@json_option("one JSON object")
@examples_as_typed
def plan(
    network_name: str,
    where: str,
    qps: float,
    p95: float | None,
    budget: float | None,
    costs: dict[str, float],
    given: dict[str, Given],
    concurrency: dict[str, int],
    slowdowns: dict[str, Slowdown],
    together: tuple[str, ...],
    replicas: dict[str, int],
    arrivals: Any,
    scenario: Scenario | None,
    policy: str | None,
    alphas: tuple[float, ...] | None,
    mtbf: float | None,
    repair: float,
    deadline: float,
    gateway_time: float | None,
    max_unanswered: float,
    queries: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Simulate a network as queues and find the cheapest replicas that keep a promise.

    Routes and times come from traces; the queries a second, from you. Exits with 1 if the promise cannot be kept.

      disrouter plan --traces runs/mine --qps 500 --p95 2s --seconds large=0.1,1.5
      disrouter plan --network net.yaml --traces gateway.db --qps 1000/h --p95 4s --cost-per-hour 2.50 --budget 20
    """
    from disrouter.cli._console import bars, print_json
    from disrouter.files import write_json
    from disrouter.planning import Effort, Faults, Load, Promise, open_source, site_of

    if not QUERIES[0] <= queries <= QUERIES[1]:
        raise UsageError(f"--queries {queries} is not usable: give a number from {QUERIES[0]} to {QUERIES[1]:,}.")
    network = network_of(network_name, policy=policy)
    if scenario is not None:
        network = network.replace(scenario=scenario)
    source = open_source(where)
    load = Load(
        workload=_workload(source.workload(network, None if source.table is None else scenario), network, given),
        qps=qps,
        arrivals=arrivals,
        seed=seed,
    )
    groups = groups_of(network, together, slowdowns, costs)
    site = site_of(
        network,
        concurrency=spread(concurrency, list(network.agents)),
        slowdowns=spread(slowdowns, hosts_of(groups, gateway=False)),
        costs=spread(costs, hosts_of(groups, gateway=gateway_time is not None)),
        together=groups,
        faults=Faults(between=math.inf if mtbf is None else mtbf, repair=repair),
        deadline=deadline,
        gateway_seconds=gateway_time or 0.0,
    )
    promise = Promise(p95=p95, unanswered=max_unanswered, budget=budget)
    with bars() as show:
        report = _planned(
            network, site, load, promise, source, given, replicas, alphas, Effort(queries, 1), Effort(queries, 5), show
        )
    folder = out or RUNS / f"plan-{network.name}"
    write_json(folder / "plan.json", report.to_json())
    from disrouter.planning.figures import draw

    figure = draw(report, folder)
    if as_json:
        print_json(report.to_json())
    else:
        from disrouter.cli._plan_tables import print_plan

        print_plan(report)
    click.echo(f"figure: {figure}", err=True)
    if report.plan.problem is not None:
        raise RunError(f"The promise is not kept. {report.plan.problem}")


def _workload(workload: Workload, network: Network, given: Mapping[str, Given]) -> Workload:
    """Return the workload with the seconds of the network file and then those of the command line."""
    from disrouter.planning import Given
    from disrouter.planning.workload import given_seconds, require_seconds

    cards = {name: agent.card.seconds for name, agent in network.agents.items()}
    filed = {n: Given(look=s.look, answer=s.answer) for n, s in cards.items() if s is not None and s.answer > 0}
    made = given_seconds(workload, {**filed, **given}, list(network.agents))
    require_seconds(made)
    return made


def _planned(
    network: Network,
    site: Site,
    load: Load,
    promise: Promise,
    source: Source,
    given: Mapping[str, Given],
    replicas: Mapping[str, int],
    alphas: tuple[float, ...] | None,
    quick: Effort,
    final: Effort,
    show: Callable[[str, int, int, str], None],
) -> PlanReport:
    """Make the plan and the studies around it, telling how far it is."""
    from disrouter.planning import capacity_plan
    from disrouter.planning.report import PlanReport
    from disrouter.planning.studies import SWEEP, lost_replicas, promised_plan, sweep, variants

    wanted = (0.2, 0.5, 0.8) if alphas is None else alphas
    if source.table is None:
        wanted = ()
    studied = len(wanted) + 1 if wanted else 0
    parts = [1, studied, len(SWEEP), len(site.hosts) if site.faults.down else 0]
    done, simulated = 0, 0

    def report(_what: str, queries: int) -> None:
        nonlocal simulated
        simulated += queries
        show("planning", done, sum(parts), f"{simulated:,} queries simulated")

    def step() -> None:
        nonlocal done
        done += 1
        show("planning", done, sum(parts), f"{simulated:,} queries simulated")

    show("planning", 0, sum(parts), "")
    found = capacity_plan(site, load, promise, fixed=replicas, quick=quick, final=final, report=report)
    step()
    notes = _notes(network, load, source, given, final)
    others = []
    if wanted:

        def plan_of(workload: Workload) -> Plan:
            return promised_plan(site, load, promise, _workload(workload, network, given), found, report)

        others = variants(source, network, wanted, plan_of, done=step)
    elif alphas or alphas is None:
        notes.append("alpha and skipping: only outcomes of every agent tell (a run folder of `disrouter eval`)")
    loads = sweep(site, found.replicas, load, report=report)
    lost = lost_replicas(site, found.replicas, load, report=report) if site.faults.down else []
    done = sum(parts) - 1
    step()
    return PlanReport(
        network=network, site=site, load=load, promise=promise, plan=found, variants=others, loads=loads, lost=lost,
        notes=notes,
    )  # fmt: skip


def _notes(network: Network, load: Load, source: Source, given: Mapping[str, Given], effort: Effort) -> list[str]:
    """Return what a reader of this plan should know."""
    from disrouter.planning.site import local
    from disrouter.planning.trials import settles

    notes = []
    measured = [
        name
        for name, agent in network.agents.items()
        if local(network, name) and name not in given and agent.card.seconds is None
    ]
    if source.table is not None and measured:
        notes.append(
            f"the seconds of {', '.join(measured)} are shares of batches: what a query takes of the processor when "
            "many come together, not how long it takes alone (--seconds gives others)"
        )
    if network.limits.max_seconds is not None:
        notes.append("the limit max_seconds is not simulated: routes are those of the traces")
    if not settles(load, effort):
        notes.append(
            "so many queries are on their way that a simulation ends before it has settled: p95 may be too low"
        )
    return notes
