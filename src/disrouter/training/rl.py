"""Reinforcing the decision to answer or to reject, with TRL's ``GRPOTrainer`` (paper §3.3).

The paper publishes the reward, 1 right / 0 wrong / (1 − α)^γ rejected, and no algorithm; we use GRPO and depart from
its textbook form in three ways, each because the action is a single token that SFT has made nearly certain:

- *Both actions in every group.* An agent that always rejects a query would never see its answer pay. Half of each
  group is the rejection, half are answers sampled with the rejection masked.
- *No division by the group's deviation* (Dr. GRPO, arXiv 2503.20783): it would weigh a lucky answer to a hopeless query
  like a sure one, and move the boundary away from the pay-off.
- *The decision alone is taught* unless the settings say otherwise. The answers of a group share their mean score, so
  that the advantage of answering is (mean score − pay-off)/2 and that of rejecting its negative; and only the action of
  positive advantage learns, through the rejection or through the first token of a right answer. Pushing the first
  token of a wrong answer down, as plain GRPO does, pushes every other token up: in the lab that took an agent's
  accuracy from .40 to .03.

A run is resumed exactly within its first epoch; TRL's sampler does not keep its place in a later one.

An adapter that only decides is reinforced in :mod:`disrouter.training.deciding_rl`.

In calibrated mode a rejection pays the agent's own confidence, which makes the reward the Brier score
(:func:`disrouter.training.rewards.brier_payoff`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from disrouter.agents._generation import Answering, Decoder, Engine, Prefill
from disrouter.agents._loading import end_tokens, rejection_ids
from disrouter.agents.prompts import chat_messages
from disrouter.seeds import seed_of
from disrouter.training._models import Report, lora_config, merged, run, save_beside, trainable
from disrouter.training.profiling import Grade
from disrouter.training.rewards import brier_payoff, local_reward, rejection_payoff
from disrouter.training.settings import RlSettings
from disrouter.types import Query, Scenario

__all__ = ["Messages", "Spent", "grpo_config", "key_of", "noted_rewards", "reinforce"]

Messages = list[dict[str, str]]


def reinforce(
    model_path: Path,
    queries: Sequence[tuple[Query, Scenario | None]],
    grade: Grade,
    output: Path,
    work: Path,
    settings: RlSettings,
    *,
    rejection: str,
    max_tokens: int,
    report: Report = lambda step, steps, reward: None,
) -> Spent:
    """Reinforce the decisions of the model in ``model_path`` and write it to ``output`` in bfloat16 safetensors.

    Returns the numbers of tokens it sampled and was trained on.

    A query with a scenario is rewarded as in the paper, one without by the Brier score. ``work`` is the folder of
    training checkpoints: if it holds one, training goes on from there; it is removed when done. ``report`` is called
    with step, steps and mean reward.

    Raises:
        ModelError: The model cannot be loaded, or cannot say the rejection.
        RunError: The loss is no number any more, or a grader returned no score: it never becomes a reward of 0.
    """
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout functions are marked experimental
    torch.manual_seed(settings.seed)  # new adapters are drawn before TRL sets its seed
    model, tokenizer = trainable(model_path, adapted=settings.lora is not None)
    rows = {key_of(messages := chat_messages(*asked)): (messages, *asked) for asked in queries}
    play = _Rollouts(
        asked={key: (query, scenario) for key, (_, query, scenario) in rows.items()},
        grade=grade,
        settings=settings,
        rejection=rejection_ids(tokenizer, rejection)[0],
        max_tokens=max_tokens,
    )
    # Any: TRL's annotations know neither conversational prompts nor rewards that take named columns.
    reward: Any = noted_rewards
    rollouts: Any = play
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=reward,
        rollout_func=rollouts,
        train_dataset=Dataset.from_dict({"prompt": [messages for messages, _, _ in rows.values()]}),
        peft_config=lora_config(settings.lora),
        args=grpo_config(
            settings, work, group=settings.group, length=1 if settings.learn == "decision" else max_tokens
        ),
    )
    trained = run(trainer, work, report, shown="reward")
    save_beside(merged(trainer.model), model_path, output)
    shutil.rmtree(work, ignore_errors=True)
    return Spent(sampled=play.sampled, trained=trained)


def grpo_config(settings: RlSettings, work: Path, *, group: int, length: int) -> GRPOConfig:
    """Return how TRL reinforces groups of decisions of ``length`` tokens at most; checkpoints go to ``work``."""
    on_gpu = torch.cuda.is_available()
    return GRPOConfig(
        output_dir=str(work),
        per_device_train_batch_size=settings.batch * group // settings.accumulate,
        gradient_accumulation_steps=settings.accumulate,
        num_generations=group,
        max_completion_length=length,
        num_train_epochs=settings.epochs,
        learning_rate=settings.rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        beta=settings.kl,
        loss_type="dr_grpo",
        scale_rewards="none",
        temperature=settings.temperature,
        use_vllm=settings.vllm,
        seed=settings.seed,
        bf16=on_gpu,
        activation_checkpointing=on_gpu,
        logging_steps=5,
        save_steps=50,
        save_total_limit=1,
        disable_tqdm=True,
        report_to="none",
        use_cpu=not on_gpu,
    )


def noted_rewards(earned: list[float], **ignored: object) -> list[float]:
    """Return the reward of every decision of a batch, which its rollout noted."""
    return earned


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens that reinforcement took; of a resumed run, what was sampled before is not counted."""

    sampled: int
    trained: int


@dataclass(frozen=True, slots=True)
class _Decision:
    """One decision on a query of the batch."""

    key: str
    """Of the query's prompt: decisions on one query are a group."""

    tokens: list[int] | None
    """The answer; None for a rejection."""

    reward: float
    payoff: float
    """What a rejection of this query pays."""


@dataclass(slots=True)
class _Rollouts:
    """Plays every query of a batch: the rejection for half of its group, sampled answers for the other half."""

    asked: Mapping[str, tuple[Query, Scenario | None]]
    grade: Grade
    settings: RlSettings
    rejection: int
    max_tokens: int
    sampled: int = 0

    def __call__(self, prompts: list[Messages], trainer: Any) -> dict[str, Any]:
        """Return what TRL wants of rollouts, with what each decision earned and, in ``env_mask``, who learns."""
        ids = trainer.processing_class.apply_chat_template(prompts, add_generation_prompt=True, return_dict=False)
        decisions = self._decide(trainer, [key_of(messages) for messages in prompts], ids)
        noted = {"prompt_ids": ids, "logprobs": None}
        if self.settings.learn == "all":
            completions = [d.tokens or [self.rejection] for d in decisions]
            return {**noted, "completion_ids": completions, "earned": [d.reward for d in decisions]}
        means = _mean_answers(decisions)
        return {
            **noted,
            "completion_ids": [[self.rejection] if d.tokens is None else d.tokens[:1] for d in decisions],
            "env_mask": [[int(_learns(d, means[d.key]))] for d in decisions],
            "earned": [d.payoff if d.tokens is None else means[d.key] for d in decisions],
        }

    def _decide(self, trainer: Any, keys: Sequence[str], ids: Sequence[list[int]]) -> list[_Decision]:
        """Return a rejection and a graded answer in turns for every time that a query comes up."""
        turns = Counter[str]()
        answering: list[int] = []  # places in the batch
        for place, key in enumerate(keys):
            if turns[key] % 2:
                answering.append(place)
            turns[key] += 1
        texts, tokens, confidences = self._play(trainer, keys, ids, answering)
        self.sampled += sum(map(len, tokens))
        answers = {place: (text, written) for place, text, written in zip(answering, texts, tokens, strict=True)}
        decisions = []
        for place, (key, confidence) in enumerate(zip(keys, confidences, strict=True)):
            query, scenario = self.asked[key]
            if scenario is None:
                payoff = brier_payoff(confidence)
            else:
                payoff = rejection_payoff(scenario.alpha, self.settings.gamma_in(scenario.name))
            text, written = answers.get(place, (None, None))
            score = None if text is None else self.grade(query, text)
            decisions.append(_Decision(key, written, local_reward(score, payoff), payoff))
        return decisions

    def _play(
        self, trainer: Any, keys: Sequence[str], ids: Sequence[list[int]], answering: Sequence[int]
    ) -> tuple[list[str], list[list[int]], list[float]]:
        """Return texts and tokens of the answers at some places, and the confidence at every place."""
        model, tokenizer = trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class
        training = model.training
        model.eval()
        try:
            distinct = sorted({key: place for place, key in enumerate(keys)}.values(), key=lambda p: len(ids[p]))
            row_of = {keys[place]: row for row, place in enumerate(distinct)}
            engine = Engine(model, eos=end_tokens(model, tokenizer), pad=tokenizer.pad_token_id, exact=False)
            prefill = engine.prefill([tuple(ids[place]) for place in distinct])
            tokens = self._answers(trainer, prefill, keys, ids, answering, row_of)
        finally:
            model.train(training)
        reject = prefill.logits.double().softmax(-1)[:, self.rejection].tolist()
        texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return texts, tokens, [1.0 - reject[row_of[key]] for key in keys]

    def _answers(
        self,
        trainer: Any,
        prefill: Prefill,
        keys: Sequence[str],
        ids: Sequence[list[int]],
        answering: Sequence[int],
        row_of: Mapping[str, int],
    ) -> list[list[int]]:
        """Return the tokens of an answer for each of some places of the batch."""
        if self.settings.vllm:
            found, _ = trainer._generate_single_turn([ids[place] for place in answering], None, {}, 1)
            return [list(map(int, written)) for written in found]
        step = str(trainer.state.global_step)
        how = Answering(
            limits=[self.max_tokens] * len(answering),
            temperature=self.settings.temperature,
            seeds=[
                seed_of(self.settings.seed, "rl", step, keys[place], str(number))
                for number, place in enumerate(answering)
            ],
            banned=self.rejection,
            banned_first=self.rejection,
        )
        decoder = Decoder(prefill, [row_of[keys[place]] for place in answering], how)
        decoder.run()
        return decoder.answers()


def _learns(decision: _Decision, mean: float) -> bool:
    """Whether a decision is the better action of its group; of the answers, only right ones set an example."""
    if decision.tokens is None:
        return mean < decision.payoff
    return mean > decision.payoff and decision.reward == 1.0


def _mean_answers(decisions: Sequence[_Decision]) -> Mapping[str, float]:
    """Return the mean reward of the answers to each query."""
    of: dict[str, list[float]] = {}
    for decision in decisions:
        if decision.tokens is not None:
            of.setdefault(decision.key, []).append(decision.reward)
    return {key: sum(rewards) / len(rewards) for key, rewards in of.items()}


def key_of(messages: Messages) -> str:
    """Return what tells a prompt from others: decisions on one prompt are a group."""
    return json.dumps([[message["role"], message["content"]] for message in messages])
