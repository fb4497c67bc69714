"""``disrouter init``: a network file for what is already here."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from disrouter.cli._options import examples_as_typed
from disrouter.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from disrouter.gateway.discovery import FoundModel, FoundServer, Provider

__all__ = ["init", "network_file"]

LEAST, MOST = 0.1, 0.9
"""Costs of the smallest and the largest agent, as in the paper; those between are spread evenly."""


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=Path("network.yaml"))
@click.option(
    "--server", "servers", multiple=True, metavar="URL", help="Ask this server too, like http://127.0.0.1:9000/v1."
)
@click.option("--no-search", is_flag=True, help="Ask only the servers that --server names.")
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@examples_as_typed
def init(file: Path, servers: tuple[str, ...], no_search: bool, force: bool) -> None:
    """Write a network FILE for the servers that run on this machine and the providers whose keys are set.

      disrouter init
      disrouter init home.yaml --server http://127.0.0.1:9000/v1

    It looks for Ollama, vLLM, llama.cpp, LM Studio and SGLang where they usually listen. Providers are not asked
    anything. Where nothing is found, the file names the small models that ship with the package.
    """
    from disrouter.agents.addresses import server_problem
    from disrouter.config import load
    from disrouter.files import write_text
    from disrouter.gateway.discovery import USUAL_SERVERS, find_servers, providers_with_keys

    if file.exists() and not force:
        raise UsageError(f"'{file}' is already there.", hint="name another file, or replace it with --force")
    for server in servers:
        if problem := server_problem(server):
            raise UsageError(f"--server '{server}' cannot be asked: {problem}.")
    candidates = [*(() if no_search else USUAL_SERVERS), *(("server", server.rstrip("/")) for server in servers)]
    found = find_servers(candidates)
    reached = {server.base_url for server in found}
    for server in servers:
        if server.rstrip("/") not in reached:
            click.echo(f"{server} names no model that chats: it is left out", err=True)
    providers = providers_with_keys(os.environ)
    write_text(file, network_file(file, found, providers))
    load(str(file))  # what was written can be used, or the reason why not is told now
    for found_server in found:
        names = ", ".join(model.id for model in found_server.models)
        click.echo(f"{found_server.name}: {names}", err=True)
    for provider in providers:
        click.echo(f"{provider.name}: {provider.variable} is set; its agent is prepared as a comment", err=True)
    if not found:
        click.echo("No server found: the file names the lab's models, which ship with the package.", err=True)
    click.echo(f"disrouter serve --network {shlex.quote(str(file))}")


def network_file(file: Path, servers: Sequence[FoundServer], providers: Sequence[Provider]) -> str:
    """Return the text of a commented network file."""
    agents = _agents(servers) if servers else _LAB
    prepared = "".join(_prepared(provider) for provider in providers)
    return f"""\
# disrouter serve --network {shlex.quote(str(file))}
#
# Agents are asked in the order of their prices; each judges itself, and answers or passes the query on.
name: {_name_of(file)}
agents:
{agents}{prepared}
# Pass on below a confidence of (1 - alpha)^0.5: the more cost weighs, the sooner an agent answers.
policy: paper
scenario: balance          # performance-first, balance, cost-first, or any alpha from 0 to 1; a request may choose
# limits: {{max_hops: 3}}    # most agents asked per query
"""


_LAB = "".join(
    f"""\
  - name: agent-{number}
    backend: transformers
    model: lab:agent-{number}
    price: {{cost: {cost}}}       # share of the dearest imaginable answer, from 0 to 1
    self_assessment: {assessment}
    scenario_prompt: false
"""
    for number, cost, assessment in (
        (1, 0.1, "head     # calibrated, beside the model"),
        (3, 0.4, "head"),
        (5, 0.9, "none     # the last one answers"),
    )
)


def _agents(servers: Sequence[FoundServer]) -> str:
    models = [(server, model) for server in servers for model in server.models]
    models.sort(key=lambda one: (one[1].billions is None, one[1].billions or 0.0))  # unknown sizes come last
    step = (MOST - LEAST) / max(1, len(models) - 1)
    taken: set[str] = set()
    return "".join(
        _agent(server, model, LEAST + step * i, last=i == len(models) - 1, taken=taken)
        for i, (server, model) in enumerate(models)
    )


def _agent(server: FoundServer, model: FoundModel, cost: float, *, last: bool, taken: set[str]) -> str:
    assessment = "none  " if last else "prompt"
    reason = "the last one always answers" if last else "asked in words; 'token' once it is trained to judge itself"
    context = "" if model.context_length is None else f"    context_length: {model.context_length}\n"
    return f"""\
  - name: {_free_name(model.id, taken)}
    backend: openai          # any server that speaks OpenAI's dialect; this one is {server.name}
    base_url: {_quoted(server.base_url)}
    model: {_quoted(model.id)}
    price: {{cost: {cost:.2g}}}       # GUESSED from its place by size: set what an answer is worth to you, from 0 to 1
    self_assessment: {assessment}  # {reason}
    scenario_prompt: false
{context}"""


def _prepared(provider: Provider) -> str:
    return f"""\
  # {provider.variable} is set. Name a model and what its answers cost you, then remove the marks:
  # - name: {provider.name}
  #   backend: openai
  #   base_url: {_quoted(provider.base_url)}
  #   api_key_env: {provider.variable}   # the variable, never the key
  #   model: MODEL
  #   price: {{cost: 1.0}}
  #   self_assessment: none
  #   scenario_prompt: false
"""


def _free_name(model: str, taken: set[str]) -> str:
    plain = re.sub(r"[^A-Za-z0-9._:-]+", "-", model.rpartition("/")[2]).strip("-._:")[:80] or "agent"
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}-{number}", number + 1
    taken.add(name)
    return _quoted(name)


def _name_of(file: Path) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-._")[:80]
    return plain if re.match(r"[A-Za-z]", plain) else f"network-{plain}".rstrip("-")


def _quoted(text: str) -> str:
    """Return a text as YAML takes it whatever it holds."""
    return json.dumps(text, ensure_ascii=False)
