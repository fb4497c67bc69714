"""The contract of every routing method: it fits on rows, then routes queries it knows only by what it pays for.

A method sees three things, and nothing else:

- while fitting: :class:`Rows` of the train and the validation split, everything in them included;
- while routing: :class:`Queries`, that is ids and texts, and no outcome of any kind;
- on request, and at a price: what an agent thinks of a query, answers to it, or says about its own answer. It asks
  the :class:`~disrouter.baselines.ledger.Ledger`, which charges and remembers every request.

Scores of the queries that are routed are on none of these objects: they are joined to sealed decisions afterwards.

    router = MyRouter()                                  # plain settings only, no work
    fitted = router.fit(train, validation, seed=0)       # chance comes from the seed alone
    agents = fitted.route(queries, scenario, ledger)     # int[n]: places on the agent axis
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from disrouter.errors import DataError
from disrouter.evaluation.outcomes import FloatCube, OutcomeTable
from disrouter.types import Scenario

if TYPE_CHECKING:
    from disrouter.baselines.ledger import Ledger

__all__ = [
    "NEEDS",
    "AgentPlaces",
    "Features",
    "Fitted",
    "Need",
    "Queries",
    "Router",
    "Rows",
    "Seen",
    "Verifications",
    "digest_of",
    "normalised",
]

Need = Literal["confidences", "responses", "features", "verifications"]
"""What a method may ask the ledger for, beyond the texts that everybody sees."""

NEEDS: tuple[Need, ...] = ("confidences", "responses", "features", "verifications")

AgentPlaces = NDArray[np.int64]
"""The agent that answers each query: places on the table's agent axis, shape (n,). Every query gets an agent."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """What one agent's prefill holds of each query (say, pooled hidden states): what a probe reads."""

    agent: str
    values: NDArray[np.float64]
    """Shape (Q, D)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verifications:
    """What agents say about their own answers when they are shown them again and asked a few times."""

    share: FloatCube
    """Share in [0, 1] of the samples that call the answer right, shape (S, A, Q); NaN where nobody asked."""

    cost: FloatCube
    """Normalised cost of all samples together, on top of the answer, shape (S, A, Q)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Everything known about some queries: outcomes, texts, and what else was recorded.

    Raises:
        DataError: Texts or extra columns do not fit the table.
    """

    table: OutcomeTable
    texts: tuple[str, ...]
    """In the table's order of queries."""

    features: Features | None = None
    verifications: Verifications | None = None

    def __post_init__(self) -> None:
        scenarios, agents, queries = self.table.shape
        if len(self.texts) != queries:
            raise DataError(f"There are {len(self.texts)} texts for {queries} queries of the outcome table.")
        if self.features is not None and (self.features.values.ndim != 2 or len(self.features.values) != queries):
            raise DataError(f"Features have shape {self.features.values.shape}, not ({queries}, any).")
        if self.verifications is not None and self.verifications.share.shape != (scenarios, agents, queries):
            raise DataError(f"Verifications have shape {self.verifications.share.shape}, not {self.table.shape}.")

    @property
    def queries(self) -> Queries:
        """What a method sees of these rows when it routes them."""
        return Queries(ids=self.table.query_ids, texts=self.texts)

    @property
    def scenario_free(self) -> bool:
        """Whether outcomes are the same in every scenario, so that any alpha can be asked for."""
        columns = (self.table.score, self.table.answer_cost, self.table.look_cost, self.table.confidence)
        return all(np.array_equal(c, np.broadcast_to(c[:1], c.shape), equal_nan=True) for c in columns)

    def column(self, scenario: Scenario) -> int:
        """Return the place on the scenario axis that holds a scenario's outcomes: its own, else the nearest alpha's."""
        names = [s.name for s in self.table.scenarios]
        if scenario.name in names:
            return names.index(scenario.name)
        return int(np.argmin([abs(s.alpha - scenario.alpha) for s in self.table.scenarios]))

    def select(self, places: NDArray[Any]) -> Rows:
        """Return these queries only (a mask or places), in this order."""
        kept = np.arange(len(self.texts))[places]
        features, verifications = self.features, self.verifications
        return Rows(
            table=self.table.select(queries=kept),
            texts=tuple(self.texts[i] for i in kept),
            features=None if features is None else replace(features, values=features.values[kept]),
            verifications=None
            if verifications is None
            else Verifications(share=verifications.share[:, :, kept], cost=verifications.cost[:, :, kept]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """Queries to route: all that a method is given for nothing."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Which rows a method was fitted on, as fingerprints that the bench compares with the rows it gave out."""

    train: str
    validation: str

    @classmethod
    def of(cls, train: Rows, validation: Rows) -> Seen:
        """Return the fingerprints of the two splits."""
        return cls(train=digest_of(train.texts), validation=digest_of(validation.texts))


@runtime_checkable
class Fitted(Protocol):
    """A method ready to route."""

    @property
    def seen(self) -> Seen:
        """The rows it was fitted on: ``Seen.of(train, validation)``."""
        ...

    def route(self, queries: Queries, scenario: Scenario, ledger: Ledger) -> AgentPlaces:
        """Return for every query the place of the agent whose answer is given.

        The decision on one query must not depend on which other queries are routed beside it. The answering agent is
        charged by itself; everything else the method uses is requested from the ledger, or declared to it with
        ``ledger.charge``. Equal calls give equal answers.
        """
        ...


@runtime_checkable
class Router(Protocol):
    """A routing method and its settings."""

    @property
    def name(self) -> str:
        """In reports and on the command line: lower case, words joined by hyphens."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """What it asks the ledger for. The bench leaves it out, with the reason, where the table lacks that."""
        ...

    def fit(self, train: Rows, validation: Rows, *, seed: int) -> Fitted:
        """Return the method fitted on ``train`` and tuned on ``validation``; it never sees other rows.

        All scenarios of ``train.table.scenarios`` are fitted in one call. Equal calls give equal routes.
        """
        ...


def normalised(text: str) -> str:
    """Return a text without what does not change the question: case, and how words are spaced."""
    return " ".join(text.casefold().split())


def digest_of(texts: Iterable[str]) -> str:
    """Return a fingerprint of texts, whatever their order."""
    hashed = sorted(blake2b(normalised(text).encode(), digest_size=16).digest() for text in texts)
    return blake2b(b"".join(hashed), digest_size=16).hexdigest()
