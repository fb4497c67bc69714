"""Settings of every stage of self-awareness training, with their defaults; nothing heavy is imported here.

They are the parts of a recipe file. A field's description is what a message says is allowed there. A default comes
from the paper (arXiv 2510.19208) where it publishes one; else from a measurement in the lab.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from disrouter.config.sentences import Spec

__all__ = [
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

CalibrationMethod = Literal["isotonic", "platt"]


class ProfileSettings(Spec):
    """How an agent is profiled. The paper publishes neither N nor the temperature."""

    queries: int = Field(4000, ge=1, description="a whole number from 1, training queries")
    samples: int = Field(10, ge=1, le=1000, description="a whole number from 1 to 1000, sampled answers per query (N)")
    temperature: float = Field(1.0, gt=0, le=10, description="a number above 0 and up to 10")
    seed: int = Field(0, ge=0, description="a whole number from 0, of the queries and the samples")


class TargetSettings(Spec):
    """What the model is taught to say, derived from its profile."""

    limit: int = Field(
        10_000,
        ge=2,
        description="a whole number from 2, most targets: of each scenario in paper mode, of all in calibrated mode",
    )
    accept: Literal["own", "worked"] = Field(
        "own", description="'own' (one of the agent's own right answers) or 'worked' (the suite's worked solution)"
    )


class LoraSettings(Spec):
    """Low-rank adapters on every linear layer instead of all weights; merged when training is done, if not told
    otherwise.
    """

    rank: int = Field(16, ge=1, description="a whole number from 1")
    alpha: int = Field(32, ge=1, description="a whole number from 1")
    dropout: float = Field(0.0, ge=0, lt=1, description="a number from 0, below 1")
    decides: Literal["prompt", "reply"] | None = Field(
        None,
        description="'prompt' or 'reply': the adapter stays beside the model, is on while the agent decides, for all "
        "of the prompt or from the beginning of the reply, and off while it answers; left out: merged into the model",
    )
    new_tokens: list[str] = Field(
        default_factory=list,
        description="a list of texts whose tokens the model has never read: the rejection, names of scenarios; with "
        "`decides`, their rows of the embedding are learnt, too",
    )


class _Tuning(Spec):
    """How weights are changed."""

    lora: LoraSettings | None = Field(None, description="a mapping with rank, alpha, dropout; all weights if left out")

    @property
    def only_decides(self) -> bool:
        """Whether an adapter learns that is off while the agent answers."""
        return self.lora is not None and self.lora.decides is not None


class SftSettings(_Tuning):
    """How to fine-tune."""

    rate: float = Field(1e-5, gt=0, description="a number above 0, the peak learning rate")
    epochs: float = Field(2.0, gt=0, description="a number above 0")
    batch: int = Field(64, ge=1, description="a whole number from 1, targets computed at once")
    accumulate: int = Field(1, ge=1, description="a whole number from 1, batches summed before a step")
    replay: int = Field(
        0,
        ge=0,
        description="a whole number from 0, pretraining problems mixed in: they teach no decision, so that none is "
        "unlearnt; an adapter that only decides learns from them whether the agent recites their solution",
    )
    kl: float = Field(
        0.0,
        ge=0,
        description="a number from 0, weight of KL(base, model) on answers in place of their text; calibrated mode",
    )
    seed: int = Field(0, ge=0, description="a whole number from 0")


class RlSettings(_Tuning):
    """How to reinforce the decision, after SFT. The paper publishes no algorithm; we use GRPO."""

    queries: int = Field(10_000, ge=2, description="a whole number from 2, queries altogether (10,000 in the paper)")
    fresh: bool = Field(
        False,
        description="true (training queries that were not profiled, in paper mode each under every scenario) or false "
        "(profiled ones, in paper mode as many on each side of delta)",
    )
    epochs: float = Field(1.0, gt=0, description="a number above 0")
    replay: int = Field(
        0,
        ge=0,
        description="a whole number from 0, pretraining problems besides, for an adapter that only decides: an answer "
        "earns 1 where the agent recites their solution",
    )
    group: int = Field(
        8, ge=2, multiple_of=2, description="an even number, decisions compared for one query: half of them rejections"
    )
    rate: float = Field(1e-6, gt=0, description="a number above 0, the peak learning rate")
    batch: int = Field(64, ge=1, description="a whole number from 1, queries in one step")
    accumulate: int = Field(1, ge=1, description="a whole number from 1, parts that a step is computed in")
    temperature: float = Field(
        1.0, gt=0, le=10, description="a number above 0 and up to 10, of the sampled answers; near 0: nearly greedy"
    )
    gamma: float = Field(
        0.5, ge=0, description="a number from 0, the exponent of a rejection's pay-off, (1 - alpha)^gamma"
    )
    gammas: dict[str, float] = Field(
        default_factory=dict, description="a mapping from scenarios to exponents of their own, numbers from 0"
    )
    kl: float = Field(0.0, ge=0, description="a number from 0, the weight of the divergence from where RL starts")
    learn: Literal["decision", "all"] = Field(
        "decision", description="'decision' (the first token learns from the reward) or 'all' (the whole answer does)"
    )
    vllm: bool = Field(False, description="true (vLLM samples the answers; needs a GPU) or false (the model itself)")
    seed: int = Field(0, ge=0, description="a whole number from 0")

    def gamma_in(self, scenario: str) -> float:
        """Return the exponent of a scenario of that name."""
        return self.gammas.get(scenario, self.gamma)


class HeadSettings(Spec):
    """How to train a confidence head on the frozen model's hidden states."""

    hidden: int = Field(128, ge=1, description="a whole number from 1, units of the inner layer")
    epochs: int = Field(40, ge=1, description="a whole number from 1")
    batch: int = Field(128, ge=1, description="a whole number from 1, queries in one step")
    rate: float = Field(2e-3, gt=0, description="a number above 0, the peak learning rate")
    weight_decay: float = Field(0.1, ge=0, description="a number from 0")
    dropout: float = Field(0.0, ge=0, lt=1, description="a number from 0, below 1")
    queries: int = Field(
        0,
        ge=0,
        description="a whole number from 0, training queries besides that were not profiled, each answered once, "
        "greedily",
    )
    replay: int = Field(
        0,
        ge=0,
        description="a whole number from 0, pretraining problems besides: whether the agent recites their solution is "
        "learnt like a success rate",
    )
    seed: int = Field(0, ge=0, description="a whole number from 0")


class CalibrationSettings(Spec):
    """How to calibrate confidences after training, on held-out queries."""

    method: CalibrationMethod = Field("isotonic", description="'isotonic' or 'platt'")
    queries: int = Field(1000, ge=20, description="a whole number from 20, validation queries")
