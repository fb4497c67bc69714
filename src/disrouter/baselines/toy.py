"""A planted toy: rows on which the right agent can be read off the query's words.

Every learned method must come close to the oracle here; one that does not is broken, whatever it does elsewhere.
"""

from __future__ import annotations

import numpy as np

from disrouter.baselines.contract import Features, Rows, Verifications
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.utility import SCENARIOS

__all__ = ["AGENTS", "planted"]

AGENTS = {"small": 0.1, "medium": 0.4, "large": 0.9}
"""Names and costs; a look costs a tenth."""

SUBJECTS: dict[str, tuple[str, tuple[bool, bool, bool]]] = {
    "easy": ("sum apples pears count basket fruit", (True, True, True)),
    "middle": ("triangle angle circle radius chord arc", (False, True, True)),
    "hard": ("integral limit series converge lemma proof", (False, False, True)),
    "odd": ("rhyme verse sonnet stanza meter poem", (True, False, False)),
}
"""Words of a subject, and who answers it right."""

FILLER = ["please", "tell", "me", "what", "you", "think", "about", "this", "one", "now", "and", "say", "why", "so"]

RIGHT = ["the", "result", "follows", "and", "the", "check", "agrees"]
WRONG = ["maybe", "perhaps", "unclear", "guess", "unsure", "roughly"]


def planted(n: int, *, seed: int, prefix: str = "toy") -> Rows:
    """Return ``n`` rows: three agents, four subjects, three scenarios, every extra column recorded.

    Other seeds with other prefixes give other queries: no text occurs twice.
    """
    rng = np.random.default_rng(seed)
    subjects = list(SUBJECTS)
    drawn = rng.integers(0, len(subjects), size=n)
    texts = tuple(_text(rng, SUBJECTS[subjects[k]][0].split(), f"{prefix}{i}") for i, k in enumerate(drawn))
    ok = np.array([SUBJECTS[subjects[k]][1] for k in drawn]).T  # (A, Q)
    answers = np.array([[_answer(rng, bool(right)) for right in row] for row in ok], dtype=object)
    confidence = np.where(ok, 0.9, 0.1) + rng.uniform(-0.08, 0.08, size=ok.shape)
    costs = np.array(list(AGENTS.values()))[:, None] * np.ones(n)
    shape = (len(SCENARIOS), *ok.shape)

    def cube(values: object, dtype: type = np.float64) -> np.ndarray:
        return np.broadcast_to(np.asarray(values, dtype=dtype), shape)

    table = OutcomeTable(
        query_ids=tuple(f"{prefix}-{i}" for i in range(n)),
        agents=tuple(AGENTS),
        scenarios=tuple(SCENARIOS.values()),
        datasets=tuple(subjects[k] for k in drawn),
        domains=("in",) * n,
        levels=(None,) * n,
        confidence=cube(confidence),
        accepts=cube(-1, np.int64),
        answer=cube(answers, object),
        score=cube(ok),
        prompt_tokens=cube(20, np.int64),
        answer_tokens=cube(30, np.int64),
        look_cost=cube(costs / 10),
        answer_cost=cube(costs),
        look_seconds=cube(0.0),
        answer_seconds=cube(0.0),
        failure=cube(None, object),
    )
    held = np.eye(len(subjects))[drawn] + rng.normal(0, 0.1, size=(n, len(subjects)))
    share = np.round(np.clip(np.where(ok, 0.85, 0.2) + rng.uniform(-0.15, 0.15, size=ok.shape), 0, 1) * 8) / 8
    return Rows(
        table=table,
        texts=texts,
        features=Features(agent="small", values=np.hstack([held, rng.normal(size=(n, 12))])),
        verifications=Verifications(share=cube(share), cost=cube(costs / 10)),
    )


def _text(rng: np.random.Generator, words: list[str], mark: str) -> str:
    chosen = [*rng.choice(words, size=3, replace=False), *rng.choice(FILLER, size=5, replace=False)]
    rng.shuffle(chosen)
    return " ".join([*chosen, mark])


def _answer(rng: np.random.Generator, right: bool) -> str:
    return " ".join([*rng.choice(RIGHT if right else WRONG, size=4), str(rng.integers(100))])
