"""The shipped deciding adapter as a server that serves adapters by name has it: a whole model of its own."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from peft import PeftModel

from disrouter.agents._adapter import ADAPTER_FOLDER
from disrouter.lab.family import checkpoint_path
from disrouter.training._models import merged, save_beside, trainable

__all__ = ["write_merged"]


def write_merged(agent: str, folder: Path) -> Path:
    """Write a lab model with the adapter of its paper stage merged into its weights."""
    decides = checkpoint_path(agent, "paper")
    base: Any = trainable(decides)[0]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # of what PEFT asks transformers
        save_beside(merged(PeftModel.from_pretrained(base, decides / ADAPTER_FOLDER)), decides, folder)
    return folder
