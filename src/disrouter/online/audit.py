"""Audit: find an agent that claims more than it keeps, and hear its word accordingly.

An agent's word is compared with what comes of it. Over time that is a bet against the agent: with every answer its
wealth is multiplied by the likelihood of the outcome under a lie (the agent says ``q ** (1 / power)`` where it thinks
``q``) over that under the chance the network took its word for, less some slack. A lie always makes right answers less
likely, so for an agent that keeps its word, whatever its chances are, the wealth is a supermartingale; begun anew
wherever it falls below 1 (CUSUM) it is an *e-detector* (Shin, Ramdas and Rinaldo, NEJSDS 2024, arXiv 2203.03532): if it
must reach ``patience`` before anybody is accused, an honest agent is accused at most once in ``patience`` answers on
average. Lies of several sizes are averaged, so that small ones are found as well as big ones.

What then happens is an :class:`Event`. If a power curve ``confidence ** power``, fitted to its looks and answers since
it went wrong, explains the outcomes, that is how the agent is read from now on (*recalibrated*); if none does and its
confidence no longer tells right from wrong, its word is no longer heard (*demoted*) and it is taken as it is on
average. An agent that keeps breaking is left out (*broken*), until it is found to work again (*restored*).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from disrouter.competence import Competence
from disrouter.errors import UsageError
from disrouter.online.feedback import Beliefs, Feedback, band_of

__all__ = ["PATIENCE", "POWERS", "SLACK", "Auditor", "Event", "EventKind", "Record"]

Floats = NDArray[np.float64]

PATIENCE = 5_000.0
"""Answers between two false accusations of one honest agent, at least, on average."""

SLACK = 0.03
"""An agent may overstate its chances by this much: hardly any card is more exact."""

LIES = (2.0, 4.0, 8.0)
"""Powers of the lies that are bet on."""

POWERS = tuple(2.0 ** (k / 4) for k in range(-12, 17))
"""Curves tried: from 1/8 to 16."""

WINDOW = 400
"""Looks per agent that are kept to fit a curve to."""

FEWEST = 40
"""Answers of which, and of which at least a tenth right or wrong, before anything is concluded from them."""

_GAIN, _LEAST = 6.0, 2.0
"""Log-likelihood that a curve must gain to be believed, and how far it must be from the one before: less than that is
no lie but an inexact card, which is for refreshing."""

_BROKEN, _FADE = 0.6, 0.85

EventKind = Literal["recalibrated", "demoted", "broken", "restored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something the audit found and did."""

    query: int
    """After how many queries."""

    agent: str
    kind: EventKind
    why: str
    before: float
    """Power of the curve before; of a broken or restored agent its share of failures."""

    after: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for logs."""
        return asdict(self)

    def __str__(self) -> str:
        return f"query {self.query}: {self.agent} {self.kind}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """What the audit keeps of one agent; bounded."""

    power: float = 1.0
    heard: bool = True
    failures: float = 0.0
    """Share of the last looks that broke."""

    out: bool = False
    """Left out because it keeps breaking."""

    wealth: tuple[float, ...] = (1.0,) * len(LIES)
    begun: tuple[int, ...] = (0,) * len(LIES)
    """Looks since each bet began."""

    stated: Floats = field(default_factory=lambda: np.empty(0))
    """Its own words at the last looks as it said them; NaN where it said none."""

    others: Floats = field(default_factory=lambda: np.empty((0, 0)))
    """Belief about difficulty without its word, shape (n, Z)."""

    score: Floats = field(default_factory=lambda: np.empty(0))
    """What its answers were worth; NaN where it did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Auditor:
    """The records of all agents. Frozen: :meth:`seen` returns the next auditor and what it found."""

    records: Mapping[str, Record]
    patience: float = PATIENCE
    slack: float = SLACK
    queries: int = 0

    @classmethod
    def of(cls, agents: Iterable[str], *, patience: float = PATIENCE, slack: float = SLACK) -> Auditor:
        """Return an auditor who trusts everybody.

        Raises:
            UsageError: A setting is out of range.
        """
        made = cls(records={name: Record() for name in agents}, patience=patience, slack=slack)
        if not 1.0 < made.patience < math.inf:
            raise UsageError(f"A patience of {made.patience:g} answers is not usable: give a number above 1.")
        if not 0.0 <= made.slack < 1.0:
            raise UsageError(f"A slack of {made.slack:g} is not usable: give a number from 0 to below 1.")
        return made

    @property
    def out(self) -> tuple[str, ...]:
        """Return who is left out."""
        return tuple(name for name, record in self.records.items() if record.out)

    def hear(self, agent: str, confidence: Floats) -> Floats:
        """Return what an agent's words are worth: itself, its curve, or NaN where it is not believed any more."""
        record = self.records.get(agent)
        if record is None or (record.heard and record.power == 1.0):
            return confidence
        return confidence**record.power if record.heard else np.full_like(confidence, np.nan)

    def joined(self, name: str) -> Auditor:
        """Return the auditor with a newcomer, whom he trusts."""
        return replace(self, records={**self.records, name: Record()})

    def seen(
        self, feedback: Feedback, stated: Floats, believed: Beliefs, cards: Mapping[str, Competence]
    ) -> tuple[Auditor, tuple[Event, ...]]:
        """Return the auditor after feedback, and what he found.

        Args:
            feedback: What happened, with the confidences as :meth:`hear` gave them.
            stated: The confidences as the agents said them, shape (A, n).
            believed: What the cards make of the feedback.
            cards: The cards as measured: what a confidence was promised to mean.
        """
        records, events, now = dict(self.records), [], self.queries + len(feedback.agent)
        for a, name in enumerate(feedback.agents):
            record = _looked(records[name], feedback.consulted[a], feedback.failed[a])
            if record.out != records[name].out:
                kind: EventKind = "broken" if record.out else "restored"
                why = f"{record.failures:.0%} of its last looks broke"
                was = records[name].failures
                events.append(Event(query=now, agent=name, kind=kind, why=why, before=was, after=record.failures))
            looks = np.flatnonzero(feedback.consulted[a])
            if len(looks):
                score = np.where(feedback.agent[looks] == a, feedback.score[looks], np.nan)
                others = believed.without(a)[:, looks].T
                record = _went_on(record, cards[name], stated[a, looks], others, score, self.slack)
                if float(np.mean(record.wealth)) >= self.patience:
                    record, found = _judged(record, name, cards[name], now)
                    events.extend(found)
            records[name] = record
        return replace(self, records=records, queries=now), tuple(events)

    def to_json(self) -> dict[str, Any]:
        """Return what the auditor holds of everybody, without the answers he keeps to fit curves to."""
        kept = ("power", "heard", "failures", "out", "wealth", "begun")
        return {
            "patience": self.patience,
            "slack": self.slack,
            "queries": self.queries,
            "records": {name: {what: getattr(r, what) for what in kept} for name, r in self.records.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Auditor:
        """Return the auditor of :meth:`to_json`; bets under way begin anew, for their answers are gone.

        Raises:
            UsageError: The state is not whole.
        """
        try:
            records = {
                str(name): Record(
                    power=float(record["power"]),
                    heard=bool(record["heard"]),
                    failures=float(record["failures"]),
                    out=bool(record["out"]),
                )
                for name, record in value["records"].items()
            }
            return cls(
                records=records,
                patience=float(value["patience"]),
                slack=float(value["slack"]),
                queries=int(value["queries"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise UsageError(f"The auditor's state cannot be used: {exc!r}.", hint="start afresh") from exc


def _looked(record: Record, consulted: NDArray[np.bool_], failed: NDArray[np.bool_]) -> Record:
    """Return the record after the looks, broken or not, in their order."""
    failures, out = record.failures, record.out
    for broke in failed[consulted | failed].tolist():
        failures = _FADE * failures + (1.0 - _FADE) * broke
        out = failures >= _BROKEN if not out else failures >= _BROKEN / 2
    return replace(record, failures=failures, out=out)


def _went_on(record: Record, card: Competence, stated: Floats, others: Floats, score: Floats, slack: float) -> Record:
    """Return the record after looks and answers: every bet goes on, and what was seen is kept."""
    wealth, begun = list(record.wealth), list(record.begun)
    if record.heard and not np.isnan(stated).all():
        honest = np.clip(_chances(card, stated**record.power, others) - slack, 0.01, 0.99)
        for k, lie in enumerate(LIES):
            # Never above the honest chance: then keeping more than one's word can only lose the bet.
            lied = np.clip(_chances(card, stated ** (record.power * lie), others) - slack, 0.01, honest)
            gains = np.where(np.isnan(score + stated), 1.0, (score * lied + (1 - score) * (1 - lied)))
            gains /= np.where(np.isnan(score + stated), 1.0, (score * honest + (1 - score) * (1 - honest)))
            for gain in gains.tolist():
                if wealth[k] <= 1.0:  # the bet begins anew
                    wealth[k], begun[k] = 1.0, 0
                wealth[k] *= gain
                begun[k] += 1
    return replace(
        record,
        wealth=tuple(wealth),
        begun=tuple(begun),
        stated=np.concatenate([record.stated, stated])[-WINDOW:],
        others=(np.concatenate([record.others, others]) if record.others.size else others)[-WINDOW:],
        score=np.concatenate([record.score, score])[-WINDOW:],
    )


def _judged(record: Record, name: str, card: Competence, now: int) -> tuple[Record, list[Event]]:
    """Return the record of an accused agent and what was done, or the same record while too little is known."""
    # What the winning bet has seen since it began is taken to be after the change.
    since = min(record.begun[int(np.argmax(record.wealth))], len(record.score))
    stated, score, others = record.stated[-since:], record.score[-since:], record.others[-since:]
    answered = ~np.isnan(score + stated)
    count = int(answered.sum())
    if count < FEWEST:
        return record, []
    words = [_words(card, stated**power, others) for power in POWERS]
    outcomes = [_outcomes(card, (stated**power)[answered], others[answered], score[answered]) for power in POWERS]
    gain = np.array(outcomes) - _outcomes(card, (stated**record.power)[answered], others[answered], score[answered])
    # A curve must explain the outcomes; among those that do, how the agent spoke decides too.
    believable = (gain >= _GAIN) & (np.abs(np.log(np.array(POWERS) / record.power)) >= math.log(_LEAST))
    best = int(np.argmax(np.where(believable, gain + np.array(words), -np.inf)))
    power = POWERS[best]
    fresh = replace(record, wealth=(1.0,) * len(LIES), begun=(0,) * len(LIES))
    kept = f"of {count} answers {score[answered].mean():.0%} were right"
    if not believable.any():
        # No curve explains it: the agent itself has become worse, which is for refreshed cards to learn.
        area = _area(stated[answered], score[answered])
        if area is None or area[0] + 2 * area[1] >= 0.6 or not record.heard:
            return fresh, []
        why = f"{kept}, and its confidence does not tell which (area under the curve {area[0]:.2f})"
        return replace(fresh, heard=False), [
            Event(query=now, agent=name, kind="demoted", why=why, before=record.power, after=0.0)
        ]
    why = f"{kept}; its confidence is now read as confidence ** {power:.2g}"
    empty = Record().others
    return replace(fresh, power=power, stated=np.empty(0), others=empty, score=np.empty(0)), [
        Event(query=now, agent=name, kind="recalibrated", why=why, before=record.power, after=power)
    ]


def _chances(card: Competence, confidence: Floats, others: Floats) -> Floats:
    """Return the chance to be right had the agent said this, given what the others' words made of the queries."""
    band = band_of(card, confidence)
    joint = others * np.array(card.speaks)[:, band].T
    joint /= np.maximum(joint.sum(axis=1, keepdims=True), 1e-12)
    chances: Floats = (joint * np.array(card.solves)[:, band].T).sum(axis=1)
    return chances


def _outcomes(card: Competence, confidence: Floats, others: Floats, score: Floats) -> float:
    """Return the log-likelihood of scores had the agent said this."""
    chance = np.clip(_chances(card, confidence, others), 0.01, 0.99)
    return float((score * np.log(chance) + (1.0 - score) * np.log(1.0 - chance)).sum())


def _words(card: Competence, confidence: Floats, others: Floats) -> float:
    """Return the log-likelihood of what the agent said."""
    said = ~np.isnan(confidence)
    speaks = np.array(card.speaks)[:, band_of(card, confidence[said])].T
    return float(np.log(np.maximum((others[said] * speaks).sum(axis=1), 1e-6)).sum())


def _area(stated: Floats, score: Floats) -> tuple[float, float] | None:
    """Return the area under the curve of confidence against right and its standard error (Hanley and McNeil 1982)."""
    right, wrong = stated[score >= 0.5], stated[score < 0.5]
    if min(len(right), len(wrong)) < FEWEST / 10:
        return None
    more = (right[:, None] > wrong).mean() + 0.5 * (right[:, None] == wrong).mean()
    first, second = more / (2 - more), 2 * more**2 / (1 + more)
    spread = more * (1 - more) + (len(right) - 1) * (first - more**2) + (len(wrong) - 1) * (second - more**2)
    return float(more), float(math.sqrt(max(spread, 0.0) / (len(right) * len(wrong))))
