"""What one more agent asked costs, by where agents live: in this process, behind nodes, peer to peer, on Ray.

    python benchmarks/nodes_overhead.py
    python benchmarks/nodes_overhead.py --only "in process" --only nodes --json

Recorded agents, so that nothing but the way to them takes time. The query "k" is rejected by k - 1 agents and answered
by the next. All ways take turns, round by round, so that whatever else the machine does meets them alike; what an agent
more takes is the slope over k, and medians over the rounds are shown. A way that is not installed here says so.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from processes import HERE, free_port, processor_seconds, started

from disrouter.config import load
from disrouter.evaluation.outcomes import Outcome, OutcomeTable
from disrouter.evaluation.traces import trace_line
from disrouter.network import Network
from disrouter.types import Hop, Query, Trace
from disrouter.utility import BALANCE

AGENTS = tuple(f"agent-{number}" for number in range(1, 6))
SECRET = "OVERHEAD_SECRET"
WORDS = 400
"""Words, and so pieces, of an answer that streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Agents that can be asked."""

    network: Network
    seconds: float
    """Until they could be."""
    pids: tuple[int, ...] = ()
    """Of every process but this one."""

    @property
    def memory(self) -> float:
        """MB of the processes, each with its proportional share of what they have in common."""
        return sum(share_mb(pid) for pid in self.pids)

    @property
    def processor(self) -> float:
        """Seconds of processor time that they and this process have used."""
        return time.process_time() + sum(processor_seconds(pid) for pid in self.pids)


Transport = Callable[[Path], contextlib.AbstractContextManager[Ready]]
"""Brings the agents of a folder's files into service for as long as the block runs."""


@contextlib.contextmanager
def in_process(folder: Path) -> Iterator[Ready]:
    """Everything in this process."""
    began = time.perf_counter()
    network = load(folder / "local.yaml")
    yield Ready(network=network, seconds=time.perf_counter() - began)


@contextlib.contextmanager
def bare_http(folder: Path) -> Iterator[Ready]:
    """Every look over HTTP without anything else: the least that processes cost, with these libraries."""
    from bare_look import BareAgent

    began = time.perf_counter()
    local = load(folder / "local.yaml")
    with contextlib.ExitStack() as stack:
        processes = {}
        for name in AGENTS:
            port = free_port()
            options = ["--app-dir", str(HERE), "--port", str(port), "--lifespan", "off", "--log-level", "error"]
            command = [sys.executable, "-m", "uvicorn", "bare_look:app", *options, "--no-access-log"]
            server = started(command, port, f"http://127.0.0.1:{port}/", name=f"bare-{name}", folder=folder)
            processes[name] = stack.enter_context(server)
        agents = {name: BareAgent(local.agents[name], one.url) for name, one in processes.items()}
        seconds, pids = time.perf_counter() - began, tuple(one.pid for one in processes.values())
        yield Ready(network=local.with_agents(agents), seconds=seconds, pids=pids)


@contextlib.contextmanager
def nodes(folder: Path, *, dispatch: str = "caller") -> Iterator[Ready]:
    """Every agent a process of its own, reached over HTTP with signed calls."""
    began = time.perf_counter()
    ports = {name: free_port() for name in AGENTS}
    files = {kind: write_network(folder, kind, ports) for kind in ("caller", "peer")}
    with contextlib.ExitStack() as stack:
        pids = []
        for name, port in ports.items():
            command = [*DISROUTER, "agent", "serve", name, "--network", str(files[dispatch]), "--port", str(port)]
            node = started(
                [*command, "--hop-secret-env", SECRET], port, f"http://127.0.0.1:{port}/health", name=name,
                folder=folder,
            )  # fmt: skip
            pids.append(stack.enter_context(node).pid)
        yield Ready(network=load(files[dispatch]), seconds=time.perf_counter() - began, pids=tuple(pids))


@contextlib.contextmanager
def peer_to_peer(folder: Path) -> Iterator[Ready]:
    """The same nodes, who pass the query on among themselves."""
    inner = folder / "peers"
    inner.mkdir()
    (inner / "table.parquet").write_bytes((folder / "table.parquet").read_bytes())
    with nodes(inner, dispatch="peer") as ready:
        yield ready


@contextlib.contextmanager
def on_ray(folder: Path) -> Iterator[Ready]:
    """Every agent a deployment of a Ray cluster on this machine."""
    from disrouter.engines.placement import Placement  # type: ignore[import-not-found,unused-ignore]
    from disrouter.engines.ray_engine import RayEngine  # type: ignore[import-not-found,unused-ignore]

    began = time.perf_counter()
    local, before = load(folder / "local.yaml"), set(children())
    with RayEngine().hosting(lambda: (local, {name: Placement(cpus=0.1) for name in AGENTS})) as host:
        network = host()
        pids = tuple(set(children()) - before)
        yield Ready(network=network, seconds=time.perf_counter() - began, pids=pids)


TRANSPORTS: dict[str, Transport] = {
    "in process": in_process,
    "bare HTTP": bare_http,
    "nodes": nodes,
    "peer to peer": peer_to_peer,
    "ray": on_ray,
}
"""The ways to agents; another one is added here."""

NEEDS = {"ray": ("ray", "disrouter.engines")}
"""Modules without which a way is left out."""

DISROUTER = (sys.executable, "-m", "disrouter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one way takes."""

    way: str
    asked: dict[int, float]
    """Milliseconds of a query by the number of agents asked."""
    more: float
    """Milliseconds of one agent more."""
    processor: float
    """Milliseconds of processor time of one agent more, of all processes together: it minds no other work."""
    pieces: float
    """Pieces a second of one answer that streams past two rejections."""
    start: float
    memory: float
    same: bool
    """Whether all traces are those of one process."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(TRANSPORTS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--queries", type=int, default=60, help="queries of each kind in a round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault(SECRET, secrets.token_hex(16))

    wanted = options.only or list(TRANSPORTS)
    missing = {way: [m for m in NEEDS.get(way, ()) if not installed(m)] for way in wanted}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        write_table(Path(folder))
        write_network(Path(folder), "local", {})
        ready = {way: stack.enter_context(TRANSPORTS[way](Path(folder))) for way in wanted if not missing[way]}
        with asyncio.Runner(loop_factory=fast_loop()) as runner:
            found = runner.run(measure(ready, options.rounds, options.queries))
    if options.json:
        print(json.dumps({"schema": 1, "missing": missing, "ways": [asdict(one) for one in found]}, indent=2))
        return
    print(f"{'':14}" + "".join(f"{f'{k} asked':>10}" for k in range(1, len(AGENTS) + 1)), end="")
    print(f"{'one more':>12}{'processor':>12}{'pieces/s':>11}{'start':>9}{'memory':>10}  traces")
    for one in found:
        print(f"{one.way:14}" + "".join(f"{ms:>7.3f} ms" for ms in one.asked.values()), end="")
        print(
            f"{one.more:>9.3f} ms{one.processor:>9.3f} ms{one.pieces:>11,.0f}{one.start:>7.1f} s{one.memory:>7.0f} MB",
            end="  ",
        )
        print("the same" if one.same else "DIFFERENT")
    for way, lacking in missing.items():
        if lacking:
            print(f"{way}: not measured, {' and '.join(lacking)} is not installed")


async def measure(ready: dict[str, Ready], rounds: int, queries: int) -> list[Found]:
    """Have all ways take turns."""
    for one in ready.values():
        for agent in one.network.agents.values():
            if callable(start := getattr(agent, "open", None)):
                start()
    kinds = [Query.from_text(f"{k} agents are asked", id=f"q{k}") for k in range(1, len(AGENTS) + 1)]
    times: dict[str, list[list[float]]] = {way: [] for way in ready}
    rates: dict[str, list[float]] = {way: [] for way in ready}
    spent: dict[str, list[list[float]]] = {way: [] for way in ready}
    try:
        lines = {way: [trace_line(await one.network.route(query)) for query in kinds] for way, one in ready.items()}
        for _ in range(rounds):
            for way, one in ready.items():
                row, cost = [], []
                for query in kinds:
                    before = one.processor
                    row.append(await _milliseconds(one.network, query, queries))
                    cost.append(1000 * (one.processor - before) / queries)
                times[way].append(row)
                spent[way].append(cost)
                rates[way].append(await _rate(one.network, kinds[2]))
    finally:
        for one in ready.values():
            for agent in one.network.agents.values():
                if callable(close := getattr(agent, "aclose", None)):
                    await close()
    first = next(iter(lines.values()))
    return [
        Found(
            way=way,
            asked={k + 1: statistics.median(column) for k, column in enumerate(zip(*times[way], strict=True))},
            more=statistics.median((row[-1] - row[0]) / (len(row) - 1) for row in times[way]),
            # Processor time comes in hundredths of a second: it is summed, not ranked.
            processor=statistics.fmean((row[-1] - row[0]) / (len(row) - 1) for row in spent[way]),
            pieces=statistics.median(rates[way]),
            start=one.seconds,
            memory=one.memory,
            same=lines[way] == first,
        )
        for way, one in ready.items()
    ]


async def _milliseconds(network: Network, query: Query, queries: int) -> float:
    """Return the median time of a query."""
    taken = []
    for _ in range(queries):
        began = time.perf_counter()
        await network.route(query)
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


async def _rate(network: Network, query: Query) -> float:
    """Return the pieces a second from the first one to the last."""
    pieces, began = 0, 0.0
    async for event in network.stream(query):
        if not isinstance(event, Hop | Trace):
            pieces, began = pieces + 1, began or time.perf_counter()
    return (pieces - 1) / (time.perf_counter() - began)


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the event loop that the gateway runs on, where it is installed."""
    if not installed("uvloop"):
        return None
    import uvloop

    return uvloop.new_event_loop


def write_table(folder: Path) -> None:
    """Write what the agents say."""
    rows = [
        Outcome(
            query_id=f"q{k}", dataset="made-up", agent=name, scenario=BALANCE.name, alpha=BALANCE.alpha, score=1.0,
            confidence=0.1 if number < k else 0.9, answer=" ".join(["word"] * WORDS), prompt_tokens=10,
            answer_tokens=WORDS, answer_cost=number / 10,
        )
        for k in range(1, len(AGENTS) + 1)
        for number, name in enumerate(AGENTS, start=1)
    ]  # fmt: skip
    OutcomeTable.of(rows).write(folder / "table.parquet")


def write_network(folder: Path, kind: str, ports: dict[str, int]) -> Path:
    """Write a network file: agents here, or behind nodes, or peer to peer."""
    dispatch = "peer" if kind == "peer" else "caller"
    lines = [f"name: overhead\npolicy: {{name: threshold, threshold: 0.5}}\ndispatch: {dispatch}\nagents:"]
    for number, name in enumerate(AGENTS, start=1):
        where = f", node: 'http://127.0.0.1:{ports[name]}/v1', hop_secret_env: {SECRET}" if ports else ""
        lines.append(
            f"  - {{name: {name}, backend: recorded, model: table.parquet, price: {{cost: {number / 10}}}{where}}}"
        )
    path = folder / f"{kind}.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def share_mb(pid: int) -> float:
    """Return the proportional share of memory of a process, in MB."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1000
    return 0.0


def children() -> list[int]:
    """Return all processes that descend from this one."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [os.getpid()]
    while waiting:
        more = parents.get(waiting.pop(), [])
        found += more
        waiting += more
    return found


def installed(module: str) -> bool:
    """Return whether a module can be imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    main()
