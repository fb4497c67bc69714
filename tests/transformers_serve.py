"""``transformers serve``, Hugging Face's own server, with a lab model: a server that others wrote."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from disrouter.lab.family import checkpoint_path
from merged_adapter import write_merged

__all__ = ["Served", "serving"]


@dataclass(frozen=True)
class Served:
    url: str
    model: str
    beside: str = ""
    """Another model of it, where there is one."""


@contextmanager
def serving(folder: Path, *, likeliest: bool = False, decides: bool = False) -> Iterator[Served]:
    """Serve the smallest lab model for as long as the block runs.

    ``likeliest``: it draws from one token only. ``decides``: the model with its deciding adapter is served, too, by a
    name of its own.
    """
    model = folder / "agent-1"
    write_model(checkpoint_path("agent-1", "base"), model, likeliest=likeliest)
    beside = folder / "agent-1-decides" if decides else None
    if beside is not None:
        write_model(write_merged("agent-1", folder / "merged"), beside, likeliest=likeliest)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The weights are 16-bit files, and an agent computes with them in 32 bits.
    only = [str(model)] if beside is None else []  # told no model, it loads whatever it is asked for
    command = [str(Path(sys.executable).with_name("transformers")), "serve", *only, "--dtype", "float32"]
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"HF_HOME": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
        try:
            wait_for(port, process, log)
            yield Served(f"http://127.0.0.1:{port}/v1", str(model), "" if beside is None else str(beside))
        finally:
            process.terminate()
            process.wait(20)


def write_model(source: Path, place: Path, *, likeliest: bool) -> None:
    """Write the smallest lab model as this server wants it."""
    shutil.copytree(source, place)
    # It is greedy unless told to sample, and must be told where an answer begins: it takes every Qwen3 for ChatML.
    change(place / "generation_config.json", do_sample=True, **({"top_k": 1} if likeliest else {}))
    content = {"close": "<|end|>", "content": "text"}
    change(
        place / "tokenizer_config.json", response_template={"start_anchor": "<|agent|>", "fields": {"content": content}}
    )


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"the server did not start:\n{log.read_text()}")
