"""What the gateway costs, side by side in one run: directly, through a bare pass-through, through ours, and LiteLLM's.

    python benchmarks/gateway.py                    everything, about ten minutes
    python benchmarks/gateway.py --rounds 1 --seconds 1 --soak 0

Needs `wrk` (Debian: apt install wrk). LiteLLM's proxy is measured if it stands in .cache/bench/litellm (README.md says
how); else it is skipped. All processes share the machine with the load generator: ratios count, not absolute figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from load import first_chunks, flood, wrk
from processes import HERE, ROOT, Started, free_port, processor_seconds, resident_mb, started

LITELLM = ROOT / ".cache" / "bench" / "litellm" / "bin" / "litellm"
ONE = [("only", "fast", "none", 0.9)]
TWO = [("first", "unsure", "token", 0.1), ("second", "fast", "none", 0.9)]
SLOW = [("slow", "slow", "none", 0.9)]
PACED = [("only", "paced", "none", 0.9)]
CAPACITY, SLOW_SECONDS = 8, 0.2


def network(name: str, agents: Sequence[tuple[str, str, str, float]], backend: str, extra: str = "") -> str:
    """Return a network file."""
    lines = [f"name: {name}", "policy: {name: threshold, threshold: 0.5}", "agents:"]
    for agent, model, assessment, cost in agents:
        rejection = 'rejection: "<|reject|>", ' if assessment == "token" else ""
        lines.append(
            f"  - {{name: {agent}, backend: openai, model: {model}, base_url: {backend}, "
            f"self_assessment: {assessment}, {rejection}price: {{cost: {cost}}}{extra}}}"
        )
    return "\n".join(lines) + "\n"


@contextmanager
def ours(folder: Path, text: str, name: str, *options: str) -> Iterator[Started]:
    """Serve a network file, with all that a gateway has by default: keys looked at, traces kept, metrics, pages."""
    file = folder / f"{name}.yaml"
    file.write_text(text)
    port = free_port()
    command = [sys.executable, "-m", "disrouter", "serve", "--network", str(file), "--port", str(port)]
    store = ["--store", str(folder / f"{name}.db")]
    with started(
        [*command, *store, *options], port, f"http://127.0.0.1:{port}/health", name=name, folder=folder
    ) as process:
        yield process


@contextmanager
def litellm(folder: Path, backend: str) -> Iterator[Started]:
    """Start LiteLLM's proxy with one model."""
    file, port = folder / "litellm.yaml", free_port()
    parameters = {"model": "openai/fast", "api_base": backend, "api_key": "sk-none"}
    settings = {"model_list": [{"model_name": "disrouter", "litellm_params": parameters}]}
    file.write_text(json.dumps(settings))
    command = [str(LITELLM), "--config", str(file), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    environment = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # without keys, as ours
    }
    health = f"http://127.0.0.1:{port}/health/liveliness"
    with started(command, port, health, name="litellm", folder=folder, environment=environment) as process:
        yield process


def body(model: str, **fields: Any) -> str:
    """Return a request."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "What is 2 + 2?"}], **fields})


def measure(targets: dict[str, Started], rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Return the median over rounds of every figure of every target; targets take turns."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in targets}

    def keep(name: str, figure: str, value: float) -> None:
        found[name].setdefault(figure, []).append(value)

    for name, target in targets.items():  # the first requests load code, fill pools and caches
        model = "fast" if name in ("direct", "pass-through") else "disrouter"
        for streaming in (False, True):
            url = f"{target.url}/v1/chat/completions"
            wrk(url, body(model, stream=streaming), connections=4, seconds=5 if name == "LiteLLM" else 1)
    for number in range(rounds):
        names = list(targets)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            url = f"{targets[name].url}/v1/chat/completions"
            whole = body("fast" if name in ("direct", "pass-through") else "disrouter")
            streamed = body("fast" if name in ("direct", "pass-through") else "disrouter", stream=True)
            alone = wrk(url, whole, connections=1, seconds=seconds)
            used = processor_seconds(targets[name].pid)
            many = wrk(url, whole, connections=16, seconds=seconds)
            after_whole = processor_seconds(targets[name].pid)
            streams = wrk(url, streamed, connections=16, seconds=seconds)
            after_streams = processor_seconds(targets[name].pid)
            keep(name, "processor ms of a request", 1000 * (after_whole - used) / max(many.requests, 1))
            keep(name, "processor ms of a stream", 1000 * (after_streams - after_whole) / max(streams.requests, 1))
            keep(name, "requests/s, 1 connection", alone.rate)
            keep(name, "median ms, 1 connection", alone.p50)
            keep(name, "requests/s, 16 connections", many.rate)
            keep(name, "p99 ms, 16 connections", many.p99)
            keep(name, "streams/s, 16 connections", streams.rate)
            keep(name, "p99 ms of a stream, 16 connections", streams.p99)
            keep(name, "failures", alone.failures + many.failures + streams.failures)
            print(f"round {number + 1} {name}: {alone} | {many} | {streams}", file=sys.stderr, flush=True)
    return {
        name: {key: statistics.median(values) for key, values in figures.items()} for name, figures in found.items()
    }


def soak(target: Started, requests: int) -> dict[str, float]:
    """Return how much memory many requests leave behind."""
    url, whole = f"{target.url}/v1/chat/completions", body("disrouter")
    wrk(url, whole, connections=16, seconds=4)
    before, done = resident_mb(target.pid), 0
    while done < requests:
        done += wrk(url, whole, connections=16, seconds=20).requests
    after = resident_mb(target.pid)
    return {"requests": done, "MB before": before, "MB after": after, "growth %": 100 * (after / before - 1)}


def overload(target: Started, seconds: float) -> dict[str, float]:
    """Return what is left of the peak at ten times what the backend bears."""
    url, whole = f"{target.url}/v1/chat/completions", body("disrouter")
    peak = wrk(url, whole, connections=2 * CAPACITY, seconds=seconds)
    found = asyncio.run(flood(url, whole, rate=10 * CAPACITY / SLOW_SECONDS, seconds=seconds))
    return {
        "peak answers/s": peak.good / seconds,
        "offered/s": found.offered / seconds,
        "answers/s": found.good / seconds,
        "share of peak %": 100 * found.good / seconds / (peak.good / seconds),
        "refused": len(found.shed_ms),
        "refused within ms, p50": found.shed_at(0.5),
        "refused within ms, p99": found.shed_at(0.99),
        "other failures": found.failures,
    }


def main() -> None:
    """Start everything, measure, and print JSON; talk goes to standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--soak", type=int, default=200_000, help="requests; 0 leaves it out")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt install wrk")
    result: dict[str, Any] = {"cores": os.cpu_count(), "load before": os.getloadavg()[0]}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        command = [sys.executable, str(HERE / "fast_backend.py"), str(port)]
        health = f"http://127.0.0.1:{port}/v1/models"
        direct = stack.enter_context(started(command, port, health, name="backend", folder=folder))
        backend = f"{direct.url}/v1"
        port = free_port()
        command = [sys.executable, str(HERE / "pass_through.py"), backend, str(port)]
        health = f"http://127.0.0.1:{port}/health"
        bare = stack.enter_context(started(command, port, health, name="pass-through", folder=folder))
        one = stack.enter_context(ours(folder, network("one", ONE, backend), "one"))
        result["start"] = {"ours": {"seconds": one.seconds, "MB": resident_mb(one.pid)}}
        two = stack.enter_context(ours(folder, network("two", TWO, backend), "two"))
        limits = f", concurrency: {CAPACITY}, queue: {CAPACITY}"
        slow = stack.enter_context(ours(folder, network("slow", SLOW, backend, limits), "slow"))
        targets = {"direct": direct, "pass-through": bare, "ours": one, "ours, two asked": two}
        if LITELLM.exists():
            targets["LiteLLM"] = stack.enter_context(litellm(folder, backend))
            result["start"]["LiteLLM"] = {
                "seconds": targets["LiteLLM"].seconds,
                "MB": resident_mb(targets["LiteLLM"].pid),
            }
        else:
            print(f"skipped: LiteLLM's proxy, which is not in {LITELLM.parent}", file=sys.stderr)
        result["figures"] = figures = measure(targets, options.rounds, options.seconds)
        paced = stack.enter_context(ours(folder, network("paced", PACED, backend), "paced"))
        result["first chunk"] = chunks = {
            name: asyncio.run(first_chunks(f"{target.url}/v1/chat/completions", body(model, stream=True), 100))
            for name, target, model in (
                ("direct", direct, "paced"),
                ("pass-through", bare, "paced"),
                ("ours", paced, "disrouter"),
            )
        }
        result["overload"] = overload(slow, max(5.0, options.seconds))
        if options.soak:
            result["soak"] = soak(one, options.soak)
        result["ratios"] = ratios(figures, chunks)
    print(json.dumps(result, indent=2))


def ratios(figures: dict[str, dict[str, float]], chunks: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return how the targets stand to one another."""
    many, alone, streams = "requests/s, 16 connections", "median ms, 1 connection", "streams/s, 16 connections"
    busy, busy_stream = "processor ms of a request", "processor ms of a stream"
    ours_, bare, direct = figures["ours"], figures["pass-through"], figures["direct"]
    found = {
        "ours / pass-through, requests/s": ours_[many] / bare[many],
        "ours / pass-through, streams/s": ours_[streams] / bare[streams],
        "ours, added median ms": ours_[alone] - direct[alone],
        "pass-through, added median ms": bare[alone] - direct[alone],
        "second agent, added median ms": figures["ours, two asked"][alone] - ours_[alone],
        "ours / pass-through, processor time of a request": ours_[busy] / bare[busy],
        "ours / pass-through, processor time of a stream": ours_[busy_stream] / bare[busy_stream],
        "first chunk, added median ms": chunks["ours"]["first ms, p50"] - chunks["direct"]["first ms, p50"],
        "first words, ms after the server sent them": chunks["ours"]["first words, ms after they were sent, p50"],
    }
    if "LiteLLM" in figures and figures["LiteLLM"][many] and figures["LiteLLM"][streams]:
        found["ours / LiteLLM, requests/s"] = ours_[many] / figures["LiteLLM"][many]
        found["ours / LiteLLM, streams/s"] = ours_[streams] / figures["LiteLLM"][streams]
        found["LiteLLM / ours, processor time of a request"] = figures["LiteLLM"][busy] / ours_[busy]
        found["LiteLLM, added median ms"] = figures["LiteLLM"][alone] - direct[alone]
    return found


if __name__ == "__main__":
    main()
