"""Calibration: curves from raw confidence to measured chance, and how an agent uses the one beside its model."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pytest import approx

from disrouter.agents.calibrators import Calibration, Curve, read_calibration
from disrouter.agents.folders import weights_digest
from disrouter.agents.transformers import TransformersAgent
from disrouter.errors import DataError, ModelError
from disrouter.evaluation.metrics import ece
from disrouter.lab.family import checkpoint_path
from disrouter.training.calibration import apply_curve, fit_curve, held_out, improvement
from disrouter.training.settings import CalibrationMethod
from disrouter.types import AgentCard, Query, QueryPrice
from disrouter.utility import BALANCE, COST_FIRST

QUERY = Query.from_text("47+385", id="q")


def overconfident(n: int = 4000) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    """Confidences whose true chance is their square, and answers drawn from it."""
    rng = np.random.default_rng(7)
    confidence = rng.uniform(size=n)
    return confidence, (rng.uniform(size=n) < confidence**2).astype(np.float64)


def test_a_curve_is_straight_between_its_points_and_flat_outside() -> None:
    curve = Curve((0.2, 0.6), (0.1, 0.5))

    assert curve(0.0) == 0.1
    assert curve(0.4) == approx(0.3)
    assert curve(0.9) == 0.5


@pytest.mark.parametrize(
    ("x", "y"), [((), ()), ((0.5, 0.5), (0.1, 0.2)), ((0.1, 0.5), (0.2, 0.1)), ((0.1,), (1.5,)), ((0.1, 0.2), (0.1,))]
)
def test_a_curve_that_is_none_is_refused(x: tuple[float, ...], y: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"curve"):
        Curve(x, y)


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_calibration_mends_overconfidence_on_queries_it_was_not_fitted_on(method: CalibrationMethod) -> None:
    confidence, right = overconfident()

    curve = fit_curve(confidence[:2000], right[:2000], method)
    after = apply_curve(curve, confidence[2000:])

    before_ece, after_ece = (ece(q, right[2000:] > 0) for q in (confidence[2000:], after))
    assert before_ece is not None and after_ece is not None
    assert before_ece > 0.1  # the true chance q² lies 1/6 below q on average
    assert after_ece < 0.05
    assert np.all(np.diff(apply_curve(curve, np.linspace(0, 1, 50))) >= 0)


def test_the_improvement_names_brier_score_and_calibration_error_before_and_after() -> None:
    confidence, right = overconfident()

    found = improvement(confidence, held_out(confidence, right, "isotonic"), right)

    assert found["brier_before"] is not None and found["brier_after"] is not None
    assert found["brier_after"] < found["brier_before"]
    assert set(found) == {"brier_before", "brier_after", "ece_before", "ece_after"}


def test_confidences_are_judged_by_curves_that_they_had_no_part_in() -> None:
    # Chance alone: an isotonic curve of 40 coins follows them closely, and tells nothing of other coins.
    confidence = np.linspace(0, 1, 40)
    right = np.random.default_rng(0).integers(0, 2, 40).astype(np.float64)

    own = ece(apply_curve(fit_curve(confidence, right), confidence), right >= 0.5)
    others = ece(held_out(confidence, right, "isotonic"), right >= 0.5)

    assert own is not None and others is not None
    assert own < 0.05 < others


@pytest.mark.parametrize(
    ("confidence", "right", "message"),
    [
        (np.full(30, np.nan), np.ones(30), "30 of 30 confidences are unknown"),
        (np.full(5, 0.5), np.array([0.0, 1, 0, 1, 0]), "5 queries are too few"),
        (np.linspace(0, 1, 30), np.ones(30), "All 30 answers are right"),
        (np.linspace(0, 1, 30), np.zeros(30), "All 30 answers are wrong"),
    ],
)
def test_queries_that_tell_nothing_are_refused(
    confidence: np.ndarray[tuple[int], np.dtype[np.float64]],
    right: np.ndarray[tuple[int], np.dtype[np.float64]],
    message: str,
) -> None:
    with pytest.raises(DataError, match=message):
        fit_curve(confidence, right)


def calibrated_folder(folder: Path, *, model: str | None = None, assessment: str = "token") -> Path:
    """An agent's folder with a calibration that says .25 under balance and .75 elsewhere."""
    shutil.copytree(checkpoint_path("agent-1", "paper"), folder)
    calibration = Calibration(
        method="isotonic",
        assessment=assessment,
        model=model or weights_digest(folder),
        curves={"balance": Curve((0.0, 1.0), (0.25, 0.25)), "*": Curve((0.5,), (0.75,))},
    )
    (folder / "calibration.json").write_text(json.dumps(calibration.to_json()))
    return folder


def agent_in(folder: Path, *, calibrated: bool = True) -> TransformersAgent:
    return TransformersAgent(AgentCard(name="a", price=QueryPrice(cost=0.1)), folder, calibrated=calibrated)


def test_an_agent_says_what_the_calibration_beside_it_makes_of_its_confidence(tmp_path: Path) -> None:
    agent = agent_in(calibrated_folder(tmp_path / "model"))

    assert asyncio.run(agent.look(QUERY, BALANCE)).confidence == 0.25
    assert asyncio.run(agent.look(QUERY, COST_FIRST)).confidence == 0.75
    assert agent.look_many([QUERY], BALANCE)[0].confidence == 0.25


def test_an_agent_can_be_asked_for_its_raw_confidence(tmp_path: Path) -> None:
    folder = calibrated_folder(tmp_path / "model")

    raw = agent_in(folder, calibrated=False).look_many([QUERY], BALANCE)[0]

    assert raw.confidence not in (0.25, 0.75)


def test_a_calibration_of_a_confidence_read_another_way_is_not_applied(tmp_path: Path) -> None:
    agent = agent_in(calibrated_folder(tmp_path / "model", assessment="head"))

    assert agent.look_many([QUERY], BALANCE)[0].confidence != 0.25


def test_a_calibration_of_another_model_is_refused(tmp_path: Path) -> None:
    agent = agent_in(calibrated_folder(tmp_path / "model", model="0" * 24))

    with pytest.raises(ModelError, match="belongs to another model"):
        agent.look_many([QUERY], BALANCE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be used"),
        ("{}", "lacks the key 'schema'"),
        ('{"schema": 99}', "schema is 99"),
        ("[]", "cannot be"),
    ],
)
def test_a_damaged_calibration_is_refused_with_the_way_out(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "calibration.json").write_text(content)

    with pytest.raises(ModelError, match=message) as caught:
        read_calibration(tmp_path)

    assert "disrouter calibrate" in str(caught.value)


def test_an_agent_without_a_calibration_has_none(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) is None
