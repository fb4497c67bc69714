"""Material: the queries and texts that stages of training learn from, and what an agent makes of them.

What an agent is asked besides its profile is kept beside that, graded, and goes on after a kill as a profile does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

from disrouter.agents.folders import weights_digest
from disrouter.errors import DataError, UsageError
from disrouter.evaluation.suites import replay_of
from disrouter.seeds import seed_of
from disrouter.training.profiling import Grade, LocalSampler, Profile, profile, read_profile
from disrouter.training.ranks import is_first, wait_for_all
from disrouter.training.settings import ProfileSettings
from disrouter.training.suites import TrainingSuite
from disrouter.training.targets import Target, paper_queries
from disrouter.training.work import Work, runner_of
from disrouter.types import Query, Scenario
from disrouter.utility import SCENARIOS

__all__ = [
    "GREEDY",
    "PAPER",
    "ask",
    "fresh_queries",
    "profiled_queries",
    "recite",
    "recited_decisions",
    "replayed_targets",
    "solutions_of",
]

PAPER = tuple(SCENARIOS.values())

GREEDY = 0.0


def profiled_queries(work: Work, count: int) -> Sequence[tuple[Query, Scenario | None]]:
    """Return at most ``count`` profiled queries, in paper mode as many on each side of delta."""
    drawn = seed_of(work.seed, "rl", work.agent.name)
    if work.recipe.mode == "paper":
        return paper_queries(work.known, PAPER, limit=count, seed=drawn)
    known = [rollouts.query for rollouts in work.known.rollouts]
    return [(query, None) for query in Random(drawn).sample(known, min(count, len(known)))]


def fresh_queries(work: Work, count: int) -> Sequence[tuple[Query, Scenario | None]]:
    """Return at most ``count`` training queries that were not profiled, in paper mode each under every scenario.

    Raises:
        DataError: There is none.
    """
    heard: tuple[Scenario | None, ...] = PAPER if work.recipe.mode == "paper" else (None,)
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
            f"All training queries of suite '{work.suite.name}' were profiled: none is left.",
            hint="profile fewer (`profile.queries`), or leave `rl.fresh` and `head.queries` out",
        )
    return [(query, scenario) for query in fresh for scenario in heard]


def ask(
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


def recite(work: Work, count: int) -> tuple[list[tuple[Query, bool]], int]:
    """Return of ``count`` pretraining problems whether the agent recites their solution, and the tokens that took now.

    A text that the agent was trained on tells how well it has learnt a skill without a grader or a sampled answer: the
    agent hears of every skill of pretraining, those out of domain included, and of no decision there. What is recited
    is kept beside the profile: stages that leave the model as it is recite once.
    """
    if not count:
        return [], 0
    texts = dict(replay_of(work.suite)(max(_recitals(work)), work.seed))
    path = work.folder / f"recited-{weights_digest(work.model)[:8]}.parquet"
    known = path.is_file()
    found = ask(
        work,
        LocalSampler(runner_of(work.recipe, work.agent, work.model, trained=False), GREEDY, work.seed),
        list(texts),
        lambda query, text: float(text == texts[query]),
        path,
        samples=1,
        what="recite",
    )
    some = found.rollouts[:count]
    return [(r.query, r.success_rate == 1.0) for r in some], 0 if known else found.sampled_tokens


def _recitals(work: Work) -> Iterator[int]:
    """Yield how many problems each stage wants to be recited; one that tunes the model itself learns their text."""
    for stage in (work.agent.sft or work.recipe.sft, work.agent.rl or work.recipe.rl):
        if stage is not None and work.recipe.only_decides:
            yield stage.replay
    if work.recipe.head is not None:
        yield work.recipe.head.replay


def recited_decisions(work: Work, count: int) -> tuple[list[tuple[Query, Scenario | None, bool]], int]:
    """Return what to decide on pretraining problems, whether to answer, and the tokens that it took to recite them.

    An agent that recites a solution has a success rate of 1 there, else of 0: no scenario makes a difference to the
    decision, so in paper mode each is heard under one of them.
    """
    recited, tokens = recite(work, count)
    rng = Random(work.seed)
    heard: tuple[Scenario | None, ...] = PAPER if work.recipe.mode == "paper" else (None,)
    return [(query, rng.choice(heard), does) for query, does in recited], tokens


def replayed_targets(work: Work, count: int) -> Sequence[Target]:
    """Return replayed text, in paper mode under every scenario and under none: an ability must survive in all."""
    rng = Random(work.seed)
    heard: tuple[Scenario | None, ...] = (None, *PAPER) if work.recipe.mode == "paper" else (None,)
    texts = replay_of(work.suite)(count, work.seed) if count else []
    return [Target(query, rng.choice(heard), text, decides=False) for query, text in texts]


def solutions_of(suite: TrainingSuite) -> Callable[[Query], str | None]:
    """Return what knows the worked solution of a query.

    Raises:
        UsageError: The suite has none.
    """
    worked: Callable[[Query], str | None] | None = getattr(suite, "worked", None)
    if worked is None:
        raise UsageError(f"Suite '{suite.name}' has no worked solutions.", hint="set `targets.accept: own`")
    return worked
