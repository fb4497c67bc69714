"""The gate bench: any rule that accepts or rejects recorded answers, judged by what it lets through.

A rule turns a recorded answer into a signal, the higher the surer; a bar turns the signal into a decision. Recorded
answers are rows of a file (``query``, ``response``, ``score`` and whatever a rule reads) or one agent of a bench table.

confidence        the agent's own confidence, trained or not: ``confidence``
log-probability   exp of the mean log-probability of the answer's tokens: ``logprobs``, or ``logprob`` if averaged
verbalised        what the agent said in words: ``verbalised``, a number from 0 to 1, or text with a percentage
self-consistency  share of other samples that end in the same answer: ``samples``, against ``response``
path.py:NAME      a function of the user's: row in, number out
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disrouter.baselines.contract import normalised
from disrouter.bench.formats import read_rows
from disrouter.bench.tables import BenchTable
from disrouter.errors import DataError, UnknownNameError, UsageError
from disrouter.evaluation import curves, metrics
from disrouter.types import Scenario

__all__ = ["RULES", "Answers", "GateRow", "answers_of_table", "judge", "read_answers", "rule_of"]

Floats = NDArray[np.float64]
Row = Mapping[str, Any]
Rule = Callable[[Row], float]

GAMMA = 0.5
"""What a rejection earns is (1 − α)^γ: the paper's local reward (arXiv 2510.19208, §3.3)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """Recorded answers, to tune a bar on and to judge it on."""

    validation: tuple[Row, ...]
    test: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """One rule in one scenario."""

    rule: str
    scenario: str
    alpha: float
    n: int
    bar: float
    """Answers with a signal above it are accepted; chosen on the validation rows."""

    coverage: float
    """Share of answers that are accepted."""

    auroc: float | None
    accuracy_accepted: float | None
    accuracy_rejected: float | None
    """What the rejected answers would have been worth."""

    f1: float | None
    brier: float | None
    """None where a signal is no probability."""

    ece: float | None
    aurc: float
    e_aurc: float
    utility: float
    """Mean of the score of an accepted answer and (1 − α)^γ for a rejection."""

    utility_ci: tuple[float, float] | None
    difference: float
    """Utility minus that of accepting everything or rejecting everything, whichever is better on validation."""

    difference_ci: tuple[float, float] | None
    risk_coverage: tuple[list[float], list[float]]


def read_answers(path: Path) -> Answers:
    """Return the recorded answers of a JSONL, CSV, JSON or Parquet file; ``split`` says which are for tuning.

    Without splits every second row is for tuning.

    Raises:
        DataError: The file cannot be used, or a row has no score in [0, 1].
    """
    rows = read_rows(path)
    for n, row in enumerate(rows, 1):
        try:
            usable = 0 <= float(row["score"]) <= 1
        except (KeyError, TypeError, ValueError):
            usable = False
        if not usable:
            raise DataError(
                f"'{path}': row {n} has the score {row.get('score')!r}.", hint="every answer needs one from 0 to 1"
            )
    named = any(row.get("split") for row in rows)
    tune = [bool(row.get("split") == "validation") if named else n % 2 == 0 for n, row in enumerate(rows)]
    judged = [row.get("split") in (None, "", "test") if named else not t for row, t in zip(rows, tune, strict=True)]
    found = Answers(
        validation=tuple(r for r, t in zip(rows, tune, strict=True) if t),
        test=tuple(r for r, t in zip(rows, judged, strict=True) if t),
    )
    if not found.validation or not found.test:
        raise DataError(
            f"'{path}' has no answers to tune on, or none to judge by.", hint="name splits: validation, test"
        )
    return found


def answers_of_table(table: BenchTable, agent: str) -> Answers:
    """Return one agent's answers of a bench table, the same in every scenario.

    Raises:
        UnknownNameError: The table has no such agent.
    """
    found: list[tuple[Row, ...]] = []
    for split in ("validation", "test"):
        rows = table.of("validation" if split == "validation" else "test")
        a = rows.table.agent_index(agent)
        confidence = rows.table.confidence[0, a]
        found.append(
            tuple(
                {
                    "query": text,
                    "response": rows.table.answer[0, a, q],
                    "score": float(rows.table.score[0, a, q]),
                    "confidence": None if np.isnan(confidence[q]) else float(confidence[q]),
                }
                for q, text in enumerate(rows.texts)
            )
        )
    return Answers(validation=found[0], test=found[1])


def judge(
    answers: Answers, rules: Mapping[str, Rule], scenarios: Sequence[Scenario], *, seed: int = 0
) -> list[GateRow]:
    """Return what every rule is worth in every scenario; its bar is the best one on the validation rows.

    Raises:
        DataError: A rule finds no signal in a row.
    """
    tuning, score = _scores(answers.validation), _scores(answers.test)
    found = []
    for name, rule in rules.items():
        before, signal = _signals(name, rule, answers.validation), _signals(name, rule, answers.test)
        for scenario in scenarios:
            pay = (1 - scenario.alpha) ** GAMMA
            bar = _best_bar(before, tuning, pay)
            plain = 1.0 if tuning.mean() >= pay else 0.0
            accepts = signal > bar
            worth = np.where(accepts, score, pay)
            against = metrics.paired_difference(worth, plain * score + (1 - plain) * pay, seed=seed)
            means = metrics.bootstrap_means(worth[None], seed=seed)[:, 0] if len(worth) > 1 else None
            labels = metrics.right(score)
            chance = bool(((signal >= 0) & (signal <= 1)).all())
            curve = curves.risk_coverage(signal, 1 - score)
            kept = np.unique(np.linspace(0, len(score) - 1, 101).astype(int))
            found.append(
                GateRow(
                    rule=name,
                    scenario=scenario.name,
                    alpha=scenario.alpha,
                    n=len(score),
                    bar=bar,
                    coverage=float(accepts.mean()),
                    auroc=metrics.auroc(signal, labels),
                    accuracy_accepted=float(score[accepts].mean()) if accepts.any() else None,
                    accuracy_rejected=float(score[~accepts].mean()) if not accepts.all() else None,
                    f1=metrics.accept_f1(accepts, labels),
                    brier=metrics.brier(signal, labels) if chance else None,
                    ece=metrics.ece(signal, labels) if chance else None,
                    aurc=curves.aurc(signal, 1 - score),
                    e_aurc=curves.e_aurc(signal, 1 - score),
                    utility=float(worth.mean()),
                    utility_ci=None if means is None else metrics.interval(means),
                    difference=against.value,
                    difference_ci=against.interval,
                    risk_coverage=(curve.x[kept].tolist(), curve.y[kept].tolist()),
                )
            )
    return found


def _scores(rows: Sequence[Row]) -> Floats:
    return np.array([float(row["score"]) for row in rows])


def _signals(name: str, rule: Rule, rows: Sequence[Row]) -> Floats:
    found = np.empty(len(rows))
    for n, row in enumerate(rows):
        try:
            found[n] = float(rule(row))
        except (KeyError, TypeError, ValueError) as exc:
            raise DataError(
                f"Rule '{name}' finds no signal in answer {n + 1}: {exc!r}.",
                hint="see docs/bench.md for the columns that a rule reads",
            ) from exc
        if math.isnan(found[n]):
            raise DataError(f"Rule '{name}' gives no number for answer {n + 1}.")
    return found


def _best_bar(signal: Floats, score: Floats, pay: float) -> float:
    """Return the bar above which accepting earns most; −inf accepts all. Of equals, the one that accepts most."""
    values = np.unique(signal)
    bars = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [values[-1]]])
    worth = [float(np.where(signal > bar, score, pay).mean()) for bar in bars]
    return float(bars[int(np.argmax(worth))])


def rule_of(spec: str) -> Rule:
    """Return a rule by its name, or the function ``NAME`` of a file of the user's, ``path.py:NAME``.

    Raises:
        UnknownNameError: There is no such rule or function.
        UsageError: The file is missing or fails.
    """
    if spec in RULES:
        return RULES[spec]
    path, _, name = spec.rpartition(":")
    if not path.endswith(".py"):
        raise UnknownNameError.of("rule", spec, RULES, hint="a function of your own is given as path.py:NAME")
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"There is no file '{file}'.", hint="check the path")
    module_spec = importlib.util.spec_from_file_location(f"disrouter_rule_{file.stem}", file)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except Exception as exc:  # the user's own code
        raise UsageError(f"'{file}' fails when it is read: {type(exc).__name__}: {exc}.") from exc
    found = getattr(module, name, None)
    if not callable(found):
        raise UnknownNameError.of(
            "function", name, [n for n in vars(module) if not n.startswith("_")], where=f"'{file}'"
        )
    own: Rule = found
    return own


def _confidence(row: Row) -> float:
    return float(row["confidence"])


def _log_probability(row: Row) -> float:
    if row.get("logprob") is not None:
        return math.exp(float(row["logprob"]))
    tokens = [float(x) for x in row["logprobs"]]
    if not tokens:
        raise ValueError("an answer without tokens has no log-probability")
    return math.exp(sum(tokens) / len(tokens))


def _verbalised(row: Row) -> float:
    said = row["verbalised"]
    if isinstance(said, str):
        percent = re.search(r"(\d+(?:\.\d+)?)\s*%", said)
        plain = re.search(r"\d*\.?\d+", said)
        if percent is not None:
            said = float(percent[1]) / 100
        elif plain is not None:
            said = float(plain[0])
    value = float(said)
    if not 0 <= value <= 1:
        raise ValueError(f"{row['verbalised']!r} is no chance from 0 to 1")
    return value


def _self_consistency(row: Row) -> float:
    samples = list(row["samples"])
    own = normalised(str(row["response"]))
    if not samples:
        raise ValueError("there are no samples")
    return sum(normalised(str(s)) == own for s in samples) / len(samples)


RULES: dict[str, Rule] = {
    "confidence": _confidence,
    "log-probability": _log_probability,
    "verbalised": _verbalised,
    "self-consistency": _self_consistency,
}
"""Built-in rules by name."""
