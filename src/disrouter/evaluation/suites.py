"""Suites: named sets of queries with their graders."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from disrouter.errors import DataError, UnknownNameError, UsageError
from disrouter.evaluation.graders import GRADERS, grader_of
from disrouter.seeds import seed_of
from disrouter.types import Message, Query

__all__ = ["FileSuite", "Suite", "replay_of", "suite_of"]


@runtime_checkable
class Suite(Protocol):
    """Where an evaluation takes its queries from, and who says how right an answer is."""

    @property
    def name(self) -> str: ...

    def queries(self, domain: str, seed: int, n: int, *, split: Literal["test", "validation"] = "test") -> list[Query]:
        """Return ``n`` queries of a domain, the same for the same seed; fewer only if there are no more.

        No query is in both splits: on validation queries choices are made, on test queries they are judged.

        Raises:
            DisrouterError: The suite has no such domain, or nothing to give.
        """
        ...

    def grade(self, query: Query, text: str) -> float:
        """Return the quality of an answer in [0, 1]."""
        ...


Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One line of a suite file."""

    domain: str
    split: str
    query: Query
    grader: str


@dataclass(frozen=True)
class FileSuite:
    """Queries from a JSONL file: one object per line.

    Keys: ``id``, ``query`` (text), ``reference``, ``grader`` (exact, numeric, choice, span_f1, drop), and, where
    wanted, ``domain`` ("in" unless given), ``split`` ("train", "validation" or "test"; unless given, by a hash of the
    id, one in five for validation and the rest for test), ``dataset``, ``level``. The file is checked at first use.
    """

    path: Path
    _rows: list[_Row] = field(default_factory=list, init=False, repr=False, compare=False)
    _graders: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    def queries(self, domain: str, seed: int, n: int, *, split: Split = "test") -> list[Query]:
        """Return up to ``n`` queries of a domain in an order drawn from the seed.

        Raises:
            DataError: The file is missing, empty, or a line is not usable; no query is of that domain and split.
        """
        chosen = [row.query for row in self._read() if (row.domain, row.split) == (domain, split)]
        if not chosen:
            known = ", ".join(f"{d} {s}" for d, s in sorted({(row.domain, row.split) for row in self._read()}))
            raise DataError(
                f"Suite '{self.path}' has no {split} query of domain '{domain}'. It has queries of: {known}.",
                hint='say where a line belongs by its keys "domain" and "split"',
            )
        random.Random(seed).shuffle(chosen)
        return chosen[:n]

    def grade(self, query: Query, text: str) -> float:
        """Return the score that the query's own grader gives."""
        self._read()
        if query.id not in self._graders or query.reference is None:
            raise DataError(f"Query '{query.id}' is not of suite '{self.path}'.", hint="grade its own queries only")
        return grader_of(self._graders[query.id])(text, query.reference)

    def _read(self) -> list[_Row]:
        if not self._rows:
            self._rows.extend(_rows_of(self.path))
            self._graders.update({row.query.id: row.grader for row in self._rows})
        return self._rows


def replay_of(suite: Suite) -> Callable[[int, int], Sequence[tuple[Query, str]]]:
    """Return what gives a suite's pretraining problems with their solutions, by number and seed.

    Raises:
        UsageError: The suite has none.
    """
    replay: Callable[[int, int], Sequence[tuple[Query, str]]] | None = getattr(suite, "replay", None)
    if replay is None:
        raise UsageError(
            f"Suite '{suite.name}' has no pretraining text to replay.",
            hint="leave `replay` out; suite 'lab' has some",
        )
    return replay


def suite_of(name: str) -> Suite:
    """Return the suite of a name ('lab', 'paper', 'gsm8k', …), of a name and a folder ('paper@DIR'), or of a file.

    Raises:
        UnknownNameError: No suite has that name and it is no file.
        DataError: There is no such file or folder.
    """
    if name == "lab":
        from disrouter.lab.suite import LabSuite

        return LabSuite()
    from disrouter.evaluation.hub.suite import SUITES, HubSuite

    base, at, folder = name.partition("@")
    if base in SUITES:
        if at and not (folder and Path(folder).expanduser().is_dir()):
            raise DataError(f"There is no folder '{folder}' for suite '{base}'.", hint="check the path after the @")
        return HubSuite(base, Path(folder).expanduser() if at else None)
    if name.endswith(".jsonl"):
        if not Path(name).is_file():
            raise DataError(f"There is no suite file at '{name}'.", hint="check the path")
        return FileSuite(Path(name))
    known = ["lab", *SUITES]
    raise UnknownNameError.of("suite", name, known, hint="name one of them, or give a .jsonl file of queries")


def _rows_of(path: Path) -> list[_Row]:
    if not path.is_file():
        raise DataError(f"There is no suite file at '{path}'.", hint="check the path")
    rows: list[_Row] = []
    seen: dict[str, int] = {}
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as exc:
                raise DataError(
                    f"'{path}', line {number}: not text in UTF-8 (byte {exc.start}).", hint="save the file as UTF-8"
                ) from exc
            if not line.strip():
                continue
            row = _row_of(line, f"'{path}', line {number}")
            first = seen.setdefault(row.query.id, number)
            if first != number:
                raise DataError(f"'{path}', line {number}: query id '{row.query.id}' is already taken by line {first}.")
            rows.append(row)
    if not rows:
        raise DataError(f"Suite '{path}' is empty: it has no queries.", hint="write one JSON object per line")
    return rows


def _row_of(line: str, where: str) -> _Row:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as exc:
        raise DataError(f"{where}: not JSON ({exc}).") from exc
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: a JSON object is wanted, not {type(value).__name__}.")
    kinds: dict[str, type[Any]] = {"id": str, "query": str, "reference": str, "grader": str}
    optional: dict[str, type[Any]] = {"domain": str, "split": str, "dataset": str, "level": int}
    problems = [f"no '{key}'" for key in kinds if key not in value]
    problems += [f"unknown key '{key}'" for key in value if key not in kinds and key not in optional]
    problems += [
        f"'{key}' must be {'text' if kind is str else 'a whole number'}, not {value[key]!r}"
        for key, kind in {**kinds, **optional}.items()
        if key in value and (not isinstance(value[key], kind) or isinstance(value[key], bool))
    ]
    if not problems and value["grader"] not in GRADERS:
        problems.append(f"unknown grader '{value['grader']}' (known: {', '.join(GRADERS)})")
    if not problems and value.get("split", "test") not in get_args(Split):
        problems.append(f"unknown split '{value['split']}' (known: train, validation, test)")
    if problems:
        raise DataError(f"{where}: {'; '.join(problems)}.")
    query = Query(
        id=value["id"],
        messages=(Message("user", value["query"]),),
        reference=value["reference"],
        dataset=value.get("dataset"),
        level=value.get("level"),
    )
    split = value.get("split") or ("validation" if seed_of(0, "split", query.id) % 5 == 0 else "test")
    return _Row(domain=value.get("domain", "in"), split=split, query=query, grader=value["grader"])
