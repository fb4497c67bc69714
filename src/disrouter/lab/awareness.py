"""Self-awareness training of one lab agent in paper mode: profile, targets, SFT.

The agent is profiled on in-domain questions of the training split, every level equally often. It learns in which
scenario to say "I don't know" and is written as its ``aware`` checkpoint. The largest agent is the network's last and
always answers: it is not trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from disrouter.agents.transformers import TransformersAgent
from disrouter.lab.corpus import training_problems
from disrouter.lab.family import CONTEXT_LENGTH, LabModel
from disrouter.lab.suite import EVERY_LEVEL, LabSuite, query_of
from disrouter.lab.tokenizer import REJECTION
from disrouter.training.profiling import profile
from disrouter.training.sft import SftSettings, fine_tune
from disrouter.training.targets import Target, paper_targets
from disrouter.types import AgentCard, QueryPrice
from disrouter.utility import SCENARIOS

__all__ = ["AwarenessPlan", "settings_of", "train_awareness"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AwarenessPlan:
    """How much to profile and train."""

    queries: int = 4000
    samples: int = 10
    temperature: float = 1.0
    targets: int = 24_000
    """Accept and reject targets of all three scenarios together."""

    replay: int = 8_000
    """Pretraining problems of all ten skills mixed in so that none is unlearnt. Their first token is not: on skills out
    of domain the agent hears nothing about when to answer."""

    seed: int = 0


def settings_of(spec: LabModel) -> SftSettings:
    """Return how to fine-tune a family member: the smaller the model, the larger the learning rate."""
    return SftSettings(rate=2e-3 * (32 / spec.hidden) ** 0.5, epochs=2.0, batch=64, seed=spec.seed)


def train_awareness(
    spec: LabModel,
    base: Path,
    output: Path,
    work: Path,
    plan: AwarenessPlan,
    settings: SftSettings,
    *,
    report: Callable[[str, int, int, float], None] = lambda stage, step, steps, loss: None,
) -> None:
    """Train the agent in ``base`` and write it to ``output``; resumable from what ``work`` holds.

    ``report`` is called with the stage ("profile" or "sft"), step, steps and loss.
    """
    suite = LabSuite(weights=EVERY_LEVEL)
    card = AgentCard(name=spec.name, price=QueryPrice(cost=0.0), context_length=CONTEXT_LENGTH)
    agent = TransformersAgent(card, base, rejection=REJECTION, scenario_prompt=False, max_tokens=CONTEXT_LENGTH)
    queries = suite.queries("in", plan.seed, plan.queries, split="train")
    known = profile(
        agent,
        queries,
        suite,
        work / "profile",
        samples=plan.samples,
        temperature=plan.temperature,
        seed=plan.seed,
        report=lambda done: report("profile", done, plan.queries, float("nan")),
    )
    targets = paper_targets(known, tuple(SCENARIOS.values()), rejection=REJECTION, limit=plan.targets, seed=plan.seed)
    replayed = training_problems(plan.replay, plan.seed, spec.mixture)
    rng = Random(plan.seed)
    for index, problem in enumerate(replayed):
        scenario = rng.choice((None, *SCENARIOS.values()))
        targets.append(Target(query_of(problem, id=f"replay-{index}"), scenario, problem.solution, decides=False))
    rng.shuffle(targets)
    fine_tune(
        base,
        targets,
        output,
        work / "sft",
        settings,
        report=lambda step, steps, loss: report("sft", step, steps, loss),
    )
    rates = [r.success_rate for r in known.rollouts]
    record = {
        "plan": asdict(plan),
        "settings": asdict(settings),
        "sampled_tokens": known.sampled_tokens,
        "mean_success_rate": round(sum(rates) / len(rates), 4),
    }
    (output / "awareness.json").write_text(json.dumps(record, indent=2) + "\n")
