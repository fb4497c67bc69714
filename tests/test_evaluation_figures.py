from __future__ import annotations

from typing import Any

from disrouter.evaluation.figures import draw_reliability
from disrouter.evaluation.outcomes import Outcome, OutcomeTable


def outcome(query: int, confidence: float) -> Outcome:
    return Outcome(
        query_id=f"q{query}",
        dataset=None,
        domain=None,
        level=None,
        agent="a",
        scenario="balance",
        alpha=0.5,
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
