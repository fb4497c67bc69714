"""Calibrating an agent: ask it held-out queries, fit its curves, and keep them where they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.agents.calibrators import CALIBRATION_FILE, EVERY_SCENARIO, Calibration, Curve
from disrouter.agents.folders import weights_digest
from disrouter.agents.transformers import TransformersAgent
from disrouter.evaluation.figures import save
from disrouter.files import write_json
from disrouter.seeds import seed_of
from disrouter.training.calibration import fit_curve, held_out, improvement
from disrouter.training.calibration_figure import draw_calibration
from disrouter.training.settings import CalibrationSettings
from disrouter.training.suites import TrainingSuite
from disrouter.utility import BALANCE, SCENARIOS

__all__ = ["FIGURE_FILE", "Calibrated", "calibrate", "keep"]

FIGURE_FILE = "calibration.png"


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration and what it was fitted on, by the scenario of each curve."""

    calibration: Calibration
    before: Mapping[str, NDArray[np.float64]]
    """Raw confidences in [0, 1], shape (queries,)."""

    after: Mapping[str, NDArray[np.float64]]
    """Calibrated confidences, each by a curve that its query had no part in."""

    right: Mapping[str, NDArray[np.float64]]
    """Scores in [0, 1] of the answers, shape (queries,)."""

    @property
    def fit(self) -> Mapping[str, Mapping[str, float | None]]:
        """Brier score and calibration error before and after (cross-validated), by scenario."""
        found: Mapping[str, Mapping[str, float | None]] = self.calibration.provenance["fit"]
        return found


def calibrate(
    agent: TransformersAgent,
    suite: TrainingSuite,
    settings: CalibrationSettings,
    *,
    domain: str,
    seed: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Calibrated:
    """Return the calibration of an agent whose raw confidences are read, fitted on validation queries.

    A model that reads the scenario's name gets a curve for every scenario, any other one curve.

    Args:
        agent: Made with ``calibrated=False``.
        suite: Where queries and grades come from.
        settings: How, and on how many queries.
        domain: Of the suite.
        seed: Which validation queries are drawn.
        report: Called with curves done and all curves.

    Raises:
        DataError: The validation queries tell nothing.
    """
    drawn = seed_of(seed, "calibration") % 2**31
    queries = suite.queries(domain, drawn, settings.queries, split="validation")
    curves: dict[str, Curve] = {}
    before: dict[str, NDArray[np.float64]] = {}
    after: dict[str, NDArray[np.float64]] = {}
    right: dict[str, NDArray[np.float64]] = {}
    scenarios = SCENARIOS if agent.scenario_prompt else {EVERY_SCENARIO: BALANCE}
    for number, (name, scenario) in enumerate(scenarios.items()):
        report(number, len(scenarios))
        outcomes = agent.look_and_answer_many(queries, scenario)
        before[name] = np.array([np.nan if look.confidence is None else look.confidence for look, _ in outcomes])
        right[name] = np.array([suite.grade(q, answer.text) for q, (_, answer) in zip(queries, outcomes, strict=True)])
        curves[name] = fit_curve(before[name], right[name], settings.method)
        after[name] = held_out(before[name], right[name], settings.method)
    report(len(scenarios), len(scenarios))
    provenance: dict[str, Any] = {
        "suite": suite.name,
        "domain": domain,
        "seed": seed,
        "queries": len(queries),
        "fit": {name: improvement(before[name], after[name], right[name]) for name in curves},
    }
    calibration = Calibration(
        method=settings.method,
        assessment=agent.self_assessment,
        model=weights_digest(agent.model_path),
        curves=curves,
        provenance=provenance,
    )
    return Calibrated(calibration, before, after, right)


def keep(calibrated: Calibrated, folder: Path, *, title: str) -> Path:
    """Write a calibration and its reliability diagram into a folder; return the path of the calibration.

    An agent uses what lies beside its model.
    """
    drawn = draw_calibration(
        calibrated.calibration.curves, calibrated.before, calibrated.after, calibrated.right, title=title
    )
    save(drawn, folder / FIGURE_FILE)
    write_json(folder / CALIBRATION_FILE, calibrated.calibration.to_json())
    return folder / CALIBRATION_FILE
