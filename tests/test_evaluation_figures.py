from __future__ import annotations

from typing import Any

from disrouter.evaluation.figures import draw_reliability
from disrouter.evaluation.outcomes import Outcome, OutcomeTable


def outcome(query: int, confidence: float, scenario: str = "balance") -> Outcome:
    return Outcome(
        query_id=f"q{query}",
        dataset=None,
        domain=None,
        level=None,
        agent="a",
        scenario=scenario,
        alpha=0.5 if scenario == "balance" else 0.8,
        confidence=confidence,
        accepts=True,
        answer="x",
        score=1.0,
        prompt_tokens=1,
        answer_tokens=1,
        look_cost=0.01,
        answer_cost=0.1,
        look_seconds=0.0,
        answer_seconds=0.0,
        failure=None,
    )


def test_a_reliability_of_few_queries_is_not_drawn() -> None:
    # five queries of confidence .95, and one of .35 whose share right is an accident
    table = OutcomeTable.of([outcome(q, 0.95 if q < 5 else 0.35) for q in range(6)])

    figure = draw_reliability(table)

    points: Any = figure.axes[0].collections[0]
    assert points.get_offsets().tolist() == [[0.95, 1.0]]


def test_agents_that_never_hear_of_the_scenario_are_drawn_once() -> None:
    alike = [outcome(q, 0.95, scenario) for q in range(6) for scenario in ("balance", "cost-first")]
    unlike = [outcome(q, 0.95 if scenario == "balance" else 0.6, scenario) for q in range(6)
              for scenario in ("balance", "cost-first")]  # fmt: skip

    assert [axes.get_title(loc="left") for axes in draw_reliability(OutcomeTable.of(alike)).axes] == [
        "in every scenario"
    ]
    assert [axes.get_title(loc="left") for axes in draw_reliability(OutcomeTable.of(unlike)).axes] == [
        "balance",
        "cost-first",
    ]
