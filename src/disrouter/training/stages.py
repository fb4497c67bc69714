"""Stages: what SFT, RL and a confidence head take from a recipe, an agent's profile and a suite.

Each leaves a model folder, whole or not at all, and says how many tokens it sampled and was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

import numpy as np

from disrouter.agents._adapter import ADAPTER_FOLDER
from disrouter.seeds import seed_of
from disrouter.training.heads import save_with_head, train_head
from disrouter.training.material import (
    GREEDY,
    PAPER,
    ask,
    fresh_queries,
    profiled_queries,
    recite,
    recited_decisions,
    replayed_targets,
    solutions_of,
)
from disrouter.training.profiling import LocalSampler
from disrouter.training.recipes import StageName
from disrouter.training.settings import RlSettings, SftSettings
from disrouter.training.targets import Target, calibrated_targets, paper_targets
from disrouter.training.work import Work, runner_of
from disrouter.types import Query, Scenario
from disrouter.utility import BALANCE

__all__ = ["STAGES", "Stage"]

Stage = Callable[[Work], Mapping[str, float]]
"""Leaves a model folder of the stage's name; returns tokens, ``sampled`` and ``trained``."""


def _sft(work: Work) -> Mapping[str, float]:
    recipe, settings = work.recipe, work.agent.sft or work.recipe.sft
    assert settings is not None  # the stage is in the recipe
    limit, drawn = recipe.targets.limit, seed_of(work.seed, "targets", work.agent.name)
    worked = solutions_of(work.suite) if recipe.targets.accept == "worked" else None
    if recipe.mode == "paper":
        targets = paper_targets(work.known, PAPER, rejection=recipe.rejection, limit=limit, seed=drawn, worked=worked)
    else:
        targets = calibrated_targets(work.known, rejection=recipe.rejection, limit=limit, seed=drawn, worked=worked)
    sampled = 0
    if settings.only_decides:
        decided, sampled = recited_decisions(work, settings.replay)
        targets += [
            Target(query, scenario, query.reference or "" if does else recipe.rejection)
            for query, scenario, does in decided
        ]
    else:
        targets += replayed_targets(work, settings.replay)
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
    settings = work.recipe.rl_of(work.agent)
    assert settings is not None  # the stage is in the recipe
    queries = fresh_queries(work, settings.queries) if settings.fresh else profiled_queries(work, settings.queries)
    seeded = settings.model_copy(update={"seed": settings.seed + work.seed})
    if settings.only_decides or (work.model / ADAPTER_FOLDER).is_dir():
        return _reinforced_decision(work, queries, seeded)
    from disrouter.training.rl import reinforce

    spent = reinforce(
        work.model,
        queries,
        work.suite.grade,
        work.folder / "rl",
        work.folder / ".rl-work",
        seeded,
        rejection=work.recipe.rejection,
        max_tokens=work.recipe.max_tokens,
        report=lambda step, steps, reward: work.report("rl", step, steps, reward),
    )
    return {"trained": spent.trained, "sampled": spent.sampled}


def _reinforced_decision(
    work: Work, queries: Sequence[tuple[Query, Scenario | None]], settings: RlSettings
) -> Mapping[str, float]:
    """Reinforce an adapter that only decides: what it would answer never changes, and is sampled once, beforehand."""
    from disrouter.training.deciding_rl import reinforce_decision

    runner = runner_of(work.recipe, work.agent, work.model, trained=False)
    sampled = ask(
        work,
        LocalSampler(runner, settings.temperature, seed_of(settings.seed, "rl")),
        list(dict.fromkeys(query for query, _ in queries)),
        work.suite.grade,
        work.folder / "rl-answers.parquet",
        samples=settings.group // 2,
        what="sample",
    )
    scores = {rollouts.query: rollouts.success_rate for rollouts in sampled.rollouts}
    decided, recited = recited_decisions(work, settings.replay)
    scores |= {query: float(does) for query, _, does in decided}
    trained = reinforce_decision(
        work.model,
        [*queries, *((query, scenario) for query, scenario, _ in decided)],
        scores,
        work.folder / "rl",
        work.folder / ".rl-work",
        settings,
        rejection=work.recipe.rejection,
        report=lambda step, steps, reward: work.report("rl", step, steps, reward),
    )
    return {"trained": trained, "sampled": sampled.sampled_tokens + recited}


def _head(work: Work) -> Mapping[str, float]:
    settings = work.recipe.head
    assert settings is not None  # the stage is in the recipe
    runner = runner_of(work.recipe, work.agent, work.model, trained=False)
    queries = [rollouts.query for rollouts in work.known.rollouts]
    rates = [rollouts.success_rate for rollouts in work.known.rollouts]
    sampled = 0
    if settings.queries:
        asked = ask(
            work,
            LocalSampler(runner, GREEDY, work.seed),
            [query for query, _ in fresh_queries(work, settings.queries)],
            work.suite.grade,
            work.folder / "head-answers.parquet",
            samples=1,
            what="sample",
        )
        queries += [rollouts.query for rollouts in asked.rollouts]
        rates += [rollouts.success_rate for rollouts in asked.rollouts]
        sampled = asked.sampled_tokens
    recited, tokens = recite(work, settings.replay)
    queries += [query for query, _ in recited]
    rates += [float(does) for _, does in recited]
    head = train_head(
        runner.states_many(queries, BALANCE),
        np.array(rates),
        settings.model_copy(update={"seed": settings.seed + work.seed}),
        report=lambda epoch, epochs, loss: work.report("head", epoch, epochs, loss),
    )
    save_with_head(head, work.model, work.folder / "head")
    return {"sampled": sampled + tokens}


STAGES: Mapping[StageName, Stage] = {"sft": _sft, "rl": _rl, "head": _head}
