"""Competence: what an agent solves at each grade of difficulty, and how its confidence speaks about difficulty.

Queries fall into hidden *classes* of difficulty that all agents of a pool share. For every class an agent's competence
says how often its confidence lands in which band, and how often it is right when it does. Whoever knows the
competences can tell from the confidences of a few agents what the others will make of a query, and nobody has to be
trained again when an agent comes, goes or changes its price.

The file ``agent-card.json`` in an agent's folder holds it:

    {"schema": 1, "agent": "agent-1", "model": "<digest of the weights>",
     "scale": {"prior": [...], "grades": ["0:0.25 3:0.75", ...]},
     "bands": [...], "speaks": [[...], ...], "solves": [[...], ...],
     "prompt_tokens": 11.2, "answer_tokens": 36.5, "look_seconds": 0.002, "answer_seconds": 0.05, "provenance": {...}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

from disrouter.errors import ModelError
from disrouter.files import write_text

__all__ = ["COMPETENCE_FILE", "Competence", "DifficultyScale", "Matrix", "Row", "read_competence", "write_competence"]

COMPETENCE_FILE = "agent-card.json"

_SCHEMA = 1
_LARGEST_FILE = 10_000_000
_ROUNDING = 1e-3
"""Files hold rounded probabilities: their sums may differ from 1 by this much."""

_MEANS = ("prompt_tokens", "answer_tokens", "look_seconds", "answer_seconds")

Row: TypeAlias = tuple[float, ...]
Matrix: TypeAlias = tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class DifficultyScale:
    """The classes of difficulty that the agents of a pool share, and the grades a travelling query may carry."""

    prior: Row
    """How often queries fall into each class, shape (Z,), sum 1."""

    grades: Matrix
    """Beliefs over the classes, shape (M, Z), each of sum 1; the first is the prior: nothing is known yet."""

    def __post_init__(self) -> None:
        if not self.prior or not self.grades:
            raise ValueError("a scale needs at least one class and one grade")
        for what, row in (("prior", self.prior), *(("grade", grade) for grade in self.grades)):
            if len(row) != len(self.prior):
                raise ValueError(f"a {what} of {len(row)} classes does not fit the scale's {len(self.prior)}")
            _distribution(what, row)

    @property
    def id(self) -> str:
        """Return a short digest: competences of one scale can be used together."""
        return blake2b(json.dumps([self.prior, self.grades]).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Competence:
    """One agent on a scale of Z classes, its confidence cut into B bands."""

    scale: DifficultyScale

    bands: Row
    """Inner edges of the bands of confidence, rising, shape (B - 1,); empty for an agent without confidence."""

    speaks: Matrix
    """Chance that its confidence lies in each band, by class, shape (Z, B); every row of sum 1."""

    solves: Matrix
    """Chance that it is right, by class and band, shape (Z, B)."""

    prompt_tokens: float = 0.0
    answer_tokens: float = 0.0
    """Mean tokens read and written per answered query: what a price per token is expected to come to."""

    look_seconds: float = 0.0
    answer_seconds: float = 0.0
    """Mean seconds of a look and of an answer after it, as measured."""

    model: str | None = None
    """Digest of the files it was measured on (weights, head, calibration), where they lie here."""

    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Suite, seed and number of queries it was measured on."""

    def __post_init__(self) -> None:
        shape = len(self.scale.prior), len(self.bands) + 1
        for what, matrix in (("speaks", self.speaks), ("solves", self.solves)):
            found = len(matrix), *{len(row) for row in matrix}
            if found != shape:
                raise ValueError(f"{what} has shape {found}, and {shape} would fit the scale and the bands")
        for row in self.speaks:
            _distribution("speaks", row)
        if not all(0.0 <= value <= 1.0 for row in self.solves for value in row):
            raise ValueError("chances to solve lie from 0 to 1")
        if any(not before < after for before, after in zip(self.bands, self.bands[1:], strict=False)):
            raise ValueError("the edges of bands must rise")
        for what in _MEANS:
            if not 0.0 <= getattr(self, what) < math.inf:
                raise ValueError(f"{what} {getattr(self, what)!r} is not a number from 0")

    def to_json(self, agent: str) -> dict[str, Any]:
        """Return the content of an agent's card file."""
        return {
            "schema": _SCHEMA,
            "agent": agent,
            "model": self.model,
            "scale": {"prior": list(self.scale.prior), "grades": [_sparse(grade) for grade in self.scale.grades]},
            "bands": list(self.bands),
            "speaks": [list(row) for row in self.speaks],
            "solves": [list(row) for row in self.solves],
            **{what: getattr(self, what) for what in _MEANS},
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Competence:
        """Return the competence of a card file's content.

        Raises:
            KeyError: A key is missing.
            ValueError: A value has no meaning, or the schema is another.
        """
        if value["schema"] != _SCHEMA:
            raise ValueError(f"its schema is {value['schema']!r}, and this version reads {_SCHEMA}")
        return cls(
            scale=_scale(value["scale"]),
            bands=_row(value["bands"]),
            speaks=_matrix(value["speaks"]),
            solves=_matrix(value["solves"]),
            **{what: float(value.get(what, 0.0)) for what in _MEANS},
            model=None if value.get("model") is None else str(value["model"]),
            provenance=dict(value.get("provenance", {})),
        )


def write_competence(competence: Competence, agent: str, path: Path) -> None:
    """Write an agent's card file, whole or not at all."""
    write_text(path, json.dumps(competence.to_json(agent), ensure_ascii=False, allow_nan=False) + "\n")


def read_competence(path: Path, *, model: Callable[[], str] | None = None) -> Competence | None:
    """Return the competence of a card file (or of the one in an agent's folder), or None if there is none.

    Args:
        path: The file, or the folder that holds it.
        model: Gives the digest of the agent's own files; a card of other files is refused.

    Raises:
        ModelError: The file cannot be used, or is of another model.
    """
    file = path / COMPETENCE_FILE if path.is_dir() else path
    if not file.is_file():
        return None
    hint = "measure the agent again with `disrouter cards fit`, or delete the file"
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise ValueError(f"it is larger than {_LARGEST_FILE:,} bytes")
        found = Competence.from_json(json.loads(file.read_text(encoding="utf-8")))
    except KeyError as exc:
        raise ModelError(f"Agent card '{file}' lacks the key {exc}.", hint=hint) from exc
    except (ValueError, TypeError, AttributeError) as exc:
        raise ModelError(f"Agent card '{file}' cannot be used: {exc}.", hint=hint) from exc
    if model is not None and found.model is not None and found.model != (here := model()):
        raise ModelError(f"Agent card '{file}' was measured on another model ({found.model}, not {here}).", hint=hint)
    return found


def _scale(value: Mapping[str, Any]) -> DifficultyScale:
    prior = _row(value["prior"])
    return DifficultyScale(prior, tuple(_dense(grade, len(prior)) for grade in value["grades"]))


def _sparse(grade: Row) -> str:
    """Return a belief as text, without the classes that it rules out: most beliefs rule out most classes."""
    return " ".join(f"{z}:{share:g}" for z, share in enumerate(grade) if share > 0.0)


def _dense(grade: str, classes: int) -> Row:
    shares = {int(z): float(share) for z, _, share in (part.partition(":") for part in grade.split())}
    if shares and not 0 <= min(shares) <= max(shares) < classes:
        raise ValueError(f"grade {grade!r} speaks of classes beyond the scale's {classes}")
    return tuple(shares.get(z, 0.0) for z in range(classes))


def _row(values: Sequence[Any]) -> Row:
    return tuple(float(value) for value in values)


def _matrix(rows: Sequence[Sequence[Any]]) -> Matrix:
    return tuple(_row(row) for row in rows)


def _distribution(what: str, row: Row) -> None:
    if not all(0.0 <= value <= 1.0 for value in row) or abs(sum(row) - 1.0) > _ROUNDING * len(row):
        raise ValueError(f"a row of {what} is no distribution: its values must lie from 0 to 1 and add up to 1")
