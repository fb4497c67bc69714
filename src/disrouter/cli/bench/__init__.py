"""``disrouter bench``: routing methods compared on the same queries, ours among them."""

from __future__ import annotations

import click

from disrouter.cli._options import examples_as_typed
from disrouter.cli.bench.gates import gate
from disrouter.cli.bench.proof import paper, store, verify
from disrouter.cli.bench.runs import methods, report, run
from disrouter.cli.bench.tables import build, import_

__all__ = ["bench"]


@click.group(short_help="Compare routing methods, ours and others'.")
@examples_as_typed
def bench() -> None:
    """The bench: every routing method on the same queries, decisions sealed before a score is looked at.

    disrouter bench import outcomes.jsonl --costs "small=0.1,large=1" -o table.parquet
    disrouter bench run table.parquet --methods all
    """


for command in (methods, import_, build, run, report, gate, paper, store, verify):
    bench.add_command(command)
