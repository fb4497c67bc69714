r"""Graders: how right an answer is, from 0 to 1, against a reference.

All of them look for the answer after an answer mark (``A:``, ``Answer:``, ``####``, ``the answer is``, ``\boxed{``),
the last one if there are several, so that reasoning before it does not count.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from disrouter.errors import DataError, UnknownNameError

__all__ = ["GRADERS", "Grader", "choice", "exact", "final_part", "grader_of", "number_in", "numeric"]

Grader = Callable[[str, str], float]
"""``(text, reference) -> score``: 1.0 right, 0.0 wrong."""

# "A:" opens a line; inside a line it may be the end of "Option A: ..." or of an initial.
_MARK = re.compile(r"(?:^[ \t]*A:|\banswer\s*:|\banswer\s+is\b\s*:?|####|\\boxed\{)", re.IGNORECASE | re.MULTILINE)

_NUMBER = re.compile(r"(?<![\w.])[-+−]?\s?[$€£]?\s?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?:[eE][-+]?\d+)?")

_LETTER = re.compile(r"(?<![A-Za-z])\(?([A-Z])\)?(?![A-Za-z'’])")


def final_part(text: str) -> str:
    r"""Return what follows the last answer mark, or the whole text if there is none.

    >>> final_part("3 + 4 = 7\\nA: 7")
    '7'
    """
    marks = list(_MARK.finditer(text))
    return (text[marks[-1].end() :] if marks else text).strip()


def exact(text: str, reference: str) -> float:
    """Say whether the final part equals the reference, ignoring case, punctuation at the ends and extra spaces."""
    return float(_normalised(final_part(text)) == _normalised(reference))


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


GRADERS: dict[str, Grader] = {"exact": exact, "numeric": numeric, "choice": choice}
"""The generic graders by name."""


def grader_of(name: str) -> Grader:
    """Return a grader by name.

    Raises:
        UnknownNameError: No grader has that name.
    """
    if name not in GRADERS:
        raise UnknownNameError.of("grader", name, GRADERS)
    return GRADERS[name]


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split()).strip(string.punctuation + " ")
