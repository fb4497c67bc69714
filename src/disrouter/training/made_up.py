"""Made-up questions in the schemas of the paper's datasets, for rehearsals where those are not at hand.

Every row goes through its dataset's own reader, prompt and grader. It says nothing of how hard the real ones are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Literal

from disrouter.errors import DataError
from disrouter.evaluation.graders import grader_of
from disrouter.evaluation.hub.catalogue import DATASETS, Example
from disrouter.evaluation.hub.rows import Row
from disrouter.evaluation.hub.suite import SUITES
from disrouter.types import Query

__all__ = ["MadeUpSuite"]

_NAMES = ("Ann", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "Jo", "Kim", "Lee")
_THINGS = ("apples", "books", "coins", "drums", "eggs", "forks", "globes", "hats", "inks", "jars", "kites")
_FIRST = {"train": 0, "validation": 1000, "test": 2000}
"""Number of the first question of each split."""


@dataclass(frozen=True, slots=True)
class MadeUpSuite:
    """As many questions as one likes, in place of the hub suite of the same name."""

    name: str

    def queries(
        self, domain: str, seed: int, n: int, *, split: Literal["train", "validation", "test"] = "test"
    ) -> list[Query]:
        """Return ``n`` queries of a domain; datasets take turns. Another seed gives no others.

        Raises:
            DataError: The suite has no dataset of that domain.
        """
        members = [name for name in SUITES[self.name] if DATASETS[name].domain == domain]
        if not members:
            raise DataError(f"Suite '{self.name}' has no dataset of domain '{domain}'.", hint="name another domain")
        first = _FIRST[split]
        return [_example(name, first + number).query for number, name in enumerate(islice(cycle(members), n))]

    def grade(self, query: Query, text: str) -> float:
        """Return the score that the grader of the query's dataset gives."""
        if query.reference is None or query.dataset is None:
            raise DataError(f"Query '{query.id}' is not of suite '{self.name}'.", hint="grade its own queries only")
        return grader_of(DATASETS[query.dataset].grader)(text, query.reference)

    def worked(self, query: Query) -> str | None:
        """Return the worked solution of a question whose dataset has them."""
        if query.dataset is None or DATASETS[query.dataset].worked is None:
            return None
        every = (_example(query.dataset, first + number) for first in _FIRST.values() for number in range(1000))
        return next((example.worked for example in every if example.query.id == query.id), None)


def _example(dataset: str, number: int) -> Example:
    example = DATASETS[dataset].example(Row(f"Made-up row {number} of '{dataset}'", _ROWS[dataset](number)))
    assert example is not None  # every made-up row has an answer
    return example


def _scene(number: int) -> tuple[str, str, int, int]:
    """Return a name, things, how many there are and how many more come."""
    return _NAMES[number % len(_NAMES)], _THINGS[number % len(_THINGS)], 2 + number, 3 + number % 7


def _options(number: int) -> tuple[list[str], int]:
    """Return four sums and the place of the right one."""
    _, things, many, more = _scene(number)
    place = number % 4
    return [f"{many + more + other - place} {things}" for other in range(4)], place


def _story(number: int) -> str:
    name, things, many, more = _scene(number)
    return f"{name} has {many} {things} and buys {more} more of them at the market."


def _gsm8k(number: int) -> dict[str, Any]:
    name, things, many, more = _scene(number)
    total = many + more
    return {
        "question": f"{_story(number)} How many {things} does {name} have then?",
        "answer": f"{name} has {many}+{more}=<<{many}+{more}={total}>>{total} {things}.\n#### {total}",
    }


def _labelled(question: str) -> Callable[[int], dict[str, Any]]:
    def row(number: int) -> dict[str, Any]:
        options, place = _options(number)
        return {
            question: f"{_story(number)} What is there then?",
            "choices": {"text": options, "label": list("ABCD")},
            "answerKey": "ABCD"[place],
        }

    return row


def _mmlu(number: int) -> dict[str, Any]:
    options, place = _options(number)
    return {"question": f"{_story(number)} What is there then?", "choices": options, "answer": place}


def _race(number: int) -> dict[str, Any]:
    options, place = _options(number)
    return {"article": _story(number), "question": "Then there are _ .", "options": options, "answer": "ABCD"[place]}


def _drop(number: int) -> dict[str, Any]:
    _, things, many, more = _scene(number)
    date = dict.fromkeys(("day", "month", "year"), "")
    return {
        "passage": _story(number),
        "question": f"How many {things} are there then?",
        "answer": {"number": str(many + more), "date": date, "spans": []},
        "validated_answers": {"number": [], "date": [], "spans": []},
    }


def _cosmosqa(number: int) -> dict[str, Any]:
    options, place = _options(number)
    answers = {f"answer{index}": option for index, option in enumerate(options)}
    return {"context": _story(number), "question": "What may be there then?", **answers, "label": place}


def _squad(number: int) -> dict[str, Any]:
    name, things, _, _ = _scene(number)
    return {"context": _story(number), "question": f"Who has {things}?", "answers": {"text": [name]}}


def _hellaswag(number: int) -> dict[str, Any]:
    options, place = _options(number)
    endings = [f"then there are {option}." for option in options]
    return {"activity_label": "Shopping", "ctx": _story(number), "endings": endings, "label": str(place)}


def _headqa(number: int) -> dict[str, Any]:
    options, place = _options(number)
    answers = [{"aid": index + 1, "atext": option} for index, option in enumerate(options)]
    return {"qtext": f"{_story(number)} What is there then?", "answers": answers, "ra": place + 1}


_ROWS: dict[str, Callable[[int], dict[str, Any]]] = {
    "gsm8k": _gsm8k,
    "arc": _labelled("question"),
    "mmlu": _mmlu,
    "race": _race,
    "openbookqa": _labelled("question_stem"),
    "drop": _drop,
    "cosmosqa": _cosmosqa,
    "squad": _squad,
    "hellaswag": _hellaswag,
    "headqa": _headqa,
}
