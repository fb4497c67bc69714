"""Stages: what SFT, RL and a confidence head take from a recipe, an agent's profile and a suite.

Each leaves a model folder, whole or not at all, and says how many tokens it sampled and was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from disrouter.agents._adapter import ADAPTER_FOLDER
from disrouter.agents.folders import weights_digest
from disrouter.agents.transformers import TransformersAgent
from disrouter.errors import DataError, UsageError
from disrouter.seeds import seed_of
from disrouter.training.heads import save_with_head, train_head
from disrouter.training.profiling import Grade, LocalSampler, Profile, profile, read_profile
from disrouter.training.ranks import is_first, wait_for_all
from disrouter.training.recipes import AgentRecipe, Recipe, StageName
from disrouter.training.settings import ProfileSettings, RlSettings, SftSettings
from disrouter.training.suites import TrainingSuite
from disrouter.training.targets import Target, calibrated_targets, paper_queries, paper_targets
from disrouter.types import AgentCard, Query, QueryPrice, Scenario
from disrouter.utility import BALANCE, SCENARIOS

__all__ = ["STAGES", "Report", "Stage", "Work", "runner_of"]

Report = Callable[[str, int, int, float], None]
"""Called with the stage, step, steps and the loss or reward (NaN where there is none)."""

_PAPER = tuple(SCENARIOS.values())

_GREEDY = 0.0


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
    sampled = 0
    if settings.only_decides:
        decided, sampled = _decided(work, settings.replay)
        targets += [
            Target(query, scenario, query.reference or "" if does else recipe.rejection)
            for query, scenario, does in decided
        ]
    else:
        targets += _replayed(work, settings.replay)
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
    queries = _fresh(work, settings.queries) if settings.fresh else _profiled(work, settings.queries)
    seeded = settings.model_copy(update={"seed": settings.seed + work.seed})
    if settings.only_decides or (work.model / ADAPTER_FOLDER).is_dir():
        return _reinforced_decision(work, queries, seeded)
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

    asked = list(dict.fromkeys(query for query, _ in queries))
    runner = runner_of(work.recipe, work.agent, work.model, trained=False)
    sampled = _asked(
        work,
        LocalSampler(runner, settings.temperature, seed_of(settings.seed, "rl")),
        asked,
        work.suite.grade,
        work.folder / "rl-answers.parquet",
        samples=settings.group // 2,
        what="sample",
    )
    scores = {rollouts.query: rollouts.success_rate for rollouts in sampled.rollouts}
    decided, recited = _decided(work, settings.replay)
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


def _profiled(work: Work, count: int) -> Sequence[tuple[Query, Scenario | None]]:
    """Return at most ``count`` profiled queries, in paper mode as many on each side of delta."""
    drawn = seed_of(work.seed, "rl", work.agent.name)
    if work.recipe.mode == "paper":
        return paper_queries(work.known, _PAPER, limit=count, seed=drawn)
    known = [rollouts.query for rollouts in work.known.rollouts]
    return [(query, None) for query in Random(drawn).sample(known, min(count, len(known)))]


def _fresh(work: Work, count: int) -> Sequence[tuple[Query, Scenario | None]]:
    """Return at most ``count`` training queries that were not profiled, in paper mode each under every scenario.

    Raises:
        DataError: There is none.
    """
    heard: tuple[Scenario | None, ...] = _PAPER if work.recipe.mode == "paper" else (None,)
    wanted = max(1, count // len(heard))
    profiled = {rollouts.query.messages for rollouts in work.known.rollouts}
    drawn = work.suite.queries(
        work.recipe.domain,
        seed_of(work.seed, "fresh", work.agent.name) % 2**31,
        wanted + len(profiled),
        split="train",
    )
    fresh = [query for query in drawn if query.messages not in profiled][:wanted]
    if not fresh:
        raise DataError(
            f"All training queries of suite '{work.suite.name}' were profiled: none is left to reinforce decisions on.",
            hint="profile fewer (`profile.queries`), or set `rl.fresh: false`",
        )
    return [(query, scenario) for query in fresh for scenario in heard]


def _head(work: Work) -> Mapping[str, float]:
    settings = work.recipe.head
    assert settings is not None  # the stage is in the recipe
    runner = runner_of(work.recipe, work.agent, work.model, trained=False)
    queries = [rollouts.query for rollouts in work.known.rollouts]
    rates = [rollouts.success_rate for rollouts in work.known.rollouts]
    recited, sampled = _recited(work, settings.replay)
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


def _recited(work: Work, count: int) -> tuple[list[tuple[Query, bool]], int]:
    """Return of ``count`` pretraining problems whether the agent recites their solution, and the tokens that took.

    A text that the agent was trained on tells how well it has learnt a skill without a grader or a sampled answer: the
    agent hears of every skill of pretraining, those out of domain included, and of no decision there. What is recited
    is kept beside the profile: stages that leave the model as it is recite once.
    """
    stages = (work.agent.sft or work.recipe.sft, work.agent.rl or work.recipe.rl, work.recipe.head)
    most = max(stage.replay for stage in stages if stage is not None)
    texts = dict(_replay(work.suite, most, work.seed))
    if not count:
        return [], 0
    recited = _asked(
        work,
        LocalSampler(runner_of(work.recipe, work.agent, work.model, trained=False), _GREEDY, work.seed),
        list(texts),
        lambda query, text: float(text == texts[query]),
        work.folder / f"recited-{weights_digest(work.model)[:8]}.parquet",
        samples=1,
        what="recite",
    )
    some = recited.rollouts[:count]
    return [(r.query, r.success_rate == 1.0) for r in some], sum(sum(r.tokens) for r in some)


def _asked(
    work: Work, sampler: LocalSampler, queries: Sequence[Query], grade: Grade, path: Path, *, samples: int, what: str
) -> Profile:
    """Return graded answers to queries, kept in ``path``. Of several processes the first one asks."""
    if is_first():
        profile(
            work.agent.name,
            sampler,
            queries,
            grade,
            path,
            ProfileSettings(samples=samples),
            report=lambda done, total: work.report(what, done, total, float("nan")),
        )
    wait_for_all()
    return read_profile(path)


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


def _decided(work: Work, count: int) -> tuple[list[tuple[Query, Scenario | None, bool]], int]:
    """Return what to decide on pretraining problems, whether to answer, and the tokens that it took to recite them.

    An agent that recites a solution has a success rate of 1 there, else of 0: no scenario makes a difference to the
    decision, so in paper mode each is heard under one of them.
    """
    recited, tokens = _recited(work, count)
    rng = Random(work.seed)
    heard: tuple[Scenario | None, ...] = _PAPER if work.recipe.mode == "paper" else (None,)
    return [(query, rng.choice(heard), does) for query, does in recited], tokens


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
