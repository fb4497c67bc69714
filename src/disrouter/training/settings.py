"""Settings of every stage of self-awareness training, with their defaults; nothing heavy is imported here.

A default comes from the paper (arXiv 2510.19208) where it publishes one, and says so; else from a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "AcceptText",
    "CalibrationMethod",
    "CalibrationSettings",
    "HeadSettings",
    "LoraSettings",
    "Mode",
    "ProfileSettings",
    "RlSettings",
    "SftSettings",
    "TargetSettings",
]

Mode = Literal["paper", "calibrated"]
"""``paper``: the scenario stands in the prompt and the model learns each scenario's decision. ``calibrated``: no
scenario; the model learns its chance to be right, and a policy outside decides."""

AcceptText = Literal["own", "worked"]
"""What an accepted query teaches: one of the agent's own right answers, or the suite's worked solution."""

CalibrationMethod = Literal["isotonic", "platt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSettings:
    """How an agent is profiled. The paper publishes neither N nor the temperature."""

    queries: int = 4000
    samples: int = 10
    """N, the sampled answers per query."""

    temperature: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """What the model is taught to say, derived from its profile."""

    limit: int = 10_000
    """Most targets: of each scenario in paper mode (10,000 in the paper), altogether in calibrated mode."""

    accept: AcceptText = "own"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters on every linear layer instead of all weights; merged when training is done."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SftSettings:
    """How to fine-tune."""

    rate: float = 1e-5
    """Peak learning rate; a 6-million-parameter model wants about a hundred times that of a 7-billion one."""

    epochs: float = 2.0
    batch: int = 64
    accumulate: int = 1
    """Batches whose gradients are summed before a step."""

    lora: LoraSettings | None = None
    replay: int = 0
    """Pretraining problems mixed in that teach no decision, so that no ability is unlearnt."""

    kl: float = 0.0
    """Weight of the divergence KL(base ‖ model) on the tokens of answers, which takes the place of their text; 0
    teaches the text. Calibrated mode only."""

    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RlSettings:
    """How to reinforce the decision, after SFT. The paper publishes no algorithm; we use GRPO."""

    queries: int = 10_000
    """Queries altogether, as in the paper; half of them above δ, half below."""

    group: int = 8
    """Decisions compared for one query: half of them the rejection, half sampled answers."""

    rate: float = 1e-6
    epochs: float = 1.0
    batch: int = 64
    """Queries in one step."""

    accumulate: int = 1
    """Parts that a step's decisions are computed in."""

    gamma: float = 0.5
    """Exponent of what a rejection pays in paper mode, (1 − α)^gamma; 0.5 in the paper."""

    kl: float = 0.0
    """Weight of the divergence from the model that RL starts from."""

    learn: Literal["decision", "all"] = "decision"
    """Whether the reward teaches the first token only, where the decision is made, or the whole answer too."""

    vllm: bool = False
    """Whether answers are sampled by vLLM (needs a GPU and the package), instead of the model itself."""

    lora: LoraSettings | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSettings:
    """How to train a confidence head on the frozen model's hidden states."""

    hidden: int = 128
    epochs: int = 40
    batch: int = 128
    rate: float = 2e-3
    weight_decay: float = 0.1
    dropout: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSettings:
    """How to calibrate confidences after training, on held-out queries."""

    method: CalibrationMethod = "isotonic"
    queries: int = 1000
