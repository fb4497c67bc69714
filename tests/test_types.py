from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from disrouter.types import (
    Completion,
    Hop,
    Look,
    Message,
    Query,
    QueryPrice,
    TokenPrice,
    Trace,
    Usage,
)
from disrouter.utility import BALANCE


def trace_of(*hops: Hop, answer: str | None = "4") -> Trace:
    return Trace(query_id="q1", scenario=BALANCE, hops=hops, answer=answer)


def test_a_query_of_text_is_one_user_message() -> None:
    query = Query.from_text("2 + 2?", id="q1")

    assert query.messages == (Message("user", "2 + 2?"),)
    assert query.text == "2 + 2?"


def test_a_querys_text_is_its_last_user_message() -> None:
    messages = (Message("system", "s"), Message("user", "first"), Message("assistant", "a"), Message("user", "last"))

    assert Query(id="q1", messages=messages).text == "last"
    assert Query(id="q1", messages=()).text == ""


def test_usages_add_up() -> None:
    assert Usage(5, 1) + Usage(2, 3) == Usage(7, 4)


def test_a_price_per_query_charges_its_share_for_a_look_and_ignores_tokens() -> None:
    price = QueryPrice(cost=0.4, look_share=0.25)

    assert price.of(Usage(1000, 1000), answered=True) == 0.4
    assert price.of(Usage(1000, 0), answered=False) == pytest.approx(0.1)
    assert price.rank == 0.4


def test_a_token_price_charges_what_was_read_and_written() -> None:
    price = TokenPrice(input=1.0, output=4.0, unit=0.01)

    # (1 * 1000 + 4 * 500) / 1e6 = 0.003 money, of which 0.01 count as 1
    assert price.of(Usage(1000, 500), answered=True) == pytest.approx(0.3)
    assert price.of(Usage(1000, 0), answered=False) == pytest.approx(0.1)
    assert price.rank == pytest.approx(500.0)


def test_a_trace_knows_who_answered_and_what_it_cost() -> None:
    trace = trace_of(
        Hop(agent="small", decision="reject", cost=0.01, seconds=0.1, usage=Usage(5, 0)),
        Hop(agent="large", decision="answer", cost=0.9, seconds=0.5, usage=Usage(5, 3)),
    )

    assert trace.agent == "large"
    assert trace.cost == 0.9  # the paper's: rejections are free
    assert trace.cost_full == pytest.approx(0.91)
    assert trace.seconds == pytest.approx(0.6)
    assert trace.usage == Usage(10, 3)


def test_a_trace_without_an_answer_has_no_agent_and_only_a_full_cost() -> None:
    trace = trace_of(Hop(agent="small", decision="failure", cost=0.01), answer=None)

    assert trace.agent is None
    assert trace.cost == 0.0
    assert trace.cost_full == 0.01


def test_a_trace_without_hops_costs_nothing() -> None:
    assert trace_of(answer=None).agent is None
    assert trace_of(answer=None).usage == Usage(0, 0)


def test_what_an_agent_keeps_for_answering_is_no_part_of_its_look() -> None:
    look = Look(confidence=0.5, state=object())

    assert look == Look(confidence=0.5)
    assert "state" not in repr(look)


def test_types_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Completion(text="4").text = "5"  # type: ignore[misc]  # the point of the test
