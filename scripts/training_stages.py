"""One table of what every stage of training buys, from run folders of `disrouter eval`.

    python scripts/training_stages.py untrained runs/untrained-* -- SFT runs/sft-* -- 'SFT + RL' runs/rl-*

A stage is a name and its run folders, of any domain and any number of training seeds; `--` parts stages. Of several
seeds it prints the mean and, after ±, the standard deviation. All runs must be of the same test queries. Abilities, the
accuracies of agents that may not reject, are compared with those of the first stage.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Metrics = Mapping[str, Any]

LISTED = (("utility", "utility"), ("utility, full cost", "utility_full"), ("share of the oracle", "oracle_share"))


def main() -> None:
    if len(sys.argv) < 3 or {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        sys.exit(0 if len(sys.argv) > 1 else 2)
    stages = {name: [_read(Path(folder)) for folder in folders] for name, *folders in _parted(sys.argv[1:])}
    _require_same_queries(stages)
    for domain in ("in", "out"):
        of_domain = {name: [m for m in runs if m["domain"] == domain] for name, runs in stages.items()}
        of_domain = {name: runs for name, runs in of_domain.items() if runs}
        if of_domain:
            queries = next(iter(of_domain.values()))[0]["n"]
            print(f"\n{domain} of the domain, {queries:,} queries".replace("in of", "in"))
            print("\n".join(routes_table(of_domain)), "\n")
            print("\n".join(agents_table(of_domain)))


def routes_table(stages: Mapping[str, Sequence[Metrics]]) -> list[str]:
    """Return the lines of a table of whole networks; scenarios stand side by side, the cheapest-minded last."""
    lines = ["| stage | seeds | " + " | ".join(head for head, _ in LISTED) + " |", "|---|---|" + "---|" * len(LISTED)]
    for name, runs in stages.items():
        cells = [_side_by_side([_ours(run, key) for run in runs]) for _, key in LISTED]
        lines.append(f"| {name} | {len(runs)} | " + " | ".join(cells) + " |")
    return lines


def agents_table(stages: Mapping[str, Sequence[Metrics]]) -> list[str]:
    """Return the lines of a table of single agents: means over scenarios, agents side by side."""
    first = next(iter(stages.values()))
    base = {agent["agent"]: agent["accuracy"] for agent in first[0]["agents"]}
    names = list(base)[:-1]  # the last one always answers
    columns: list[tuple[str, Callable[[Mapping[str, Any]], float]]] = [
        ("AUROC", lambda agent: _mean(agent["auroc"])),
        ("Brier", lambda agent: _mean(agent["brier"])),
        ("ECE", lambda agent: _mean(agent["ece"])),
        ("F1 of accepting", lambda agent: _mean(agent["accept_f1"])),
        ("ability", lambda agent: agent["accuracy"] - base[agent["agent"]]),
    ]
    lines = ["| stage | " + " | ".join(head for head, _ in columns) + " |", "|---|" + "---|" * len(columns)]
    for name, runs in stages.items():
        cells = []
        for head, value in columns:
            found = [[value(_agent(run, agent)) for agent in names] for run in runs]
            cells.append(_side_by_side(found, signed=head == "ability"))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _ours(run: Metrics, key: str) -> list[float]:
    rows = [row for row in run["rows"] if row["method"] == "ours"]
    return [row[key] for row in sorted(rows, key=lambda row: row["alpha"])]


def _agent(run: Metrics, name: str) -> Mapping[str, Any]:
    return next(agent for agent in run["agents"] if agent["agent"] == name)


def _mean(by_scenario: Mapping[str, float | None]) -> float:
    known = [value for value in by_scenario.values() if value is not None]
    return statistics.fmean(known) if known else float("nan")


def _side_by_side(seeds: Sequence[Sequence[float]], *, signed: bool = False) -> str:
    return " / ".join(_spread(values, signed=signed) for values in zip(*seeds, strict=True))


def _spread(values: Sequence[float], *, signed: bool) -> str:
    if any(value != value for value in values):
        return "–"
    mean = f"{statistics.fmean(values):{'+' if signed else ''}.3f}".replace("0.", ".", 1)
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.3f}".replace("± 0.", "± .")


def _parted(words: Iterable[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "--":
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]


def _read(folder: Path) -> Metrics:
    try:
        found: Metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        sys.exit(f"'{folder}' is no finished run folder: {exc}")
    return found


def _require_same_queries(stages: Mapping[str, Sequence[Metrics]]) -> None:
    asked = {(m["seed"], m["n"], m["suite"]) for runs in stages.values() for m in runs}
    if len(asked) > 1:
        sys.exit(f"The runs are not of the same test queries (seed, number, suite): {sorted(asked)}.")


if __name__ == "__main__":
    main()
