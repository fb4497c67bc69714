"""How long one outcome table takes with one worker and with two, on either engine, and after a worker is killed.

    python benchmarks/shards.py
    python benchmarks/shards.py --queries 200 --only local

Every table must have the bytes of the one that this process makes alone; the command fails where one has not. Starting
an engine counts: two workers read the libraries and the models twice. Without Ray its rows are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any

from disrouter.config import load
from disrouter.engines import Engine, LocalEngine, engine_of
from disrouter.engines.processes_of import descendants
from disrouter.evaluation.build import build
from disrouter.evaluation.outcome_files import write_table
from disrouter.evaluation.suites import suite_of
from disrouter.utility import BALANCE


def table(engine: Engine | None, queries: int, chunk: int, *, kill: str | None = None) -> dict[str, Any]:
    """Make a table of the lab network; ``kill`` begins the name of a process that is killed once a part is finished."""
    suite = suite_of("lab")
    asked = suite.queries("in", 0, queries)
    finished, killed = Event(), []
    hunter = Thread(target=lambda: killed.extend(hunt(finished, kill)), daemon=True)
    if kill is not None:
        hunter.start()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        found = build(
            load("lab").agents,
            asked,
            suite.grade,
            [BALANCE],
            domain="in",
            chunk=chunk,
            engine=engine,
            advance=lambda count: finished.set(),
        )
        seconds = time.perf_counter() - started
        write_table(found, path, timings=False)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return {"seconds": seconds, "digest": digest, "killed": len(killed)}


def hunt(finished: Event, name: str | None) -> list[int]:
    """Kill one busy worker, once a part is finished."""
    finished.wait()
    for _ in range(1000):
        for process in descendants(os.getpid()):
            if process.name.startswith(str(name)) and seconds_of(process.pid) > 1.0:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                    return [process.pid]
        time.sleep(0.02)
    return []


def seconds_of(pid: int) -> float:
    """Return the processor seconds that a process has used."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--queries", type=int, default=1500)
    options.add_argument("--chunk", type=int, default=250, help="queries per part")
    options.add_argument("--only", choices=["local", "ray"])
    given = options.parse_args()

    ways: dict[str, tuple[Engine | None, str | None]] = {"this process alone": (None, None)}
    if given.only != "ray":
        ways["local, 1 worker"] = LocalEngine(1), None
        ways["local, 2 workers"] = LocalEngine(2), None
        ways["local, 2 workers, one killed"] = LocalEngine(2), "python"
    if given.only != "local" and find_spec("ray"):
        ways["ray, 1 worker"] = engine_of("ray", workers=1), None
        ways["ray, 2 workers"] = engine_of("ray", workers=2), None
        ways["ray, 2 workers, one killed"] = engine_of("ray", workers=2), "ray::_run_one"
    found = {}
    for name, (engine, kill) in ways.items():
        found[name] = table(engine, given.queries, given.chunk, kill=kill)
        print(f"{name:32} {found[name]['seconds']:7.1f} s  {found[name]['digest']}", file=sys.stderr)
    print(json.dumps(found, indent=2))
    same = len({row["digest"] for row in found.values()}) == 1
    hit = all(row["killed"] == 1 for name, row in found.items() if name.endswith("killed"))
    print("the same bytes" if same else "DIFFERENT BYTES", "" if hit else "(no worker was hit)")
    return 0 if same and hit else 1


if __name__ == "__main__":
    sys.exit(main())
