"""Write the lab family's model card from its checkpoints: sizes, training, accuracy per skill and size.

    python scripts/model_card.py --seed 1 --limit 2100

Accuracies are greedy, on fresh test questions. They are those of every stage: what self-awareness training
adds, a head or an adapter, answers nothing.
"""

from __future__ import annotations

import argparse
import json

from safetensors import safe_open

from disrouter.agents.transformers import TransformersAgent
from disrouter.lab.family import CONTEXT_LENGTH, FAMILY, LabModel, checkpoint_path
from disrouter.lab.skills import SKILLS
from disrouter.lab.suite import LabSuite
from disrouter.lab.tokenizer import REJECTION
from disrouter.types import AgentCard, Query, QueryPrice
from disrouter.utility import BALANCE


def accuracy(spec: LabModel, queries: list[Query]) -> dict[str, float]:
    """Return the share of right greedy answers for each skill."""
    agent = TransformersAgent(
        AgentCard(name=spec.name, price=QueryPrice(cost=0.0)),
        checkpoint_path(spec.name, "base"),
        rejection=REJECTION,
        scenario_prompt=False,
        max_tokens=CONTEXT_LENGTH,
    )
    suite = LabSuite()
    scores: dict[str, list[float]] = {}
    for query, answer in zip(queries, agent.answer_many(queries, BALANCE), strict=True):
        scores.setdefault(query.dataset or "", []).append(suite.grade(query, answer.text))
    return {skill: sum(found) / len(found) for skill, found in scores.items()}


def parameters(spec: LabModel) -> int:
    """Return the number of weights of a checkpoint."""
    with safe_open(checkpoint_path(spec.name, "base") / "model.safetensors", framework="np") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 (not a dict)
    return sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in shapes)


def main() -> None:
    """Measure and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, default=2100)
    arguments = parser.parse_args()
    suite = LabSuite()
    queries = suite.queries("in", arguments.seed, arguments.limit)
    queries += suite.queries("out", arguments.seed, arguments.limit * 3 // 7)

    lines = [
        "# Model card: the lab family",
        "",
        "Five language models of one architecture (Qwen3), trained from scratch on the lab's ten skills. They are",
        "small enough to ship and real enough to route: `make demo` runs on them. They know nothing but these skills.",
        "",
        "| agent | weights | layers × width | pretraining tokens | training FLOPs | seconds (one busy core) |",
        "|---|---|---|---|---|---|",
    ]
    for spec in FAMILY:
        record = json.loads((checkpoint_path(spec.name, "base") / "training.json").read_text())
        count = parameters(spec)
        grown = f" (grown from {spec.grown_from})" if spec.grown_from else ""
        lines.append(
            f"| {spec.name}{grown} | {count:,} | {spec.layers} × {spec.hidden} | {record['tokens'] / 1e6:.1f} M | "
            f"{6 * count * record['tokens']:.1e} | {record['seconds']:,} |"
        )
    lines += [
        "",
        "FLOPs are six per weight and token. Data: worked solutions drawn by the skills' seeded generators, questions",
        "of the training split only; the mixtures stand in `disrouter/lab/family.py`. Agent 1 has seen next to no",
        "facts, counting, multiplication and division; agent 2 three times as many facts as most: the specialist.",
        "",
        "Agents 1 to 4 come in two more stages, each the base model to the bit with something beside it.",
        "*calibrated*: a confidence head and a calibration (recipe `lab-calibrated`). *paper*: an adapter that decides",
        "after SFT and RL (recipe `lab-paper`). So their answers are those of the base.",
        "",
        f"## Accuracy (greedy, test seed {arguments.seed}, {len(queries):,} questions)",
        "",
        f"    python scripts/model_card.py --seed {arguments.seed} --limit {arguments.limit}",
        "",
    ]
    measured = [accuracy(spec, queries) for spec in FAMILY]
    lines.append("| skill | " + " | ".join(spec.name for spec in FAMILY) + " |")
    lines.append("|---|" + "---|" * len(FAMILY))
    for skill in SKILLS.values():
        row = " | ".join(f"{found[skill.name]:.2f}" for found in measured)
        lines.append(f"| {skill.name} ({skill.domain}) | {row} |")
    for domain, title in (("in", "in-domain"), ("out", "out-of-domain")):
        names = [skill.name for skill in SKILLS.values() if skill.domain == domain]
        row = " | ".join(f"**{sum(found[name] for name in names) / len(names):.3f}**" for found in measured)
        lines.append(f"| **{title}** | {row} |")
    lines += ["", "Licence: Apache-2.0, like the code. Weights are safetensors in bfloat16.", ""]
    card = checkpoint_path(FAMILY[0].name).parents[2] / "MODEL_CARD.md"
    card.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
