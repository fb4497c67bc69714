"""Pipeline: one agent through the stages of a recipe, each resumable, with proof of what it bought and cost.

    <output>/<agent>/profile.parquet     sampled answers and success rates
    <output>/<agent>/sft, rl, head       a model folder for every stage that was run
    <output>/<agent>/ability.json        accuracy with rejection masked, before and after
    <output>/<agent>/ledger.json         tokens, FLOPs and seconds of every stage

An agent needs no other agent: any number of them can be trained side by side.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np

from disrouter.agents.calibrators import CALIBRATION_FILE
from disrouter.agents.transformers import TransformersAgent
from disrouter.errors import UsageError
from disrouter.files import write_json
from disrouter.seeds import seed_of
from disrouter.training.agent_calibration import Calibrated, calibrate, keep
from disrouter.training.heads import save_with_head, train_head
from disrouter.training.ledger import Ledger
from disrouter.training.profiling import LocalSampler, Profile, profile, read_profile
from disrouter.training.ranks import is_first, processes
from disrouter.training.recipes import AgentRecipe, Recipe, StageName
from disrouter.training.settings import CalibrationSettings, RlSettings, SftSettings
from disrouter.training.suites import TrainingSuite
from disrouter.training.targets import Target, calibrated_targets, paper_queries, paper_targets
from disrouter.types import AgentCard, Query, QueryPrice, Scenario
from disrouter.utility import BALANCE, SCENARIOS

__all__ = [
    "Report",
    "calibrate_agent",
    "measure_ability",
    "profile_agent",
    "stage_path",
    "train_agent",
]

Report = Callable[[str, int, int, float], None]
"""Called with the stage, step, steps and the loss or reward (NaN where there is none)."""

ABILITY_QUERIES = 1000
"""Validation queries of each domain that ability is measured on."""

_PAPER = tuple(SCENARIOS.values())

_TOGETHER = 512
"""Texts recited between two reports."""


def stage_path(output: Path, agent: str, stage: StageName) -> Path:
    """Return the folder of the model that a stage leaves."""
    return output / agent / stage


def train_agent(
    recipe: Recipe,
    agent: AgentRecipe,
    base: Path,
    suite: TrainingSuite,
    output: Path,
    *,
    seed: int = 0,
    profiles: Path | None = None,
    report: Report = lambda stage, step, steps, value: None,
) -> Path:
    """Take one agent through every stage of a recipe, going on from what ``output`` holds; return its last model.

    Args:
        recipe: The recipe.
        agent: Its entry for the agent.
        base: Folder of the agent's model.
        suite: Where queries and grades come from.
        output: Folder of the whole training.
        seed: Of targets, shuffles and sampled answers; the profile has a seed of its own.
        profiles: Folder whose ``<agent>.parquet`` is the profile to use or make, instead of one in ``output``. A
            finished one is taken as it is, whoever made it.
        report: Called as the work goes on.

    Raises:
        DisrouterError: A stage cannot be run; what is finished is kept.
    """
    folder = output / agent.name
    ledger = Ledger(folder / "ledger.json", base)
    known = _known(recipe, agent, base, suite, folder, profiles, report)
    if is_first():
        ledger.note("profile", sampled=known.sampled_tokens)
    current = base
    for stage in recipe.stages:
        made = stage_path(output, agent.name, stage)
        if not _finished(made):
            report(stage, 0, 1, float("nan"))  # its first own word may be long in coming
            started = time.monotonic()
            spent = _STAGES[stage](recipe, agent, known, current, suite, folder, seed, report)
            if is_first():
                ledger.note(stage, seconds=time.monotonic() - started, **spent)
        current = made
    if not is_first():
        return current  # the first process measures
    if recipe.calibration is not None and not (current / CALIBRATION_FILE).is_file():
        calibrate_agent(recipe, agent, current, suite, recipe.calibration, seed=seed, report=report)
    if not (folder / "ability.json").is_file():
        before = measure_ability(recipe, agent, base, suite, seed=seed)
        after = measure_ability(recipe, agent, current, suite, seed=seed, trained=True)
        write_json(folder / "ability.json", {"before": before, "after": after})
    return current


def _known(
    recipe: Recipe,
    agent: AgentRecipe,
    base: Path,
    suite: TrainingSuite,
    folder: Path,
    profiles: Path | None,
    report: Report,
) -> Profile:
    """Return the profile to learn from: one that is finished, or one that is made now."""
    path = folder / "profile.parquet" if profiles is None else profiles / f"{agent.name}.parquet"
    if profiles is not None and path.is_file():
        return read_profile(path)  # made by whoever could make it fastest, say a server
    if processes() > 1 and not path.is_file():
        raise UsageError(
            f"Several processes train agent '{agent.name}' together, but none of them can profile it.",
            hint="make its profile in one process with `disrouter profile`, and name its folder with --profiles",
        )
    return profile_agent(recipe, agent, base, suite, path, report=report)


def profile_agent(
    recipe: Recipe, agent: AgentRecipe, base: Path, suite: TrainingSuite, path: Path, *, report: Report
) -> Profile:
    """Return the profile of an agent's untrained model, kept in ``path``."""
    settings = recipe.profile
    runner = _runner(recipe, agent, base, trained=False)
    return profile(
        agent.name,
        LocalSampler(runner, settings.temperature, settings.seed),
        suite.queries(recipe.domain, settings.seed, settings.queries, split="train"),
        suite.grade,
        path,
        settings,
        report=lambda done, total: report("profile", done, total, float("nan")),
    )


def calibrate_agent(
    recipe: Recipe,
    agent: AgentRecipe,
    model: Path,
    suite: TrainingSuite,
    settings: CalibrationSettings,
    *,
    seed: int,
    report: Report = lambda stage, step, steps, value: None,
) -> Calibrated:
    """Fit a trained agent's calibration on validation queries, write it beside the model and return it.

    Raises:
        DataError: The validation queries tell nothing.
    """
    calibrated = calibrate(
        _runner(recipe, agent, model, trained=True),
        suite,
        settings,
        domain=recipe.domain,
        seed=seed,
        report=lambda done, total: report("calibrate", done, total, float("nan")),
    )
    keep(calibrated, model, title=agent.name)
    return calibrated


def measure_ability(
    recipe: Recipe,
    agent: AgentRecipe,
    model: Path,
    suite: TrainingSuite,
    *,
    seed: int,
    trained: bool = False,
    n: int = ABILITY_QUERIES,
) -> Mapping[str, float]:
    """Return a model's accuracy by domain on validation queries, greedy, rejection masked.

    A trained model is asked as it is used: in paper mode under ``balance``.
    """
    runner = _runner(recipe, agent, model, trained=trained)
    accuracy = {}
    for domain in dict.fromkeys((recipe.domain, "in", "out")):
        try:
            queries = suite.queries(domain, seed, n, split="validation")
        except UsageError:
            continue  # the suite has no such domain
        answers = runner.answer_many(queries, BALANCE)
        accuracy[domain] = float(
            np.mean([suite.grade(query, answer.text) for query, answer in zip(queries, answers, strict=True)])
        )
    return accuracy


def _sft(
    recipe: Recipe,
    agent: AgentRecipe,
    known: Profile,
    current: Path,
    suite: TrainingSuite,
    folder: Path,
    seed: int,
    report: Report,
) -> Mapping[str, float]:
    from disrouter.training.sft import fine_tune

    settings = agent.sft or recipe.sft
    assert settings is not None  # the stage is in the recipe
    limit, drawn = recipe.targets.limit, seed_of(seed, "targets", agent.name)
    worked = _worked(suite) if recipe.targets.accept == "worked" else None
    if recipe.mode == "paper":
        targets = paper_targets(known, _PAPER, rejection=recipe.rejection, limit=limit, seed=drawn, worked=worked)
    else:
        targets = calibrated_targets(known, rejection=recipe.rejection, limit=limit, seed=drawn, worked=worked)
    targets += _replayed(recipe, suite, settings, seed)
    Random(drawn).shuffle(targets)
    tokens = fine_tune(
        current,
        targets,
        folder / "sft",
        folder / ".sft-work",
        settings.model_copy(update={"seed": settings.seed + seed}),
        rejection=recipe.rejection,
        report=lambda step, steps, loss: report("sft", step, steps, loss),
    )
    return {"trained": tokens}


def _rl(
    recipe: Recipe,
    agent: AgentRecipe,
    known: Profile,
    current: Path,
    suite: TrainingSuite,
    folder: Path,
    seed: int,
    report: Report,
) -> Mapping[str, float]:
    from disrouter.training.rl import reinforce

    settings: RlSettings | None = agent.rl or recipe.rl
    assert settings is not None  # the stage is in the recipe
    drawn = seed_of(seed, "rl", agent.name)
    queries: list[tuple[Query, Scenario | None]]
    if recipe.mode == "paper":
        queries = [*paper_queries(known, _PAPER, limit=settings.queries, seed=drawn)]
    else:
        rng = Random(drawn)
        count = min(settings.queries, len(known.rollouts))
        queries = [(rollouts.query, None) for rollouts in rng.sample(known.rollouts, count)]
    spent = reinforce(
        current,
        queries,
        suite.grade,
        folder / "rl",
        folder / ".rl-work",
        settings.model_copy(update={"seed": settings.seed + seed}),
        rejection=recipe.rejection,
        max_tokens=recipe.max_tokens,
        report=lambda step, steps, reward: report("rl", step, steps, reward),
    )
    return {"trained": spent.trained, "sampled": spent.sampled}


def _head(
    recipe: Recipe,
    agent: AgentRecipe,
    known: Profile,
    current: Path,
    suite: TrainingSuite,
    folder: Path,
    seed: int,
    report: Report,
) -> Mapping[str, float]:
    settings = recipe.head
    assert settings is not None  # the stage is in the recipe
    runner = _runner(recipe, agent, current, trained=False)
    queries = [rollouts.query for rollouts in known.rollouts]
    rates = [rollouts.success_rate for rollouts in known.rollouts]
    recited, sampled = _recited(runner, _replay(suite, settings.replay, seed), report)
    queries += [query for query, _ in recited]
    rates += [float(does) for _, does in recited]
    head = train_head(
        runner.states_many(queries, BALANCE),
        np.array(rates),
        settings.model_copy(update={"seed": settings.seed + seed}),
        report=lambda epoch, epochs, loss: report("head", epoch, epochs, loss),
    )
    save_with_head(head, current, folder / "head")
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


_STAGES = {"sft": _sft, "rl": _rl, "head": _head}


def _runner(recipe: Recipe, agent: AgentRecipe, model: Path, *, trained: bool) -> TransformersAgent:
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


def _replayed(recipe: Recipe, suite: TrainingSuite, settings: SftSettings, seed: int) -> Sequence[Target]:
    """Return replayed text, in paper mode under every scenario and under none: an ability must survive in all."""
    rng = Random(seed)
    heard: tuple[Scenario | None, ...] = (None, *_PAPER) if recipe.mode == "paper" else (None,)
    texts = _replay(suite, settings.replay, seed)
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


def _finished(folder: Path) -> bool:
    """Whether a stage's model is there: folders appear whole or not at all."""
    return (folder / "config.json").is_file()
