"""Pretraining text: worked solutions of all ten skills, packed several to a row.

Packing fills rows of equal length, so no step is spent on padding. Segments mark which tokens belong together:
attention and positions never cross from one problem to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from disrouter.lab.skills import LEVELS, SKILLS, Problem, split_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["ROW", "Corpus", "build_corpus", "pack", "training_problems"]

ROW = 96
"""Tokens in one packed row."""

_FACT_LEVELS = (0.24, 0.2, 0.16, 0.13, 0.11, 0.09, 0.07, 0.0)
"""How often people of each level are met: Zipf-like, and nobody of level 8."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Packed rows; every array has shape (rows, ROW)."""

    tokens: NDArray[np.uint8]
    segments: NDArray[np.uint8]
    """Number of the problem within the row, from 1; 0 is padding."""

    positions: NDArray[np.uint8]
    targets: NDArray[np.bool_]
    """Whether the token is part of a solution, and so is learnt."""


def training_problems(count: int, seed: int, mixture: Mapping[str, float]) -> list[Problem]:
    """Return ``count`` problems of the training split, skills drawn by ``mixture`` (1 where it says nothing)."""
    rng = Random(seed)
    names = list(SKILLS)
    weights = [mixture.get(name, 1.0) for name in names]
    problems: list[Problem] = []
    while len(problems) < count:
        skill = SKILLS[rng.choices(names, weights)[0]]
        level = rng.choices(LEVELS, _FACT_LEVELS)[0] if skill.name == "facts" else rng.choice(LEVELS)
        problem = skill.problem(rng, level)
        if split_of(problem.question) == "train":
            problems.append(problem)
    return problems


def pack(rows_of: list[tuple[list[int], int]]) -> Corpus:
    """Pack ``(tokens, prompt length)`` pairs in order into rows of ROW tokens, at most a few open rows at a time."""
    open_rows: list[list[tuple[list[int], int]]] = []
    room: list[int] = []
    done: list[list[tuple[list[int], int]]] = []
    for item in rows_of:
        size = len(item[0])
        fits = next((i for i, left in enumerate(room) if left >= size), None)
        if fits is None:
            if len(open_rows) == 16:  # close the fullest row
                full = room.index(min(room))
                done.append(open_rows.pop(full))
                room.pop(full)
            open_rows.append([])
            room.append(ROW)
            fits = len(room) - 1
        open_rows[fits].append(item)
        room[fits] -= size
    done += open_rows
    shape = (len(done), ROW)
    tokens, segments, positions = (np.zeros(shape, np.uint8) for _ in range(3))
    targets = np.zeros(shape, np.bool_)
    for r, row in enumerate(done):
        at = 0
        for number, (ids, prompt) in enumerate(row, start=1):
            end = at + len(ids)
            tokens[r, at:end] = ids
            segments[r, at:end] = number
            positions[r, at:end] = np.arange(len(ids))
            targets[r, at + prompt : end] = True
            at = end
    return Corpus(tokens, segments, positions, targets)


def build_corpus(tokenizer: PreTrainedTokenizerFast, *, rows: int, seed: int, mixture: Mapping[str, float]) -> Corpus:
    """Return at least ``rows`` packed rows of worked problems of the training split."""
    problems = training_problems(int(rows * 2.2) + 64, seed, mixture)
    prompts = [f"<|user|>{p.question}<|agent|>" for p in problems]
    solutions = [f"{p.solution}<|end|>" for p in problems]
    items = [
        (prompt + solution, len(prompt))
        for prompt, solution in zip(
            tokenizer(prompts, add_special_tokens=False)["input_ids"],
            tokenizer(solutions, add_special_tokens=False)["input_ids"],
            strict=True,
        )
        if len(prompt) + len(solution) <= ROW
    ]
    return pack(items)
