"""``disrouter calibrate``: what an agent's confidence is worth, measured on held-out queries and kept beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import agents_option, at_least, examples_as_typed, json_option, network_of, seed_option
from disrouter.errors import InterruptedRunError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from disrouter.agents.transformers import TransformersAgent
    from disrouter.training.settings import CalibrationMethod

__all__ = ["calibrate"]

Fit = Mapping[str, Mapping[str, float | None]]
"""Brier score and calibration error before and after, by scenario."""


@click.command(short_help="Make confidences mean what they say.")
@click.option(
    "--network", "network_name", metavar="FILE|NAME", help="A network file, as `disrouter train` leaves one, or a name."
)
@agents_option("Agents to calibrate, with commas between them, or all that give a confidence.")
@click.option("--suite", default="lab", show_default=True, metavar="NAME|FILE", help="lab, paper, gsm8k, paper@DIR, …")
@click.option("--domain", default="in", show_default=True, metavar="in|out", help="The domain of the suite.")
@click.option(
    "--queries",
    type=int,
    default=1000,
    show_default=True,
    callback=at_least(20),
    help="Validation queries: neither trained on nor judged by.",
)
@click.option(
    "--method",
    type=click.Choice(["isotonic", "platt"]),
    default="isotonic",
    show_default=True,
    help="isotonic: free in shape, wants some hundred queries; platt: a logistic curve.",
)
@seed_option(0, "Another seed draws other validation queries.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write to DIR/AGENT instead of beside each model; needed for models that ship with the package.",
)
@json_option("one JSON object")
@examples_as_typed
def calibrate(
    network_name: str | None,
    agents: tuple[str, ...],
    suite: str,
    domain: str,
    queries: int,
    method: CalibrationMethod,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Fit the curve from an agent's confidence to its measured chance of being right, and keep it beside the agent.

    Calibrated confidences are used from then on wherever the model is. Beside `calibration.json` lies a reliability
    diagram.

      disrouter calibrate --network runs/lab-calibrated/network.yaml --method platt
      disrouter calibrate --network lab --agents agent-1 --queries 200 --output calibrations
    """
    from disrouter.cli._console import bars, print_json
    from disrouter.training.agent_calibration import calibrate as calibrate_on
    from disrouter.training.agent_calibration import keep
    from disrouter.training.settings import CalibrationSettings
    from disrouter.training.suites import training_suite

    if network_name is None:
        raise UsageError(
            "Whom to calibrate is not said: give --network.", hint="disrouter calibrate --network runs/…/network.yaml"
        )
    chosen = _chosen(network_name, agents)
    folders = {name: _folder(name, agent, output) for name, agent in chosen.items()}
    asked = training_suite(suite)
    settings = CalibrationSettings(method=method, queries=queries)
    fits: dict[str, Fit] = {}
    with bars("curves") as show:
        try:
            for name, agent in chosen.items():
                found = calibrate_on(
                    agent,
                    asked,
                    settings,
                    domain=domain,
                    seed=seed,
                    report=partial(_say, show, name),
                )
                keep(found, folders[name], title=name)
                fits[name] = found.fit
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"Stopped by the user; calibrated: {', '.join(fits) or 'none'}.",
                hint="run the same command again for the others",
            ) from None
    if as_json:
        values = [{"name": name, "folder": str(folders[name]), "fit": fit} for name, fit in fits.items()]
        print_json({"schema": 1, "suite": suite, "domain": domain, "queries": queries, "seed": seed, "agents": values})
    else:
        _print(fits)
    for folder in folders.values():
        click.echo(f"calibration and diagram: {folder}", err=True)


def _say(show: Callable[[str, int, int, str], None], name: str, done: int, total: int) -> None:
    show(name, done, total, "")


def _chosen(network: str, names: tuple[str, ...]) -> dict[str, TransformersAgent]:
    """Return the agents to calibrate, reading their raw confidences."""
    agents = network_of(network).agents
    for name in names:
        if name not in agents:
            raise UnknownNameError.of("agent", name, agents, where=f"network '{network}'")
        if not _gives_confidence(agents[name]):
            raise UsageError(
                f"Agent '{name}' of network '{network}' gives no confidence that could be calibrated.",
                hint="calibrate local models whose self_assessment is token, adapter or head",
            )
    chosen = {name: _raw(agents[name]) for name in names or filter(lambda n: _gives_confidence(agents[n]), agents)}
    if not chosen:
        raise UsageError(f"No agent of network '{network}' gives a confidence that could be calibrated.")
    return chosen


def _gives_confidence(agent: object) -> bool:
    from disrouter.agents.transformers import TransformersAgent

    return isinstance(agent, TransformersAgent) and agent.self_assessment != "none"


def _raw(agent: Any) -> TransformersAgent:
    """Return the agent without the calibration that it may have already."""
    from disrouter.agents.transformers import TransformersAgent

    return TransformersAgent(
        agent.card,
        agent.model_path,
        rejection=agent.rejection,
        scenario_prompt=agent.scenario_prompt,
        self_assessment=agent.self_assessment,
        calibrated=False,
        max_tokens=agent.max_tokens,
    )


def _folder(name: str, agent: TransformersAgent, output: Path | None) -> Path:
    """Return where a calibration goes; the package's own files are not written to."""
    import disrouter

    if output is not None:
        return output / name
    if agent.model_path.resolve().is_relative_to(Path(disrouter.__file__).parent.resolve()):
        raise UsageError(
            f"The model of agent '{name}' is part of the package, which is not written to.",
            hint="say where the calibration shall go with --output DIR",
        )
    return agent.model_path


def _print(fits: Mapping[str, Fit]) -> None:
    from rich.text import Text

    from disrouter.cli._console import results, table

    shown = table("agent", "scenario", ">Brier before", ">after", ">ECE before", ">after")
    for name, fit in fits.items():
        for number, (scenario, found) in enumerate(fit.items()):
            values = (found[key] for key in ("brier_before", "brier_after", "ece_before", "ece_after"))
            shown.add_row(
                Text("" if number else name, style="bold"),
                "every" if scenario == "*" else scenario,
                *("-" if value is None else f"{value:.3f}" for value in values),
            )
    console = results()
    console.print(shown)
    console.print("after: each query judged by a curve that it had no part in", style="dim")
