"""Ledger: what training an agent took, stage by stage, in tokens, FLOPs and seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from disrouter.agents.folders import count_weights
from disrouter.files import write_json

__all__ = ["Ledger"]


class Ledger:
    """A JSON file of stages; noting a stage again replaces what it said.

    FLOPs follow Kaplan et al. (arXiv 2001.08361): two per weight and sampled token, six per weight and trained token.
    Seconds are those of the process that finished the stage; what an interrupted one spent is lost.
    """

    def __init__(self, path: Path, model: Path) -> None:
        """Keep the ledger of the model in a folder at ``path``; nothing is written before the first note."""
        self._path, self._model = path, model

    def note(self, stage: str, *, sampled: float = 0, trained: float = 0, seconds: float | None = None) -> None:
        """Write down what a stage took, in tokens and seconds."""
        weights = count_weights(self._model)
        stages: dict[str, Any] = json.loads(self._path.read_text("utf-8"))["stages"] if self._path.is_file() else {}
        stages[stage] = {
            "sampled_tokens": int(sampled),
            "trained_tokens": int(trained),
            "flops": 2 * weights * int(sampled) + 6 * weights * int(trained),
            "seconds": None if seconds is None else round(seconds, 1),
        }
        write_json(self._path, {"weights": weights, "stages": stages})
