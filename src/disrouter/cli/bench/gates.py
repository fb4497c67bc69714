"""Gates on the command line: rules that accept or reject answers."""

from __future__ import annotations

from pathlib import Path

import click

from disrouter.cli._options import (
    examples_as_typed,
    json_option,
    seed_option,
)

__all__ = ["gate"]


@click.command(short_help="Judge rules that accept or reject answers.")
@click.argument("answers", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--agent", metavar="NAME", help="FILE is a bench table: judge the answers of this agent.")
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="NAME|FILE.py:NAME",
    help="confidence, log-probability, verbalised, self-consistency, or a function of yours.  [default: confidence]",
)
@seed_option(0, "Of the bootstrap.")
@json_option("one JSON object")
@examples_as_typed
def gate(answers: Path, agent: str | None, rules: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Judge rules that accept or reject recorded answers: what they let through, and what that is worth.

    disrouter bench gate answers.jsonl --rule log-probability --rule self-consistency
    disrouter bench gate lab.parquet --agent agent-2 --rule confidence
    """
    from dataclasses import asdict

    from disrouter.bench.gate import answers_of_table, judge, read_answers, rule_of
    from disrouter.bench.tables import read_bench_table
    from disrouter.cli._console import print_json, results
    from disrouter.cli._console import table as plain_table
    from disrouter.utility import SCENARIOS

    recorded = read_answers(answers) if agent is None else answers_of_table(read_bench_table(answers), agent)
    chosen = {name: rule_of(name) for name in dict.fromkeys(rules or ("confidence",))}
    found = judge(recorded, chosen, list(SCENARIOS.values()), seed=seed)
    if as_json:
        print_json({"schema": 1, "rows": [{**asdict(row), "bar": max(row.bar, -1e300)} for row in found]})
        return
    shown = plain_table(
        "scenario",
        "rule",
        ">accepted",
        ">AUROC",
        ">accuracy of accepted",
        ">of rejected",
        ">AURC",
        ">utility [95 %]",
        ">− no gate [95 %]",
        title=f"{found[0].n} answers",
    )
    for row in found:
        shown.add_row(
            row.scenario,
            row.rule,
            f"{row.coverage:.0%}",
            _number(row.auroc),
            _number(row.accuracy_accepted),
            _number(row.accuracy_rejected),
            _number(row.aurc),
            f"{row.utility:.3f}" + _ends(row.utility_ci),
            f"{row.difference:+.3f}" + _ends(row.difference_ci, "+"),
        )
    results().print(shown)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _ends(ends: tuple[float, float] | None, sign: str = "") -> str:
    return "" if ends is None else f" [{ends[0]:{sign}.3f}, {ends[1]:{sign}.3f}]"
