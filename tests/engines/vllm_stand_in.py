"""Takes vLLM's command line and serves the mock backend: `python vllm_stand_in.py FOLDER --host … --port …`."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from gateway.mock_backend import MockBackend  # found by the line above

options = argparse.ArgumentParser()
options.add_argument("folder", type=Path)
options.add_argument("--host", required=True)
options.add_argument("--port", type=int, required=True)
options.add_argument("--served-model-name", required=True)
given = options.parse_args()
if not given.folder.is_dir() or given.host != "127.0.0.1" or not os.environ.get("VLLM_API_KEY"):
    sys.exit("no model, no key, or an address that others could reach")


async def serve() -> None:
    """Serve until somebody ends this process."""
    await MockBackend().start(given.port)
    await asyncio.Event().wait()


asyncio.run(serve())
