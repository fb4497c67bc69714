"""The lab's ten skills: seeded generators of problems with worked reasoning and graded difficulty.

Every skill makes a problem of a given level (1 trivial … 8 hopeless for most) from a random generator. A problem has
the question, the reasoning a model learns to write, and the right answer. Seven skills are in-domain; three are
out-of-domain: part of pretraining, but of no self-awareness training.

A worked solution is the reasoning, the mark ``#`` and the answer: ``7+5+0=12 4+8+1=13 #132``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

__all__ = [
    "ANSWER_MARK",
    "ATTRIBUTES",
    "IN_DOMAIN",
    "LEVELS",
    "OUT_OF_DOMAIN",
    "SKILLS",
    "Domain",
    "Problem",
    "Skill",
    "Split",
    "answer_of",
    "split_of",
]

Domain = Literal["in", "out"]
Split = Literal["train", "validation", "test"]

ANSWER_MARK = "#"
LEVELS = range(1, 9)

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Problem:
    """One question of a skill with its worked solution."""

    skill: str
    level: int
    question: str
    reasoning: str
    answer: str

    @property
    def solution(self) -> str:
        """The text a model learns to write: reasoning, answer mark, answer."""
        return f"{self.reasoning}{ANSWER_MARK}{self.answer}"


@dataclass(frozen=True, slots=True)
class Skill:
    """A named generator of problems."""

    name: str
    domain: Domain
    make: Callable[[Random, int], tuple[str, str, str]]
    """Takes a random generator and a level; gives question, reasoning and answer."""

    def problem(self, rng: Random, level: int) -> Problem:
        """Return a random problem of ``level`` (1 to 8)."""
        return Problem(self.name, level, *self.make(rng, level))


def answer_of(text: str) -> str | None:
    """Return what stands after the last answer mark, or None if the text commits to no answer."""
    _, mark, answer = text.rpartition(ANSWER_MARK)
    return answer.strip() if mark else None


def split_of(question: str) -> Split:
    """Return the split a question belongs to, for ever: 70 % train, 10 % validation, 20 % test.

    The question's own hash decides, so no test query of any seed can occur in any training data.
    """
    bucket = hashlib.blake2b(question.encode(), digest_size=2).digest()[0] % 10
    return "train" if bucket < 7 else "validation" if bucket < 8 else "test"


def _number(rng: Random, digits: int) -> int:
    low = 10 ** (digits - 1) if digits > 1 else 2
    return rng.randrange(low, 10**digits)


def _columns(a: int, b: int) -> list[tuple[int, int]]:
    """Digit pairs of two numbers from the right, the shorter one filled with zeros."""
    width = max(len(str(a)), len(str(b)))
    return list(zip(map(int, reversed(f"{a:0{width}}")), map(int, reversed(f"{b:0{width}}")), strict=True))


def _add(rng: Random, level: int) -> tuple[str, str, str]:
    first, second = _number(rng, level + 1 if level == 1 else level), _number(rng, max(1, level - rng.randrange(2)))
    steps, carry = [], 0
    for x, y in _columns(first, second):
        steps.append(f"{x}+{y}+{carry}={x + y + carry} ")
        carry = (x + y + carry) // 10
    return f"{first}+{second}", "".join(steps), str(first + second)


def _sub(rng: Random, level: int) -> tuple[str, str, str]:
    first, second = _number(rng, level + 1 if level == 1 else level), _number(rng, max(1, level - rng.randrange(2)))
    first, second = max(first, second), min(first, second)
    steps, borrow = [], 0
    for x, y in _columns(first, second):
        lent = 10 if x - y - borrow < 0 else 0
        steps.append(f"{x + lent}-{y}-{borrow}={x + lent - y - borrow} ")
        borrow = 1 if lent else 0
    return f"{first}-{second}", "".join(steps), str(first - second)


_MUL_DIGITS = {1: (2, 1), 2: (3, 1), 3: (4, 1), 4: (5, 1), 5: (2, 2), 6: (3, 2), 7: (3, 3), 8: (4, 4)}


def _mul(rng: Random, level: int) -> tuple[str, str, str]:
    wide, narrow = _MUL_DIGITS[level]
    first, second = _number(rng, wide), _number(rng, narrow)
    steps = []
    if narrow == 1:
        carry = 0
        for digit in map(int, reversed(str(first))):
            steps.append(f"{digit}*{second}+{carry}={digit * second + carry} ")
            carry = (digit * second + carry) // 10
    else:  # partial products in one go: the model must multiply a whole number by a digit in its head
        for digit in map(int, reversed(str(second))):
            steps.append(f"{first}*{digit}={first * digit} ")
    return f"{first}*{second}", "".join(steps), str(first * second)


_REM_SHAPE = {
    1: (3, 2, 9), 2: (4, 3, 9), 3: (5, 3, 9), 4: (6, 3, 9),
    5: (4, 11, 19), 6: (5, 11, 29), 7: (5, 31, 59), 8: (6, 61, 99),
}  # fmt: skip


def _rem(rng: Random, level: int) -> tuple[str, str, str]:
    digits, low, high = _REM_SHAPE[level]
    number, divisor = _number(rng, digits), rng.randint(low, high)
    steps, rest = [], 0
    for digit in map(int, str(number)):
        value = 10 * rest + digit
        rest = value % divisor
        steps.append(f"{value}>{rest} ")
    return f"{number}%{divisor}", "".join(steps), str(rest)


_SORT_LENGTH = {1: 3, 2: 4, 3: 5, 4: 6, 5: 5, 6: 6, 7: 7, 8: 9}


def _sort(rng: Random, level: int) -> tuple[str, str, str]:
    alphabet = "0123456789" if level <= 4 else _LETTERS
    items = rng.sample(alphabet, _SORT_LENGTH[level])
    steps, left = [], list(items)
    while left:
        smallest = min(left)
        left.remove(smallest)
        steps.append(f"{smallest}:{''.join(left)} ")
    return f"sort {''.join(items)}", "".join(steps), "".join(sorted(items))


def _reverse(rng: Random, level: int) -> tuple[str, str, str]:
    word = "".join(rng.choices(_LETTERS, k=level + 2))
    steps = [f"{word[:end][::-1]} " for end in range(1, len(word) + 1)]
    return f"reverse {word}", "".join(steps), word[::-1]


_COUNT_LENGTH = {1: 4, 2: 6, 3: 8, 4: 10, 5: 12, 6: 14, 7: 17, 8: 20}


def _count(rng: Random, level: int) -> tuple[str, str, str]:
    letters = rng.sample(_LETTERS, 3 if level <= 4 else 2)
    wanted = letters[0]
    word = "".join(rng.choices(letters, k=_COUNT_LENGTH[level]))
    steps, seen = [], 0
    for letter in word:
        seen += letter == wanted
        steps.append(f"{letter}{seen} ")
    return f"count {wanted} {word}", "".join(steps), str(seen)


def _shift(rng: Random, level: int) -> tuple[str, str, str]:
    by = rng.randint(1, min(level, 5))
    word = "".join(rng.choices(_LETTERS, k=level + 1))
    moved = "".join(_LETTERS[(_LETTERS.index(letter) + by) % 26] for letter in word)
    steps = [f"{before}>{after} " for before, after in zip(word, moved, strict=True)]
    return f"shift {by} {word}", "".join(steps), moved


_MAX_SHAPE = {1: (2, 2), 2: (3, 2), 3: (2, 3), 4: (3, 3), 5: (4, 3), 6: (4, 4), 7: (5, 4), 8: (6, 5)}


def _max(rng: Random, level: int) -> tuple[str, str, str]:
    count, digits = _MAX_SHAPE[level]
    numbers = [_number(rng, digits) for _ in range(count)]
    steps, best = [], numbers[0]
    for number in numbers[1:]:
        steps.append(f"{best}{'<' if best < number else '>' if best > number else '='}{number} ")
        best = max(best, number)
    return f"max {' '.join(map(str, numbers))}", "".join(steps), str(best)


ATTRIBUTES = ("home", "pet", "food", "work")
_FACTS_SEED = 20251019
_RANKS = (24, 64, 120, 200, 320, 480, 700, 1000)
"""Last rank of each level: people of level 1 are met most often in pretraining, those of level 8 never."""


@cache
def _people() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Names in order of fame, each with the values of the four attributes."""
    rng = Random(_FACTS_SEED)
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    names = rng.sample([a + b for a in syllables for b in syllables], _RANKS[-1])
    values = ["".join(rng.sample(syllables, 2)) for _ in range(40 * len(ATTRIBUTES))]
    pools = [values[i :: len(ATTRIBUTES)] for i in range(len(ATTRIBUTES))]
    return tuple((name, tuple(rng.choice(pool) for pool in pools)) for name in names)


def _facts(rng: Random, level: int) -> tuple[str, str, str]:
    low = _RANKS[level - 2] if level > 1 else 0
    name, values = _people()[rng.randrange(low, _RANKS[level - 1])]
    asked = rng.sample(range(len(ATTRIBUTES)), rng.choice((1, 2)))
    record = "".join(f"{attribute} {value} " for attribute, value in zip(ATTRIBUTES, values, strict=True))
    question = "".join(f"{ATTRIBUTES[i]} " for i in asked) + name
    return question, f"{name} {record}", " ".join(values[i] for i in asked)


SKILLS: dict[str, Skill] = {
    skill.name: skill
    for skill in (
        Skill("add", "in", _add),
        Skill("mul", "in", _mul),
        Skill("rem", "in", _rem),
        Skill("sort", "in", _sort),
        Skill("reverse", "in", _reverse),
        Skill("count", "in", _count),
        Skill("facts", "in", _facts),
        Skill("sub", "out", _sub),
        Skill("shift", "out", _shift),
        Skill("max", "out", _max),
    )
}
IN_DOMAIN = tuple(skill.name for skill in SKILLS.values() if skill.domain == "in")
OUT_OF_DOMAIN = tuple(skill.name for skill in SKILLS.values() if skill.domain == "out")
