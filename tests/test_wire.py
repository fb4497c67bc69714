"""The wire: every type of the contract comes out as it went in, and nothing else is believed."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disrouter.agents._wire_values import WireError
from disrouter.agents.faults import FaultError
from disrouter.agents.wire import (
    WIRE,
    Call,
    Ticket,
    call_from,
    call_json,
    fault_from,
    fault_json,
    look_from,
    piece_from,
    piece_json,
    query_from,
    query_json,
)
from disrouter.agents.wire_cards import card_from, card_json
from disrouter.competence import Competence, DifficultyScale
from disrouter.errors import AgentError, ContextError, ModelError
from disrouter.types import (
    AgentCard,
    Completion,
    Delta,
    Look,
    Message,
    Query,
    QueryPrice,
    Request,
    Sampling,
    Scenario,
    Seconds,
    Serving,
    TokenPrice,
    Usage,
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
messages = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts)
queries = st.builds(
    Query,
    id=texts.filter(bool),
    messages=st.lists(messages, max_size=5).map(tuple),
    dataset=st.none() | texts.filter(bool),
    level=st.none() | st.integers(0, 9),
)
scenarios = st.builds(Scenario, name=texts, alpha=st.floats(0, 1), beta=numbers)
usages = st.builds(Usage, st.integers(0, 2**40), st.integers(0, 2**40))
looks = st.builds(
    Look, confidence=st.none() | numbers, accepts=st.none() | st.booleans(), usage=usages, seconds=numbers
)
samplings = st.builds(
    Sampling,
    temperature=numbers,
    max_tokens=st.none() | st.integers(0, 10**6),
    seed=st.integers(-(2**63), 2**63 - 1),
)


def over_the_wire(value: Any) -> Any:
    """The value as both JSON libraries write it and read it back; they agree."""
    ours = orjson.loads(orjson.dumps(value))
    assert ours == json.loads(json.dumps(value))
    return ours


@given(queries, scenarios, st.none() | samplings, st.none() | looks)
def test_a_call_comes_out_as_it_went_in(
    query: Query, scenario: Scenario, sampling: Sampling | None, look: Look | None
) -> None:
    ticket = Ticket("abc", open=True) if look is not None else None
    call = Call(agent="a", query=query, scenario=scenario, sampling=sampling, look=look, ticket=ticket)

    assert call_from(over_the_wire(call_json(call))) == call


def test_a_query_travels_with_its_request_and_without_its_right_answer() -> None:
    body = {"model": "disrouter", "messages": [], "tools": [{"type": "function"}], "unknown": {"x": [1, None]}}
    query = Query(id="q", messages=(), reference="42", request=Request(body=body, streaming=True, via=("one",)))

    found = query_from(over_the_wire(query_json(query)))

    assert found.reference is None
    assert found.request == Request(body=body, streaming=True)
    assert "42" not in json.dumps(query_json(query))


@given(texts, usages, numbers, st.none() | numbers)
def test_the_end_of_an_answer_comes_out_as_it_went_in(
    text: str, usage: Usage, seconds: float, first: float | None
) -> None:
    end = Completion(text=text, usage=usage, finish_reason="length", seconds=seconds, first_token_seconds=first)

    found = piece_from(over_the_wire(piece_json(end)), "a")

    assert found == end
    assert isinstance(found, Completion)
    assert found.first_token_seconds == first


def test_pieces_of_an_answer_come_out_with_all_that_their_server_sent() -> None:
    chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}}], "extra": 1}
    delta = Delta("x", (chunk,), "a")

    found = piece_from(over_the_wire(piece_json(delta)), "a")

    assert isinstance(found, Delta)
    assert (found.text, found.chunks, found.agent) == ("x", (chunk,), "a")
    assert piece_from(over_the_wire(piece_json("text")), "a") == "text"
    body: dict[str, Any] = {"choices": [], "x": None}
    end = piece_from(over_the_wire(piece_json(Completion(text="", body=body))), "a")
    assert isinstance(end, Completion)
    assert end.body == body


@pytest.mark.parametrize(
    "error",
    [
        FaultError("busy", kind="busy", retry_after=1.5, status=429, code="c", param="p"),
        FaultError("not its own", kind="status", own=False),
        ContextError("too long"),
        AgentError("broke"),
    ],
)
def test_a_failure_keeps_its_kind_and_its_words(error: AgentError) -> None:
    found = fault_from(over_the_wire(fault_json(error)), "a")

    assert type(found) is type(error)
    assert found.message == error.message
    assert vars(found) == vars(error)
    with pytest.raises(type(error), match=error.message):
        piece_from({"fault": over_the_wire(fault_json(error))}, "a")


@pytest.mark.parametrize("error", [ValueError("the query of a user"), ModelError("No weights in '/home/me'.")])
def test_a_surprise_tells_its_type_and_nothing_else(error: Exception) -> None:
    said = fault_from(fault_json(error), "a").message

    assert said == f"It broke with {type(error).__name__}; the log of its process says more."


@pytest.mark.parametrize("value", [None, 1, [], {}, {"message": 1}, {"message": "x", "type": "fault", "kind": "odd"}])
def test_what_is_no_failure_is_one_of_its_own(value: Any) -> None:
    found = fault_from(value, "a")

    assert isinstance(found, FaultError)
    assert found.kind == "malformed"


def a_card(**fields: Any) -> AgentCard:
    third = 1 / 3
    scale = DifficultyScale((third, third, third), ((third, third, third), (0.1, 0.9 - 0.1 / 7, 0.1 / 7)))
    competence = Competence(
        scale=scale,
        bands=(0.1 + 0.2,),
        speaks=((third, 1 - third),) * 3,
        solves=((third, 1.0),) * 3,
        prompt_tokens=11.2,
        model="abc",
        provenance={"suite": "lab"},
    )
    return AgentCard(
        name="a",
        price=fields.pop("price", QueryPrice(cost=0.1 + 0.2, look_share=third)),
        context_length=128,
        parameters=10,
        competence=competence,
        seconds=Seconds(look=third, answer=0.5),
        details={"backend": "recorded"},
        serving=Serving(concurrency=3, queue=0, failures=2, pause=third),
        **fields,
    )


@pytest.mark.parametrize("price", [QueryPrice(cost=1 / 3), TokenPrice(input=1 / 3, output=2 / 3, unit=0.1)])
def test_a_card_comes_out_with_every_bit(price: Any) -> None:
    card = a_card(price=price)

    found = card_from(over_the_wire(card_json(card)))

    assert found == card
    assert found.competence == card.competence
    assert found.competence is not None and card.competence is not None
    assert found.competence.scale.id == card.competence.scale.id


def test_a_card_with_nothing_but_a_price_is_one() -> None:
    card = AgentCard(name="a", price=QueryPrice(cost=0.5))

    assert card_from(over_the_wire(card_json(card))) == card


_CARD = card_json(a_card())
_CALL = call_json(Call(agent="a", query=Query.from_text("x"), scenario=Scenario(name="s", alpha=0.5)))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {**_CALL, "wire": WIRE + 1},
        {**_CALL, "agent": ""},
        {**_CALL, "query": None},
        {**_CALL, "query": {"id": "x", "messages": "hello"}},
        {**_CALL, "query": {"id": "x", "messages": [["tool", "x"]]}},
        {**_CALL, "query": {"id": "x", "messages": [["user", None]]}},
        {**_CALL, "query": {"id": "x" * 1000, "messages": []}},
        {**_CALL, "query": {"id": "x", "messages": [], "request": {"body": []}}},
        {**_CALL, "scenario": ["s", 2.0, 0.0]},
        {**_CALL, "scenario": ["s", True, 0.0]},
        {**_CALL, "scenario": ["s", 0.5]},
        {**_CALL, "sampling": [0.0, None]},
        {**_CALL, "sampling": [0.0, -1, 0]},
        {**_CALL, "look": {"confidence": "high"}},
        {**_CALL, "look": {"confidence": 0.5, "accepts": 1, "usage": [1, 1], "seconds": 0.0}},
        {**_CALL, "look": {"usage": [1, 1.5], "seconds": 0.0}},
        {**_CALL, "look": {"usage": [1, 1], "seconds": 0.0, "ticket": "x" * 10}},
        {**_CALL, "look": {"usage": [1, 1], "seconds": 0.0, "ticket": ["x" * 1000, True]}},
    ],
)
def test_what_is_no_call_is_refused(value: Any) -> None:
    with pytest.raises(WireError):
        call_from(value)


@pytest.mark.parametrize("value", [None, {}, {"text": 1}, {"end": {}}, {"delta": ["x"]}, {"delta": ["x", [{}], None]}])
def test_what_is_no_piece_is_refused(value: Any) -> None:
    with pytest.raises(WireError):
        piece_from(value, "a")


@pytest.mark.parametrize("value", [None, {}, {"confidence": 0.1}, {"usage": [0, 0], "seconds": True}])
def test_what_is_no_look_is_refused(value: Any) -> None:
    with pytest.raises(WireError):
        look_from(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {**_CARD, "price": {"per": "query", "cost": 2.0, "look_share": 0.1}},
        {**_CARD, "price": {"per": "token", "input": 1.0, "output": 1.0, "unit": 0}},
        {**_CARD, "price": {"per": "token", "input": -1.0, "output": 1.0, "unit": 1}},
        {**_CARD, "competence": {"schema": 99}},
        {**_CARD, "competence": {**_CARD["competence"], "solves": [[2.0, 2.0]] * 3}},
        {**_CARD, "competence": {**_CARD["competence"], "scale": {"prior": [1.0], "grades": ["7:1.0"]}}},
        {**_CARD, "seconds": {"look": "x"}},
        {**_CARD, "serving": {"concurrency": "many"}},
        {**_CARD, "details": []},
    ],
)
def test_what_is_no_card_is_refused(value: Any) -> None:
    with pytest.raises(WireError):
        card_from(value)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


@given(anything, st.sampled_from(["query", "scenario", "sampling", "look", "agent"]), st.sampled_from(list(_CARD)))
def test_whatever_comes_is_understood_or_refused_and_nothing_else(value: Any, part: str, of_card: str) -> None:
    for read in (
        lambda: call_from(value),
        lambda: call_from({**_CALL, part: value}),
        lambda: call_from({**_CALL, "look": {"usage": [0, 0], "seconds": 0.0, part: value}}),
        lambda: look_from(value),
        lambda: piece_from({"end": value}, "a"),
        lambda: piece_from({"delta": value}, "a"),
        lambda: piece_from({"fault": value}, "a"),
        lambda: card_from(value),
        lambda: card_from({**_CARD, of_card: value}),
        lambda: card_from({**_CARD, "competence": {**_CARD["competence"], of_card: value, "scale": value}}),
    ):
        with contextlib.suppress(WireError, AgentError):
            read()
