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

from disrouter.lab.family import Stage, checkpoint_path

__all__ = ["Served", "serving"]


@dataclass(frozen=True)
class Served:
    url: str
    model: str
    beside: str = ""
    """Another model of it, where there is one."""


@contextmanager
def serving(folder: Path, *, likeliest: bool = False, beside: Stage | None = None) -> Iterator[Served]:
    """Serve the smallest lab model for as long as the block runs.

    ``likeliest``: it draws from one token only. ``beside``: this stage of the model is served, too, by its own name.
    """
    model = folder / "agent-1"
    models: dict[Stage, Path] = {"base": model}
    if beside is not None:
        models[beside] = folder / f"agent-1-{beside}"
    for stage, place in models.items():
        write_model(stage, place, likeliest=likeliest)
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
            yield Served(f"http://127.0.0.1:{port}/v1", str(model), "" if beside is None else str(models[beside]))
        finally:
            process.terminate()
            process.wait(20)


def write_model(stage: Stage, place: Path, *, likeliest: bool) -> None:
    """Write a stage of the smallest lab model as this server wants it."""
    shutil.copytree(checkpoint_path("agent-1", stage), place)
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
