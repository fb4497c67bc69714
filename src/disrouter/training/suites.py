"""Suites to train on: what training needs of one, and where it finds it by name."""

from __future__ import annotations

from typing import Literal, Protocol, cast

from disrouter.evaluation.suites import suite_of
from disrouter.types import Query

__all__ = ["TrainingSuite", "training_suite"]


class TrainingSuite(Protocol):
    """What training needs of a suite: queries of its three splits and a grader.

    A suite may also have ``worked(query)``, the worked solution of a query or None, and ``replay(count, seed)``, text
    that keeps an ability and teaches no decision.
    """

    @property
    def name(self) -> str: ...

    def queries(
        self, domain: str, seed: int, n: int, *, split: Literal["train", "validation", "test"] = "test"
    ) -> list[Query]:
        """Return up to ``n`` queries of a split."""
        ...

    def grade(self, query: Query, text: str) -> float:
        """Return the quality of an answer in [0, 1]."""
        ...


def training_suite(name: str) -> TrainingSuite:
    """Return the suite of a name, to train on.

    Raises:
        UnknownNameError: No suite has that name.
        DataError: Its file or folder is not there.
    """
    # A suite without a train split says so when it is asked for one.
    return cast(TrainingSuite, suite_of(name))
