"""Load on a server, at a bounded cost: wrk for rates and latencies, plain sockets for what happens within a stream."""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[BODY]==]
done = function(summary, latency, requests)
  local bad = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("FOUND %d %d %d %d %f %f\\n", summary.requests, summary.duration, bad, summary.errors.status,
    latency:percentile(50), latency:percentile(99)))
end
"""


_SENT = re.compile(rb"word0@([0-9.]+) ")
"""The first words of an answer, with the time at which the server sent them."""


@dataclass(frozen=True, slots=True)
class Found:
    """What wrk found; a stream counts as one request when all of it came."""

    requests: int
    seconds: float
    failures: int
    """Broken connections, time-outs and statuses that are no success."""
    p50: float
    """In milliseconds."""
    p99: float

    @property
    def good(self) -> int:
        """Requests that were answered well."""
        return self.requests - self.failures

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds

    def __str__(self) -> str:
        return f"{self.rate:.0f}/s p50 {self.p50:.2f} ms p99 {self.p99:.2f} ms, {self.failures} failed"


def wrk(url: str, body: str, *, connections: int, seconds: float) -> Found:
    """Ask as fast as answers come over some connections."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT.replace("BODY", body))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s", "-s", script.name, url]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (line,) = (line for line in output.splitlines() if line.startswith("FOUND"))
    requests, micros, broken, refused, p50, p99 = map(float, line.split()[1:])
    return Found(int(requests), micros / 1e6, int(broken + refused), p50 / 1000, p99 / 1000)


async def first_chunks(url: str, body: str, streams: int) -> dict[str, float]:
    """Return when the first words of an answer came, how long after the server had sent them, and the longest pause in
    a stream; one stream after the other.
    """
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    first, relayed, longest = [], [], []
    for number in range(streams + 10):
        began = last = time.perf_counter()
        writer.write(request)
        data, pause, at, sent = b"", 0.0, None, 0.0
        while not data.endswith(b"0\r\n\r\n"):
            piece = await reader.read(2**16)
            assert piece, data
            now, clock = time.perf_counter(), time.monotonic()
            data += piece
            if at is None and (words := _SENT.search(data)):
                at, sent = now - began, clock - float(words[1])
            elif at is not None:
                pause = max(pause, now - last)
            last = now
        if number >= 10:
            first.append(1000 * (at or 0.0))
            relayed.append(1000 * sent)
            longest.append(1000 * pause)
    writer.close()
    return {
        "first ms, p50": statistics.median(first),
        "first ms, p99": sorted(first)[int(0.99 * len(first))],
        "first words, ms after they were sent, p50": statistics.median(relayed),
        "first words, ms after they were sent, p99": sorted(relayed)[int(0.99 * len(relayed))],
        "longest pause ms, p50": statistics.median(longest),
        "longest pause ms, worst": max(longest),
    }


@dataclass(slots=True)
class Flood:
    """What became of requests that came whether or not others were answered."""

    offered: int = 0
    good: int = 0
    failures: int = 0
    shed_ms: list[float] = field(default_factory=list)

    def shed_at(self, share: float) -> float:
        """Return the time within which a share of the refused requests had their answer."""
        times = sorted(self.shed_ms)
        return times[min(int(share * len(times)), len(times) - 1)] if times else 0.0


async def flood(url: str, body: str, *, rate: float, seconds: float) -> Flood:
    """Send requests at a steady rate, whatever becomes of them."""
    found = Flood()
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def ask() -> None:
            began = time.perf_counter()
            try:
                async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as reply:
                    await reply.read()
                    if reply.status == 200:
                        found.good += 1
                    elif reply.status in (429, 503) and "retry-after" in reply.headers:
                        found.shed_ms.append(1000 * (time.perf_counter() - began))
                    else:
                        found.failures += 1
            except (aiohttp.ClientError, TimeoutError):
                found.failures += 1

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            while (now := time.perf_counter() - began) < seconds:
                while found.offered < now * rate:
                    found.offered += 1
                    group.create_task(ask())
                await asyncio.sleep(0.005)
    return found
