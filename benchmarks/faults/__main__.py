"""Faults between hosts that are really apart: three nodes and a gateway in network namespaces of their own.

    make bench-faults
    python benchmarks/faults --table tables/in-test-7.parquet --figure faults.png
    python benchmarks/faults --short --only killed --only frozen --only partition --json

Needs Linux, root, iproute2 and /dev/net/tun; ends with exit code 3 and says so where one of these is missing. The clock
needs libfaketime. Nothing outlives it: processes are ended and namespaces removed however it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from cluster import cluster
from experiment import FAULTS, VICTIM, Finding, Phases, judge, run
from hosts import UnavailableError, hosts, require
from pool import AGENTS, Pool

__all__: list[str] = []

TABLE = Path(__file__).parents[2] / "tests" / "data" / "lab-in-7.parquet"
UNAVAILABLE = 3
FULL, SHORT = Phases(3.0, 8.0, 6.0), Phases(0.5, 2.5, 1.5)
PATIENCE, SHORT_PATIENCE = 2.0, 1.0
"""Seconds that everybody waits for a node."""
DISPATCHES = ("caller", "peer")


def main() -> int:
    """Do the experiment and report it."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was made is unmade
    try:
        require()
    except UnavailableError as error:
        return _unavailable(error)
    pool = Pool(arguments.table)
    predicted = pool.predicted(), pool.predicted([VICTIM])
    chosen = [fault for fault in FAULTS if not arguments.only or fault.name in arguments.only]
    phases = SHORT if arguments.short else FULL
    findings: list[Finding] = []
    courses: list[Any] = []
    try:
        for dispatch in arguments.dispatch or DISPATCHES:
            with hosts(["gateway", *AGENTS], seed=arguments.seed) as apart, tempfile.TemporaryDirectory() as folder:
                work = _Work(apart, pool, Path(folder), dispatch, chosen, phases, arguments)
                for fault, asked, began, ended in work.done():
                    findings.append(judge(fault, pool, asked, began, ended, dispatch=dispatch, predicted=predicted))
                    if not arguments.json:
                        print(_line(findings[-1]), flush=True)
                    if dispatch == "caller":
                        courses.append((fault.name, fault.gone, asked, began, ended))
    except UnavailableError as error:
        return _unavailable(error)
    if arguments.figure is not None:
        from drawing import Course, draw

        draw([Course(*course) for course in courses], pool, *predicted, arguments.figure)
    for error in sorted({str(one.error) for course in courses for one in course[2] if one.error is not None}):
        print(f"lost: {error}", file=sys.stderr)
    skipped = {fault.name: fault.needs for fault in chosen if fault.needs is not None}
    if arguments.json:
        print(
            json.dumps(
                {"schema": 1, "maker": os.getpid(), "skipped": skipped, "faults": [one.as_json() for one in findings]},
                indent=2,
            )
        )
    else:
        print("\n".join(f"{name}: not run, {why}" for name, why in skipped.items()))
    return 0 if all(one.lost == one.hanging == one.wrong_answers == 0 for one in findings) else 1


def _unavailable(error: UnavailableError) -> int:
    print(f"Hosts cannot be set apart here: {error}.", file=sys.stderr)
    return UNAVAILABLE


class _Work:
    """The faults one after the other on one cluster, from a thread that lives on the gateway's host."""

    def __init__(self, *given: Any) -> None:
        self._given = given
        self._results: list[Any] = []
        self._error: BaseException | None = None

    def done(self) -> list[Any]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.2)  # so that a signal is heard
        if self._error is not None:
            raise self._error
        return self._results

    def _run(self) -> None:
        apart, pool, folder, dispatch, faults, phases, arguments = self._given
        try:
            apart.enter("gateway")
            waits = SHORT_PATIENCE if arguments.short else PATIENCE
            with cluster(apart, pool, folder, peer=dispatch == "peer", patience=waits) as made:
                for fault in faults:
                    if fault.needs is None:
                        self._results.append((fault, *asyncio.run(run(made, fault, phases, rate=arguments.rate))))
        except BaseException as error:
            self._error = error


def _line(one: Finding) -> str:
    recovery = "never" if one.recovery is None else f"{one.recovery:.2f} s"
    return (
        f"{one.fault:<13}{one.dispatch:<8}{one.queries:>5} asked  {one.lost} lost  {one.hanging} hanging  "
        f"slowest {one.slowest:.2f} s  p50 {one.p50 * 1000:.0f} ms  p95 {one.p95 * 1000:.0f} ms  "
        f"utility {one.utility:.3f} (predicted {one.predicted:.3f}, healthy {one.healthy:.3f})  "
        f"passed over {one.passed_over:.0%}  routes as predicted {one.as_predicted:.1%}  recovery {recovery}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE, help="outcomes of the lab's agents")
    parser.add_argument("--only", action="append", choices=[fault.name for fault in FAULTS])
    parser.add_argument("--dispatch", action="append", choices=DISPATCHES)
    parser.add_argument("--rate", type=float, default=25.0, help="queries a second")
    parser.add_argument("--seed", type=int, default=0, help="of the packets that are lost")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--figure", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
