"""What a lab model is before it is trained: an architecture of the field, a shape, and how it is pretrained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from disrouter.errors import UnknownNameError

__all__ = ["ARCHITECTURES", "CONTEXT_LENGTH", "LabModel"]

ARCHITECTURES = ("qwen3", "llama", "phi3", "gemma3_text")
"""Architectures that lab models can have, by the ``model_type`` of transformers."""

CONTEXT_LENGTH = 128

_LOCAL_TO_GLOBAL = 3
"""Of so many Gemma layers in a row the last sees everything, the others a window only; published models have 6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabModel:
    """One model of a family: its architecture, its shape and how it is pretrained."""

    name: str
    hidden: int
    layers: int
    heads: int
    head_dim: int
    mlp: int
    steps: int
    """Optimizer steps of pretraining, each of ``batch`` rows of 96 packed tokens."""

    architecture: str = "qwen3"
    key_value_heads: int | None = None
    """Heads of keys and values, shared by groups of query heads; None: as many as heads."""

    window: int | None = None
    """Last tokens that a local layer sees; Gemma only, whose every third layer is global."""

    batch: int = 64
    rate: float = 0.02
    """Peak learning rate of the weight matrices."""

    seed: int = 0
    grown_from: str | None = None
    """Name of the smaller model whose blocks this one starts from."""

    mixture: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Weights of skills in pretraining that differ from 1: what the agent has seen more or less of."""

    def config(self, vocabulary: int) -> dict[str, Any]:
        """Return the keyword arguments of the architecture's configuration in transformers.

        Raises:
            UnknownNameError: Lab models have no such architecture.
        """
        if self.architecture not in ARCHITECTURES:
            raise UnknownNameError.of(
                "architecture", self.architecture, ARCHITECTURES, where=f"lab model '{self.name}'"
            )
        shape = {
            "vocab_size": vocabulary,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.key_value_heads or self.heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.mlp,
            "max_position_embeddings": CONTEXT_LENGTH,
            "tie_word_embeddings": True,
        }
        rope = {"rope_type": "default", "rope_theta": 10_000.0}
        if self.architecture != "gemma3_text":
            return shape | {"rope_parameters": rope}
        return shape | {
            "rope_parameters": {"sliding_attention": rope, "full_attention": rope | {"rope_theta": 1_000_000.0}},
            "query_pre_attn_scalar": self.head_dim,
            "sliding_window": self.window or CONTEXT_LENGTH,
            "layer_types": [
                "full_attention" if (layer + 1) % _LOCAL_TO_GLOBAL == 0 else "sliding_attention"
                for layer in range(self.layers)
            ],
        }
