"""Refresh: keep agent cards true with the feedback on answered queries.

Two things are learnt, both forgetting with time:

- *How hard the queries are now*: the shares of the classes of difficulty, from the looks of every query, answered or
  not (one step of expectation-maximisation per batch; Cappe and Moulines 2009). A scale's grades move with its prior.
- *How good each agent is now*: its right and wrong answers are counted by the band of its confidence and by the chance
  the card gave it, and a logistic map of the card's chances is fitted to the counts. The map is pulled towards no
  change, so a few answers correct an agent as a whole and many correct it band by band.

The card on file is never changed: refreshed cards are new ones, and putting them into a network costs milliseconds.
Who is never asked is never seen: let a small share of the queries be answered by somebody else (:func:`explored`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.competence import Competence, DifficultyScale
from disrouter.errors import DataError, UsageError
from disrouter.online.feedback import Feedback, band_of, beliefs

__all__ = ["MEMORY", "Refresher", "explored"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MEMORY = 1000.0
"""Queries after which an observation weighs 1/e."""

_DECILES = 10
_HELD = 1e-6
_LEVEL, _SLOPE, _BAND = 1.5, 0.5, 0.5
"""Standard deviations of the map's intercept, slope and band effects: how much change is expected beforehand."""

PROOF = 6.0
"""Log-likelihood that the map must gain, less its penalty, before a card is changed: noise costs more than it finds."""

_PRIOR_QUERIES = 200.0
"""Weight of the card's own prior over the classes, in queries."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Refresher:
    """What feedback has taught about agents since their cards were measured. Frozen: :meth:`seen` returns the next."""

    cards: Mapping[str, Competence]
    """As measured."""

    memory: float
    classes: Floats
    """Discounted shares of the classes of difficulty, shape (Z,)."""

    count: Mapping[str, Floats]
    """Discounted answers by band and decile of the believed chance, shape (B, 10)."""

    right: Mapping[str, Floats]
    """How many of them were right; same shape."""

    logit: Mapping[str, Floats]
    """Discounted sum of the believed chances' logits; same shape."""

    @classmethod
    def of(cls, cards: Mapping[str, Competence], *, memory: float = MEMORY) -> Refresher:
        """Return a refresher that has seen nothing yet.

        Raises:
            UsageError: No cards, cards of different scales, or a memory below 1.
        """
        if not cards or len({card.scale.id for card in cards.values()}) != 1:
            raise UsageError(
                "Cards can be refreshed together only if there are some and all are of one scale.",
                hint="measure the agents together with `disrouter cards fit`",
            )
        if not 1.0 <= memory < math.inf:
            raise UsageError(f"A memory of {memory:g} queries is not usable: give a number from 1.")
        shapes = {name: (len(card.bands) + 1, _DECILES) for name, card in cards.items()}
        prior = np.array(next(iter(cards.values())).scale.prior)
        return cls(
            cards=dict(cards),
            memory=memory,
            classes=np.zeros_like(prior),
            count={name: np.zeros(shape) for name, shape in shapes.items()},
            right={name: np.zeros(shape) for name, shape in shapes.items()},
            logit={name: np.zeros(shape) for name, shape in shapes.items()},
        )

    @property
    def prior(self) -> Floats:
        """Return how often each class of difficulty comes now, shape (Z,)."""
        known = np.array(next(iter(self.cards.values())).scale.prior)
        mixed: Floats = self.classes + _PRIOR_QUERIES * known
        mixed /= mixed.sum()
        return mixed

    def seen(self, feedback: Feedback) -> Refresher:
        """Return the refresher after feedback, given in order of time.

        Raises:
            DataError: The feedback is about an agent without a card.
        """
        strangers = [name for name in feedback.agents if name not in self.cards]
        if strangers:
            raise DataError(f"Feedback names {', '.join(map(repr, strangers))}, of whom there is no card to refresh.")
        n = len(feedback.agent)
        if not n:
            return self
        believed = beliefs(self.cards, feedback, self.prior)
        fade = math.exp(-n / self.memory)
        weight = np.exp(-np.arange(n - 1, -1, -1) / self.memory)
        count, right, logit = dict(self.count), dict(self.right), dict(self.logit)
        chance = np.clip(np.nan_to_num(believed.chance, nan=0.5), 0.005, 0.995)
        decile = np.minimum((chance * _DECILES).astype(np.int64), _DECILES - 1)
        for a, name in enumerate(feedback.agents):
            answers = feedback.agent == a
            band = band_of(self.cards[name], feedback.confidence[a])[answers]
            place = band, decile[answers]
            for sums, value in ((count, 1.0), (right, feedback.score), (logit, np.log(chance / (1.0 - chance)))):
                sums[name] = sums[name] * fade
                np.add.at(sums[name], place, (weight * value)[answers])
        classes = self.classes * fade + believed.difficulty @ weight
        return replace(self, classes=classes, count=count, right=right, logit=logit)

    def forget(self, name: str) -> Refresher:
        """Return the refresher without what it has seen of an agent (whose confidences now mean something else)."""
        sums: Any = {what: {**getattr(self, what), name: getattr(self, what)[name] * 0.0} for what in _SUMS}
        return replace(self, **sums)

    def joined(self, name: str, card: Competence) -> Refresher:
        """Return the refresher with a newcomer, whose card was measured onto the others' scale."""
        fresh = Refresher.of({**self.cards, name: card}, memory=self.memory)
        sums: Any = {what: {**getattr(fresh, what), **getattr(self, what)} for what in _SUMS}
        return replace(fresh, classes=self.classes, **sums)

    def refreshed(self) -> dict[str, Competence]:
        """Return the cards as they should be now, all of one new scale."""
        old = next(iter(self.cards.values())).scale
        prior, was = self.prior, np.maximum(np.array(old.prior), 1e-9)
        # A grade is prior x likelihood of what was said: with another prior it is another belief, by Bayes' rule.
        grades = np.array(old.grades) * (prior / was)
        grades[0] = prior
        scale = DifficultyScale(_row(prior), tuple(_row(grade / grade.sum()) for grade in grades))
        return {
            name: replace(card, scale=scale, solves=tuple(map(tuple, self.solves(name).tolist())))
            for name, card in self.cards.items()
        }

    @property
    def common(self) -> float:
        """Return by how much the answers of all agents are better or worse than their cards say, in logits.

        The median of the agents, weighted by their answers: what one agent does must not be laid to the others, but
        where most of them do worse, those who have not been asked will do worse too.
        """
        levels = {name: _level(self.count[name], self.right[name], self.logit[name]) for name in self.cards}
        weight = {name: float(self.count[name].sum()) for name in self.cards}
        if not any(weight.values()):
            return 0.0
        order = sorted(levels, key=levels.__getitem__)
        heard = np.cumsum([weight[name] for name in order])
        median = levels[order[int(np.searchsorted(heard, heard[-1] / 2))]]
        gained = sum(
            _gained(count[held], self.right[name][held], self.logit[name][held] / count[held], np.array(median))
            for name, count in self.count.items()
            if (held := count > _HELD).any()
        )
        return median if gained >= PROOF else 0.0

    def solves(self, name: str) -> Floats:
        """Return an agent's chances to be right by class and band as they should be now, shape (Z, B)."""
        before = np.clip(np.array(self.cards[name].solves), 0.005, 0.995)
        logits = np.log(before / (1.0 - before))
        common = self.common
        count = self.count[name]
        level, slope, bands = _fitted(count, self.right[name], self.logit[name] + common * count)
        logits = logits + common
        now: Floats = 1.0 / (1.0 + np.exp(-(level + (1.0 + slope) * logits + bands)))
        return now

    def to_json(self) -> dict[str, Any]:
        """Return the state without the cards, which have their own files, as plain values."""
        sums = {what: {name: array.tolist() for name, array in getattr(self, what).items()} for what in _SUMS}
        return {"memory": self.memory, "classes": self.classes.tolist(), **sums}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], cards: Mapping[str, Competence]) -> Refresher:
        """Return the refresher of :meth:`to_json` and the cards it was made with.

        Raises:
            UsageError: The state is not whole, or does not fit the cards.
        """
        try:
            fresh = cls.of(cards, memory=float(value["memory"]))
            sums: Any = {
                what: {name: np.array(value[what][name], dtype=np.float64) for name in cards} for what in _SUMS
            }
            made = replace(fresh, classes=np.array(value["classes"], dtype=np.float64), **sums)
            fits = made.classes.shape == fresh.classes.shape and all(
                sums[what][name].shape == getattr(fresh, what)[name].shape for what in _SUMS for name in cards
            )
            if not fits:
                raise ValueError("its arrays are of other cards")
        except (KeyError, TypeError, ValueError) as exc:
            raise UsageError(f"The refresher's state cannot be used: {exc}.", hint="start afresh") from exc
        return made


_SUMS = ("count", "right", "logit")


def explored(agents: int, queries: int, share: float, random: np.random.Generator) -> Ints:
    """Return who answers for the sake of learning, shape (n,): an agent's place, or -1 where nobody is put in.

    Raises:
        UsageError: The share does not lie from 0 to 1.
    """
    if not 0.0 <= share <= 1.0:
        raise UsageError(f"A share of {share:g} queries cannot be explored: give a number from 0 to 1.")
    who = random.integers(0, agents, size=queries)
    return np.where(random.random(queries) < share, who, -1)


def _fitted(count: Floats, right: Floats, logit: Floats) -> tuple[float, float, Floats]:
    """Return intercept, change of slope and band effects (B,) of the logistic map: penalised Newton steps."""
    bands = len(count)
    held = count > _HELD
    if not held.any():
        return 0.0, 0.0, np.zeros(bands)
    n, y = count[held], right[held]
    base = logit[held] / n
    design = np.column_stack([np.ones(len(n)), base, np.eye(bands)[np.nonzero(held)[0]]])
    penalty = np.array([_LEVEL**-2, _SLOPE**-2, *[_BAND**-2] * bands])
    found = np.zeros(bands + 2)
    for _ in range(8):
        chance = 1.0 / (1.0 + np.exp(-np.clip(base + design @ found, -30.0, 30.0)))
        gradient = design.T @ (y - n * chance) - penalty * found
        curvature = (design * (n * chance * (1.0 - chance))[:, None]).T @ design + np.diag(penalty)
        found = found + np.clip(np.linalg.solve(curvature, gradient), -1.0, 1.0)
    if _gained(n, y, base, design @ found) - 0.5 * float(penalty @ found**2) < PROOF:
        return 0.0, 0.0, np.zeros(bands)
    # A slope below 0 would turn the agent's word around; that is for an audit to say.
    return float(found[0]), float(max(found[1], -1.0)), found[2:]


def _level(count: Floats, right: Floats, logit: Floats) -> float:
    """Return the one change of logits that explains an agent's answers best, pulled towards none."""
    held = count > _HELD
    n, y = count[held], right[held]
    base, found = logit[held] / n, 0.0
    for _ in range(8):
        chance = 1.0 / (1.0 + np.exp(-np.clip(base + found, -30.0, 30.0)))
        gradient = float((y - n * chance).sum()) - found / _LEVEL**2
        found += max(-1.0, min(1.0, gradient / (float((n * chance * (1.0 - chance)).sum()) + _LEVEL**-2)))
    return found


def _gained(n: Floats, y: Floats, base: Floats, change: Floats) -> float:
    """Return how much likelier a change of the logits makes what was counted, in nats."""
    before, after = np.clip(base, -30.0, 30.0), np.clip(base + change, -30.0, 30.0)
    return float((y * (after - before) - n * (np.logaddexp(0.0, after) - np.logaddexp(0.0, before))).sum())


def _row(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
