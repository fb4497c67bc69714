"""The confidence head: two small layers that read an agent's chance to be right off its frozen hidden states.

The head sees the hidden state of the prompt's last token after the embedding and after every layer, so reading it
costs the prefill that a look makes anyway. It lies beside the model as safetensors; not one answer changes.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from disrouter.errors import ModelError

__all__ = ["HEAD_FILE", "ConfidenceHead", "read_head"]

HEAD_FILE = "confidence_head.safetensors"
_FORMAT = "disrouter.head"
_VERSION = 1


class ConfidenceHead(torch.nn.Module):
    """A two-layer network from hidden states to the logit of being right."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, layers: int, width: int, hidden: int) -> None:
        """Make an untrained head for hidden states of ``layers`` places (embedding included) and ``width``."""
        super().__init__()
        self.layers, self.width, self.hidden = layers, width, hidden
        # Hidden states grow from layer to layer: each feature is brought to mean 0 and deviation 1 first.
        self.register_buffer("mean", torch.zeros(layers * width))
        self.register_buffer("scale", torch.ones(layers * width))
        self.inner = torch.nn.Linear(layers * width, hidden)
        self.outer = torch.nn.Linear(hidden, 1)

    def forward(self, states: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
        """Return logits, shape (rows,), of hidden states, shape (rows, layers, width)."""
        features = (states.flatten(1) - self.mean) / self.scale
        features = torch.nn.functional.dropout(features, dropout, self.training)
        inner = torch.nn.functional.gelu(self.inner(features))
        logits: torch.Tensor = self.outer(torch.nn.functional.dropout(inner, dropout, self.training))[:, 0]
        return logits

    @torch.inference_mode()
    def confidences(self, states: torch.Tensor) -> list[float]:
        """Return the chance to be right for every row of hidden states, shape (rows, layers, width)."""
        # In double precision the order of sums, and with it the size of the batch, cannot show.
        values: list[float] = torch.sigmoid(self(states.to(self.mean))).tolist()
        return values

    def metadata(self, model: str) -> dict[str, str]:
        """Return what its file says of it; ``model`` is the digest of the weights it was trained on."""
        shape = {"layers": self.layers, "width": self.width, "hidden": self.hidden}
        # One entry: safetensors writes several in any order, and the same head must be the same bytes.
        return {_FORMAT: json.dumps({"version": _VERSION, "model": model, **shape})}


def read_head(folder: Path, *, model: str, layers: int, width: int) -> ConfidenceHead:
    """Return the head beside a model, in double precision.

    Args:
        folder: The model's folder.
        model: Digest of the model's weights.
        layers: Number of hidden states the model has, the embedding included.
        width: Their width.

    Raises:
        ModelError: There is no head, it cannot be read, or it belongs to another model.
    """
    path = folder / HEAD_FILE
    hint = "train one with `disrouter train --recipe …`, or set the agent's `self_assessment` to token"
    if not path.is_file():
        raise ModelError(f"Model folder '{folder}' has no confidence head: no {HEAD_FILE}.", hint=hint)
    try:
        with safe_open(path, framework="pt") as stored:
            said = json.loads((stored.metadata() or {}).get(_FORMAT, "{}"))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  # not a mapping
        if said.get("version") != _VERSION:
            raise ModelError(f"'{path}' is not a confidence head of version {_VERSION}.", hint=hint)
        shape = said["layers"], said["width"]
        if shape != (layers, width) or said["model"] != model:
            raise ModelError(
                f"The confidence head '{path}' belongs to another model than the one beside it.",
                hint="a head reads the very weights it was trained on: train it again",
            )
        head = ConfidenceHead(*shape, said["hidden"])
        head.load_state_dict(tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as exc:
        raise ModelError(f"The confidence head '{path}' cannot be read: {exc}", hint=hint) from exc
    return head.double().eval()
