"""The lab's suite: queries made afresh from the skills' generators, with an exact grader.

How often each level comes up decides how hard the suite is. The weights were fitted once on validation questions, so
that the family's accuracies lie where the paper's pool has them (see the model card); they are part of the suite.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import cast

from disrouter.errors import DataError, UnknownNameError
from disrouter.lab.skills import IN_DOMAIN, LEVELS, OUT_OF_DOMAIN, SKILLS, Problem, Split, answer_of, split_of
from disrouter.seeds import seed_of
from disrouter.types import Message, Query

__all__ = ["DOMAINS", "EVERY_LEVEL", "LEVEL_WEIGHTS", "LabSuite", "query_of"]

DOMAINS = {"in": IN_DOMAIN, "out": OUT_OF_DOMAIN}

Weights = Mapping[str, tuple[float, ...]]
"""For each skill, how often each of its eight levels comes up (relative)."""

EVERY_LEVEL: Weights = dict.fromkeys(SKILLS, (1.0,) * len(LEVELS))
"""All levels equally often: what agents are profiled on."""

LEVEL_WEIGHTS: Weights = {
    **EVERY_LEVEL,
    "add": (0.14, 0.14, 0.14, 0.14, 0.14, 0.14, 0.12, 0.03),
    "mul": (0.17, 0.29, 0.24, 0.17, 0.03, 0.03, 0.03, 0.03),
    "rem": (0.11, 0.12, 0.18, 0.14, 0.22, 0.06, 0.09, 0.08),
    "sort": (0.14, 0.14, 0.14, 0.13, 0.09, 0.11, 0.16, 0.07),
    "reverse": (0.14, 0.14, 0.12, 0.13, 0.12, 0.10, 0.12, 0.12),
    "count": (0.31, 0.20, 0.08, 0.03, 0.08, 0.03, 0.16, 0.12),
    "facts": (0.22, 0.03, 0.09, 0.03, 0.03, 0.25, 0.22, 0.13),
}
"""The suite's own difficulty, as printed by ``scripts/fit_difficulty.py``."""

_LEVELS_TRIED, _TRIES = 16, 60

_ID = re.compile(r"(in|out)-(train|validation|test)-(\d+)-(\d{5,})")


@dataclass(frozen=True, slots=True)
class LabSuite:
    """Ten skills in two domains; every seed gives a fresh test set that shares no question with any training data."""

    name: str = "lab"
    weights: Weights = field(default_factory=lambda: LEVEL_WEIGHTS)
    _worked: dict[str, tuple[str, str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def queries(self, domain: str, seed: int, n: int, *, split: Split = "test") -> list[Query]:
        """Return ``n`` queries of a domain ("in" or "out") with different questions, drawn from a split by the seed.

        Skills take turns, so that every skill has its equal share.

        Raises:
            UnknownNameError: There is no such domain.
            DataError: ``n`` is below 1, or larger than the number of different questions.
        """
        if domain not in DOMAINS:
            raise UnknownNameError.of("domain", domain, DOMAINS, where="suite 'lab'")
        if n < 1:
            raise DataError(f"A test set of {n} queries is empty.", hint="ask for at least 1")
        rng = Random(seed_of(seed, "lab", domain, split))
        seen: set[str] = set()
        queries = []
        for index in range(n):
            skill = DOMAINS[domain][index % len(DOMAINS[domain])]
            problem = _fresh(skill, self.weights[skill], rng, split, seen)
            seen.add(problem.question)
            queries.append(query_of(problem, id=f"{domain}-{split}-{seed}-{index:05}"))
            self._worked[queries[-1].id] = problem.question, problem.solution
        return queries

    def worked(self, query: Query) -> str | None:
        """Return the worked solution of a query of this suite, or None if it is not one."""
        if query.id not in self._worked and (drawn := _ID.fullmatch(query.id)):
            domain, split, seed, index = drawn.groups()
            # An id says how its query was drawn, and a longer set begins as a shorter one does.
            self.queries(domain, int(seed), int(index) + 1, split=cast(Split, split))
        question, solution = self._worked.get(query.id, ("", ""))
        return solution if question == query.text else None

    def replay(self, count: int, seed: int) -> list[tuple[Query, str]]:
        """Return pretraining problems of all ten skills with their worked solutions.

        They are what the models were pretrained on, and only that: nothing is said of who can solve them.
        """
        from disrouter.lab.corpus import training_problems

        problems = training_problems(count, seed, {})
        return [(query_of(p, id=f"replay-{seed}-{index:06}"), p.solution) for index, p in enumerate(problems)]

    def grade(self, query: Query, text: str) -> float:
        """Return 1.0 if what stands after the answer mark is the reference, else 0.0."""
        return 1.0 if query.reference is not None and answer_of(text) == query.reference else 0.0


def query_of(problem: Problem, *, id: str) -> Query:
    """Return a problem as a query."""
    return Query(
        id=id,
        messages=(Message("user", problem.question),),
        reference=problem.answer,
        dataset=problem.skill,
        level=problem.level,
    )


def _fresh(name: str, weights: Sequence[float], rng: Random, split: Split, seen: set[str]) -> Problem:
    """Draw an unseen problem of a split. A level whose few questions are used up makes way for another level."""
    for _ in range(_LEVELS_TRIED):
        level = rng.choices(LEVELS, weights)[0]
        for _ in range(_TRIES):
            problem = SKILLS[name].problem(rng, level)
            if split_of(problem.question) == split and problem.question not in seen:
                return problem
    raise DataError(
        f"Skill '{name}' has no more different questions in split '{split}' after {len(seen)} queries.",
        hint="ask for fewer queries",
    )
