"""Pretraining one lab model: worked solutions in, next-token prediction, a checkpoint in Hugging Face format out.

One process uses one thread: at these sizes two models side by side train faster than one on two threads, and a single
thread makes sums reproducible. Weight matrices are trained with Muon, embeddings and norms with AdamW; the learning
rate warms up and then falls linearly to zero. The training state (weights, optimizers, step) is kept as safetensors,
so a build that is interrupted goes on where it was and ends with the same bytes.

    disrouter lab build --agent agent-1 --output checkpoints/
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging

from disrouter.lab.corpus import ROW, Corpus, build_corpus
from disrouter.lab.model import LabModel
from disrouter.lab.muon import Muon
from disrouter.lab.tokenizer import build_tokenizer

__all__ = ["Progress", "grow", "new_model", "pretrain", "save_checkpoint"]

_WARMUP = 60


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training run stands."""

    step: int
    steps: int
    loss: float
    """Mean next-token loss (nats) over solution tokens of the last steps."""

    seconds: float


def new_model(spec: LabModel, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Return a freshly initialised model of ``spec``'s shape, drawn from its seed."""
    torch.manual_seed(spec.seed)
    config = AutoConfig.for_model(
        spec.architecture,
        **spec.config(len(tokenizer)),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.5 / spec.hidden**0.5,
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # untyped upstream
    return model


def grow(small: PreTrainedModel, large: PreTrainedModel) -> None:
    """Copy ``small`` into the deeper ``large`` so that both compute the same function.

    Each block of ``small`` is followed by copies whose output projections are zero (LLaMA Pro, arXiv 2401.02415).
    """
    factor, rest = divmod(large.config.num_hidden_layers, small.config.num_hidden_layers)
    assert rest == 0, "the deeper model must have a multiple of the smaller one's layers"
    large.model.embed_tokens.load_state_dict(small.model.embed_tokens.state_dict())
    large.model.norm.load_state_dict(small.model.norm.state_dict())
    for index, block in enumerate(large.model.layers):
        block.load_state_dict(small.model.layers[index // factor].state_dict())
        if index % factor:
            torch.nn.init.zeros_(block.self_attn.o_proj.weight)
            torch.nn.init.zeros_(block.mlp.down_proj.weight)


def save_checkpoint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a checkpoint (bfloat16 safetensors, tokenizer, chat template), whole or not at all."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    rounded = type(model)(model.config)
    rounded.load_state_dict(model.state_dict())
    torch.nn.Module.to(rounded, dtype=torch.bfloat16)
    rounded.config.dtype = torch.bfloat16
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar of ours is on the screen already
    rounded.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    (partial / "model.safetensors").chmod(0o644)  # written for its owner only, but a package is read by everyone
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def _optimizers(model: PreTrainedModel, rate: float) -> list[torch.optim.Optimizer]:
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        Muon(matrices, lr=rate),
        torch.optim.AdamW(others, lr=rate / 4, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _rate_factor(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / _WARMUP, (steps - step) / (0.7 * steps))


def _batches(corpus: Corpus, batch: int, seed: int, start: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers of each step from ``start`` on; every epoch is a new shuffle."""
    per_epoch = len(corpus.tokens) // batch
    step = start
    while True:
        order = np.random.default_rng((seed, step // per_epoch)).permutation(len(corpus.tokens))
        for index in range(step % per_epoch, per_epoch):
            yield order[index * batch : (index + 1) * batch]
            step += 1


def _loss(forward: Callable[..., Any], model: PreTrainedModel, corpus: Corpus, rows: NDArray[np.int64]) -> torch.Tensor:
    tokens = torch.from_numpy(corpus.tokens[rows].astype(np.int64))
    positions = torch.from_numpy(corpus.positions[rows].astype(np.int64))
    segments = torch.from_numpy(corpus.segments[rows])
    targets = torch.from_numpy(corpus.targets[rows])
    mask: Any = (segments[:, None, :] == segments[:, :, None]).tril()[:, None]  # (rows, 1, ROW, ROW)
    if (window := getattr(model.config, "sliding_window", None)) and "sliding_attention" in model.config.layer_types:
        # A prepared mask is taken as it is: layers with a window need one of their own.
        mask = {"full_attention": mask, "sliding_attention": mask.triu(1 - window)}
    hidden = forward(
        input_ids=tokens, position_ids=positions, attention_mask=mask, use_cache=False
    ).last_hidden_state  # (rows, ROW, hidden)
    logits = model.lm_head(hidden[:, :-1])
    losses = cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    learnt = targets[:, 1:].flatten()
    return (losses * learnt).sum() / learnt.sum()


def pretrain(
    spec: LabModel,
    folder: Path,
    *,
    start_from: Path | None = None,
    compiled: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
    checkpoint_every: int = 200,
) -> None:
    """Pretrain ``spec`` into ``folder``; training state lives beside it until it is done.

    ``start_from`` is the checkpoint of the model it grows from, where the spec says so. ``compiled`` compiles the model
    (needs a C++ compiler): about three times as fast, same mathematics. ``report`` is called every 20 steps; the state
    is saved every ``checkpoint_every`` steps.
    """
    torch.set_num_threads(1)
    tokenizer = build_tokenizer()
    model = new_model(spec, tokenizer)
    if start_from is not None:
        grow(AutoModelForCausalLM.from_pretrained(start_from, dtype=torch.float32), model)
    optimizers = _optimizers(model, spec.rate)
    state_file = folder.with_name(f".{folder.name}.state.safetensors")
    folder.parent.mkdir(parents=True, exist_ok=True)
    step, seconds = _restore(state_file, model, optimizers) if state_file.exists() else (0, 0.0)
    corpus = build_corpus(tokenizer, rows=min(spec.steps, 2000) * spec.batch, seed=spec.seed, mixture=spec.mixture)
    forward = torch.compile(model.model) if compiled else model.model
    model.train()
    began, losses = time.monotonic() - seconds, []
    for rows in _batches(corpus, spec.batch, spec.seed, step):
        for optimizer in optimizers:
            peak = spec.rate if isinstance(optimizer, Muon) else spec.rate / 4
            for group in optimizer.param_groups:
                group["lr"] = peak * _rate_factor(step, spec.steps)
        loss = _loss(forward, model, corpus, rows)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        step += 1
        if step % 20 == 0 or step == spec.steps:
            report(Progress(step, spec.steps, sum(losses) / len(losses), time.monotonic() - began))
            losses = []
        if step == spec.steps:
            break
        if step % checkpoint_every == 0:
            _keep(state_file, model, optimizers, step, time.monotonic() - began)
    save_checkpoint(model, tokenizer, folder)
    (folder / "training.json").write_text(
        json.dumps(
            {
                "steps": spec.steps,
                "tokens": spec.steps * spec.batch * ROW,
                "seconds": round(time.monotonic() - began),
                "loss": round(loss.item(), 4),
                "grown_from": spec.grown_from,
            },
            indent=2,
        )
        + "\n"
    )
    state_file.unlink(missing_ok=True)


def _keep(
    file: Path, model: PreTrainedModel, optimizers: list[torch.optim.Optimizer], step: int, seconds: float
) -> None:
    """Write the training state, whole or not at all."""
    tensors = {
        f"model.{name}": value.contiguous() for name, value in model.state_dict().items() if name != "lm_head.weight"
    }
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{number}.{index}.{name}"] = value
    partial = file.with_suffix(".partial")
    save_file(tensors, partial, metadata={"step": str(step), "seconds": str(seconds)})
    os.replace(partial, file)


def _restore(file: Path, model: PreTrainedModel, optimizers: list[torch.optim.Optimizer]) -> tuple[int, float]:
    with safe_open(file, framework="pt") as stored:
        meta = stored.metadata()
    tensors = load_file(file)
    model.load_state_dict(
        {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")},
        strict=False,
    )
    for number, optimizer in enumerate(optimizers):
        state = optimizer.state_dict()
        for key, value in tensors.items():
            head, _, rest = key.partition(".")
            if head == "optimizer" and rest.startswith(f"{number}."):
                _, index, name = rest.split(".", 2)
                state["state"].setdefault(int(index), {})[name] = value
        optimizer.load_state_dict(state)
    return int(meta["step"]), float(meta["seconds"])
