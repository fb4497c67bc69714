"""``disrouter cards``: what every agent solves at each grade of difficulty, measured and kept beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import (
    agents_option,
    at_least,
    examples_as_typed,
    json_option,
    network_of,
    network_option,
    seed_option,
)
from disrouter.errors import InterruptedRunError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from disrouter.evaluation.outcomes import OutcomeTable
    from disrouter.network import Network

__all__ = ["cards"]

RUNS = Path("runs")


@click.group(short_help="What agents can do, for the policy that looks ahead.")
@examples_as_typed
def cards() -> None:
    """Measure what every agent solves at each grade of difficulty: what policy value-of-forwarding decides by.

    disrouter cards show
    disrouter cards fit --network my.yaml --suite my-queries.jsonl
    """


@cards.command(short_help="Measure agents and write their cards.")
@network_option
@agents_option("Newcomers, to measure on the scale of the others' cards; all: everybody, on a new scale.")
@click.option("--suite", default="lab", show_default=True, metavar="NAME|FILE", help="lab, or a .jsonl file.")
@click.option("--domain", default="in", show_default=True, metavar="in|out", help="The domain of the suite.")
@click.option(
    "--queries", type=int, default=6000, show_default=True, callback=at_least(50), help="Validation queries to ask."
)
@click.option(
    "--replay",
    type=int,
    default=0,
    show_default=True,
    callback=at_least(0),
    help="Pretraining problems to ask besides: cards then know of skills outside the domain.",
)
@seed_option(0, "Another seed draws other validation queries.")
@click.option(
    "--table",
    "table_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Measure by this outcome table (Parquet) instead of asking anybody.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write to DIR/AGENT instead of beside each model; needed for models that ship with the package.",
)
@json_option("one JSON object")
@examples_as_typed
def fit(
    network_name: str,
    agents: tuple[str, ...],
    suite: str,
    domain: str,
    queries: int,
    replay: int,
    seed: int,
    table_path: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Ask all agents the same validation queries and write `agent-card.json` beside each model.

    Can be stopped at any time: the same command goes on where it was.

      disrouter cards fit --network runs/lab-calibrated/network.yaml
      disrouter cards fit --network my.yaml --agents newcomer --suite my-queries.jsonl
      disrouter cards fit --network lab --replay 2000 --output runs/cards
    """
    from disrouter.cli._console import print_json
    from disrouter.competence import COMPETENCE_FILE, write_competence
    from disrouter.evaluation.cards import measured
    from disrouter.evaluation.outcomes import OutcomeTable

    network = network_of(network_name, measuring=agents)
    for name in agents:
        if name not in network.agents:  # before anybody is asked thousands of questions
            raise UnknownNameError.of("agent", name, network.agents, where=f"network '{network.name}'")
    folders = {name: _folder(network, name, output) for name in agents or network.agents}
    about: dict[str, object]
    if table_path is not None:
        if replay:
            raise UsageError(
                "--table takes outcomes as they are, and --replay asks the agents for more.",
                hint="leave one of them out",
            )
        table, about = OutcomeTable.read(table_path), {"table": table_path.name}
    else:
        table = _asked(network, suite, domain, queries, replay, seed)
        about = {"suite": suite, "domain": domain, "seed": seed, **({"replay": replay} if replay else {})}
    found = measured(network, table, only=agents, seed=seed, provenance=about)
    for name, competence in found.items():
        write_competence(competence, name, folders[name] / COMPETENCE_FILE)
    if as_json:
        print_json({"schema": 1, "agents": [{"name": name, "folder": str(folders[name])} for name in found]})
    else:
        shown = network_of(network_name) if output is None else None
        if shown is not None:
            _print(shown)
        for name in found:
            click.echo(f"card: {folders[name] / COMPETENCE_FILE}", err=True)


@cards.command(short_help="What the cards say.")
@network_option
@json_option("one JSON object")
@examples_as_typed
def show(network_name: str, as_json: bool) -> None:
    """Show how often every agent is right, from the easiest class of queries to the hardest.

    disrouter cards show --network lab
    """
    from disrouter.cli._console import print_json

    network = network_of(network_name)
    if as_json:
        listed = [
            {"name": name, "card": None if (card := agent.card.competence) is None else card.to_json(name)}
            for name, agent in network.agents.items()
        ]
        print_json({"schema": 1, "network": network.name, "agents": listed})
    else:
        _print(network)


def _asked(network: Network, suite: str, domain: str, queries: int, replay: int, seed: int) -> OutcomeTable:
    """Return the outcomes of the network's agents on validation queries and pretraining problems."""
    from disrouter.evaluation.cards import replay_table, together, validation_table
    from disrouter.evaluation.suites import replay_of, suite_of

    found = suite_of(suite)
    if replay:
        replay_of(found)  # a suite without says so before anybody is asked

    def of_queries(**how: Any) -> OutcomeTable:
        return validation_table(network, found, domain=domain, seed=seed, queries=queries, **how)

    def of_problems(**how: Any) -> OutcomeTable:
        return replay_table(network, found, seed=seed, problems=replay, **how)

    table = _kept(network, suite, f"{domain}-seed{seed}-n{queries}", queries, of_queries)
    if not replay:
        return table
    return together(table, _kept(network, suite, f"replay-seed{seed}-n{replay}", replay, of_problems))


def _kept(
    network: Network, suite: str, which: str, queries: int, outcomes_of: Callable[..., OutcomeTable]
) -> OutcomeTable:
    """Return outcomes from the folder in which they are kept in parts while they are being made."""
    from disrouter.evaluation.build import progress_bar
    from disrouter.evaluation.outcomes import OutcomeTable
    from disrouter.evaluation.records import network_to_json
    from disrouter.seeds import seed_of

    # Named after what the outcomes depend on: another model or price is another folder.
    mark = seed_of(0, repr(network_to_json(network)["agents"]), suite) % 16**8
    folder = RUNS / re.sub(r"[^\w.]+", "-", f"cards-{network.name}-{Path(suite).stem}-{which}-{mark:08x}")
    finished = folder / "table.parquet"
    if finished.is_file():
        return OutcomeTable.read(finished)
    try:
        with progress_bar(queries * len(network.agents), f"asking {network.name}") as advance:
            table = outcomes_of(parts=folder / "parts", advance=advance)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Stopped by the user; the outcomes finished so far are kept in '{folder}'.",
            hint="run the same command again to go on from there",
        ) from None
    table.write(finished)
    return table


def _folder(network: Network, name: str, output: Path | None) -> Path:
    """Return where an agent's card goes; the package's own files are not written to."""
    import disrouter

    if output is not None:
        return output / name
    folder = getattr(network.agents[name], "model_path", None)
    if not isinstance(folder, Path):
        raise UsageError(
            f"Agent '{name}' has no folder here that its card could be kept in.",
            hint="give --output DIR, and name the cards in the network file (`card: DIR/AGENT/agent-card.json`)",
        )
    if folder.resolve().is_relative_to(Path(disrouter.__file__).parent.resolve()):
        raise UsageError(
            f"The model of agent '{name}' is part of the package, which is not written to.",
            hint="say where the cards shall go with --output DIR",
        )
    return folder


def _print(network: Network) -> None:
    """Print one row per agent: its chance to be right by class of difficulty, the easiest class first."""
    from rich.text import Text

    from disrouter.cli._console import results, table

    known = {name: agent.card.competence for name, agent in network.agents.items()}
    scale = next((card.scale for card in known.values() if card is not None), None)
    classes = 0 if scale is None else len(scale.prior)
    shown = table("agent", ">right", *(f">{z + 1}" for z in range(classes)), ">bands", ">queries")
    for name, card in known.items():
        row: list[Any] = [Text(name, style="bold")]
        if card is None or scale is None or len(card.scale.prior) != classes:
            shown.add_row(*row, "-", *("-" for _ in range(classes)), "-", "no card" if card is None else "other scale")
            continue
        solved = [
            sum(speaks * solves for speaks, solves in zip(*rows, strict=True))
            for rows in zip(card.speaks, card.solves, strict=True)
        ]
        mean = sum(share * right for share, right in zip(card.scale.prior, solved, strict=True))
        numbers = (f"{value:.2f}".removeprefix("0") for value in (mean, *solved))
        shown.add_row(*row, *numbers, str(len(card.bands) + 1), str(card.provenance.get("queries", "-")))
    if scale is not None:
        shares = (f"{share:.2f}".removeprefix("0") for share in scale.prior)
        shown.add_row(Text("share of queries", style="dim"), "", *shares, "", "")
    console = results()
    console.print(shown)
    console.print("1, 2, …: classes of difficulty, the easiest first; how often the agent is right there", style="dim")
