"""Make up a bench table of 10,000 queries and five agents, for the speed of the bench.

    python benchmarks/bench_table.py made-up.parquet
    time disrouter bench run made-up.parquet --methods all

Twenty topics of words, a hidden difficulty, and everything that any method may ask for: confidences, answers and
verifications.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from disrouter.bench.entries import Entry, assemble
from disrouter.bench.tables import write_bench_table

COSTS = {f"agent-{i + 1}": cost for i, cost in enumerate([0.1, 0.2, 0.4, 0.7, 1.0])}
ABILITY = np.array([0.4, 0.5, 0.6, 0.7, 0.8])
WORDS = [f"w{i}" for i in range(400)]


def entry(number: int, random: np.random.Generator) -> Entry:
    """Return one query with what every agent made of it."""
    topic = int(random.integers(20))
    chance = 1 / (1 + np.exp(-(4 * (ABILITY - 0.5) - random.normal() * 0.6 - (topic - 10) / 10)))
    right = random.random(5) < chance
    own = random.choice(WORDS[topic * 20 : topic * 20 + 20], 6)
    text = " ".join([*map(str, own), *map(str, random.choice(WORDS, 12)), f"n{number}"])
    heard = np.clip(chance + random.normal(0, 0.1, 5), 0, 1)
    verified = np.round(np.clip(np.where(right, 0.8, 0.3) + random.normal(0, 0.15, 5), 0, 1) * 8) / 8
    said = [f"{'the answer is' if r else 'perhaps'} {random.integers(100)}" for r in right]
    return Entry(
        id=f"q{number}",
        text=text,
        scores={name: float(r) for name, r in zip(COSTS, right, strict=True)},
        confidences={name: float(c) for name, c in zip(COSTS, heard, strict=True)},
        responses=dict(zip(COSTS, said, strict=True)),
        verifications={name: float(v) for name, v in zip(COSTS, verified, strict=True)},
        verification_costs={name: 0.2 * cost for name, cost in COSTS.items()},
    )


def main(path: str, queries: int = 10_000) -> None:
    """Write the table."""
    random = np.random.default_rng(0)
    write_bench_table(assemble([entry(number, random) for number in range(queries)], costs=COSTS), Path(path))


if __name__ == "__main__":
    main(sys.argv[1])
