"""Calibrators: what an agent's raw confidence is worth, measured on held-out queries and kept beside the agent.

A calibrator is a rising curve from raw confidence to measured chance of being right. The file ``calibration.json`` in
an agent's folder holds one curve for every scenario its prompt may name, or one for all, with its provenance:

    {"schema": 1, "method": "isotonic", "assessment": "token", "model": "<digest of the weights>",
     "curves": {"*": {"x": [0.01, 0.4, 0.99], "y": [0.0, 0.6, 1.0]}}, "provenance": {...}}
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from disrouter.errors import ModelError

__all__ = ["CALIBRATION_FILE", "EVERY_SCENARIO", "Calibration", "Curve", "read_calibration"]

CALIBRATION_FILE = "calibration.json"
EVERY_SCENARIO = "*"

_SCHEMA = 1
_LARGEST_FILE = 10_000_000


@dataclass(frozen=True, slots=True)
class Curve:
    """A rising piecewise linear curve through points; flat before the first and after the last."""

    x: tuple[float, ...]
    """Raw confidences in [0, 1], rising."""

    y: tuple[float, ...]
    """Measured chances in [0, 1], not falling."""

    def __post_init__(self) -> None:
        if not self.x or len(self.x) != len(self.y):
            raise ValueError("a curve needs as many y as x, and at least one")
        if not all(math.isfinite(v) and 0.0 <= v <= 1.0 for v in (*self.x, *self.y)):
            raise ValueError("a curve's values lie from 0 to 1")
        if any(b <= a for a, b in zip(self.x, self.x[1:], strict=False)):
            raise ValueError("a curve's x must rise")
        if any(b < a for a, b in zip(self.y, self.y[1:], strict=False)):
            raise ValueError("a curve's y must not fall")

    def __call__(self, confidence: float) -> float:
        """Return the measured chance of a raw confidence."""
        after = bisect_right(self.x, confidence)
        if after == 0:
            return self.y[0]
        if after == len(self.x):
            return self.y[-1]
        x0, x1, y0, y1 = self.x[after - 1], self.x[after], self.y[after - 1], self.y[after]
        return y0 + (y1 - y0) * (confidence - x0) / (x1 - x0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The curves of one agent, and what they were fitted on."""

    method: str
    assessment: str
    """How the raw confidence was read: "token", "adapter" or "head"."""

    model: str
    """Digest of the weights the curves belong to."""

    curves: Mapping[str, Curve]
    """By scenario name; ``*`` serves every scenario that has no curve of its own."""

    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Suite, seed, numbers of queries, Brier score and calibration error before and after."""

    def curve(self, scenario: str) -> Curve | None:
        """Return the curve for a scenario, or None where there is none."""
        return self.curves.get(scenario, self.curves.get(EVERY_SCENARIO))

    def to_json(self) -> dict[str, Any]:
        """Return the content of a calibration file."""
        return {
            "schema": _SCHEMA,
            "method": self.method,
            "assessment": self.assessment,
            "model": self.model,
            "curves": {name: {"x": list(curve.x), "y": list(curve.y)} for name, curve in self.curves.items()},
            "provenance": dict(self.provenance),
        }


def read_calibration(folder: Path) -> Calibration | None:
    """Return the calibration beside an agent's model, or None if it has none.

    Raises:
        ModelError: The file cannot be used.
    """
    path = folder / CALIBRATION_FILE
    if not path.is_file():
        return None
    hint = "calibrate the agent again with `disrouter calibrate`, or delete the file"
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError(f"it is larger than {_LARGEST_FILE:,} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["schema"] != _SCHEMA:
            raise ValueError(f"its schema is {value['schema']!r}, and this version reads {_SCHEMA}")
        return Calibration(
            method=str(value["method"]),
            assessment=str(value["assessment"]),
            model=str(value["model"]),
            curves={
                str(name): Curve(tuple(map(float, curve["x"])), tuple(map(float, curve["y"])))
                for name, curve in value["curves"].items()
            },
            provenance=dict(value.get("provenance", {})),
        )
    except KeyError as exc:
        raise ModelError(f"Calibration '{path}' lacks the key {exc}.", hint=hint) from exc
    except (ValueError, TypeError, AttributeError) as exc:
        raise ModelError(f"Calibration '{path}' cannot be used: {exc}.", hint=hint) from exc
