"""The catalogue: where each of the paper's datasets lives, which of its splits serves as what, and how it is graded.

Splits and columns as on the hub in 2025. ``ucinlp/drop`` runs the answers of several annotators together, so that
DROP's own rule cannot be applied; ``EleutherAI/drop`` keeps them apart. ``dvilares/head_qa`` is a loading script, which
``datasets`` no longer runs; ``EleutherAI/headqa`` has the same rows as files. MMLU's ``auxiliary_train`` is not MMLU
but questions of ARC, OpenBookQA, RACE and others, so ``dev`` and ``validation`` are for training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from disrouter.evaluation.hub import readers
from disrouter.evaluation.hub.readers import Question
from disrouter.evaluation.hub.rows import Row
from disrouter.types import Message, Query

__all__ = ["DATASETS", "Example", "HubDataset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One usable row of a dataset."""

    query: Query
    worked: str | None
    """A worked solution in the answer template, where the dataset has one."""

    group: str
    """Passage, or question where there is none: what must not be shared between splits that we carve ourselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubDataset:
    """One dataset: everything that is particular about it."""

    name: str
    domain: Literal["in", "out"]
    """In, or out of, the domain of self-awareness training, as in the paper."""

    path: str
    """Repository on the hub."""

    config: str | None = None
    converted: bool = False
    """Read the hub's Parquet copy (``refs/convert/parquet``): the repository is a script, which no longer runs."""

    train: tuple[str, ...] = ("train",)
    validation: str | None = None
    """None: one in ten of the training questions, chosen by a hash, because the dataset has too few labelled splits."""

    test: str = "test"

    read: Callable[[Row], Question | None]
    worked: Callable[[Row], str] | None = None
    grader: str
    ending: str = "`A: <letter>`"
    """What the last line of an answer shall be."""

    def example(self, row: Row) -> Example | None:
        """Return a row as a query of one user message, or None if it cannot be judged.

        The id is the dataset's name and a hash of passage, question and options: it depends neither on the order of
        rows nor on the wording of the answer template, and the same question in two splits has the same id.

        Raises:
            DataError: The row is not what it should be; the message names dataset, row and column.
        """
        question = self.read(row)
        if question is None:
            return None
        prompt = f"{question.body}\n\nReason step by step and end with a line {self.ending}."
        query = Query(
            id=f"{self.name}-{blake2b(question.body.encode(), digest_size=8).hexdigest()}",
            messages=(Message("user", prompt),),
            reference=question.reference,
            dataset=self.name,
        )
        worked = self.worked(row) if self.worked is not None else None
        return Example(query=query, worked=worked, group=question.passage or question.body)


_ALL = (
    HubDataset(
        name="gsm8k",
        domain="in",
        path="openai/gsm8k",
        config="main",
        read=readers.gsm8k,
        worked=readers.gsm8k_worked,
        grader="numeric",
        ending="`A: <number>`",
    ),
    HubDataset(
        name="arc",
        domain="in",
        path="allenai/ai2_arc",
        config="ARC-Challenge",
        validation="validation",
        read=readers.arc,
        grader="choice",
    ),
    HubDataset(
        name="mmlu",
        domain="in",
        path="cais/mmlu",
        config="all",
        train=("dev", "validation"),
        read=readers.mmlu,
        grader="choice",
    ),
    HubDataset(
        name="race",
        domain="in",
        path="ehovy/race",
        config="all",
        validation="validation",
        read=readers.race,
        grader="choice",
    ),
    HubDataset(
        name="openbookqa",
        domain="in",
        path="allenai/openbookqa",
        config="main",
        validation="validation",
        read=readers.openbookqa,
        grader="choice",
    ),
    HubDataset(
        name="drop",
        domain="in",
        path="EleutherAI/drop",
        test="validation",
        read=readers.drop,
        grader="drop",
        ending="`A: <answer>`, several answers separated by semicolons",
    ),
    HubDataset(
        name="cosmosqa",
        domain="in",
        path="allenai/cosmos_qa",
        converted=True,
        test="validation",
        read=readers.cosmosqa,
        grader="choice",
    ),
    HubDataset(
        name="squad",
        domain="out",
        path="rajpurkar/squad",
        test="validation",
        read=readers.squad,
        grader="span_f1",
        ending="`A: <answer>`, in words of the text",
    ),
    HubDataset(
        name="hellaswag",
        domain="out",
        path="Rowan/hellaswag",
        converted=True,
        test="validation",
        read=readers.hellaswag,
        grader="choice",
    ),
    HubDataset(
        name="headqa",
        domain="out",
        path="EleutherAI/headqa",
        config="en",
        validation="validation",
        read=readers.headqa,
        grader="choice",
    ),
)

DATASETS: dict[str, HubDataset] = {dataset.name: dataset for dataset in _ALL}
"""The paper's ten datasets by name."""
