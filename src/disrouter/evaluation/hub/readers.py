"""Readers: what a row of each of the paper's datasets asks, and its right answer.

A reader is a pure function of a row. It returns None for a row that nobody could be judged on (no public reference, no
answer, a picture that belongs to the question), and raises :class:`~disrouter.errors.DataError` for a row that is not
what its dataset says it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from disrouter.evaluation.hub.rows import Row

__all__ = [
    "Question",
    "arc",
    "cosmosqa",
    "drop",
    "gsm8k",
    "gsm8k_worked",
    "headqa",
    "hellaswag",
    "mmlu",
    "openbookqa",
    "race",
    "squad",
]

_CALCULATION = re.compile(r"<<[^>]*>>")
_FINAL_NUMBER = re.compile(r"\n*####\s*(-?\d[\d.,]*)\s*$")
_BRACKETS = re.compile(r"\[[^\]]*\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a row asks."""

    text: str
    reference: str
    """The right answer in the form that the dataset's grader reads."""

    passage: str | None = None
    """What has to be read first; often shared by several questions."""

    options: tuple[str, ...] = ()
    """Lettered A, B, … in this order."""

    @property
    def body(self) -> str:
        """Passage, question and lettered options as one text."""
        options = (f"{letter}. {option}" for letter, option in zip(ascii_uppercase, self.options, strict=False))
        asked = "\n".join([self.text, *options])
        return f"{self.passage}\n\n{asked}" if self.passage else asked


def gsm8k(row: Row) -> Question:
    """Read ``question`` and ``answer``, whose last line is ``#### number``."""
    final = _FINAL_NUMBER.search(row.text("answer"))
    if final is None:
        raise row.wrong("answer", "a solution with a last line '#### number' is wanted")
    return Question(text=row.text("question"), reference=final[1])


def gsm8k_worked(row: Row) -> str:
    """Return the solution without its ``<<…>>`` calculator marks, ``#### number`` turned into ``A: number``."""
    return _FINAL_NUMBER.sub(r"\nA: \1", _CALCULATION.sub("", row.text("answer")))


def arc(row: Row) -> Question:
    """Read ``question``, ``choices`` (lists ``text`` and ``label``) and ``answerKey``."""
    return _labelled(row, "question")


def openbookqa(row: Row) -> Question:
    """Read ``question_stem``, ``choices`` (lists ``text`` and ``label``) and ``answerKey``."""
    return _labelled(row, "question_stem")


def mmlu(row: Row) -> Question:
    """Read ``question``, ``choices`` (a list of texts) and ``answer`` (0 for the first)."""
    return _chosen(row, row.text("question"), row.texts("choices"), "answer", row.whole("answer"))


def race(row: Row) -> Question:
    """Read ``article``, ``question``, ``options`` (a list of texts) and ``answer`` (a letter)."""
    index = _index_of(row.text("answer"), ascii_uppercase)
    return _chosen(row, row.text("question"), row.texts("options"), "answer", index, passage=row.text("article"))


def cosmosqa(row: Row) -> Question | None:
    """Read ``context``, ``question``, ``answer0`` … ``answer3`` and ``label`` (0 for the first, -1 if not public)."""
    if row.whole("label") == -1:
        return None
    options = [row.text(f"answer{index}") for index in range(4)]
    return _chosen(row, row.text("question"), options, "label", row.whole("label"), passage=row.text("context"))


def hellaswag(row: Row) -> Question | None:
    """Read ``activity_label``, ``ctx``, ``endings`` and ``label`` (``"0"`` for the first, ``""`` if not public).

    Marks such as ``[step]``, left over from the web pages that the texts come from, are taken out.
    """
    if not row.text("label"):
        return None
    return _chosen(
        row,
        "Which of these goes on best from there?",
        [_without_marks(ending) for ending in row.texts("endings")],
        "label",
        _index_of(row.text("label"), "0123456789"),
        passage=f"{row.text('activity_label')}: {_without_marks(row.text('ctx'))}",
    )


def headqa(row: Row) -> Question | None:
    """Read ``qtext``, ``answers`` (rows of ``aid`` and ``atext``) and ``ra``, the ``aid`` of the right answer.

    A question about a picture (column ``image``, where there is one) is left out: agents read text.
    """
    if row.values.get("image"):
        return None
    answers = row.rows("answers")
    index = _index_of(row.whole("ra"), [answer.whole("aid") for answer in answers])
    return _chosen(row, row.text("qtext"), [answer.text("atext") for answer in answers], "ra", index)


def squad(row: Row) -> Question | None:
    """Read ``context``, ``question`` and ``answers`` (a list ``text``, empty if the text does not say)."""
    answers = list(dict.fromkeys(row.texts("answers.text")))
    if not answers:
        return None
    return Question(
        text=row.text("question"), passage=row.text("context"), reference=json.dumps(answers, ensure_ascii=False)
    )


def drop(row: Row) -> Question | None:
    """Read ``passage``, ``question``, ``answer`` and ``validated_answers``, those of further annotators.

    An answer is a ``number``, or a list of ``spans``, or a ``date`` of ``day``, ``month`` and ``year``; what it is not
    is empty. The same answer by several annotators counts once.
    """
    annotated = (row.nested("answer"), *row.transposed("validated_answers"))
    answers = list(dict.fromkeys(spans for answer in annotated if (spans := _drop_spans(answer))))
    if not answers:
        return None
    return Question(
        text=row.text("question"),
        passage=row.text("passage"),
        reference=json.dumps(answers, ensure_ascii=False),
    )


def _drop_spans(answer: Row) -> tuple[str, ...]:
    """Return the spans of one annotator's answer; none if it is empty, as where nobody validated."""
    number, spans = answer.text("number"), answer.texts("spans")
    date = " ".join(answer.text(f"date.{part}") for part in ("day", "month", "year")).strip()
    return next((kind for kind in ((number,), spans, (date,)) if any(kind)), ())


def _labelled(row: Row, question: str) -> Question:
    """Read a question whose options have labels of their own (A, B, … or 1, 2, …), which become letters."""
    index = _index_of(row.text("answerKey"), row.texts("choices.label"))
    return _chosen(row, row.text(question), row.texts("choices.text"), "answerKey", index)


def _chosen(
    row: Row, text: str, options: Sequence[str], column: str, index: int | None, *, passage: str | None = None
) -> Question:
    """Return a question whose right option is the one at ``index``, as ``column`` says."""
    if index is None or not 0 <= index < len(options):
        raise row.wrong(column, f"one of the {len(options)} options is wanted")
    return Question(text=text, passage=passage, options=tuple(options), reference=ascii_uppercase[index])


def _index_of(item: object, items: Sequence[object]) -> int | None:
    each = tuple(items)  # a text becomes its letters: "AB" is none of them
    return each.index(item) if item in each else None


def _without_marks(text: str) -> str:
    return " ".join(_BRACKETS.sub(" ", text.replace(" [title]", ".")).split())
