"""Stages: what SFT, RL and a confidence head take from a recipe, an agent's profile and a suite.

Each leaves a model folder, whole or not at all, and says how many tokens it sampled and was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from disrouter.agents.transformers import TransformersAgent
from disrouter.errors import UsageError
from disrouter.seeds import seed_of
from disrouter.training.heads import save_with_head, train_head
from disrouter.training.profiling import Profile
from disrouter.training.recipes import AgentRecipe, Recipe, StageName
from disrouter.training.settings import SftSettings
from disrouter.training.suites import TrainingSuite
from disrouter.training.targets import Target, calibrated_targets, paper_queries, paper_targets
from disrouter.types import AgentCard, Query, QueryPrice, Scenario
from disrouter.utility import BALANCE, SCENARIOS

__all__ = ["STAGES", "Report", "Stage", "Work", "runner_of"]

Report = Callable[[str, int, int, float], None]
"""Called with the stage, step, steps and the loss or reward (NaN where there is none)."""

_PAPER = tuple(SCENARIOS.values())

_TOGETHER = 512
"""Texts recited between two reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a stage works on."""

    recipe: Recipe
    agent: AgentRecipe
    known: Profile
    """Of the agent's untrained model."""

    model: Path
    """Folder of the model that the stage before left."""

    suite: TrainingSuite
    folder: Path
    """Of everything that the training leaves of this agent."""

    seed: int
    report: Report


Stage = Callable[[Work], Mapping[str, float]]
"""Leaves a model folder of the stage's name; returns tokens, ``sampled`` and ``trained``."""


def _sft(work: Work) -> Mapping[str, float]:
    recipe, settings = work.recipe, work.agent.sft or work.recipe.sft
    assert settings is not None  # the stage is in the recipe
    limit, drawn = recipe.targets.limit, seed_of(work.seed, "targets", work.agent.name)
    worked = _worked(work.suite) if recipe.targets.accept == "worked" else None
    if recipe.mode == "paper":
        targets = paper_targets(work.known, _PAPER, rejection=recipe.rejection, limit=limit, seed=drawn, worked=worked)
    else:
        targets = calibrated_targets(work.known, rejection=recipe.rejection, limit=limit, seed=drawn, worked=worked)
    replayed, sampled = (
        _decided(work, settings.replay) if settings.only_decides else (_replayed(work, settings.replay), 0)
    )
    targets += replayed
    Random(drawn).shuffle(targets)
    tokens = _tuner(settings)(
        work.model,
        targets,
        work.folder / "sft",
        work.folder / ".sft-work",
        settings.model_copy(update={"seed": settings.seed + work.seed}),
        rejection=work.recipe.rejection,
        report=lambda step, steps, loss: work.report("sft", step, steps, loss),
    )
    return {"trained": tokens, "sampled": sampled}


def _tuner(settings: SftSettings) -> Callable[..., int]:
    if settings.only_decides:
        from disrouter.training.deciding import teach_decision

        return teach_decision
    from disrouter.training.sft import fine_tune

    return fine_tune


def _rl(work: Work) -> Mapping[str, float]:
    from disrouter.training.rl import reinforce

    settings = work.agent.rl or work.recipe.rl
    assert settings is not None  # the stage is in the recipe
    drawn = seed_of(work.seed, "rl", work.agent.name)
    queries: list[tuple[Query, Scenario | None]]
    if work.recipe.mode == "paper":
        queries = [*paper_queries(work.known, _PAPER, limit=settings.queries, seed=drawn)]
    else:
        rng = Random(drawn)
        count = min(settings.queries, len(work.known.rollouts))
        queries = [(rollouts.query, None) for rollouts in rng.sample(work.known.rollouts, count)]
    spent = reinforce(
        work.model,
        queries,
        work.suite.grade,
        work.folder / "rl",
        work.folder / ".rl-work",
        settings.model_copy(update={"seed": settings.seed + work.seed}),
        rejection=work.recipe.rejection,
        max_tokens=work.recipe.max_tokens,
        report=lambda step, steps, reward: work.report("rl", step, steps, reward),
    )
    return {"trained": spent.trained, "sampled": spent.sampled}


def _head(work: Work) -> Mapping[str, float]:
    settings = work.recipe.head
    assert settings is not None  # the stage is in the recipe
    runner = runner_of(work.recipe, work.agent, work.model, trained=False)
    queries = [rollouts.query for rollouts in work.known.rollouts]
    rates = [rollouts.success_rate for rollouts in work.known.rollouts]
    recited, sampled = _recited(runner, _replay(work.suite, settings.replay, work.seed), work.report)
    queries += [query for query, _ in recited]
    rates += [float(does) for _, does in recited]
    head = train_head(
        runner.states_many(queries, BALANCE),
        np.array(rates),
        settings.model_copy(update={"seed": settings.seed + work.seed}),
        report=lambda epoch, epochs, loss: work.report("head", epoch, epochs, loss),
    )
    save_with_head(head, work.model, work.folder / "head")
    return {"sampled": sampled}


def _recited(
    runner: TransformersAgent, texts: Sequence[tuple[Query, str]], report: Report
) -> tuple[list[tuple[Query, bool]], int]:
    """Return of every pretraining problem whether the agent recites its solution, and the tokens that took.

    A text that the agent was trained on tells how well it has learnt a skill without a grader or a sampled answer: the
    head hears of every skill of pretraining, those out of domain included, and of no decision there.
    """
    found: list[tuple[Query, bool]] = []
    tokens = 0
    for start in range(0, len(texts), _TOGETHER):
        some = texts[start : start + _TOGETHER]
        answers = runner.answer_many([query for query, _ in some], BALANCE)
        found += [(query, answer.text == text) for (query, text), answer in zip(some, answers, strict=True)]
        tokens += sum(answer.usage.completion_tokens for answer in answers)
        report("recite", len(found), len(texts), float("nan"))
    return found, tokens


STAGES: Mapping[StageName, Stage] = {"sft": _sft, "rl": _rl, "head": _head}


def runner_of(recipe: Recipe, agent: AgentRecipe, model: Path, *, trained: bool) -> TransformersAgent:
    """Return the agent that runs a model as the recipe asks it: the base model never hears of scenarios."""
    return TransformersAgent(
        AgentCard(name=agent.name, price=QueryPrice(cost=0.0)),
        model,
        rejection=recipe.rejection,
        scenario_prompt=trained and recipe.mode == "paper",
        self_assessment=recipe.assessment if trained else "token",
        calibrated=False,
        max_tokens=recipe.max_tokens,
    )


def _decided(work: Work, count: int) -> tuple[list[Target], int]:
    """Return decisions on pretraining problems, and the tokens that it took to recite them.

    An agent that recites a solution has a success rate of 1 there, else of 0: no scenario makes a difference to the
    decision, so in paper mode each is heard under one of them.
    """
    runner = runner_of(work.recipe, work.agent, work.model, trained=False)
    recited, tokens = _recited(runner, _replay(work.suite, count, work.seed), work.report)
    rng = Random(work.seed)
    heard: tuple[Scenario | None, ...] = _PAPER if work.recipe.mode == "paper" else (None,)
    targets = [
        Target(query, rng.choice(heard), query.reference or "" if does else work.recipe.rejection)
        for query, does in recited
    ]
    return targets, tokens


def _replayed(work: Work, count: int) -> Sequence[Target]:
    """Return replayed text, in paper mode under every scenario and under none: an ability must survive in all."""
    rng = Random(work.seed)
    heard: tuple[Scenario | None, ...] = (None, *_PAPER) if work.recipe.mode == "paper" else (None,)
    texts = _replay(work.suite, count, work.seed)
    return [Target(query, rng.choice(heard), text, decides=False) for query, text in texts]


def _replay(suite: TrainingSuite, count: int, seed: int) -> Sequence[tuple[Query, str]]:
    """Return ``count`` problems of the suite's pretraining text with their solutions.

    Raises:
        UsageError: The suite has none.
    """
    if not count:
        return []
    replay: Callable[[int, int], Sequence[tuple[Query, str]]] | None = getattr(suite, "replay", None)
    if replay is None:
        raise UsageError(f"Suite '{suite.name}' has no pretraining text to replay.", hint="set `replay: 0`")
    return replay(count, seed)


def _worked(suite: TrainingSuite) -> Callable[[Query], str | None]:
    worked: Callable[[Query], str | None] | None = getattr(suite, "worked", None)
    if worked is None:
        raise UsageError(f"Suite '{suite.name}' has no worked solutions.", hint="set `targets.accept: own`")
    return worked
