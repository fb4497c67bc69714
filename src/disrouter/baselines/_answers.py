"""What routers that have paid for an answer read of it, beside its query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from disrouter.baselines.contract import Rows
from disrouter.baselines.features import TextEncoder, TextFeatures, TfidfSvd, feature_cost
from disrouter.evaluation.outcomes import ObjectCube
from disrouter.seeds import seed_of

__all__ = ["AnswerReader", "final_answer"]

Floats = NDArray[np.float64]

_SAMPLE = 4000
"""Most answers that the features of answers are fitted on."""

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True, eq=False)
class AnswerReader:
    """Features of a query, of an answer to it, and of what the two share."""

    query: TextEncoder
    answer: TextEncoder
    cost: float
    """Normalised cost of reading one query and one answer."""

    @classmethod
    def of(cls, train: Rows, features: TextFeatures, *, seed: int) -> AnswerReader:
        """Return the reader fitted on train texts and a sample of train answers."""
        answers = [a for a in dict.fromkeys(train.table.answer[0].ravel().tolist()) if a]
        if len(answers) > _SAMPLE:
            drawn = np.random.default_rng(seed_of(seed, "answers")).choice(len(answers), _SAMPLE, replace=False)
            answers = [answers[i] for i in np.sort(drawn)]
        # Answers are long and many: words alone tell them apart well enough, and quickly.
        quick = replace(features, characters=False) if isinstance(features, TfidfSvd) else features
        return cls(
            query=features.fit(train.texts, seed=seed),
            answer=quick.fit(answers or [""], seed=seed),
            cost=2 * feature_cost(features, train.table),
        )

    def read(self, texts: Sequence[str], answers: ObjectCube) -> Floats:
        """Return one row per query and answer; a missing answer reads as an empty one."""
        told = [answer or "" for answer in answers]
        shared = [_shared(text, answer) for text, answer in zip(texts, told, strict=True)]
        columns = [self.query.encode(texts), self.answer.encode(told), np.array(shared).reshape(len(told), 2)]
        return np.hstack(columns)


def final_answer(answer: str | None) -> str:
    """Return what an answer comes down to: its last number, else its last word; empty if there is none."""
    if not answer:
        return ""
    numbers = _NUMBER.findall(answer.replace(",", ""))
    if numbers:
        return f"{float(numbers[-1]):.12g}"
    words = re.findall(r"\w+", answer.casefold())
    return str(words[-1]) if words else ""


def _shared(text: str, answer: str) -> tuple[float, float]:
    """Return the share of the answer's words that the query has, and the share of the query's that the answer has."""
    asked, told = set(text.casefold().split()), set(answer.casefold().split())
    both = len(asked & told)
    return both / max(1, len(told)), both / max(1, len(asked))
