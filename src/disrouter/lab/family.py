"""The lab's model families, and where the checkpoints of the one that ships lie.

``lab`` ships: five Qwen3 models (QK-norm keeps such small models stable at high learning rates) with tied embeddings.
The fifth grows out of the fourth: every block is followed by two copies whose outputs start at zero, so that growing
changes no answer (block expansion, LLaMA Pro, arXiv 2401.02415), and training goes on from there.

``mixed`` is built, and does not ship: four sizes, each of another published architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from disrouter.errors import ModelError, UnknownNameError
from disrouter.lab.model import CONTEXT_LENGTH, LabModel

__all__ = [
    "CONTEXT_LENGTH",
    "FAMILIES",
    "FAMILY",
    "MIXED",
    "LabModel",
    "Stage",
    "checkpoint_of",
    "checkpoint_path",
    "family_of",
    "lab_model",
]

Stage = Literal["base", "calibrated", "paper"]
"""``base``: pretrained on the skills; ``calibrated``: the same weights with a confidence head; ``paper``: after SFT and
RL as in the paper.
"""

FAMILY = (
    LabModel(
        name="agent-1",
        hidden=32,
        layers=3,
        heads=2,
        head_dim=16,
        mlp=80,
        steps=3000,
        seed=1,
        # So small a model learns a few skills well, or all of them by halves and then cannot know what it knows.
        mixture=MappingProxyType({"facts": 0.02, "count": 0.02, "rem": 0.02, "mul": 0.02, "max": 0.1, "sub": 0.2}),
    ),
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


MIXED = (
    LabModel(
        name="llama-xs",
        architecture="llama",
        hidden=32,
        layers=3,
        heads=2,
        key_value_heads=1,
        head_dim=16,
        mlp=80,
        steps=2400,
        seed=11,
    ),
    LabModel(
        name="gemma3-s",
        architecture="gemma3_text",
        hidden=64,
        layers=3,
        heads=4,
        key_value_heads=1,
        head_dim=16,
        mlp=160,
        window=24,
        steps=1400,
        seed=12,
        mixture=MappingProxyType({"facts": 3.0}),
    ),
    LabModel(
        name="phi3-m",
        architecture="phi3",
        hidden=96,
        layers=4,
        heads=4,
        head_dim=24,
        mlp=256,
        steps=900,
        seed=13,
        mixture=MappingProxyType({"facts": 0.5}),
    ),
    LabModel(
        name="qwen3-l",
        hidden=160,
        layers=4,
        heads=5,
        key_value_heads=1,
        head_dim=32,
        mlp=384,
        steps=800,
        seed=14,
    ),
)

FAMILIES: Mapping[str, tuple[LabModel, ...]] = MappingProxyType({"lab": FAMILY, "mixed": MIXED})
"""Every family from its smallest model to its largest, which always answers."""


def lab_model(name: str) -> LabModel:
    """Return the model called ``name``, of whichever family.

    Raises:
        UnknownNameError: No family has such a member.
    """
    models = [model for family in FAMILIES.values() for model in family]
    for model in models:
        if model.name == name:
            return model
    raise UnknownNameError.of("lab model", name, (model.name for model in models))


def family_of(name: str) -> tuple[LabModel, ...]:
    """Return the models of the family called ``name``.

    Raises:
        UnknownNameError: The lab has no such family.
    """
    if name not in FAMILIES:
        raise UnknownNameError.of("family", name, FAMILIES)
    return FAMILIES[name]


def checkpoint_path(name: str, stage: Stage = "calibrated") -> Path:
    """Return the folder of a shipped checkpoint, in Hugging Face format.

    The largest agent always answers and has one stage only: its base checkpoint serves as all.

    Raises:
        UnknownNameError: The lab has no such model.
        ModelError: The model does not ship.
    """
    if lab_model(name) not in FAMILY:
        raise ModelError(
            f"Lab model '{name}' does not ship with the package.",
            hint="build it with `disrouter lab build --family mixed`, and name its folder instead",
        )
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
