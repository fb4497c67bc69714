"""What holds for every test: no hub is ever reached, and torch stays on few threads."""

from __future__ import annotations

import os

# Set before anything imports the hub's client, which reads them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
