"""Record what the lab's agents make of many queries: the outcome tables that other benchmarks read.

    python benchmarks/lab_tables.py --domain in --split validation --seed 77 --queries 6300 --out tables/

One scenario is recorded: the agents of calibrated mode do not read it. Can be interrupted and goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import disrouter
from disrouter.evaluation.build import build
from disrouter.lab.suite import LabSuite
from disrouter.utility import BALANCE


def main() -> None:
    """Ask every agent every query and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="lab")
    parser.add_argument("--domain", default="in")
    parser.add_argument("--split", default="test", choices=("validation", "test"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--queries", type=int, default=2100)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    suite, name = LabSuite(), f"{arguments.domain}-{arguments.split}-{arguments.seed}"
    queries = suite.queries(arguments.domain, arguments.seed, arguments.queries, split=arguments.split)
    agents = disrouter.load(arguments.network).agents
    parts = arguments.out / "parts" / name
    table = build(agents, queries, suite.grade, [BALANCE], domain=arguments.domain, seed=arguments.seed, parts=parts)
    table.write(arguments.out / f"{name}.parquet")
    print(arguments.out / f"{name}.parquet", table.shape)


if __name__ == "__main__":
    main()
