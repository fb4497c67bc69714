"""Difficulty: measure what the agents of a pool solve at each grade of difficulty, from an outcome table.

Queries fall into hidden classes. Within a class the agents are taken to be independent of each other: each says a
band of confidence with some chance and, having said it, is right with some chance (a latent class model, Lazarsfeld
and Henry 1968, fitted by expectation-maximisation, Dempster, Laird and Rubin 1977). The classes belong to the pool,
the chances to each agent: a newcomer is measured against the classes that the others have set, and they stay as they
are.

Measure on queries on which no agent was trained and none calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.competence import Competence, DifficultyScale, Matrix
from disrouter.errors import DataError, UsageError
from disrouter.evaluation.outcomes import OutcomeTable

__all__ = ["BANDS", "CLASSES", "GRADES", "FewOutcomesError", "measure"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CLASSES, BANDS, GRADES = 12, 12, 512
"""Defaults: hidden classes, bands of confidence per agent, and grades a travelling query may carry."""

ROUNDS, STARTS = 150, 3
"""Rounds of expectation and maximisation, and random beginnings of which the likeliest end is kept."""

SAMPLES = 4
"""Random sets of agents per query whose words are put together to see which beliefs occur."""

PRIOR_QUERIES = 20.0
"""How many queries' weight the pool's average has in the table of a class."""

_DIGITS = 3
"""Decimals of a probability in a card file."""

_FEWEST = 50

_SETTLED = 1e-6
"""Gain in log-likelihood per query below which a newcomer's chances are settled."""


class FewOutcomesError(DataError):
    """There is too little to measure anything by."""


@dataclass(frozen=True, slots=True, eq=False)
class _Said:
    """One agent's confidences in bands, and its scores."""

    bands: tuple[float, ...]
    band: Ints
    """Shape (n,)."""

    score: Floats
    """Shape (n,), in [0, 1]."""

    @property
    def counts(self) -> int:
        return len(self.bands) + 1


def measure(
    table: OutcomeTable,
    *,
    known: Mapping[str, Competence] | None = None,
    classes: int = CLASSES,
    bands: int = BANDS,
    grades: int = GRADES,
    seed: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Competence]:
    """Return the competence of every agent of a table.

    Confidences are taken from the table's first scenario: a competence belongs to agents whose confidence does not
    depend on the scenario.

    Args:
        table: Outcomes on queries that no agent was trained or calibrated on; scores may be success rates.
        known: Competences of some of the table's agents that shall stay as they are, all of one scale. The others are
            measured on that scale, and only they are returned.
        classes: Hidden classes of difficulty; ignored with ``known``.
        bands: Most bands of an agent's confidence.
        grades: Most grades a query may carry; ignored with ``known``.
        seed: Seed of the random beginnings.
        provenance: Kept in every competence.

    Raises:
        FewOutcomesError: Fewer than 50 queries.
        DataError: An agent is right always or never, so that nothing can be told from it; a confidence depends on the
            scenario; a known agent is not in the table.
        UsageError: A number is below its least.
    """
    for what, value, least in (("classes", classes, 1), ("bands", bands, 2), ("grades", grades, 1)):
        if value < least:
            raise UsageError(f"{value} {what} are too few: give at least {least}.")
    _check(table, known or {})
    said = {name: _said(table, place, bands) for place, name in enumerate(table.agents)}
    about = dict(provenance or {}, queries=table.shape[2])
    if known:
        scale = next(iter(known.values())).scale
        logs = _logs_from(table, known)
        found = {name: _fit_newcomer(agent, logs) for name, agent in said.items() if name not in known}
    else:
        prior, belief = _fit(list(said.values()), classes, seed)
        found = {name: _chances(agent, belief) for name, agent in said.items()}
        scale = _scale(prior, list(found.values()), list(said.values()), grades, seed)
    return {
        name: _competence(table, table.agents.index(name), said[name].bands, chances, scale, about)
        for name, chances in found.items()
    }


def _check(table: OutcomeTable, known: Mapping[str, Competence]) -> None:
    queries = table.shape[2]
    if queries < _FEWEST:
        raise FewOutcomesError(
            f"{queries} queries are too few to measure agents by: at least {_FEWEST} are needed.",
            hint="evaluate more validation queries; a few thousand are good",
        )
    missing = [name for name in known if name not in table.agents]
    if missing:
        raise DataError(
            f"The outcome table has no outcomes of {', '.join(map(repr, missing))}, whose card sets the scale.",
            hint="the newcomer must be measured on queries that the others have answered too",
        )
    if len({competence.scale.id for competence in known.values()}) > 1:
        raise DataError("The cards given are of different scales.", hint="give cards that were measured together")
    for place, name in enumerate(table.agents):
        if name in known:
            continue
        score, confidence = table.score[0, place], table.confidence[:, place]
        if score.min() == score.max():
            raise DataError(
                f"Agent '{name}' scores {score[0]:g} on all {queries} queries: what it can do cannot be told apart.",
                hint="measure on queries of which it solves some",
            )
        if not np.array_equal(confidence, np.broadcast_to(confidence[:1], confidence.shape), equal_nan=True):
            raise DataError(
                f"The confidence of agent '{name}' depends on the scenario, and one card cannot hold that.",
                hint="use agents of calibrated mode (`scenario_prompt: false`), or measure in one scenario only",
            )


def _said(table: OutcomeTable, place: int, bands: int) -> _Said:
    confidence, score = table.confidence[0, place], table.score[0, place]
    known = ~np.isnan(confidence)
    edges = np.quantile(confidence[known], np.linspace(0, 1, bands + 1)[1:-1]) if known.any() else np.empty(0)
    # Rounded first: a file must cut exactly as the measurement did. An edge that cuts nothing off is none.
    inner = np.unique(np.round(edges, 6))
    inner = inner[(inner > confidence[known].min()) & (inner <= confidence[known].max())] if known.any() else inner
    band = np.searchsorted(inner, np.where(known, confidence, 0.0), side="right")
    return _Said(tuple(float(edge) for edge in inner), band, score)


def _fit(said: Sequence[_Said], classes: int, seed: int) -> tuple[Floats, Floats]:
    """Return the prior (Z,) and the belief about each query (Z, n) of the likeliest of a few fits."""
    fits = [_fit_once(said, classes, np.random.default_rng([seed, start])) for start in range(STARTS)]
    _, prior, belief = max(fits, key=lambda fit: fit[0])
    return prior, belief


def _fit_once(said: Sequence[_Said], classes: int, random: np.random.Generator) -> tuple[float, Floats, Floats]:
    n = len(said[0].score)
    belief: Floats = random.dirichlet(np.full(classes, 0.3), n).T
    prior, likelihood = belief.mean(axis=1), -np.inf
    for _ in range(ROUNDS):
        prior = (belief.sum(axis=1) + 1.0) / (n + classes)
        logs = np.log(prior)[:, None] + sum(_evidence(agent, *_chances(agent, belief)) for agent in said)
        belief, likelihoods = _normalised(logs)
        likelihood = float(likelihoods.mean())
    # Dear classes first, so that two fits of the same queries name them alike.
    order = np.argsort(-(belief @ np.mean([agent.score for agent in said], axis=0)) / belief.sum(axis=1))
    return likelihood, prior[order], belief[order]


def _fit_newcomer(agent: _Said, logs: Floats) -> tuple[Floats, Floats]:
    """Return the chances of one agent given the log-weights (Z, n) that the known agents leave to the classes.

    What the newcomer itself says and scores belongs to the evidence too. Without it every class would be credited
    with its share of every doubtful query, and all classes would look alike to the newcomer.
    """
    belief, before = _normalised(logs)[0], -np.inf
    for _ in range(ROUNDS):
        belief, likelihoods = _normalised(logs + _evidence(agent, *_chances(agent, belief)))
        if (now := float(likelihoods.mean())) - before < _SETTLED:
            break
        before = now
    return _chances(agent, belief)


def _normalised(logs: Floats) -> tuple[Floats, Floats]:
    """Return beliefs (Z, n) from log-weights, and the log of each query's total weight (n,)."""
    most = logs.max(axis=0)
    weights = np.exp(logs - most)
    total = weights.sum(axis=0)
    belief: Floats = weights / total
    return belief, most + np.log(total)


def _chances(agent: _Said, belief: Floats) -> tuple[Floats, Floats]:
    """Return how often the agent speaks in each band and solves what it speaks of, both (Z, B), by class."""
    bands = np.eye(agent.counts)[agent.band]  # (n, B)
    right, all_ = belief @ (bands * agent.score[:, None]), belief @ bands
    mean_right, mean_all = (bands * agent.score[:, None]).sum(axis=0) + 0.5, bands.sum(axis=0) + 1.0
    share = PRIOR_QUERIES * mean_all / mean_all.sum()
    speaks = (all_ + share) / (all_ + share).sum(axis=1, keepdims=True)
    return speaks, (right + share * mean_right / mean_all) / (all_ + share)


def _evidence(agent: _Said, speaks: Floats, solves: Floats) -> Floats:
    """Return the log-likelihood of what the agent said and scored, by class and query, shape (Z, n)."""
    right = solves[:, agent.band]
    logs: Floats = (
        np.log(speaks)[:, agent.band] + agent.score * np.log(right) + (1.0 - agent.score) * np.log(1.0 - right)
    )
    return np.asarray(logs, dtype=np.float64)


def _logs_from(table: OutcomeTable, known: Mapping[str, Competence]) -> Floats:
    """Return the log-weight of each class for each query (Z, n) by what the known agents said and scored."""
    logs = np.log(np.array(next(iter(known.values())).scale.prior))[:, None] * np.ones((1, table.shape[2]))
    for name, competence in known.items():
        place = table.agents.index(name)
        confidence, score = table.confidence[0, place], table.score[0, place]
        band = np.searchsorted(np.array(competence.bands), np.where(np.isnan(confidence), 0.0, confidence), "right")
        solves = np.clip(np.array(competence.solves), 1e-3, 1 - 1e-3)
        speaks = np.clip(np.array(competence.speaks), 1e-6, 1.0)
        logs = logs + _evidence(_Said(competence.bands, band, score), speaks, solves)
    return np.asarray(logs, dtype=np.float64)


def _scale(
    prior: Floats, chances: Sequence[tuple[Floats, Floats]], said: Sequence[_Said], grades: int, seed: int
) -> DifficultyScale:
    """Return the scale: beliefs that travelling queries end up with, gathered into a few grades (k-means)."""
    from scipy.cluster.vq import kmeans2

    random = np.random.default_rng([seed, 1])
    n = len(said[0].score)
    # What one agent's word alone makes of a query stands among the grades as it is.
    first = [prior[None], *((prior[:, None] * speaks).T for speaks, _ in chances)]
    certain = np.unique(np.vstack([each / each.sum(axis=1, keepdims=True) for each in first[1:]]), axis=0)
    beliefs = []
    for _ in range(SAMPLES):  # every query after looks of some of the agents, in their order
        asked = random.random((len(said), n)) < random.uniform(0.3, 1.0)
        logs = np.log(prior)[:, None] * np.ones((1, n))
        for agent, (speaks, _), ask in zip(said, chances, asked, strict=True):
            if agent.counts > 1:
                logs = logs + np.where(ask, np.log(speaks)[:, agent.band], 0.0)
        beliefs.append(_normalised(logs)[0].T)
    # Equal distances between square roots are about equal chances to tell two beliefs apart (Hellinger).
    points = np.sqrt(np.unique(np.round(np.vstack(beliefs), 6), axis=0))
    centres = np.vstack([prior[None], certain])[:grades]
    count = min(grades - len(centres), len(points))
    if count > 0:
        found, _ = kmeans2(points, count, minit="++", rng=np.random.default_rng([seed, 2]))
        centres = np.vstack([centres, found**2])
    return DifficultyScale(prior=_row(prior), grades=tuple(_row(centre / centre.sum()) for centre in centres))


def _competence(
    table: OutcomeTable,
    place: int,
    bands: tuple[float, ...],
    chances: tuple[Floats, Floats],
    scale: DifficultyScale,
    provenance: Mapping[str, Any],
) -> Competence:
    speaks, solves = chances
    ok = ~table.failed[0, place]

    def mean(column: NDArray[Any]) -> float:
        return round(float(column[0, place][ok].mean()), 6) if ok.any() else 0.0

    return Competence(
        scale=scale,
        bands=bands,
        speaks=tuple(_row(row) for row in speaks),
        solves=_matrix(solves),
        prompt_tokens=mean(table.prompt_tokens),
        answer_tokens=mean(table.answer_tokens),
        look_seconds=mean(table.look_seconds),
        answer_seconds=mean(table.answer_seconds),
        provenance=provenance,
    )


def _row(values: Floats) -> tuple[float, ...]:
    """Return a distribution with few decimals that still adds up to 1."""
    rounded = np.round(values, _DIGITS)
    rounded[np.argmax(rounded)] += 1.0 - rounded.sum()
    return tuple(round(float(value), _DIGITS) for value in rounded)


def _matrix(values: Floats) -> Matrix:
    return tuple(tuple(round(float(value), _DIGITS) for value in row) for row in values)
