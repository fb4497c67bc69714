"""``disrouter lab``: the skills and models that ship with the package."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import examples_as_typed, json_option, limit_option, seed_option
from disrouter.errors import DataError, InterruptedRunError, UsageError

if TYPE_CHECKING:
    from disrouter.lab.skills import Problem

__all__ = ["lab"]

OUTPUT = Path("lab-build")

_TRIES = 200
"""Rounds without a new question after which there are no more."""


@click.group(short_help="Ten skills, and five small models trained on them.")
@examples_as_typed
def lab() -> None:
    """The lab: ten skills, and five small real language models trained on them.

    disrouter lab problems
    disrouter lab card
    """


@lab.command()
@click.option("--skill", "skills", multiple=True, metavar="NAME", help="Only this skill; may be repeated.")
@click.option("--level", type=int, metavar="1-8", help="Only this difficulty: 1 trivial, 8 hopeless for most.")
@click.option(
    "--domain", metavar="in|out", help="Only skills that are in, or out of, the domain of self-awareness training."
)
@seed_option(0, "Another seed gives other problems.")
@limit_option(None, "How many problems; one per skill and level if left out.")
@json_option("one JSON object")
@examples_as_typed
def problems(
    skills: tuple[str, ...], level: int | None, domain: str | None, seed: int, limit: int | None, as_json: bool
) -> None:
    """Show example problems with their worked solutions.

    disrouter lab problems --skill add --limit 5
    disrouter lab problems --domain out --level 3
    """
    from disrouter.cli._console import print_json

    found = _problems(skills, level, domain, seed, limit)
    if as_json:
        print_json({"schema": 1, "seed": seed, "problems": [_problem_json(problem) for problem in found]})
    else:
        _print_problems(found)


@lab.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the checkpoints go.  [default: lab-build, or lab-build/mixed]",
)
@click.option(
    "--family",
    default="lab",
    show_default=True,
    metavar="lab|mixed",
    help="lab: the five that ship; mixed: a Llama, a Gemma, a Phi and a Qwen, which do not.",
)
@click.option(
    "--agent", "agents", multiple=True, metavar="NAME", help="Only this one; may be repeated. All if left out."
)
@click.option(
    "--stage",
    type=click.Choice(["base", "calibrated", "paper", "all"]),
    default="all",
    show_default=True,
    help="base: pretraining on the skills; calibrated, paper: self-awareness training after it.",
)
@click.option(
    "--jobs", type=int, default=0, show_default=True, metavar="N", help="Agents trained side by side; 0: one per core."
)
@click.option(
    "--compile/--no-compile",
    "compiled",
    default=False,
    show_default=True,
    help="Compile the models first: needs a C++ compiler, trains about three times as fast.",
)
@click.option("--quick", is_flag=True, help="A rehearsal of the whole way; the models are no good.")
@examples_as_typed
def build(
    output: Path | None, family: str, agents: tuple[str, ...], stage: str, jobs: int, compiled: bool, quick: bool
) -> None:
    """Train the lab's checkpoints again from nothing.

    Takes hours on two cores. Can be stopped at any time: the same command goes on where it was and ends with the same
    bytes.

      disrouter lab build --quick
      disrouter lab build --agent agent-1 --stage base --compile
      disrouter lab build --family mixed --compile
    """
    from disrouter.cli._console import bars

    # A rehearsal must never pass for the real thing, so it lies elsewhere.
    home = OUTPUT if family == "lab" else OUTPUT / family
    folder = output or (home / "quick" if quick else home)
    if jobs < 0:
        raise UsageError(f"--jobs {jobs} is out of range: it must be 0 (one per core) or more.")
    from disrouter.lab.build import build as build_checkpoints

    with bars("steps") as show:

        def report(agent: str, stage: str, step: int, steps: int, loss: float) -> None:
            note = stage if math.isnan(loss) else f"{stage}, loss {loss:.3f}"
            show(agent, step, steps, note)

        try:
            stages = () if stage == "all" else (stage,)
            folders = build_checkpoints(
                folder,
                family=family,
                agents=agents,
                stages=stages,
                jobs=jobs,
                compiled=compiled,
                quick=quick,
                report=report,
            )
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"Stopped by the user; finished checkpoints and training states are kept in '{folder}'.",
                hint="run the same command again to go on from there",
            ) from None
    for made in folders:
        click.echo(made)
    click.echo(f"in a network file: model: {folders[-1]} (relative to that file)", err=True)


@lab.command()
@click.option("--path", "path_only", is_flag=True, help="Print where the card lies instead of what it says.")
def card(path_only: bool) -> None:
    """Print the model card of the family: data, sizes, FLOPs, training, accuracy per skill."""
    import disrouter.lab

    path = Path(disrouter.lab.__path__[0]) / "MODEL_CARD.md"
    if not path.is_file():
        raise DataError(f"There is no model card at '{path}'.", hint="reinstall the package")
    click.echo(path if path_only else path.read_text(encoding="utf-8").rstrip())


def _problems(
    skills: tuple[str, ...], level: int | None, domain: str | None, seed: int, limit: int | None
) -> list[Problem]:
    """Return different problems, skill by skill and level by level, round and round up to the limit."""
    from random import Random

    from disrouter.errors import UnknownNameError
    from disrouter.lab.skills import LEVELS, SKILLS
    from disrouter.seeds import seed_of

    for name in skills:
        if name not in SKILLS:
            raise UnknownNameError.of("skill", name, SKILLS)
    if domain is not None and domain not in ("in", "out"):
        raise UnknownNameError.of("domain", domain, ["in", "out"])
    if level is not None and level not in LEVELS:
        raise UsageError(f"--level {level} is out of range: levels go from {LEVELS[0]} to {LEVELS[-1]}.")
    chosen = [s for s in SKILLS.values() if s.name in (skills or SKILLS) and domain in (None, s.domain)]
    if not chosen:
        raise UsageError(f"No skill of {', '.join(skills)} is in domain '{domain}'.", hint="leave --domain out")
    levels = LEVELS if level is None else [level]
    wanted = len(chosen) * len(levels) if limit is None else limit
    rng = Random(seed_of(seed, "lab problems"))
    found: dict[str, Problem] = {}
    barren = 0
    while barren < _TRIES:  # an easy level has few questions: there may be fewer than wanted
        before = len(found)
        for skill in chosen:
            for difficulty in levels:
                problem = skill.problem(rng, difficulty)
                found.setdefault(problem.question, problem)
                if len(found) == wanted:
                    return _sorted(found.values())
        barren = 0 if len(found) > before else barren + 1
    return _sorted(found.values())


def _sorted(found: Iterable[Problem]) -> list[Problem]:
    from disrouter.lab.skills import SKILLS

    order = list(SKILLS)
    return sorted(found, key=lambda problem: (order.index(problem.skill), problem.level))


def _problem_json(problem: Problem) -> dict[str, Any]:
    from disrouter.lab.skills import SKILLS

    return {
        "skill": problem.skill,
        "domain": SKILLS[problem.skill].domain,
        "level": problem.level,
        "question": problem.question,
        "solution": problem.solution,
        "answer": problem.answer,
    }


def _print_problems(found: list[Problem]) -> None:
    from rich.text import Text

    from disrouter.cli._console import results, table
    from disrouter.lab.skills import SKILLS

    shown = table("skill", "domain", ">level", "question", "worked solution (answer after #)")
    before = None
    for problem in found:
        first = problem.skill != before
        if first and before is not None:
            shown.add_section()
        before = problem.skill
        shown.add_row(
            Text(problem.skill if first else "", style="bold"),
            SKILLS[problem.skill].domain if first else "",
            str(problem.level),
            problem.question,
            problem.solution,
        )
    results().print(shown)
