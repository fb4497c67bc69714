"""The command line: read options, call a function, print. Results to standard output, talk to standard error.

Nothing heavy is imported before a command runs that needs it.
"""

from __future__ import annotations

import os
import sys

import click

from disrouter import __version__
from disrouter.cli._errors import Program
from disrouter.cli._options import examples_as_typed
from disrouter.cli.agent import agent
from disrouter.cli.agents import agents
from disrouter.cli.ask import ask
from disrouter.cli.bench import bench
from disrouter.cli.calibrate import calibrate
from disrouter.cli.cards import cards
from disrouter.cli.conformance import conformance
from disrouter.cli.demo import demo
from disrouter.cli.drift import drift
from disrouter.cli.eval import evaluate
from disrouter.cli.init import init
from disrouter.cli.keys import keys
from disrouter.cli.lab import lab
from disrouter.cli.ladder import ladder
from disrouter.cli.network import network
from disrouter.cli.payback import payback
from disrouter.cli.plan import plan
from disrouter.cli.profile import profile
from disrouter.cli.recipes import recipes
from disrouter.cli.serve import serve
from disrouter.cli.traces import traces
from disrouter.cli.train import train
from disrouter.cli.tune import tune

__all__ = ["cli", "main"]


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", message="disrouter %(version)s")
@click.option("--traceback", is_flag=True, help="Show where in the code an error comes from.")
@examples_as_typed
def cli(traceback: bool) -> None:
    """Networks of language models that decide for themselves: answer, or pass the query on.

      disrouter demo                    five real models route real queries; what that is worth
      disrouter ask "357+246" --trace    one answer, and the way to it

    Every command explains itself with --help; every listing has --json.
    """


COMMANDS = (
    *(demo, ask, init, serve, network, agent, keys, traces, conformance),
    *(evaluate, bench, ladder, tune, drift, plan, profile, train, payback, calibrate, cards, agents, recipes, lab),
)
for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Run the program on the arguments of the process; ends the process."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # A stream that came closed. Something must hold its number, or the next file opened would get the output.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # open to the end
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show a character gets a substitute, not a crash in the middle of an answer.
            stream.reconfigure(errors="replace")
    cli.main(prog_name="disrouter")
