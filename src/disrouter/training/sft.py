"""Supervised fine-tuning on accept and reject targets, with TRL's ``SFTTrainer``.

The loss falls on the completion only. Training keeps checkpoints in a work folder and resumes from the last one.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy, kl_div
from transformers import PreTrainedTokenizerBase
from trl.trainer.sft_trainer import SFTTrainer

from disrouter.agents._loading import rejection_ids
from disrouter.agents.prompts import chat_messages
from disrouter.errors import ModelError, UsageError
from disrouter.training._models import Report, lora_config, merged, run, save_beside, sft_config, trainable
from disrouter.training.settings import SftSettings
from disrouter.training.targets import Target

__all__ = ["fine_tune"]

_IGNORED = -100


def fine_tune(
    model_path: Path,
    targets: Sequence[Target],
    output: Path,
    work: Path,
    settings: SftSettings,
    *,
    rejection: str,
    report: Report = lambda step, steps, loss: None,
) -> int:
    """Fine-tune the model in ``model_path`` on ``targets`` and write it to ``output`` in bfloat16 safetensors.

    Returns the number of tokens it was trained on.

    ``work`` is the folder of training checkpoints: if it holds one, training goes on from there; it is removed when
    done. ``report`` is called with step, steps and loss.

    Raises:
        ModelError: The model cannot be trained on these targets.
        UsageError: Answers are to be kept by divergence, and a target names a scenario, which the base never read.
        RunError: The loss is no number any more.
    """
    if settings.kl and any(target.scenario is not None for target in targets):
        raise UsageError(
            "A divergence from the base model (`kl`) needs targets without a scenario: the base never read its name.",
            hint="set `kl: 0`, or use `mode: calibrated`",
        )
    torch.manual_seed(settings.seed)  # new adapters are drawn before TRL sets its seed
    model, tokenizer = trainable(model_path, adapted=settings.lora is not None)
    trainer = _Trainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict(_tokenised(tokenizer, targets)),
        peft_config=lora_config(settings.lora),
        args=sft_config(settings, work),
    )
    if settings.kl:
        trainer.keep_answers_of(trainable(model_path)[0], settings.kl, rejection_ids(tokenizer, rejection)[0])
    tokens = run(trainer, work, report, shown="loss")
    save_beside(merged(trainer.model), model_path, output)
    shutil.rmtree(work, ignore_errors=True)
    return tokens


class _Trainer(SFTTrainer):
    """TRL's trainer, which can also hold answers to what the base model would say."""

    _base: Any = None
    _kl = 0.0
    _rejection = -1

    def keep_answers_of(self, base: torch.nn.Module, kl: float, rejection: int) -> None:
        """Learn the decisions as before, but of an answer's other tokens only how ``base`` distributes them."""
        self._base, self._kl, self._rejection = base.eval().requires_grad_(False), kl, rejection

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return cross-entropy on decisions and rejections plus the weighted divergence on answers, per token."""
        if self._base is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[no-untyped-call]  # untyped upstream
        labels = inputs["labels"][:, 1:]  # (rows, tokens)
        read = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
        logits = model(**read, use_cache=False).logits[:, :-1].float()
        with torch.no_grad():
            expected = self._base(**read, use_cache=False).logits[:, :-1].float()
        learnt = labels != _IGNORED
        first = learnt & (learnt.cumsum(1) == 1)
        rejects = (first & (labels == self._rejection)).any(1, keepdim=True)
        decision = first | (learnt & rejects)  # a rejection is learnt to its end
        kept = learnt & ~decision
        # While answering nobody may reject, so the divergence does not look at the rejection.
        logits_kept, expected = logits[kept], expected[kept]
        logits_kept[:, self._rejection] = expected[:, self._rejection] = -1e4
        taught = cross_entropy(logits[decision], labels[decision], reduction="sum")
        drifted = kl_div(logits_kept.log_softmax(-1), expected.log_softmax(-1), log_target=True, reduction="sum")
        return (taught + self._kl * drifted) / learnt.sum().clamp(min=1)


def _tokenised(tokenizer: PreTrainedTokenizerBase, targets: Sequence[Target]) -> dict[str, list[list[int]]]:
    """Return token ids and labels of every target; the prompt's labels are -100, which no loss falls on.

    Raises:
        ModelError: The chat template writes a prompt differently once its reply is known.
    """
    prompts = [chat_messages(target.query, target.scenario) for target in targets]
    replies = [[{"role": "assistant", "content": target.text}] for target in targets]
    # Any: the annotated type of a template's result spans every form it can take, of which this is a list of ids.
    asked: Any = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=False)
    whole: Any = tokenizer.apply_chat_template(
        [p + r for p, r in zip(prompts, replies, strict=True)], return_dict=False
    )
    for before, after in zip(asked, whole, strict=True):
        if after[: len(before)] != before:
            raise ModelError(
                "The chat template writes a prompt differently once its reply is known: nothing can be learnt from it.",
                hint="use a template whose generation prompt is what an assistant message begins with",
            )
    unlearnt = [len(before) + (not target.decides) for before, target in zip(asked, targets, strict=True)]
    labels = [[_IGNORED] * skipped + tokens[skipped:] for skipped, tokens in zip(unlearnt, whole, strict=True)]
    return {"input_ids": whole, "labels": labels}
