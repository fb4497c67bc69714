"""schemathesis: requests drawn from the gateway's own OpenAPI document, good ones and bad ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "unsupported_method",
)

with tempfile.TemporaryDirectory() as folder:  # it leaves reports where it runs
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            os.environ["CLIENT_BASE_URL"].removesuffix("/v1") + "/openapi.json",
            *("--phases", "coverage,fuzzing", "--max-examples", "50", "--seed", "1", "--no-color"),
            *("--checks", ",".join(CHECKS), "--suppress-health-check", "all"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
if done.returncode != 0:
    raise SystemExit(done.stdout[-8000:] + done.stderr[-2000:])
counts = re.search(r"(\d+) generated", done.stdout)
print(f"schemathesis {version('schemathesis')}: {counts[1] if counts else 'all'} requests")
