"""Supervised fine-tuning on accept and reject targets, with TRL's ``SFTTrainer``.

The loss falls on the completion only. Training keeps checkpoints in a work folder and resumes from the last one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from disrouter.agents.prompts import chat_messages
from disrouter.errors import ModelError
from disrouter.training.targets import Target

__all__ = ["SftSettings", "fine_tune"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SftSettings:
    """How to fine-tune."""

    rate: float = 1e-3
    """Peak learning rate; a 6-million-parameter model wants about a hundred times that of a 7-billion one."""

    epochs: float = 3.0
    batch: int = 64
    seed: int = 0


class _Report(TrainerCallback):
    def __init__(self, report: Callable[[int, int, float], None]) -> None:
        self._report = report

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        if logs and "loss" in logs:
            self._report(state.global_step, state.max_steps, float(logs["loss"]))


def fine_tune(
    model_path: Path,
    targets: Sequence[Target],
    output: Path,
    work: Path,
    settings: SftSettings,
    *,
    report: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> None:
    """Fine-tune the model in ``model_path`` on ``targets`` and write it to ``output`` in bfloat16 safetensors.

    ``work`` is the folder of training checkpoints: if it holds one, training goes on from there; it is removed when
    done. ``report`` is called with step, steps and loss.
    """
    model = AutoModelForCausalLM.from_pretrained(
        model_path, dtype=torch.float32, local_files_only=True, use_safetensors=True
    )
    tokenizer = AutoTokenizer.from_pretrained(model_path, local_files_only=True)
    dataset = Dataset.from_dict(_tokenised(tokenizer, targets))
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=dataset,
        callbacks=[_Report(report)],
        args=SFTConfig(
            output_dir=str(work),
            per_device_train_batch_size=settings.batch,
            num_train_epochs=settings.epochs,
            learning_rate=settings.rate,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            weight_decay=0.0,
            seed=settings.seed,
            max_length=None,
            gradient_checkpointing=False,
            bf16=False,
            logging_steps=10,
            save_steps=100,
            save_total_limit=1,
            disable_tqdm=True,
            report_to="none",
            use_cpu=not torch.cuda.is_available(),
            full_determinism=False,
        ),
    )
    trainer.remove_callback(PrinterCallback)  # it prints every log to stdout
    resumable = work.is_dir() and any(work.glob("checkpoint-*"))
    trainer.train(resume_from_checkpoint=resumable)
    _save(model, model_path, output)
    shutil.rmtree(work, ignore_errors=True)


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
    labels = [[-100] * skipped + tokens[skipped:] for skipped, tokens in zip(unlearnt, whole, strict=True)]
    return {"input_ids": whole, "labels": labels}


def _save(model: torch.nn.Module, base: Path, output: Path) -> None:
    """Write the trained weights beside the base model's other files, whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(base, partial)
    names = load_file(base / "model.safetensors").keys()
    weights = model.state_dict()
    save_file(
        {name: weights[name].to(torch.bfloat16).contiguous() for name in names},
        partial / "model.safetensors",
        metadata={"format": "pt"},
    )
    (partial / "model.safetensors").chmod(0o644)  # written for its owner only
    shutil.rmtree(output, ignore_errors=True)
    os.replace(partial, output)
