"""Real clients, unchanged but for their base URL, against a gateway that runs: `make test-clients`.

    python tests/clients/run.py [CLIENT …]

Every client is a script of its own that knows the gateway's address from its environment and ends with 0 if all went
well. Clients live apart from the project, in .cache/clients: Python environments (openai-python 3.x and 2.x, and
schemathesis) and one of Node.js, each in the versions of a file here. They are made once, and again when that file
changes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".cache" / "clients"
NETWORK = """
name: clients
agents:
  - name: solo
    backend: openai
    model: mock-model
    base_url: {url}
    price: {{cost: 0}}
    retries: 0
    breaker: {{failures: 1000000}}
"""


@dataclass(frozen=True, slots=True)
class Client:
    """A script and where it runs."""

    name: str
    script: str
    home: str
    """``modern``, ``openai2`` or ``fuzz`` (Python), ``js``, or ``shell``."""


CLIENTS = (
    Client("openai", "openai_client.py", "modern"),
    Client("openai-2", "openai_client.py", "openai2"),
    Client("langchain", "langchain_client.py", "modern"),
    Client("llama-index", "llama_index_client.py", "openai2"),
    Client("pydantic-ai", "pydantic_ai_client.py", "modern"),
    Client("instructor", "instructor_client.py", "openai2"),
    Client("llm", "llm_client.py", "modern"),
    Client("javascript", "openai_client.mjs", "js"),
    Client("curl", "curl_client.sh", "shell"),
    Client("schemathesis", "schemathesis_client.py", "fuzz"),
)


def main(names: list[str]) -> int:
    """Run the named clients, or all, and return how many failed."""
    known = {client.name: client for client in CLIENTS}
    if unknown := [name for name in names if name not in known]:
        print(f"Unknown client '{unknown[0]}'. Known: {', '.join(known)}.", file=sys.stderr)
        return 2
    chosen = [known[name] for name in names] or list(CLIENTS)
    for home in dict.fromkeys(client.home for client in chosen):
        prepare(home)
    failed = 0
    with gateway() as url:
        environment = os.environ | {
            "CLIENT_BASE_URL": url,
            "CLIENT_MODEL": "disrouter",
            "CLIENT_API_KEY": "sk-of-anybody",
            "PYTHONPATH": "",
            "OTEL_SDK_DISABLED": "true",
        }
        for client in chosen:
            began = time.monotonic()
            done = subprocess.run(
                [*command_of(client)], env=environment, capture_output=True, text=True, timeout=300, check=False
            )
            verdict = "passed" if done.returncode == 0 else "FAILED"
            print(f"{verdict}  {client.name:12} {time.monotonic() - began:5.1f} s  {done.stdout.strip()}", flush=True)
            if done.returncode != 0:
                failed += 1
                print(done.stderr.strip(), file=sys.stderr)
    print(f"{len(chosen) - failed} of {len(chosen)} clients are content")
    return min(failed, 1)


def command_of(client: Client) -> list[str]:
    """Return the command line of a client."""
    script = HERE / client.script
    match client.home:
        case "shell":
            return ["bash", str(script)]
        case "js":  # modules are looked for beside the script
            return ["node", str(shutil.copy(script, CACHE / "js"))]
        case _:
            return [str(CACHE / client.home / "bin" / "python"), "-I", str(script)]


def prepare(home: str) -> None:
    """Make the environment of some clients, unless it is there in the wanted versions."""
    if home == "shell":
        return
    folder, wanted = CACHE / home, HERE / ("package.json" if home == "js" else f"{home}.txt")
    stamp, key = folder / ".ready", hashlib.sha256(wanted.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == key:
        return
    print(f"making {folder.relative_to(ROOT)}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if home == "js":
        shutil.copy(wanted, folder)
        run("npm", "install", "--silent", "--no-package-lock", "--no-audit", "--no-fund", folder=folder)
    else:
        run(sys.executable, "-m", "venv", str(folder))
        python = str(folder / "bin" / "python")
        run(python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps", "-r", str(wanted))
    stamp.write_text(key)


def run(*command: str, folder: Path | None = None) -> None:
    """Run a command that must succeed; what it says is shown if it does not."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


@contextmanager
def gateway() -> Iterator[str]:
    """Start the mock backend and a gateway in front of it, each in a process of its own, and yield its base URL."""
    with tempfile.TemporaryDirectory() as name, started("-m", "gateway.mock_backend") as backend:
        folder = Path(name)
        (folder / "network.yaml").write_text(NETWORK.format(url=first_line(backend)))
        arguments = ("--network", str(folder / "network.yaml"), "--port", "0", "--store", str(folder / "routes.db"))
        with started("-m", "disrouter", "serve", *arguments) as process:
            said = first_line(process)
            yield said.rpartition(" ")[2]


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start Python with the project's sources and tests in sight, and end it."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise SystemExit(f"{' '.join(arguments)} did not end within 30 s of being told to") from None


def first_line(process: subprocess.Popen[str]) -> str:
    """Return the first line that a process prints, which says where it listens."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if "http://" not in line:
        raise SystemExit(f"it did not start: {line}\n{process.communicate()[0]}")
    return line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
