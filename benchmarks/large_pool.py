"""Make the outcome tables of a pool of 32 agents from the lab's models: what ``benchmarks/k_sweep.py`` reads.

    python benchmarks/large_pool.py --out pool/

17 agents are real models that run here: five sizes (four with calibrated heads), the paper's checkpoints of the four,
and variants of the four whose weights are rounded to 8 or 4 bits (per row, to the nearest of evenly spaced steps;
computed in float32, so they show what rounding does to answers and confidences, not what it saves). Fifteen are
*simulated*: a perfect dispatcher of two real agents by skill, the larger one on one skill (or two) and the smallest
elsewhere, which is what a specialist of that skill would look like.

A head reads the rounded model's own states; nothing is calibrated here.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from disrouter.agents.folders import weights_digest
from disrouter.agents.transformers import TransformersAgent
from disrouter.evaluation.build import build
from disrouter.evaluation.outcomes import CELLS, OutcomeTable
from disrouter.lab.skills import IN_DOMAIN, OUT_OF_DOMAIN
from disrouter.lab.suite import LabSuite
from disrouter.lab.tokenizer import REJECTION
from disrouter.types import AgentCard, QueryPrice
from disrouter.utility import BALANCE

CHECKPOINTS = Path(__file__).parents[1] / "src" / "disrouter" / "lab" / "checkpoints"

PRICES = {"agent-1": 0.1, "agent-2": 0.2, "agent-3": 0.4, "agent-4": 0.7, "agent-5": 0.9}
LOOK_SHARE = 0.062
ROUNDED = {8: 0.75, 4: 0.5}
"""Bits, and the share of the price that a model of such weights is charged: a list of ours, not a measurement."""

SETS = (("in", "validation", 77), ("in", "test", 2026), ("out", "test", 2026))


def main() -> None:
    """Run every agent over every set of queries and write one table per set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables; parts that are there are kept")
    parser.add_argument("--validation", type=int, default=3000)
    parser.add_argument("--test", type=int, default=500)
    arguments = parser.parse_args()

    suite = LabSuite()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        agents = dict(real_agents(Path(folder)))
        for domain, split, seed in SETS:
            count = arguments.validation if split == "validation" else arguments.test
            queries = suite.queries(domain, seed, count, split="validation" if split == "validation" else "test")
            parts = arguments.out / "parts" / f"{domain}-{split}"
            table = build(agents, queries, suite.grade, [BALANCE], domain=domain, seed=seed, parts=parts)
            with_specialists(table).write(arguments.out / f"{domain}-{split}.parquet")
            print(domain, split, table.shape, flush=True)


def real_agents(folder: Path) -> Iterator[tuple[str, TransformersAgent]]:
    """Yield the models, those with rounded weights made in ``folder``."""
    for size, price in PRICES.items():
        trained = CHECKPOINTS / ("base" if size == "agent-5" else "calibrated") / size
        how = "none" if size == "agent-5" else "head"
        yield from _named(size, price, trained, how)
        for bits, share in ROUNDED.items() if how == "head" else ():
            made = folder / f"{size}-int{bits}"
            round_weights(trained, made, bits)
            yield from _named(made.name, price * share, made, how)
    for size in list(PRICES)[:-1]:
        yield from _named(f"{size}-paper", PRICES[size], CHECKPOINTS / "paper" / size, "adapter", scenario_prompt=True)


def _named(
    name: str, price: float, path: Path, how: str, *, scenario_prompt: bool = False
) -> Iterator[tuple[str, TransformersAgent]]:
    card = AgentCard(name=name, price=QueryPrice(cost=round(price, 6), look_share=LOOK_SHARE))
    agent = TransformersAgent(
        card,
        path,
        rejection=REJECTION,
        scenario_prompt=scenario_prompt,
        self_assessment=how,  # type: ignore[arg-type]  # one of the three by construction
        calibrated=False,
    )
    yield name, agent


def round_weights(source: Path, target: Path, bits: int) -> None:
    """Copy a model's folder with every matrix rounded to ``bits`` per weight, row by row."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("calibration.json", "agent-card.json"))
    # Read from the source: what is loaded stays mapped to its file, which must not change under it.
    tensors = load_file(source / "model.safetensors")
    steps = 2 ** (bits - 1) - 1
    for name, weights in tensors.items():
        if weights.ndim == 2:
            scale = weights.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / steps
            tensors[name] = (weights / scale).round() * scale
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    head = source / "confidence_head.safetensors"
    if head.is_file():  # the head of the original reads the states of the rounded model
        said: dict[str, Any] = {"version": 1, "model": weights_digest(target)}
        said |= {key: value for key, value in _said(head).items() if key in ("layers", "width", "hidden")}
        parts = load_file(head)
        # The state of the embedding is the same for every prompt, and was scaled by next to nothing: rounding moves it.
        parts["scale"] = torch.where(parts["scale"] < 1e-4, torch.ones(()), parts["scale"])
        save_file(parts, target / head.name, metadata={"disrouter.head": json.dumps(said)})


def _said(head: Path) -> dict[str, Any]:
    with head.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    found: dict[str, Any] = json.loads(header["__metadata__"]["disrouter.head"])
    return found


def with_specialists(table: OutcomeTable) -> OutcomeTable:
    """Return the table with fifteen simulated specialists: two real agents, dispatched by skill."""
    skills = np.array(table.datasets)
    made = [(f"specialist-{skill} (simulated)", skills == skill) for skill in (*IN_DOMAIN, *OUT_OF_DOMAIN)]
    pairs = itertools.islice(itertools.pairwise(IN_DOMAIN), 5)
    made += [(f"specialist-{a}-{b} (simulated)", (skills == a) | (skills == b)) for a, b in pairs]
    one, other = table.agent_index("agent-4"), table.agent_index("agent-1")

    def cube(name: str) -> Any:
        column = getattr(table, name)
        more = [np.where(mine, column[:, one], column[:, other])[:, None] for _, mine in made]
        return np.concatenate([column, *more], axis=1)

    grown = replace(table, agents=(*table.agents, *(name for name, _ in made)), **{name: cube(name) for name in CELLS})
    return grown.repriced({name: QueryPrice(cost=0.25, look_share=LOOK_SHARE) for name, _ in made})


if __name__ == "__main__":
    main()
