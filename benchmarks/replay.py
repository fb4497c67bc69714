"""How long replaying a large outcome table takes, and how much memory: every policy, 21 values of alpha.

    python benchmarks/replay.py                     # 100,000 queries x 5 agents x 21 alphas, then the scaling
    python benchmarks/replay.py --no-scaling

The outcomes are drawn: a query has a difficulty, an agent an ability, and a confidence is the chance to be right with
some noise. The dearest agent states none. Seconds are wall time on whatever machine this runs on; compare within a run.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from disrouter.agents.recorded import RecordedAgent
from disrouter.competence import Competence
from disrouter.evaluation.difficulty import measure
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.evaluation.replay import fitted, replay
from disrouter.network import Network
from disrouter.policies import policy_of
from disrouter.types import AgentCard, QueryPrice, Scenario

FORWARDING = "value-of-forwarding"
POLICIES: dict[str, dict[str, object]] = {
    "own word": {"name": "own-word"},
    "threshold": {"name": "threshold", "threshold": 0.6},
    "paper": {"name": "paper"},
    "value of forwarding": {"name": FORWARDING, "skip": False, "grades": False, "recall": False},
    "+ skip": {"name": FORWARDING, "skip": True, "grades": False, "recall": False},
    "+ skip, grades": {"name": FORWARDING, "skip": True, "grades": True, "recall": False},
    "+ skip, grades, recall": {"name": FORWARDING},
}


def main() -> None:
    """Time the headline, then each axis alone, then planning."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--agents", type=int, default=5)
    parser.add_argument("--alphas", type=int, default=21)
    parser.add_argument("--no-scaling", action="store_true", help="only the headline")
    arguments = parser.parse_args()
    queries, agents, alphas = arguments.queries, arguments.agents, arguments.alphas

    before = peak()
    spent = {name: timed(policy, queries, agents, alphas) for name, policy in POLICIES.items()}
    total = sum(spent.values())
    print(f"{queries:,} queries x {agents} agents x {alphas} alphas")
    for name, seconds in spent.items():
        print(f"  {name:24} {seconds:6.2f} s  {seconds / total:4.0%}")
    print(f"  {'every policy':24} {total:6.2f} s")
    print(f"  peak memory {peak():.2f} GB, {before:.2f} GB of it before the first table")
    if arguments.no_scaling:
        return
    print("\nscaling of every policy together, as a ratio to the first of each row")
    show("queries", [q // 4 for q in (queries, 2 * queries, 4 * queries)], lambda n: (n, agents, alphas))
    show("agents", [3, 5, 8, 16, 32], lambda n: (queries // 10, n, alphas))
    show("alphas", [3, 11, 21, 101], lambda n: (queries // 10, agents, n))
    print("\nplanning for a new alpha, price or latency (value of forwarding with skip, grades and recall)")
    for count in (5, 32):
        bound, planned = planning(count)
        print(f"  {count:2} agents  {1000 * planned:6.0f} ms; a new pool first takes {1000 * bound:.0f} ms more")


def show(what: str, values: Sequence[int], sizes: Callable[[int], tuple[int, int, int]]) -> None:
    """Print how the time of every policy together grows along one axis."""
    spent = [sum(timed(p, *sizes(value)) for p in POLICIES.values()) for value in values]
    print(f"  {what:8}" + "".join(f"  {v:>7,}: {s / spent[0]:5.2f}" for v, s in zip(values, spent, strict=True)))


def timed(policy: dict[str, object], queries: int, agents: int, alphas: int) -> float:
    """Return the seconds of repricing and replaying a table under one policy, planning included."""
    table = drawn(queries, agents, seed=0).in_scenarios(
        [Scenario(name=f"alpha={alpha:g}", alpha=float(alpha)) for alpha in np.linspace(0, 1, alphas)]
    )
    network = pool(agents, policy)
    start = time.perf_counter()
    found = replay(fitted(table, network), network)
    seconds = time.perf_counter() - start
    assert found.choice.agent.shape == (alphas, queries)
    return seconds


def planning(agents: int) -> tuple[float, float]:
    """Return the seconds of binding the policy to a pool, and of planning for a scenario; the best of five."""
    bound, planned = [], []
    for attempt in range(5):
        start = time.perf_counter()
        network = pool(agents, {"name": FORWARDING})
        bound.append(time.perf_counter() - start)
        table = drawn(1, agents, seed=0).in_scenarios([Scenario(name="new", alpha=0.3 + attempt / 100)])
        start = time.perf_counter()
        replay(table, network)
        planned.append(time.perf_counter() - start)
    return min(bound), min(planned)


_CARDS: dict[int, dict[str, Competence]] = {}


def pool(agents: int, policy: dict[str, object]) -> Network:
    """Return a cascade of that many agents, with cards measured on 3,000 other queries."""
    if agents not in _CARDS:
        _CARDS[agents] = measure(drawn(3000, agents, seed=1))
    cards = _CARDS[agents]
    costs = np.linspace(0.1, 0.9, agents)
    return Network(
        "drawn",
        [
            RecordedAgent(AgentCard(name=name, price=QueryPrice(cost=float(cost)), competence=cards[name]), ())
            for name, cost in zip(cards, costs, strict=True)
        ],
        policy=policy_of(policy),
    )


def drawn(queries: int, agents: int, *, seed: int) -> OutcomeTable:
    """Return outcomes of agents of rising ability on queries of drawn difficulty, in one scenario."""
    random = np.random.default_rng(seed)
    difficulty, ability = random.normal(size=queries), np.linspace(-0.5, 1.5, agents)[:, None]
    chance = 1 / (1 + np.exp(-2.2 * (ability - difficulty + 0.5 * random.normal(size=(agents, queries)))))
    confidence = np.clip(chance + 0.05 * random.normal(size=chance.shape), 0, 1)
    confidence[-1] = np.nan
    score = (random.random((agents, queries)) < chance).astype(np.float64)

    def cube(value: object, kind: type[Any]) -> Any:
        return np.broadcast_to(np.asarray(value, dtype=kind), (1, agents, queries))

    return OutcomeTable(
        query_ids=tuple(f"{seed}-{i}" for i in range(queries)),
        agents=tuple(f"agent-{a + 1}" for a in range(agents)),
        scenarios=(Scenario(name="balance", alpha=0.5),),
        datasets=(None,) * queries,
        domains=(None,) * queries,
        levels=(None,) * queries,
        confidence=cube(confidence, float),
        score=cube(score, float),
        accepts=cube(-1, int),
        answer=cube("x", object),
        failure=cube(None, object),
        **{name: cube(20, int) for name in ("prompt_tokens", "answer_tokens")},
        **{name: cube(0, float) for name in ("look_cost", "answer_cost", "look_seconds", "answer_seconds")},
    )


def peak() -> float:
    """Return the most memory this process has held so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
