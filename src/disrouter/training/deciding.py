"""Teaching the decision alone, to an adapter that is off while the agent answers: no ability can be lost.

The loss is the binary cross-entropy of rejecting, at the first token of the reply; what else the adapter makes of that
token is nobody's business, since it never writes one. The adapter is PEFT's LoRA on every linear layer. Where the
rejection is a token that the model has never read (``new_tokens``), its row of the embedding is learnt, too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from transformers import PreTrainedTokenizerBase
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.sft_trainer import SFTTrainer

from disrouter.agents._adapter import ADAPTER_FOLDER, ADAPTER_WEIGHTS, adapter_metadata
from disrouter.agents._loading import rejection_ids
from disrouter.agents.folders import weights_digest
from disrouter.agents.prompts import chat_messages
from disrouter.errors import ModelError
from disrouter.files import write_json
from disrouter.training._models import Report, lora_config, run, sft_config, trainable
from disrouter.training.heads import link_model
from disrouter.training.ranks import is_first, wait_for_all
from disrouter.training.settings import LoraSettings, SftSettings
from disrouter.training.targets import Target
from disrouter.types import Message, Query

__all__ = ["DecisionTrainer", "adapted", "save_with_adapter", "some_other", "teach_decision"]

_IGNORED = -100


def teach_decision(
    model_path: Path,
    targets: Sequence[Target],
    output: Path,
    work: Path,
    settings: SftSettings,
    *,
    rejection: str,
    report: Report = lambda step, steps, loss: None,
) -> int:
    """Teach an adapter which of ``targets`` are rejections, and write it beside the model in ``model_path``.

    Returns the number of tokens it was trained on. ``work`` and ``report`` are those of
    :func:`disrouter.training.sft.fine_tune`.

    Raises:
        ModelError: The model cannot be loaded, or cannot say the rejection.
        RunError: The loss is no number any more.
    """
    assert settings.lora is not None and settings.lora.decides is not None  # whoever calls has checked
    torch.manual_seed(settings.seed)  # a new adapter is drawn before TRL sets its seed
    model, tokenizer = adapted(model_path, settings.lora)
    decisions = _decisions(tokenizer, targets, rejection)
    trainer = _Trainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict(decisions),
        args=sft_config(settings, work),
    )
    trainer.rejection = rejection_ids(tokenizer, rejection)[0]
    run(trainer, work, report, shown="loss")
    save_with_adapter(trainer.model, model_path, output)
    shutil.rmtree(work, ignore_errors=True)
    return round(settings.epochs * sum(map(len, decisions["input_ids"])))


def adapted(model_path: Path, settings: LoraSettings | None) -> tuple[PeftModel, PreTrainedTokenizerBase]:
    """Return a model and its tokenizer, ready to train the adapter beside it, or a new one if it has none.

    Raises:
        ModelError: The model cannot be loaded, or does not know a new token.
    """
    model, tokenizer = trainable(model_path, adapted=True)
    there = model_path / ADAPTER_FOLDER
    if there.is_dir():
        loaded: PeftModel = PeftModel.from_pretrained(model, there, is_trainable=True)
        return loaded, tokenizer
    config = lora_config(settings)
    assert config is not None and settings is not None  # whoever asks for no adapter has one
    if settings.decides == "reply":
        config.alora_invocation_tokens = _reply_start(tokenizer)
    if settings.new_tokens:
        config.trainable_token_indices = sorted(
            {token for text in settings.new_tokens for token in rejection_ids(tokenizer, text)}
        )
    made: Any = get_peft_model(model, config)
    return made, tokenizer


def save_with_adapter(model: Any, base: Path, output: Path) -> None:
    """Write a folder with the files of the model in ``base`` and an adapter, whole or not at all.

    Of several processes the first one writes, and the others wait for it.
    """
    if is_first():
        partial = link_model(base, output)
        folder = partial / ADAPTER_FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        tensors = {
            name: value.detach().to(torch.bfloat16).contiguous().cpu()
            for name, value in get_peft_model_state_dict(model).items()
        }
        save_file(tensors, folder / ADAPTER_WEIGHTS, metadata=adapter_metadata(weights_digest(base)))
        (folder / ADAPTER_WEIGHTS).chmod(0o644)  # written for its owner only
        said = model.peft_config["default"].to_dict()
        # Where the model lay while it was trained is nobody's business, and sets have no order.
        said |= {"base_model_name_or_path": None, "inference_mode": True}
        plain = {name: sorted(value) if isinstance(value, set) else value for name, value in said.items()}
        write_json(folder / "adapter_config.json", json.loads(json.dumps(plain, default=str)))
        shutil.rmtree(output, ignore_errors=True)
        partial.rename(output)
    wait_for_all()


class _Trainer(SFTTrainer):
    """TRL's trainer with a loss on the decision alone."""

    rejection = -1

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean binary cross-entropy of rejecting, in nats."""
        decided = inputs["labels"][:, 1:] != _IGNORED  # (rows, tokens), one of each row
        read = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
        scores = model(**read, use_cache=False).logits[:, :-1][decided]  # (rows, vocabulary)
        rejects = inputs["labels"][:, 1:][decided] == self.rejection
        return binary_cross_entropy_with_logits(_rejecting(scores, self.rejection), rejects.float())


class DecisionTrainer(GRPOTrainer):
    """TRL's trainer of a policy with two actions: the rejection, and whatever else a reply may begin with."""

    rejection = -1

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        **options: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Return the log-probability of each row's decision, shape (rows, 1), and its entropy, in nats."""
        # Not the token's own: which token an answer begins with is for the model without the adapter to say. So rows of
        # a group differ in what follows their prompt only, which is read once for all of them.
        read = torch.stack((input_ids[:, :-1], attention_mask[:, :-1]))
        (prompts, mask), row_of = torch.unique(read, dim=1, return_inverse=True)
        scores = model(input_ids=prompts, attention_mask=mask, use_cache=False).logits[:, -1]
        rejects = _rejecting(scores, self.rejection)[row_of]
        said = torch.where(input_ids[:, -1] == self.rejection, logsigmoid(rejects), logsigmoid(-rejects))
        chance = rejects.sigmoid()
        entropy = -(chance * logsigmoid(rejects) + (1 - chance) * logsigmoid(-rejects))
        return said[:, None], entropy[:, None], None


def _rejecting(scores: torch.Tensor, rejection: int) -> torch.Tensor:
    """Return the logit of rejecting, shape (rows,), of a first token's scores, shape (rows, vocabulary)."""
    scores = scores.float()
    others = scores.index_fill(1, torch.tensor([rejection], device=scores.device), -torch.inf)
    return scores[:, rejection] - others.logsumexp(1)


def _decisions(tokenizer: PreTrainedTokenizerBase, targets: Sequence[Target], rejection: str) -> dict[str, Any]:
    """Return token ids and labels of every target, cut after the first token of its reply, which alone is learnt."""
    first = rejection_ids(tokenizer, rejection)[0]
    prompts = [chat_messages(target.query, target.scenario) for target in targets]
    # Any: the annotated type of a template's result spans every form it can take, of which this is a list of ids.
    asked: Any = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=False)
    said = [first if target.text == rejection else some_other(first) for target in targets]
    return {
        "input_ids": [[*prompt, token] for prompt, token in zip(asked, said, strict=True)],
        "labels": [[_IGNORED] * len(prompt) + [token] for prompt, token in zip(asked, said, strict=True)],
    }


def some_other(rejection: int) -> int:
    """Return a token that is not the rejection: which one an answer begins with does not matter here."""
    return 1 if rejection == 0 else 0


def _reply_start(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens that begin every reply.

    Raises:
        ModelError: The chat template begins a reply with nothing of its own.
    """
    messages = chat_messages(Query(id="any", messages=(Message("user", "0"),)), None)
    before: Any = tokenizer.apply_chat_template([messages], return_dict=False)
    asked: Any = tokenizer.apply_chat_template([messages], add_generation_prompt=True, return_dict=False)
    start: list[int] = asked[0][len(before[0]) :]
    if asked[0][: len(before[0])] != before[0] or not start:
        raise ModelError(
            "The chat template begins a reply with nothing of its own, from which an adapter could be on.",
            hint="set `decides: prompt` in the recipe's `lora`",
        )
    return start
