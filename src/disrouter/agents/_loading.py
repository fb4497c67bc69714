"""Loading: a checked model folder becomes a model and a tokenizer on a device, or one clear error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from disrouter.agents.devices import Device
from disrouter.agents.folders import check_model_folder
from disrouter.errors import ModelError

__all__ = ["LoadedModel", "RejectionTokens", "end_tokens", "load_model", "rejection_ids", "rejection_tokens"]


_NO_LENGTH = 10**30
"""A tokenizer would warn of every long prompt; which one is too long is the agent's to say, as an error."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory, with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    eos: frozenset[int]
    """The tokens that end an answer."""

    context_length: int | None
    """Most tokens the model can take and write together, where its configuration says."""


@dataclass(frozen=True, slots=True)
class RejectionTokens:
    """The rejection text as the model sees it."""

    first: int
    whole: bool
    """Whether ``first`` is the whole text, or only its first token."""


def load_model(path: Path, device: Device) -> LoadedModel:
    """Return the model in a folder, ready to run on a device.

    Only safetensors from that folder are read: no pickle, no code of the model's own, no network. Weights become
    float32 on a CPU and stay as saved elsewhere.

    Raises:
        ModelError: The folder is not a model, or the model cannot be loaded.
    """
    check_model_folder(path)
    logging: Any = transformers_logging  # its functions and the pair that from_pretrained returns are untyped
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # loading is lazy, so a bar would appear in the middle of other output
    model: Any
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        tokenizer.model_max_length = _NO_LENGTH
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=torch.float32 if device.name == "cpu" else "auto",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        model, report = loaded
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as exc:
        raise ModelError(
            f"Model folder '{path}' cannot be loaded: {_first_line(exc)}",
            hint="check that it is a causal language model this version of transformers knows",
        ) from exc
    finally:
        if bars:
            logging.enable_progress_bar()
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"Model folder '{path}' lacks {len(missing)} of the model's tensors, among them '{missing[0]}'.",
            hint="copy or download the model again",
        )
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"Model folder '{path}' mixes two models: its tokenizer has {len(tokenizer)} tokens, its model {rows}.",
            hint="save the model and its own tokenizer into one folder",
        )
    model.requires_grad_(False)
    context = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return LoadedModel(
        model=model.to(device.name).eval(),
        tokenizer=tokenizer,
        eos=end_tokens(model, tokenizer),
        context_length=context if isinstance(context, int) and context > 0 else None,
    )


def rejection_tokens(loaded: LoadedModel, text: str, agent: str) -> RejectionTokens:
    """Return how an agent's model would begin a rejection.

    Raises:
        ModelError: The text has no tokens, holds characters the model does not know, or ends an answer.
    """
    ids = rejection_ids(loaded.tokenizer, text, agent)
    if ids[0] in loaded.eos:
        raise ModelError(
            f"The rejection text {text!r} of agent '{agent}' begins with the token that ends every answer.", hint=_HINT
        )
    return RejectionTokens(first=ids[0], whole=len(ids) == 1)


def rejection_ids(tokenizer: PreTrainedTokenizerBase, text: str, agent: str | None = None) -> list[int]:
    """Return the tokens of a rejection text; the first one stands for it. ``agent`` is for the message.

    Raises:
        ModelError: The text has no tokens, or holds characters the tokenizer does not know.
    """
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    whose = f" of agent '{agent}'" if agent else ""
    if not ids:
        raise ModelError(f"The rejection text {text!r}{whose} has no tokens.", hint=_HINT)
    if tokenizer.unk_token_id in ids:
        raise ModelError(f"The rejection text {text!r}{whose} holds what the tokenizer does not know.", hint=_HINT)
    return ids


_HINT = "set `rejection` to a text the model's tokenizer knows, best a single token"


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the tokens that end an answer, as the model's generation settings and the tokenizer name them."""
    settings = model.generation_config.eos_token_id if model.generation_config is not None else None
    named = settings if isinstance(settings, list) else [settings]
    return frozenset(token for token in (*named, tokenizer.eos_token_id) if token is not None)


def _first_line(exc: Exception) -> str:
    """Return the first line of what went wrong: the rest is advice about the hub."""
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
