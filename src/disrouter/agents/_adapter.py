"""The deciding adapter: LoRA weights that are on while an agent decides, and off while it answers.

A rejection token that is taught to the whole model costs it ability: what moves one token moves the others. An adapter
that only decides leaves every answer as it was, to the bit, and any server that serves LoRA adapters serves it under a
name of its own. It lies beside the model in PEFT's format, and is one of two kinds:

- read from the *prompt*: it is on for every token, so a decision is a reading of its own, and may be of another prompt
  than the answer's (with the scenario in it, say);
- read from the *reply*: it is on from the tokens that begin a reply (activated LoRA, arXiv 2504.12397). Up to there the
  model reads as ever, so a decision costs a token or two after a reading that the answer goes on from.
"""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from peft import LoraConfig, PeftModel
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from disrouter.errors import ModelError

__all__ = ["ADAPTER_FOLDER", "ADAPTER_WEIGHTS", "DecidingAdapter", "adapter_metadata", "read_adapter"]

ADAPTER_FOLDER = "adapter"
"""Where the adapter lies, in the model's folder."""

ADAPTER_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
_FORMAT = "disrouter.adapter"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class DecidingAdapter:
    """A model with the adapter on; it shares its weights with the model that the adapter was made for."""

    model: PreTrainedModel
    reply: int | None
    """How many tokens at a prompt's end it is on for; None if for all of them."""


def adapter_metadata(model: str) -> dict[str, str]:
    """Return what an adapter's file says of it; ``model`` is the digest of the weights it was trained on."""
    return {_FORMAT: json.dumps({"version": _VERSION, "model": model})}


def read_adapter(folder: Path, model: PreTrainedModel, digest: str) -> DecidingAdapter:
    """Return a loaded model once more, with the adapter in its folder on; ``model`` itself is not touched.

    Raises:
        ModelError: There is no adapter, it cannot be read, or it belongs to another model than ``digest`` says.
    """
    path = folder / ADAPTER_FOLDER
    hint = "train one with `disrouter train --recipe …`, or set the agent's `self_assessment` to token"
    if not (path / ADAPTER_WEIGHTS).is_file():
        raise ModelError(
            f"Model folder '{folder}' has no deciding adapter: no {ADAPTER_FOLDER}/{ADAPTER_WEIGHTS}.", hint=hint
        )
    try:
        said = json.loads((path / _CONFIG).read_text(encoding="utf-8"))
        with safe_open(path / ADAPTER_WEIGHTS, framework="pt") as stored:
            made = json.loads((stored.metadata() or {}).get(_FORMAT, "{}"))
        if made.get("version") != _VERSION or said.get("peft_type") != "LORA":
            raise ModelError(f"'{path}' is not a deciding adapter of version {_VERSION}.", hint=hint)
        if made["model"] != digest:
            raise ModelError(
                f"The deciding adapter '{path}' belongs to another model than the one beside it.",
                hint="an adapter goes with the very weights it was trained on: train it again",
            )
        start = said.pop("alora_invocation_tokens", None)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            adapted = cast(Any, PeftModel).from_pretrained(_twin(model), path, config=LoraConfig(**_known(said)))
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as exc:
        raise ModelError(f"The deciding adapter '{path}' cannot be read: {exc}", hint=hint) from exc
    return DecidingAdapter(adapted.get_base_model().eval().requires_grad_(False), len(start) if start else None)


def _twin(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy of a model's structure around the very same weights."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo=cast("dict[int, Any]", shared))


def _known(said: dict[str, Any]) -> dict[str, Any]:
    """Return what this version of PEFT takes of an adapter's configuration."""
    fields = LoraConfig.__dataclass_fields__
    return {name: value for name, value in said.items() if name in fields and value is not None}
