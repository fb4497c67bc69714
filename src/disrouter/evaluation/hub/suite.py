"""The suite of the paper's datasets, and a suite of each one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Literal

from disrouter.errors import DataError, UnknownNameError
from disrouter.evaluation.graders import grader_of
from disrouter.evaluation.hub.catalogue import DATASETS, Example, HubDataset
from disrouter.evaluation.hub.loading import rows_of
from disrouter.seeds import seed_of
from disrouter.types import Query

__all__ = ["SUITES", "HubSuite"]

Split = Literal["train", "validation", "test"]

SUITES: dict[str, tuple[str, ...]] = {"paper": tuple(DATASETS), **{name: (name,) for name in DATASETS}}
"""The datasets of every suite by its name: ``paper`` has all ten, seven in-domain and three out of it."""

_CARVED = 10
"""One in so many training questions is for validation where a dataset has no split of its own for that."""


@dataclass(frozen=True)
class HubSuite:
    """Queries of the paper's datasets, loaded at first use from the hub or from a local folder.

    The folder holds one folder per dataset with files in the hub's schema, ``gsm8k/train*.parquet`` or ``.jsonl``.
    A question that stands in several splits of a dataset is in the test split only, or else in validation.
    """

    name: str = "paper"
    folder: Path | None = None
    _examples: dict[tuple[str, Split], dict[str, Example]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def queries(self, domain: str, seed: int, n: int, *, split: Split = "test") -> list[Query]:
        """Return ``n`` queries of a domain ("in" or "out") in an order drawn from the seed; fewer if there are no more.

        Datasets take turns, so that each has its equal share as long as it lasts. The order of the files' rows does not
        matter, and a larger ``n`` continues a smaller one.

        Raises:
            UnknownNameError: The suite has no dataset of that domain.
            MissingExtraError: The ``datasets`` library is not installed.
            DataError: ``n`` is below 1, or a dataset cannot be loaded.
        """
        members = [dataset for dataset in self._datasets() if dataset.domain == domain]
        if not members:
            domains = dict.fromkeys(dataset.domain for dataset in self._datasets())
            raise UnknownNameError.of("domain", domain, domains, where=f"suite '{self.name}'")
        if n < 1:
            raise DataError(f"A set of {n} queries is empty.", hint="ask for at least 1")
        ordered = [_shuffled([e.query for e in self._of(member, split).values()], seed) for member in members]
        turns = chain.from_iterable(zip_longest(*ordered))
        return [query for query in turns if query is not None][:n]

    def grade(self, query: Query, text: str) -> float:
        """Return the score in [0, 1] that the grader of the query's dataset gives."""
        if query.reference is None:
            raise DataError(
                f"Query '{query.id}' has no reference to be graded by.", hint="grade the suite's own queries"
            )
        return grader_of(self._dataset_of(query).grader)(text, query.reference)

    def worked(self, query: Query) -> str | None:
        """Return a worked solution of one of the suite's queries, ending as an answer should; None if there is none.

        Raises:
            DataError: The query is not of this suite.
        """
        dataset = self._dataset_of(query)
        if dataset.worked is None:
            return None
        splits: tuple[Split, ...] = ("train", "validation", "test")
        for split in splits:
            if query.id in self._of(dataset, split):
                return self._of(dataset, split)[query.id].worked
        raise self._foreign(query)

    def _datasets(self) -> list[HubDataset]:
        if self.name not in SUITES:
            raise UnknownNameError.of("suite", self.name, SUITES)
        return [DATASETS[name] for name in SUITES[self.name]]

    def _dataset_of(self, query: Query) -> HubDataset:
        for dataset in self._datasets():
            if dataset.name == query.dataset:
                return dataset
        raise self._foreign(query)

    def _foreign(self, query: Query) -> DataError:
        return DataError(
            f"Query '{query.id}' is not of suite '{self.name}'.", hint="give the suite its own queries only"
        )

    def _of(self, dataset: HubDataset, split: Split) -> dict[str, Example]:
        """Return the examples of a split by query id; nothing is loaded twice."""
        key = dataset.name, split
        if key not in self._examples:
            self._examples[key] = self._load(dataset, split)
        return self._examples[key]

    def _load(self, dataset: HubDataset, split: Split) -> dict[str, Example]:
        if split == "test":
            return self._read(dataset, dataset.test)
        taken = set(self._of(dataset, "test"))
        if split == "validation" and dataset.validation is not None:
            found = self._read(dataset, dataset.validation)
        else:
            found = self._read(dataset, *dataset.train)
            if dataset.validation is None:
                found = {id: e for id, e in found.items() if _is_carved(e, dataset) == (split == "validation")}
            else:
                taken |= set(self._of(dataset, "validation"))
        return {id: example for id, example in found.items() if id not in taken}

    def _read(self, dataset: HubDataset, *splits: str) -> dict[str, Example]:
        rows = (row for split in splits for row in rows_of(dataset, split, self.folder))
        found = {example.query.id: example for row in rows if (example := dataset.example(row)) is not None}
        if not found:
            raise DataError(
                f"Dataset '{dataset.name}' has no question with a public answer in split '{splits[0]}'.",
                hint="give it the files that the hub has for that split",
            )
        return found


def _shuffled(queries: list[Query], seed: int) -> list[Query]:
    """Return the queries in an order that depends only on the seed and their ids."""
    return sorted(queries, key=lambda query: (seed_of(seed, "hub", query.id), query.id))


def _is_carved(example: Example, dataset: HubDataset) -> bool:
    """Say whether a training question is for validation: whole passages are, so that no text is on both sides."""
    return seed_of(0, "validation", dataset.name, example.group) % _CARVED == 0
