"""Loading what is trained, and writing it beside the files of the model it came from, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint
from trl.trainer.sft_config import SFTConfig

from disrouter.agents.folders import check_model_folder
from disrouter.errors import ModelError, RunError
from disrouter.training.ranks import is_first, wait_for_all
from disrouter.training.settings import LoraSettings, SftSettings

__all__ = ["Report", "lora_config", "merged", "run", "save_beside", "sft_config", "trainable"]

Report = Callable[[int, int, float], None]
"""Called with step, steps and the loss or reward of the last steps."""

_SHARD = "5GB"


def trainable(path: Path, *, adapted: bool = False) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the model in a folder and its tokenizer, ready to train.

    Weights are float32: small steps must not be lost in rounding. Only on a GPU, and if they stay frozen below adapters
    (``adapted``), bfloat16 is enough.

    Raises:
        ModelError: The folder is not a model.
    """
    check_model_folder(path)
    dtype = torch.bfloat16 if adapted and torch.cuda.is_available() else torch.float32
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    return model, tokenizer


def lora_config(settings: LoraSettings | None) -> LoraConfig | None:
    """Return PEFT's configuration of adapters on every linear layer, or None for full fine-tuning."""
    if settings is None:
        return None
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def sft_config(settings: SftSettings, work: Path) -> SFTConfig:
    """Return how TRL fine-tunes; training checkpoints go to ``work``."""
    on_gpu = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(work),
        per_device_train_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulate,
        num_train_epochs=settings.epochs,
        learning_rate=settings.rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        weight_decay=0.0,
        seed=settings.seed,
        max_length=None,
        activation_checkpointing=on_gpu,
        bf16=on_gpu,
        logging_steps=10,
        save_steps=100,
        save_total_limit=1,
        disable_tqdm=True,
        report_to="none",
        use_cpu=not on_gpu,
    )


def run(trainer: Trainer, work: Path, report: Report, *, shown: str) -> int:
    """Train to the end, from the last checkpoint in ``work`` if there is one; return the tokens trained on.

    ``shown`` is the logged value to report.

    Raises:
        RunError: The loss or reward is no number any more; the last good checkpoint is kept.
    """
    trainer.remove_callback(PrinterCallback)  # it prints every log to stdout
    trainer.add_callback(_Watch(report, shown, work))
    _drop_unfinished(work)
    last = get_last_checkpoint(str(work)) if work.is_dir() else None  # type: ignore[no-untyped-call]  # untyped upstream
    with _quiet():
        trainer.train(resume_from_checkpoint=last)
    return int(next((log["num_tokens"] for log in reversed(trainer.state.log_history) if "num_tokens" in log), 0))


def _drop_unfinished(work: Path) -> None:
    """Delete checkpoints that a kill cut off: the trainer's state is what is written last of one."""
    for checkpoint in work.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        try:
            json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            shutil.rmtree(checkpoint, ignore_errors=True)


class _Watch(TrainerCallback):
    """Reports progress, and stops a run whose loss is no number before it is saved."""

    def __init__(self, report: Report, shown: str, work: Path) -> None:
        self._report, self._shown, self._work = report, shown, work

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        for name in ("loss", "grad_norm"):
            value = (logs or {}).get(name)
            if value is not None and not torch.isfinite(torch.tensor(float(value))):
                raise RunError(
                    f"At step {state.global_step} of {state.max_steps} the {name.replace('_', ' ')} is {value}, no "
                    f"number; training stopped. The last checkpoint is kept in '{self._work}'.",
                    hint="lower the recipe's learning rate, and delete that folder to start this stage anew",
                )
        if logs and self._shown in logs:
            self._report(state.global_step, state.max_steps, float(logs[self._shown]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what libraries show off the screen: one bar of ours is on it already, and their news are not the user's."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled
    from transformers.utils import logging

    bars: Any = logging  # its functions are untyped
    ours, theirs = is_progress_bar_enabled(), bars.is_progress_bar_enabled()
    disable_progress_bar()
    bars.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            yield
    finally:
        if ours:
            enable_progress_bar()
        if theirs:
            bars.enable_progress_bar()


def merged(model: Any) -> Any:
    """Return the model with its adapters, if it has any, merged into its weights."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def save_beside(model: Any, base: Path, output: Path) -> None:
    """Write trained weights in bfloat16 with the base model's other files, whole or not at all.

    What was measured of the base, as a calibration or a confidence head, does not fit any more and is left behind.
    Of several processes the first one writes, and the others wait for it.
    """
    if is_first():
        _write_beside(model, base, output)
    wait_for_all()


def _write_beside(model: Any, base: Path, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for file in sorted(base.iterdir()):
        if file.is_file() and file.suffix in (".json", ".jinja", ".model", ".txt") and file.name not in _OF_THE_BASE:
            shutil.copyfile(file, partial / file.name)
    single = base / "model.safetensors"
    if single.is_file():
        weights = model.state_dict()
        names = load_file(single).keys()
        if missing := sorted(names - weights.keys()):
            raise ModelError(f"The trained model lost its tensor '{missing[0]}'.")
        stored = {name: weights[name].to(torch.bfloat16).contiguous().cpu() for name in names}
        save_file(stored, partial / "model.safetensors", metadata={"format": "pt"})
        (partial / "model.safetensors").chmod(0o644)  # written for its owner only
    else:  # in shards: their names and index are the library's business
        (partial / "model.safetensors.index.json").unlink(missing_ok=True)
        model.to(torch.bfloat16).save_pretrained(partial, max_shard_size=_SHARD)
    shutil.rmtree(output, ignore_errors=True)
    os.replace(partial, output)


_OF_THE_BASE = frozenset({"calibration.json", "training.json"})
