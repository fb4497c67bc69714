"""Reinforcing the decision of an adapter that is off while the agent answers, with TRL's ``GRPOTrainer``.

The reward and what is departed from in GRPO are those of :mod:`disrouter.training.rl`. But nothing that is learnt here
changes an answer: what an agent would answer to a query is sampled and graded once, before, and not anew at every step
and under every scenario. A group is the rejection and the answer, which earns the mean score of what was sampled.

In calibrated mode both actions learn, the worse one too: there are no more than two here, so pushing one down pushes no
third one up. The gradient by the logit of answering is then (score − confidence)/2, unbiased, and as that of a binary
cross-entropy it is 0 where the confidence is the success rate.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from disrouter.agents._loading import rejection_ids
from disrouter.agents.prompts import chat_messages
from disrouter.training._models import Report, run
from disrouter.training.deciding import DecisionTrainer, adapted, save_with_adapter, some_other
from disrouter.training.rewards import brier_payoff, local_reward, rejection_payoff
from disrouter.training.rl import Messages, grpo_config, key_of, noted_rewards
from disrouter.training.settings import RlSettings
from disrouter.types import Query, Scenario

__all__ = ["reinforce_decision"]

_ACTIONS = 2


def reinforce_decision(
    model_path: Path,
    queries: Sequence[tuple[Query, Scenario | None]],
    scores: Mapping[Query, float],
    output: Path,
    work: Path,
    settings: RlSettings,
    *,
    rejection: str,
    report: Report = lambda step, steps, reward: None,
) -> int:
    """Reinforce the adapter beside the model in ``model_path``, or a new one, and write both to ``output``.

    Args:
        model_path: Folder of the model.
        queries: What is decided on. With a scenario the reward is that of the paper, without one the Brier score.
        scores: Mean score in [0, 1] of the agent's sampled answers to each query.
        output: Folder to write.
        work: Folder of training checkpoints: if it holds one, training goes on from there; it is removed when done.
        settings: How to train; how answers are sampled is not looked at.
        rejection: The text of a rejection.
        report: Called with step, steps and mean reward.

    Returns the number of tokens it was trained on.

    Raises:
        ModelError: The model cannot be loaded, or cannot say the rejection.
        RunError: The loss is no number any more, or a score is none.
    """
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout functions are marked experimental
    torch.manual_seed(settings.seed)  # a new adapter is drawn before TRL sets its seed
    model, tokenizer = adapted(model_path, settings.lora)
    asked = [chat_messages(*pair) for pair in queries]
    first = rejection_ids(tokenizer, rejection)[0]
    play: Any = _Play(  # Any: TRL's annotations do not know conversational prompts, nor rewards of named columns
        scores={key_of(m): local_reward(scores[query], 0.0) for m, (query, _) in zip(asked, queries, strict=True)},
        payoffs={
            key_of(m): None if scenario is None else rejection_payoff(scenario.alpha, settings.gamma_in(scenario.name))
            for m, (_, scenario) in zip(asked, queries, strict=True)
        },
        rejection=first,
    )
    reward: Any = noted_rewards
    trained_model: Any = model  # a PEFT model is none of transformers'
    trainer = DecisionTrainer(
        model=trained_model,
        processing_class=tokenizer,
        reward_funcs=reward,
        rollout_func=play,
        train_dataset=Dataset.from_dict({"prompt": asked}),
        args=grpo_config(settings, work, group=_ACTIONS, length=1),
    )
    trainer.rejection = first
    trained = run(trainer, work, report, shown="reward")
    save_with_adapter(trainer.model, model_path, output)
    shutil.rmtree(work, ignore_errors=True)
    return trained


@dataclass(frozen=True, slots=True)
class _Play:
    """Plays both actions on every query of a batch."""

    scores: Mapping[str, float]
    """Of answers, by prompt."""

    payoffs: Mapping[str, float | None]
    """Of rejections, by prompt; None pays the agent's own confidence."""

    rejection: int

    def __call__(self, prompts: list[Messages], trainer: Any) -> dict[str, Any]:
        """Return what TRL wants of rollouts, with what each decision earned and, in ``env_mask``, who learns."""
        ids = trainer.processing_class.apply_chat_template(prompts, add_generation_prompt=True, return_dict=False)
        keys = [key_of(messages) for messages in prompts]
        paid = self._paid(trainer, keys, ids)
        earned, learns, tokens = [], [], []
        rejecting: set[str] = set()  # prompts whose rejection is in the batch, and whose answer comes next
        for key in keys:
            better = self.scores[key] > paid[key]
            answers = key in rejecting
            (rejecting.remove if answers else rejecting.add)(key)
            earned.append(self.scores[key] if answers else paid[key])
            learns.append([int(self.payoffs[key] is None or answers == better)])
            tokens.append([some_other(self.rejection) if answers else self.rejection])
        return {"prompt_ids": ids, "completion_ids": tokens, "logprobs": None, "env_mask": learns, "earned": earned}

    def _paid(self, trainer: Any, keys: Sequence[str], ids: Sequence[list[int]]) -> Mapping[str, float]:
        """Return what a rejection of each prompt pays."""
        paid = {key: payoff for key in keys if (payoff := self.payoffs[key]) is not None}
        own = {key: prompt for key, prompt in zip(keys, ids, strict=True) if key not in paid}
        if own:
            model = trainer.accelerator.unwrap_model(trainer.model)
            training = model.training
            model.eval()
            try:
                scores = _scores(model, list(own.values()), trainer.processing_class.pad_token_id)
            finally:
                model.train(training)
            rejects = scores.double().softmax(-1)[:, self.rejection].tolist()
            paid |= {key: brier_payoff(1.0 - reject) for key, reject in zip(own, rejects, strict=True)}
        return paid


@torch.no_grad()
def _scores(model: Any, prompts: Sequence[Sequence[int]], pad: int) -> torch.Tensor:
    """Return a model's scores of each prompt's first token, shape (prompts, vocabulary)."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    real = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    positions = (real.cumsum(1) - 1).clamp(min=0)
    scores: torch.Tensor = model(input_ids=ids, attention_mask=real, position_ids=positions, use_cache=False).logits[
        :, -1
    ]
    return scores
