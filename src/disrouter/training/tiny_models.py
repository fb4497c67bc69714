"""Tiny models: a few thousand random weights in the architecture of a published model, with a tokenizer to go with it.

They answer nothing, but load, train and save like the model whose shape they have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from disrouter.errors import ModelError

__all__ = ["architecture_of", "write_tiny_model"]

_ARCHITECTURES = (
    (r"qwen-?2", "qwen2"),
    (r"qwen-?3", "qwen3"),
    (r"gemma-?2", "gemma2"),
    (r"gemma-?3", "gemma3_text"),
    (r"gemma", "gemma"),
    (r"phi-?[34]", "phi3"),
    (r"llama", "llama"),
)
"""What stands in a model's name, and the ``model_type`` that such models have; the first that fits counts."""

_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}

_MARKERS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_VOCABULARY = 384
_SPARE = 16
"""Rows for what a tokenizer's class adds by itself when it is loaded."""


def architecture_of(model: str, folder: Path | None) -> str:
    """Return the ``model_type`` of a model: as its folder says, or else as its name does.

    Raises:
        ModelError: Models of that name, or of that architecture, are not known here.
    """
    known = [architecture for _, architecture in _ARCHITECTURES]
    if folder is not None:
        found = str(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type"))
        if found in known:
            return found
        raise ModelError(
            f"Model '{model}' is of architecture '{found}', of which no tiny model can be made.",
            hint=f"known: {', '.join(known)}; without --dry-run others may be trained, too",
        )
    name = model.rpartition("/")[2].lower()
    for pattern, architecture in _ARCHITECTURES:
        if re.search(pattern, name):
            return architecture
    raise ModelError(
        f"The name '{model}' does not tell which architecture the model has.",
        hint=f"known are names of models of: {', '.join(known)}; or give a local model folder",
    )


def write_tiny_model(
    architecture: str, texts: Iterable[str], folder: Path, *, tokenizer_of: Path | None = None
) -> None:
    """Write a randomly initialised model with a tokenizer and a chat template into a folder.

    Args:
        architecture: A ``model_type`` that :func:`architecture_of` returns.
        texts: What a tokenizer is trained on.
        folder: Where the model goes.
        tokenizer_of: A model folder whose tokenizer and chat template to take instead.
    """
    if tokenizer_of is None:
        tokenizer: PreTrainedTokenizerBase = _train_tokenizer(texts)
    else:
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_of, local_files_only=True, trust_remote_code=False)
    config = AutoConfig.for_model(
        architecture,
        vocab_size=len(tokenizer) + _SPARE,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **_SHAPE,
    )
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar of ours is on the screen already
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # untyped upstream
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with markers for chats; it can write any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=list(_MARKERS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    pad, _, end = _MARKERS
    fast: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # untyped upstream
        tokenizer_object=tokenizer,
        pad_token=pad,
        eos_token=end,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = _CHAT_TEMPLATE
    return fast
