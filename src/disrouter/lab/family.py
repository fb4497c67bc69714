"""The lab's model family: five sizes of one published architecture, and where their checkpoints lie.

All five are Qwen3 models (QK-norm keeps such small models stable at high learning rates) with tied embeddings. The
fifth grows out of the fourth: every block is followed by two copies whose outputs start at zero, so that growing
changes no answer (block expansion, LLaMA Pro, arXiv 2401.02415), and training goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from disrouter.errors import UnknownNameError

__all__ = ["FAMILY", "LabModel", "Stage", "checkpoint_of", "checkpoint_path", "lab_model"]

Stage = Literal["base", "calibrated", "paper"]
"""``base``: pretrained on the skills; ``calibrated``: the same weights with a confidence head; ``paper``: after SFT and
RL as in the paper.
"""

CONTEXT_LENGTH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class LabModel:
    """One size of the family: its shape and how it is pretrained."""

    name: str
    hidden: int
    layers: int
    heads: int
    head_dim: int
    mlp: int
    steps: int
    """Optimizer steps of pretraining, each of ``batch`` rows of 96 packed tokens."""

    batch: int = 64
    rate: float = 0.02
    """Peak learning rate of the weight matrices."""

    seed: int = 0
    grown_from: str | None = None
    """Name of the smaller model whose blocks this one starts from."""

    mixture: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Weights of skills in pretraining that differ from 1: what the agent has seen more or less of."""

    def config(self, vocabulary: int) -> dict[str, Any]:
        """Return the keyword arguments of ``transformers.Qwen3Config``."""
        return {
            "vocab_size": vocabulary,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.mlp,
            "max_position_embeddings": CONTEXT_LENGTH,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        }


FAMILY = (
    LabModel(name="agent-1", hidden=32, layers=3, heads=2, head_dim=16, mlp=80, steps=3000, seed=1),
    LabModel(
        name="agent-2",
        hidden=64,
        layers=3,
        heads=4,
        head_dim=16,
        mlp=160,
        steps=1600,
        seed=2,
        mixture=MappingProxyType({"facts": 3.0}),  # the specialist: knows more people than the next two sizes
    ),
    LabModel(
        name="agent-3",
        hidden=96,
        layers=4,
        heads=4,
        head_dim=24,
        mlp=256,
        steps=1200,
        seed=3,
        mixture=MappingProxyType({"facts": 0.5}),
    ),
    LabModel(name="agent-4", hidden=192, layers=4, heads=6, head_dim=32, mlp=448, steps=1300, seed=4),
    LabModel(
        name="agent-5",
        hidden=192,
        layers=12,
        heads=6,
        head_dim=32,
        mlp=448,
        steps=200,
        rate=0.004,
        seed=5,
        grown_from="agent-4",
        # What agent-4 has mastered is only kept up; the new blocks are for what it has not.
        mixture=MappingProxyType(
            {"facts": 6.0, "mul": 2.0, "rem": 2.0}
            | dict.fromkeys(("add", "sub", "sort", "reverse", "count", "shift", "max"), 0.5)
        ),
    ),
)


def lab_model(name: str) -> LabModel:
    """Return the family member called ``name``.

    Raises:
        UnknownNameError: The family has no such member.
    """
    for model in FAMILY:
        if model.name == name:
            return model
    raise UnknownNameError.of("lab model", name, (model.name for model in FAMILY))


def checkpoint_path(name: str, stage: Stage = "calibrated") -> Path:
    """Return the folder of a shipped checkpoint, in Hugging Face format.

    The largest agent always answers and has one stage only: its base checkpoint serves as all.
    """
    lab_model(name)
    checkpoints = Path(__file__).parent / "checkpoints"
    return checkpoints / ("base" if name == FAMILY[-1].name else stage) / name


def checkpoint_of(spec: str) -> Path:
    """Return the folder of a shipped checkpoint as files name it: ``agent-1``, or ``agent-1@paper`` for another stage.

    Raises:
        UnknownNameError: The family has no such member, or a member no such stage.
    """
    name, at, stage = spec.partition("@")
    for known in get_args(Stage):
        if stage == known:
            return checkpoint_path(name, known)
    if at:
        raise UnknownNameError.of("stage", stage, get_args(Stage), where=f"model 'lab:{spec}'")
    return checkpoint_path(name)
