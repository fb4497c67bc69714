"""``disrouter profile``: how often an agent's own sampled answers are right, query by query."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from disrouter.cli._options import (
    SHARDED,
    at_least,
    engine_options,
    examples_as_typed,
    json_option,
    network_of,
    seed_option,
)
from disrouter.errors import InterruptedRunError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from disrouter.agents.transformers import TransformersAgent
    from disrouter.engines import EngineName
    from disrouter.training.profile_summary import ProfileSummary
    from disrouter.training.profiling import Sampler

__all__ = ["profile"]

PROFILES = Path("profiles")


@click.command(short_help="Measure what an agent gets right, by sampling.")
@click.option(
    "--model", metavar="FOLDER|NAME", help="A model folder, lab:agent-1, or a hub's or a server's name of one."
)
@click.option("--server", metavar="URL", help="Ask this OpenAI-compatible server, as http://127.0.0.1:8000/v1.")
@click.option("--api-key-env", metavar="NAME", help="The environment variable that holds the server's key.")
@click.option(
    "--concurrency",
    type=int,
    default=16,
    show_default=True,
    callback=at_least(1),
    help="Requests under way at any time.",
)
@click.option("--network", "network_name", metavar="FILE|NAME", help="Take the model of an agent of this network.")
@click.option("--agent", metavar="NAME", help="Which one; without --network: what the profile calls the model.")
@click.option("--suite", default="lab", show_default=True, metavar="NAME|FILE", help="lab, paper, gsm8k, paper@DIR, …")
@click.option("--domain", default="in", show_default=True, metavar="in|out", help="The domain of the suite.")
@click.option("--queries", type=int, default=4000, show_default=True, callback=at_least(1), help="Training queries.")
@click.option(
    "--samples", type=int, default=10, show_default=True, callback=at_least(1), help="Answers to each query (N)."
)
@click.option("--temperature", type=float, default=1.0, show_default=True, help="That answers are drawn at.")
@click.option(
    "--max-tokens", type=int, default=512, show_default=True, callback=at_least(1), help="Most tokens of an answer."
)
@seed_option(0, "Of the queries and the samples.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where the profile goes.  [default: profiles/AGENT.parquet]",
)
@engine_options(SHARDED)
@json_option("one JSON object")
@examples_as_typed
def profile(
    model: str | None,
    server: str | None,
    api_key_env: str | None,
    concurrency: int,
    network_name: str | None,
    agent: str | None,
    suite: str,
    domain: str,
    queries: int,
    samples: int,
    temperature: float,
    max_tokens: int,
    seed: int,
    output: Path | None,
    engine_name: EngineName,
    ray_address: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Sample an agent's answers to training queries and grade them: its success rates.

    Every answer is kept. Can be stopped at any time: the same command goes on where it was and asks nothing again.
    `disrouter train --profiles` takes the profile as it is.

      disrouter profile --model lab:agent-1 --queries 100 --samples 4
      disrouter profile --server http://127.0.0.1:8000/v1 --model Qwen/Qwen2.5-7B-Instruct --suite gsm8k
    """
    from disrouter.cli._console import bars, print_json
    from disrouter.engines import engine_of
    from disrouter.training.profile_summary import summarise
    from disrouter.training.profiling import LocalSampler
    from disrouter.training.profiling import profile as profile_on
    from disrouter.training.settings import ProfileSettings
    from disrouter.training.shared_sampler import SharedSampler
    from disrouter.training.suites import training_suite

    _check_sources(model, server, api_key_env, network_name, agent)
    if not 0 < temperature <= 10:
        raise UsageError(f"--temperature {temperature:g} is out of range: give a number above 0 and up to 10.")
    engine = engine_of(engine_name, address=ray_address, workers=workers)
    name, sampler = _sampler(
        model, server, api_key_env, concurrency, network_name, agent, temperature, seed, max_tokens
    )
    if engine is not None:
        if not isinstance(sampler, LocalSampler):
            raise UsageError(
                "A server is asked from this process: --engine and --workers go with local models only.",
                hint="--concurrency says how many requests are under way",
            )
        sampler = SharedSampler(sampler, engine)
    path = output or PROFILES / f"{name}.parquet"
    chosen = training_suite(suite)
    settings = ProfileSettings(queries=queries, samples=samples, temperature=temperature, seed=seed)
    with bars("queries") as show:
        try:
            found = profile_on(
                name,
                sampler,
                chosen.queries(domain, seed, queries, split="train"),
                chosen.grade,
                path,
                settings,
                report=lambda done, total: show(name, done, total, ""),
            )
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"Stopped by the user; the answers so far are kept beside '{path}'.",
                hint="run the same command again to go on from there",
            ) from None
    summary = summarise(found)
    if as_json:
        print_json({"schema": 1, "profile": str(path), **asdict(summary)})
    else:
        _print(summary)
    click.echo(f"profile: {path}", err=True)


def _check_sources(
    model: str | None, server: str | None, api_key_env: str | None, network: str | None, agent: str | None
) -> None:
    """Refuse options that do not say whom to ask, or say it twice."""
    if (network is None) == (model is None):
        raise UsageError(
            "Whom to profile is not clear: give either --model, or --network and --agent.",
            hint="disrouter profile --model lab:agent-1",
        )
    if network is not None and agent is None:
        raise UsageError("--network needs --agent.", hint=f"`disrouter agents --network {network}` lists them")
    if server is not None and model is None:
        raise UsageError("--server needs --model, the name that the server knows the model by.")
    if api_key_env is not None and server is None:
        raise UsageError("--api-key-env goes with --server only.")
    if api_key_env is not None and not os.environ.get(api_key_env):
        raise UsageError(
            f"The environment variable '{api_key_env}' is not set, or empty.", hint=f"export {api_key_env}=…"
        )


def _sampler(
    model: str | None,
    server: str | None,
    api_key_env: str | None,
    concurrency: int,
    network: str | None,
    agent: str | None,
    temperature: float,
    seed: int,
    max_tokens: int,
) -> tuple[str, Sampler]:
    """Return the name of the profile and who draws the answers."""
    from disrouter.training.profiling import LocalSampler

    name = agent or str(model).rstrip("/").rpartition("/")[2].rpartition(":")[2]
    if server is not None:
        from disrouter.training.server_sampler import ServerSampler

        return name, ServerSampler(
            base_url=server,
            model=str(model),
            temperature=temperature,
            seed=seed,
            max_tokens=max_tokens,
            api_key=os.environ[api_key_env] if api_key_env else None,
            concurrency=concurrency,
        )
    runner = _of_network(network, name) if network is not None else _of_folder(str(model), name, max_tokens)
    return name, LocalSampler(runner, temperature, seed)


def _of_network(network: str, name: str) -> TransformersAgent:
    from disrouter.agents.transformers import TransformersAgent

    agents = network_of(network).agents
    if name not in agents:
        raise UnknownNameError.of("agent", name, agents, where=f"network '{network}'")
    agent = agents[name]
    if not isinstance(agent, TransformersAgent):
        raise UsageError(f"Agent '{name}' of network '{network}' is no local model: its answers cannot be sampled.")
    return agent


def _of_folder(model: str, name: str, max_tokens: int) -> TransformersAgent:
    from disrouter.agents.transformers import TransformersAgent
    from disrouter.training.bases import base_folder
    from disrouter.types import AgentCard, QueryPrice

    card = AgentCard(name=name, price=QueryPrice(cost=0.0))
    return TransformersAgent(card, base_folder(model), scenario_prompt=False, max_tokens=max_tokens)


def _print(summary: ProfileSummary) -> None:
    from rich.text import Text

    from disrouter.cli._console import results, table

    shown = table("dataset", ">queries", ">success rate", ">never right", ">sometimes", ">always")
    rows: list[tuple[Any, ...]] = [(rates.dataset or "-", rates) for rates in summary.datasets]
    rows += [(Text("all", style="bold"), summary.overall)] if len(rows) > 1 else []
    for name, rates in rows:
        shares = (f"{100 * share:.1f} %" for share in (rates.never, rates.sometimes, rates.always))
        shown.add_row(name, f"{rates.queries:,}", f"{rates.mean:.3f}", *shares)
    console = results()
    console.print(shown)
    console.print(
        f"agent {summary.agent}, {summary.samples} answers to each query, {summary.sampled_tokens:,} tokens",
        style="dim",
    )
