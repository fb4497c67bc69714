"""Many at once, and an end in the middle of it: `make test-soak`.

    python benchmarks/soak.py [--streams N]

- N slow streams at the same time (66 s each), all of which must come whole, and leave no connection behind. Default: as
  many as open files allow, at most 10,000; every stream takes two of the gateway's.
- SIGTERM while requests come in: whoever was let in is answered.

Ends with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fast_backend import CHUNKS
from processes import HERE, Started, free_port, resident_mb, started

from gateway import body, network, ours

SPARE_FILES = 300
A_SECOND = 250
"""Streams that begin in a second: how many may be open, not how fast they come, is what is tried."""


@dataclass(slots=True)
class Crowd:
    """What became of streams at the same time."""

    begun: int = 0
    open_now: int = 0
    most_at_once: int = 0
    whole: int = 0
    broken: int = 0


def request_of(url: str, text: str) -> tuple[str, int, bytes]:
    """Return host, port and bytes of a request on a connection of its own."""
    parts = urlsplit(url)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    request = f"{head}Connection: close\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()
    return str(parts.hostname), int(parts.port or 80), request


async def one_stream(target: Started, found: Crowd) -> None:
    """Read one stream to its end."""
    host, port, request = request_of(target.url, body("disrouter", stream=True))
    found.begun += 1
    found.open_now += 1
    chunks = 0
    data = b""
    try:
        reader, writer = await asyncio.open_connection(host, port, limit=2**13)
        writer.write(request)
        while piece := await reader.read(2**13):
            data = data[-8:] + piece
            found.most_at_once = max(found.most_at_once, found.open_now)
            chunks += piece.count(b"data: {")
        writer.close()
    except OSError:
        pass
    found.open_now -= 1
    if chunks == CHUNKS and data.rstrip().endswith((b"[DONE]", b"0")):
        found.whole += 1
    else:
        found.broken += 1


async def crowd(target: Started, streams: int) -> Crowd:
    """Open streams steadily and read all of them to their ends."""
    found, began = Crowd(), time.monotonic()
    async with asyncio.TaskGroup() as group:
        while found.begun < streams:
            for _ in range(min(streams, int((time.monotonic() - began) * A_SECOND)) - found.begun):
                group.create_task(one_stream(target, found))
                await asyncio.sleep(0)
            await asyncio.sleep(0.02)
    return found


def files_of(pid: int) -> int:
    """Return how many files and sockets a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))


async def calm(pid: int, files: int) -> int:
    """Return what a process holds once it holds no more than before, or after the time that connections are kept."""
    for _ in range(800):
        if files_of(pid) <= files:
            break
        await asyncio.sleep(0.05)
    return files_of(pid)


async def streams_at_once(target: Started, streams: int) -> dict[str, Any]:
    """Return what became of many slow streams, and what they left behind."""
    await one_stream_quick(target)
    files, memory = files_of(target.pid), resident_mb(target.pid)
    crowding = asyncio.create_task(crowd(target, streams))
    highest = memory
    while not crowding.done():
        highest = max(highest, resident_mb(target.pid))
        await asyncio.sleep(0.5)
    found = await crowding
    return {
        "streams": streams,
        "most at once": found.most_at_once,
        "whole": found.whole,
        "broken": found.broken,
        "MB before": memory,
        "MB at most": highest,
        "files before": files,
        "files after": await calm(target.pid, files),
    }


async def one_stream_quick(target: Started) -> None:
    """Ask for the models once, so that what is loaded by the first request counts as there before."""
    host, port, _ = request_of(target.url, "")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    await reader.read()
    writer.close()


async def ended_under_load(target: Started, clients: int = 100) -> dict[str, Any]:
    """Send SIGTERM while clients ask without a pause, and return what they were told."""
    host, port, request = request_of(target.url, body("disrouter"))
    told = {"answered": 0, "answered after SIGTERM": 0, "turned away": 0, "not let in": 0, "lost": 0}
    over = asyncio.Event()

    async def ask() -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except OSError:
                told["not let in"] += 1
                return
            answer = b""
            with suppress(OSError):
                writer.write(request)
                answer = await reader.read()
                writer.close()
            if answer.startswith(b"HTTP/1.1 200") and b'"choices"' in answer:
                told["answered"] += 1
                told["answered after SIGTERM"] += over.is_set()
            elif answer.startswith(b"HTTP/1.1 503"):
                told["turned away"] += 1
                return
            else:
                told["lost"] += 1
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(ask())
        await asyncio.sleep(2.0)
        os.kill(target.pid, signal.SIGTERM)
        over.set()
    return told


def main() -> int:
    """Run both and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # children inherit it
    parser.add_argument("--streams", type=int, default=min(10_000, (hard - SPARE_FILES) // 2))
    options = parser.parse_args()
    result: dict[str, Any] = {"open files allowed": hard}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        command = [sys.executable, str(HERE / "fast_backend.py"), str(port)]
        health = f"http://127.0.0.1:{port}/v1/models"
        backend = stack.enter_context(started(command, port, health, name="backend", folder=folder))
        room = ", concurrency: 20000, queue: 0"
        for name, model in (("crawling", "crawling"), ("slow", "slow")):
            text = network(name, [("only", model, "none", 0.9)], f"{backend.url}/v1", room)
            target = stack.enter_context(ours(folder, text, name, "--max-requests", "20000"))
            if name == "crawling":
                result["streams at once"] = asyncio.run(streams_at_once(target, options.streams))
            else:
                result["SIGTERM under load"] = asyncio.run(ended_under_load(target))
    print(json.dumps(result, indent=2))
    streams, ended = result["streams at once"], result["SIGTERM under load"]
    return int(bool(streams["broken"] or ended["lost"] or streams["files after"] > streams["files before"]))


if __name__ == "__main__":
    sys.exit(main())
