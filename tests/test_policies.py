from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disrouter.errors import ConfigError, UnknownNameError
from disrouter.policies import (
    Accept,
    OwnWord,
    PaperThreshold,
    Pass,
    Policy,
    Threshold,
    View,
    own_word,
    policy_of,
    spec_of,
)
from disrouter.types import AgentCard, QueryPrice, Scenario
from disrouter.utility import BALANCE, COST_FIRST, PERFORMANCE_FIRST

CARD = AgentCard(name="a", price=QueryPrice(cost=0.1))
UNIT = st.floats(min_value=0.0, max_value=1.0)


def view(
    confidence: float | None = None,
    accepts: bool | None = None,
    *,
    scenario: Scenario = BALANCE,
    successors: tuple[str, ...] = ("b", "c"),
) -> View:
    return View(confidence=confidence, accepts=accepts, scenario=scenario, card=CARD, successors=successors)


POLICY = st.one_of(
    st.just(OwnWord()),
    st.builds(Threshold, threshold=UNIT),
    st.builds(PaperThreshold, gamma=st.floats(min_value=0.0, max_value=4.0)),
)


@given(
    policy=POLICY,
    looks=st.lists(st.tuples(st.none() | UNIT, st.sampled_from([None, True, False])), max_size=20),
    alpha=UNIT,
)
def test_a_column_is_decided_like_its_rows(
    policy: Policy, looks: list[tuple[float | None, bool | None]], alpha: float
) -> None:
    scenario = Scenario(name="any", alpha=alpha)
    confidence = np.array([math.nan if c is None else c for c, _ in looks], dtype=np.float64)
    words = np.array([own_word(accepts, c) for c, accepts in looks], dtype=np.bool_)

    column = policy.accepts(confidence, words, scenario)

    rows = [policy.decide(view(c, accepts, scenario=scenario)) for c, accepts in looks]
    assert column.dtype == np.bool_
    assert column.tolist() == [row == Accept() for row in rows]


@pytest.mark.parametrize(
    ("accepts", "confidence", "word"),
    [(True, 0.1, True), (False, 0.9, False), (None, 0.51, True), (None, 0.5, False), (None, None, True)],
)
def test_own_word_is_the_agents_word_else_its_better_guess_else_to_answer(
    accepts: bool | None, confidence: float | None, word: bool
) -> None:
    assert own_word(accepts, confidence) is word


def test_own_word_policy_does_not_ask_for_the_scenario() -> None:
    assert OwnWord().decide(view(0.9, accepts=False, scenario=COST_FIRST)) == Pass("b")
    assert OwnWord().decide(view(0.1, accepts=True, scenario=PERFORMANCE_FIRST)) == Accept()


def test_changing_the_decided_column_leaves_the_own_words_alone() -> None:
    words = np.array([True, False])

    OwnWord().accepts(np.array([0.9, 0.1]), words, BALANCE)[:] = False

    assert words.tolist() == [True, False]


def test_threshold_accepts_strictly_above() -> None:
    policy = Threshold(0.7)

    assert policy.decide(view(0.7, accepts=True)) == Pass("b")
    assert policy.decide(view(0.71, accepts=False)) == Accept()


def test_threshold_takes_an_agent_without_confidence_at_its_word() -> None:
    assert Threshold(0.7).decide(view(None, accepts=False)) == Pass("b")
    assert Threshold(0.7).decide(view(None, accepts=None)) == Accept()


@pytest.mark.parametrize(
    ("scenario", "bar"),
    # the square roots of 0.8, 0.5 and 0.2
    [(PERFORMANCE_FIRST, 0.894427), (BALANCE, 0.707107), (COST_FIRST, 0.447214)],
)
def test_paper_threshold_is_what_a_rejection_pays(scenario: Scenario, bar: float) -> None:
    policy = PaperThreshold()

    assert policy.threshold(scenario) == pytest.approx(bar, abs=1e-6)
    assert policy.decide(view(bar + 1e-5, scenario=scenario)) == Accept()
    assert policy.decide(view(bar - 1e-5, scenario=scenario)) == Pass("b")


def test_gamma_one_makes_the_paper_threshold_linear() -> None:
    assert PaperThreshold(gamma=1.0).threshold(COST_FIRST) == pytest.approx(0.2)


@given(policy=POLICY, confidence=st.none() | UNIT, accepts=st.sampled_from([None, True, False]))
def test_whoever_has_nobody_to_pass_to_answers(policy: Policy, confidence: float | None, accepts: bool | None) -> None:
    assert policy.decide(view(confidence, accepts, successors=())) == Accept()


@pytest.mark.parametrize(
    ("spec", "policy"),
    [
        ("own-word", OwnWord()),
        ("paper", PaperThreshold(gamma=0.5)),
        ({"name": "paper", "gamma": 1}, PaperThreshold(gamma=1)),
        ({"name": "threshold", "threshold": 0.3}, Threshold(0.3)),
    ],
)
def test_a_policy_is_named_with_its_settings(spec: str | dict[str, object], policy: Policy) -> None:
    assert policy_of(spec) == policy


@given(policy=POLICY)
def test_a_policy_can_be_made_again_from_its_record(policy: Policy) -> None:
    assert policy_of(spec_of(policy)) == policy


def test_an_unknown_policy_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"'treshold'.*'own-word', 'threshold', 'paper'") as error:
        policy_of("treshold")

    assert error.value.hint == "did you mean 'threshold'?"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("threshold", "needs a threshold from 0 to 1"),
        ({"name": "threshold", "threshold": 1.2}, r"threshold 1\.2 is not a number from 0 to 1"),
        ({"name": "threshold", "threshold": True}, "threshold True is not a number"),
        ({"name": "paper", "gamma": -1}, "gamma -1 is not a number from 0 up"),
        ({"name": "paper", "gamma": "much"}, "gamma 'much' is not a number"),
        ({"name": "paper", "gama": 1}, "no setting 'gama'. Known: 'gamma'"),
        ({"name": "own-word", "gamma": 1}, "no setting 'gamma'. Known: none"),
        ({"gamma": 1}, "needs a name"),
        (None, "needs a name"),
        (7, "needs a name; got 7"),
    ],
)
def test_unusable_settings_are_refused(spec: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        policy_of(spec)  # type: ignore[arg-type]  # what a file may hold
