"""Write the lab family's model card from its checkpoints: sizes, training, accuracy per skill and size.

    python scripts/model_card.py --seed 1 --limit 2100

Accuracies are greedy, on fresh test questions, without a scenario in the prompt (base) and in the balance scenario with
the rejection masked (paper), so that the difference is what self-awareness training did to the ability.
"""

from __future__ import annotations

import argparse
import json

from safetensors import safe_open

from disrouter.agents.transformers import TransformersAgent
from disrouter.lab.family import CONTEXT_LENGTH, FAMILY, LabModel, Stage, checkpoint_path
from disrouter.lab.skills import SKILLS
from disrouter.lab.suite import LabSuite
from disrouter.lab.tokenizer import REJECTION
from disrouter.types import AgentCard, Query, QueryPrice
from disrouter.utility import BALANCE


def accuracy(spec: LabModel, stage: Stage, queries: list[Query]) -> dict[str, float]:
    """Return the share of right greedy answers for each skill."""
    agent = TransformersAgent(
        AgentCard(name=spec.name, price=QueryPrice(cost=0.0)),
        checkpoint_path(spec.name, stage),
        rejection=REJECTION,
        scenario_prompt=stage == "paper" and spec is not FAMILY[-1],
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
        "of the training split only; the mixtures stand in `disrouter/lab/family.py`. Agent 2 has seen three times as",
        "many facts as most and is the family's specialist.",
        "",
        "Agents 1 to 4 come in two more stages. *calibrated*: the base model, to the bit, with a confidence head and a",
        "calibration beside it (recipe `lab-calibrated`). *paper*: after SFT and RL (recipe `lab-paper`).",
        "",
        f"## Accuracy (greedy, test seed {arguments.seed}, {len(queries):,} questions)",
        "",
        f"    python scripts/model_card.py --seed {arguments.seed} --limit {arguments.limit}",
        "",
    ]
    stages: list[tuple[LabModel, Stage]] = [(spec, "base") for spec in FAMILY]
    stages += [(spec, "paper") for spec in FAMILY[:-1]]
    measured = [accuracy(spec, stage, queries) for spec, stage in stages]
    lines.append("| skill | " + " | ".join(f"{spec.name} {stage}" for spec, stage in stages) + " |")
    lines.append("|---|" + "---|" * len(stages))
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
