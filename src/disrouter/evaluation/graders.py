r"""Graders: how right an answer is, from 0 to 1, against a reference.

All of them look for the answer after an answer mark (``A:``, ``Answer:``, ``####``, ``the answer is``, ``\boxed{``),
the last one if there are several, so that reasoning before it does not count.

A query has one reference text. Where several answers are right (``exact``, ``span_f1``, ``drop``) it is a JSON list.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from disrouter.errors import DataError, UnknownNameError
from disrouter.evaluation._spans import drop_f1, squad_f1

__all__ = [
    "GRADERS",
    "Grader",
    "choice",
    "drop",
    "exact",
    "final_part",
    "grader_of",
    "number_in",
    "numeric",
    "references_of",
    "span_f1",
]

Grader = Callable[[str, str], float]
"""``(text, reference) -> score``: 1.0 right, 0.0 wrong, between them where an answer can be partly right."""

# "A:" opens a line; inside a line it may be the end of "Option A: ..." or of an initial.
_MARK = re.compile(r"(?:^[ \t]*A:|\banswer\s*:|\banswer\s+is\b\s*:?|####|\\boxed\{)", re.IGNORECASE | re.MULTILINE)

_NUMBER = re.compile(r"(?<![\w.])[-+−]?\s?[$€£]?\s?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?:[eE][-+]?\d+)?")

_LETTER = re.compile(r"(?<![A-Za-z])\(?([A-Z])\)?(?![A-Za-z'’])")


def final_part(text: str) -> str:
    r"""Return what follows the last answer mark, or the whole text if there is none.

    >>> final_part("3 + 4 = 7\nA: 7")
    '7'
    """
    marks = list(_MARK.finditer(text))
    return (text[marks[-1].end() :] if marks else text).strip()


def references_of(reference: str) -> tuple[str, ...]:
    """Return the texts of a JSON list of texts, any of which is right; whatever else it is, a text is one reference.

    >>> references_of('["York", "the city of York"]'), references_of("York"), references_of("[1, 2]")
    (('York', 'the city of York'), ('York',), ('[1, 2]',))
    """
    texts = _json_list(reference)
    return tuple(texts) if texts and all(isinstance(text, str) for text in texts) else (reference,)


def exact(text: str, reference: str) -> float:
    """Say whether the final part equals the reference, ignoring case, punctuation at the ends and extra spaces.

    Several references are a JSON list of texts, see :func:`references_of`; to equal one of them is enough.
    """
    part = _normalised(final_part(text))
    return float(any(part == _normalised(one) for one in references_of(reference)))


def span_f1(text: str, reference: str) -> float:
    """Return the token F1 in [0, 1] of the final part: the best over the references, as SQuAD counts it.

    Several references are a JSON list of texts, see :func:`references_of`.
    """
    part = final_part(text)
    return max(squad_f1(part, one) for one in references_of(reference))


def drop(text: str, reference: str) -> float:
    """Return DROP's F1 in [0, 1] of the final part, whose spans are separated by semicolons: the best over the answers.

    The reference is a JSON list of answers, each of them a list of spans that belong together:
    ``[["Schilens", "Russell"], ["Schilens"]]``. A number or a date is one span.

    Raises:
        DataError: The reference is no such list.
    """
    answers = _json_list(reference)
    if not answers or not all(isinstance(a, list) and a and all(isinstance(s, str) for s in a) for a in answers):
        raise DataError(
            f"The reference '{reference}' is not a JSON list of lists of spans.",
            hint='write [["first span", "second"]]',
        )
    spans = [span for span in final_part(text).split(";") if span.strip()] or [""]
    return max(drop_f1(spans, answer) for answer in answers)


def number_in(text: str) -> Decimal | None:
    """Return the last number of a text, or None.

    Thousands separators, currency signs and signs are understood; ``1/2`` is two numbers.

    >>> number_in("$1,200.50 in all.")
    Decimal('1200.50')
    """
    found = [m.group() for m in _NUMBER.finditer(text) if any(c.isdigit() for c in m.group())]
    if not found:
        return None
    plain = re.sub(r"[,$€£\s]", "", found[-1]).replace("−", "-")
    try:
        return Decimal(plain)
    except InvalidOperation:
        return None


def numeric(text: str, reference: str) -> float:
    """Say whether the last number of the final part equals the reference's, exactly (``3`` is ``3.0``).

    Raises:
        DataError: The reference holds no number.
    """
    wanted = number_in(reference)
    if wanted is None:
        raise DataError(f"The reference '{reference}' holds no number.", hint="use grader 'exact' for words")
    return float(number_in(final_part(text)) == wanted)


def choice(text: str, reference: str) -> float:
    """Say whether the chosen letter is the reference's: the first single capital of the final part.

    Without an answer mark the last one counts, since options may be discussed before one is chosen.

    Raises:
        DataError: The reference is not one letter.
    """
    wanted = reference.strip().strip("().").upper()
    if len(wanted) != 1 or wanted not in string.ascii_uppercase:
        raise DataError(f"The reference '{reference}' is not one letter.", hint="use grader 'exact' for words")
    part = final_part(text)
    letters: list[str] = _LETTER.findall(part)
    if not letters:
        # Models that write in lower case: only a bare letter counts, never a word.
        return float(part.strip("().").upper() == wanted)
    return float((letters[0] if part != text.strip() else letters[-1]) == wanted)


GRADERS: dict[str, Grader] = {"exact": exact, "numeric": numeric, "choice": choice, "span_f1": span_f1, "drop": drop}
"""The generic graders by name."""


def grader_of(name: str) -> Grader:
    """Return a grader by name.

    Raises:
        UnknownNameError: No grader has that name.
    """
    if name not in GRADERS:
        raise UnknownNameError.of("grader", name, GRADERS)
    return GRADERS[name]


def _json_list(text: str) -> list[Any] | None:
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, list) else None


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split()).strip(string.punctuation + " ")
