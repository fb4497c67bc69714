"""Fit how often each level of the lab's in-domain skills comes up, so that the family's accuracies lie at the targets.

    python scripts/fit_difficulty.py --checkpoints src/disrouter/lab/checkpoints

Measures every agent greedily on validation questions of every level, then solves a small quadratic programme. Paste
the printed weights into ``disrouter/lab/suite.py``. No test question is looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random

import numpy as np
from scipy.optimize import minimize

from disrouter.agents.transformers import TransformersAgent
from disrouter.lab.family import CONTEXT_LENGTH, FAMILY
from disrouter.lab.skills import IN_DOMAIN, LEVELS, SKILLS, split_of
from disrouter.lab.suite import LabSuite, query_of
from disrouter.lab.tokenizer import REJECTION
from disrouter.types import AgentCard, QueryPrice
from disrouter.utility import BALANCE

TARGETS = {"agent-1": 0.38, "agent-2": 0.60, "agent-3": 0.72, "agent-4": 0.81, "agent-5": 0.85}
UNSOLVED = 0.08


def main() -> None:
    """Measure, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--per-level", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--outcomes", type=Path, help="file to keep the measured outcomes in, and to start from")
    parser.add_argument("--evenness", type=float, default=0.2, help="how much evenly spread levels are worth")
    parser.add_argument("--floor", type=float, default=0.03, help="least weight of a level")
    arguments = parser.parse_args()

    rng = Random(arguments.seed)
    skills = IN_DOMAIN
    problems = []
    for skill in skills:
        for level in LEVELS:
            found = 0
            while found < arguments.per_level:
                problem = SKILLS[skill].problem(rng, level)
                if split_of(problem.question) == "validation":
                    problems.append(problem)
                    found += 1
    queries = [query_of(problem, id=f"fit-{i}") for i, problem in enumerate(problems)]
    suite, right = LabSuite(), {}
    if arguments.outcomes is not None and arguments.outcomes.is_file():
        with np.load(arguments.outcomes) as kept:
            right = {name: kept[name] for name in kept.files}
    for model in FAMILY if not right else ():
        folder = arguments.checkpoints / "base" / model.name
        if not folder.is_dir():
            continue
        agent = TransformersAgent(
            AgentCard(name=model.name, price=QueryPrice(cost=0.0)),
            folder,
            rejection=REJECTION,
            scenario_prompt=False,
            max_tokens=CONTEXT_LENGTH,
        )
        answers = agent.answer_many(queries, BALANCE)
        scores = [suite.grade(query, answer.text) for query, answer in zip(queries, answers, strict=True)]
        right[model.name] = np.array(scores).reshape(len(skills), len(LEVELS), arguments.per_level)
        print(f"\n{model.name}: accuracy by skill and level", flush=True)
        for skill, rows in zip(skills, right[model.name].mean(-1), strict=True):
            print(f"  {skill:8}", " ".join(f"{value:.2f}" for value in rows), f"  mean {rows.mean():.2f}", flush=True)

    if arguments.outcomes is not None:
        np.savez(arguments.outcomes, **right)

    inside = len(IN_DOMAIN)
    cells = np.stack([scores[:inside].mean(-1) for scores in right.values()]).reshape(len(right), -1)
    unsolved = (1 - np.max([scores[:inside] for scores in right.values()], axis=0)).mean(-1).ravel()
    wanted = np.array([TARGETS[name] for name in right])
    count = cells.shape[1]

    def objective(weights: np.ndarray) -> float:
        share = weights / inside
        miss = cells @ share - wanted
        return float(
            40 * miss @ miss + 20 * (unsolved @ share - UNSOLVED) ** 2 + arguments.evenness * np.square(weights).sum()
        )

    sums = [
        {"type": "eq", "fun": lambda w, i=i: w[i * len(LEVELS) : (i + 1) * len(LEVELS)].sum() - 1}
        for i in range(inside)
    ]
    start = np.full(count, 1 / len(LEVELS))
    fitted = minimize(
        objective,
        start,
        method="SLSQP",
        bounds=[(arguments.floor, 0.5)] * count,
        constraints=sums,
        options={"maxiter": 300},
    )
    share = fitted.x / inside
    print(
        "\nfitted:",
        dict(zip(right, (cells @ share).round(3).tolist(), strict=True)),
        "unsolved",
        round(float(unsolved @ share), 3),
    )
    for skill, weights in zip(IN_DOMAIN, fitted.x.reshape(inside, -1), strict=True):
        print(f'    "{skill}": ({", ".join(f"{w:.2f}" for w in weights)}),')


if __name__ == "__main__":
    main()
