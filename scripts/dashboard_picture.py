"""Make the picture of the dashboard: the lab's network under real queries, rated by the lab's exact graders.

    PYTHONPATH=tests python scripts/dashboard_picture.py docs/images/dashboard.png

Starts a gateway with a store of its own, has clients ask it for some minutes, and photographs its page in Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from random import Random

import aiohttp
from PIL import Image

from disrouter.lab.suite import LabSuite
from gateway.browser import chromium

MODELS = ("disrouter", "disrouter/performance-first", "disrouter/balance", "disrouter/cost-first")
CLIENTS = 3


async def main(picture: Path, seconds: float, pause: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = ("-m", "disrouter", "serve", "--port", "0", "--store", f"{folder}/gateway.db")
        server = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE)
        assert server.stderr is not None
        try:
            async for line in server.stderr:
                if b"Dashboard: " in line:
                    break
            url = line.decode().partition("Dashboard: ")[2].strip()
            traffic = [asyncio.create_task(ask_for_ever(url, number, pause)) for number in range(CLIENTS)]
            await asyncio.sleep(seconds)
            await photograph(url, picture)
            for task in traffic:
                task.cancel()
        finally:
            server.terminate()
            await server.wait()
    Image.open(picture).convert("RGB").save(picture, optimize=True)
    print(f"{picture}: {os.path.getsize(picture):,} bytes")


async def ask_for_ever(url: str, client: int, pause: float) -> None:
    """Ask one query after the other, and rate what comes back by its reference."""
    suite, rng = LabSuite(), Random(client)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        for query in suite.queries("in", seed=100 + client, n=5_000):
            messages = [{"role": m.role, "content": m.content} for m in query.messages]
            body = {"model": rng.choice(MODELS), "messages": messages, "stream": True}
            async with http.post(f"{url}v1/chat/completions", json=body) as reply:
                lines = (await reply.text()).split("\n")
                trace_id = reply.headers["x-disrouter-trace-id"]
            chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
            answer = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
            rating = {"trace_id": trace_id, "score": suite.grade(query, answer)}
            async with http.post(f"{url}v1/feedback", json=rating) as reply:
                reply.raise_for_status()
            await asyncio.sleep(rng.expovariate(1 / pause))


async def photograph(url: str, picture: Path) -> None:
    """Ask something in the page itself, wait for its way to be drawn, and keep what is seen."""
    async with chromium() as browser, browser.page() as page:
        await page.open(url, width=1280, height=1560)
        await page.until("document.querySelectorAll('.trace').length > 5")
        await page.value("document.querySelector('#windows button').click()")
        await page.value("document.getElementById('query').value = '357+246'")
        await page.value("document.getElementById('ask').requestSubmit()")
        await page.until("document.querySelectorAll('#way .hop').length > 0")
        await page.until("document.querySelector('#cost svg') && document.querySelector('#sure svg')")
        await asyncio.sleep(1.2)  # queries on their way
        await page.screenshot(picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--pause", type=float, default=2.0, help="mean seconds between two queries of a client")
    chosen = parser.parse_args()
    asyncio.run(main(chosen.picture, chosen.seconds, chosen.pause))
