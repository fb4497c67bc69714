"""Rehearsals: a recipe's whole way with every count cut to a handful, to see that it can be gone.

The models of a rehearsal are no good: pretrained for a minute, or not at all, they answer nothing right, and nothing
could be learnt from their answers. So their grades are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from disrouter.seeds import seed_of
from disrouter.training.recipes import AgentRecipe, Recipe
from disrouter.training.settings import LoraSettings, RlSettings, SftSettings
from disrouter.training.suites import TrainingSuite
from disrouter.types import Query

__all__ = ["RehearsalSuite", "rehearsed"]

QUERIES = 24
"""Most queries of anything. A calibration takes no fewer than 20."""

TOKENS = 16
"""Most tokens of an answer: a model without training knows no end."""


@dataclass(frozen=True, slots=True)
class RehearsalSuite:
    """A suite that asks a handful of another one's queries and draws the grades of the answers.

    A third of the queries is always right, a third never, and of the others each answer by a coin, so that whatever
    depends on a success rate finds all kinds of them. The same text to the same query always gets the same grade.
    """

    suite: TrainingSuite

    @property
    def name(self) -> str:
        """The other suite's name."""
        return self.suite.name

    def queries(
        self, domain: str, seed: int, n: int, *, split: Literal["train", "validation", "test"] = "test"
    ) -> list[Query]:
        """Return up to ``n`` of the other suite's queries, but a handful at most."""
        return self.suite.queries(domain, seed, min(n, QUERIES), split=split)

    def grade(self, query: Query, text: str) -> float:
        """Return 0.0 or 1.0 as drawn. The true grader runs too: if it fails, it shall fail here."""
        self.suite.grade(query, text)
        coin = float(seed_of(0, "rehearsal", query.id, text) % 2)
        return (0.0, coin, 1.0)[seed_of(0, "rehearsal", query.id) % 3]

    @property
    def worked(self) -> Callable[[Query], str | None] | None:
        """The other suite's worked solutions, if it has any."""
        return getattr(self.suite, "worked", None)

    @property
    def replay(self) -> Callable[[int, int], list[tuple[Query, str]]] | None:
        """The other suite's text to replay, if it has any."""
        return getattr(self.suite, "replay", None)


def rehearsed(recipe: Recipe) -> Recipe:
    """Return a recipe with the same stages, every count cut to a handful, that runs on a CPU."""
    changes: dict[str, object] = {
        "device": "any",
        "max_tokens": min(recipe.max_tokens, TOKENS),
        "agents": [_agent(agent) for agent in recipe.agents],
        "profile": recipe.profile.model_copy(
            update={"queries": min(recipe.profile.queries, QUERIES), "samples": min(recipe.profile.samples, 4)}
        ),
        "targets": recipe.targets.model_copy(update={"limit": min(recipe.targets.limit, 8)}),
        "sft": _sft(recipe.sft),
        "rl": _rl(recipe.rl),
    }
    if recipe.head is not None:
        changes["head"] = recipe.head.model_copy(
            update={
                "hidden": min(recipe.head.hidden, 8),
                "epochs": min(recipe.head.epochs, 2),
                "batch": min(recipe.head.batch, 8),
                "queries": min(recipe.head.queries, 4),
                "replay": min(recipe.head.replay, 8),
            }
        )
    if recipe.calibration is not None:
        changes["calibration"] = recipe.calibration.model_copy(update={"queries": QUERIES})
    return recipe.model_copy(update=changes)


def _agent(agent: AgentRecipe) -> AgentRecipe:
    return agent.model_copy(update={"sft": _sft(agent.sft), "rl": _rl(agent.rl)})


def _sft(settings: SftSettings | None) -> SftSettings | None:
    if settings is None:
        return None
    return settings.model_copy(
        update={
            "epochs": min(settings.epochs, 1.0),
            "batch": min(settings.batch, 4),
            "accumulate": min(settings.accumulate, 2),
            "replay": min(settings.replay, 4),
            "lora": _lora(settings.lora),
        }
    )


def _rl(settings: RlSettings | None) -> RlSettings | None:
    if settings is None:
        return None
    return settings.model_copy(
        update={
            "queries": min(settings.queries, 12),
            "epochs": min(settings.epochs, 1.0),
            "replay": min(settings.replay, 4),
            "group": min(settings.group, 4),
            "batch": min(settings.batch, 2),
            "accumulate": min(settings.accumulate, 2),
            "vllm": False,
            "lora": _lora(settings.lora),
        }
    )


def _lora(settings: LoraSettings | None) -> LoraSettings | None:
    return settings and settings.model_copy(update={"rank": min(settings.rank, 2)})
