"""How much of a reference's words an answer found: the token F1 of SQuAD and that of DROP, each by its own rule."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

__all__ = ["drop_f1", "squad_f1"]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_f1(answer: str, reference: str) -> float:
    """Return the token F1 in [0, 1] of an answer, after lower-casing and without punctuation and articles.

    Source: the evaluation script of SQuAD v1.1 (Rajpurkar et al. 2016, §6.1). Two texts of no words at all are equal.

    >>> squad_f1("the city of York", "York")  # one of three words, the only one wanted: 2·(1/3)·1 / (1/3 + 1)
    0.5
    """
    found, wanted = _squad_tokens(answer), _squad_tokens(reference)
    if not found or not wanted:
        return float(found == wanted)
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted))


def drop_f1(spans: Sequence[str], reference: Sequence[str]) -> float:
    """Return the F1 in [0, 1] of an answer's spans against the spans of one reference answer, to two decimals.

    Spans are paired so that the sum of their F1 is largest; a span left over on either side counts as zero. A pair is
    worth the F1 of its two sets of words, but nothing if the reference holds numbers of which none was found.
    Source: the official evaluation script of DROP (Dua et al. 2019, §5), rounding included.
    """
    from scipy.optimize import linear_sum_assignment

    found, wanted = [_drop_words(span) for span in spans], [_drop_words(span) for span in reference]
    pairs = [[_pair_f1(theirs, ours) for ours in found] for theirs in wanted]
    rows, columns = linear_sum_assignment(pairs, maximize=True)
    total = sum(pairs[row][column] for row, column in zip(rows, columns, strict=True))
    return round(total / max(len(found), len(wanted)), 2)


def _squad_tokens(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _drop_words(span: str) -> frozenset[str]:
    """Return the words of a span; ``1,200`` and ``1200.0`` are the same, and a hyphen parts two words."""
    words = (_drop_word(word) for word in re.split(r"[\s-]", span.lower()))
    return frozenset(word for word in words if word)


def _drop_word(word: str) -> str:
    plain = word if _is_number(word) else word.translate(_PUNCTUATION)
    return str(float(plain)) if _is_number(plain) else _ARTICLES.sub("", plain)


def _pair_f1(wanted: frozenset[str], found: frozenset[str]) -> float:
    numbers = {word for word in wanted if _is_number(word)}
    if not wanted or not found:
        return float(wanted == found)
    if numbers and not numbers & found:
        return 0.0
    return 2 * len(wanted & found) / (len(wanted) + len(found))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
