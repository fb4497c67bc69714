"""Measuring what agents solve at each grade of difficulty."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from disrouter.competence import COMPETENCE_FILE, Competence, DifficultyScale, read_competence
from disrouter.errors import DataError, ModelError, UsageError
from disrouter.evaluation.difficulty import FewOutcomesError, measure
from disrouter.evaluation.outcomes import OutcomeTable
from disrouter.types import Scenario

PRIOR = np.array([0.5, 0.3, 0.2])
SURE = np.array([[0.9, 0.3, 0.1], [0.95, 0.8, 0.1], [0.7, 0.2, 0.6], [0.85, 0.5, 0.1], [0.6, 0.1, 0.05]])
"""Chance of each agent (row) to be sure of a query of each class (column); otherwise it is unsure."""
RIGHT = np.array([[0.95, 0.3, 0.05], [0.97, 0.85, 0.1], [0.8, 0.1, 0.9], [0.96, 0.6, 0.05], [0.7, 0.1, 0.02]])
"""Chance to be right, whatever it says: given the class, word and score are independent."""

NAMES = ("small", "large", "specialist", "medium", "tiny")


def planted(queries: int, seed: int, *, scenarios: int = 1) -> OutcomeTable:
    """Outcomes of five agents on queries of three classes; a sure one says .8, an unsure one .2, with some spread."""
    random = np.random.default_rng(seed)
    kind = random.choice(3, size=queries, p=PRIOR)
    sure = random.random((5, queries)) < SURE[:, kind]
    confidence = np.where(sure, 0.8, 0.2) + 0.05 * random.random((5, queries))
    score = (random.random((5, queries)) < RIGHT[:, kind]).astype(float)

    def cube(value: Any, kind: type[Any]) -> NDArray[Any]:
        return np.broadcast_to(np.asarray(value, dtype=kind), (scenarios, 5, queries))

    return OutcomeTable(
        query_ids=tuple(f"{seed}-{i}" for i in range(queries)),
        agents=NAMES,
        scenarios=tuple(Scenario(name=f"s{s}", alpha=0.5) for s in range(scenarios)),
        datasets=(None,) * queries,
        domains=(None,) * queries,
        levels=(None,) * queries,
        confidence=cube(confidence, float),
        accepts=cube(-1, int),
        answer=cube("x", object),
        score=cube(score, float),
        prompt_tokens=cube(10, int),
        answer_tokens=cube(30, int),
        look_cost=cube(0, float),
        answer_cost=cube(0, float),
        look_seconds=cube(0.5, float),
        answer_seconds=cube(2.0, float),
        failure=cube(None, object),
    )


def foretold(card: Competence, other: Competence, *, sure: bool) -> float:
    """What the cards say of the other agent's chance to be right, once the first one is sure or unsure."""
    edges = np.array([0.0, *card.bands, 1.0])
    # The band that straddles the gap between sure and unsure is neither.
    mine = edges[:-1] > 0.5 if sure else edges[1:] < 0.5
    belief = np.array(card.scale.prior) * np.array(card.speaks)[:, mine].sum(axis=1)
    belief /= belief.sum()
    return float(belief @ (np.array(other.speaks) * np.array(other.solves)).sum(axis=1))


def true_chance(agent: int, other: int, *, sure: bool) -> float:
    belief = PRIOR * (SURE[agent] if sure else 1 - SURE[agent])
    return float((belief / belief.sum()) @ RIGHT[other])


CARDS = measure(planted(4000, seed=1), classes=3, grades=32)


@pytest.mark.parametrize("sure", [True, False])
@pytest.mark.parametrize(("agent", "other"), [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)])
def test_the_cards_foretell_what_others_make_of_a_query(agent: int, other: int, sure: bool) -> None:
    found = foretold(CARDS[NAMES[agent]], CARDS[NAMES[other]], sure=sure)

    # 4,000 queries: a standard error below .015 per share
    assert found == pytest.approx(true_chance(agent, other, sure=sure), abs=0.05)


def test_means_of_tokens_and_seconds_are_kept() -> None:
    card = CARDS["small"]

    assert (card.prompt_tokens, card.answer_tokens) == (10.0, 30.0)
    assert (card.look_seconds, card.answer_seconds) == (0.5, 2.0)
    assert card.provenance == {"queries": 4000}


def test_measuring_is_repeatable() -> None:
    table = planted(300, seed=3)

    assert measure(table, classes=3, grades=16, seed=4) == measure(table, classes=3, grades=16, seed=4)


def test_a_newcomer_is_measured_on_the_scale_of_the_others() -> None:
    # the scale was set by four; the fifth one comes later, on other queries
    old = measure(planted(4000, seed=1).select(agents=[n for n in NAMES if n != "large"]), classes=3, grades=32)

    new = measure(planted(4000, seed=5), known=old)

    assert set(new) == {"large"}
    assert new["large"].scale == old["small"].scale
    for sure in (True, False):
        assert foretold(old["small"], new["large"], sure=sure) == pytest.approx(true_chance(0, 1, sure=sure), abs=0.05)


def test_known_agents_without_outcomes_are_named() -> None:
    table = planted(100, seed=2).select(agents=["large"])

    with pytest.raises(DataError, match="no outcomes of 'small'"):
        measure(table, known={"small": CARDS["small"]})


def test_known_cards_of_different_scales_are_refused() -> None:
    other = measure(planted(100, seed=9), classes=2, grades=4)

    with pytest.raises(DataError, match="different scales"):
        measure(planted(100, seed=2), known={"small": CARDS["small"], "large": other["large"]})


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_an_agent_of_one_class_is_named(score: float) -> None:
    table = planted(100, seed=2)
    scores = table.score.copy()
    scores[:, 1] = score

    with pytest.raises(DataError, match=f"Agent 'large' scores {score:g} on all 100 queries") as caught:
        measure(replace(table, score=scores))

    assert caught.value.hint is not None


def test_a_confidence_that_depends_on_the_scenario_is_refused() -> None:
    table = planted(100, seed=2, scenarios=2)
    confidence = table.confidence.copy()
    confidence[1, 2, 5] = 0.5

    with pytest.raises(DataError, match="confidence of agent 'specialist' depends on the scenario"):
        measure(replace(table, confidence=confidence))


def test_a_score_that_is_no_number_never_reaches_the_measurement() -> None:
    table = planted(100, seed=2)
    scores = table.score.copy()
    scores[0, 0, 7] = np.nan

    with pytest.raises(DataError, match="query '2-7', agent 'small'"):
        replace(table, score=scores)


def test_few_queries_are_refused() -> None:
    with pytest.raises(FewOutcomesError, match="49 queries are too few"):
        measure(planted(49, seed=2))


@pytest.mark.parametrize(("setting", "value"), [("classes", 0), ("bands", 1), ("grades", 0)])
def test_numbers_below_their_least_are_refused(setting: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{value} {setting} are too few"):
        measure(planted(60, seed=2), **{setting: value})  # type: ignore[arg-type]


def test_an_agent_without_a_confidence_has_one_band() -> None:
    table = planted(200, seed=2)
    confidence = table.confidence.copy()
    confidence[:, 1] = np.nan

    cards = measure(replace(table, confidence=confidence), classes=3, grades=16)

    assert cards["large"].bands == ()
    assert {len(row) for row in cards["large"].solves} == {1}


# Card files


def test_a_card_survives_its_file(tmp_path: Path) -> None:
    (tmp_path / COMPETENCE_FILE).write_text(json.dumps(CARDS["small"].to_json("small")), encoding="utf-8")

    assert read_competence(tmp_path) == CARDS["small"]
    assert read_competence(tmp_path / COMPETENCE_FILE) == CARDS["small"]


def test_a_folder_without_a_card_has_none(tmp_path: Path) -> None:
    assert read_competence(tmp_path) is None


def test_a_card_of_another_model_is_refused(tmp_path: Path) -> None:
    card = replace(CARDS["small"], model="aaaa")
    (tmp_path / COMPETENCE_FILE).write_text(json.dumps(card.to_json("small")), encoding="utf-8")

    with pytest.raises(ModelError, match="measured on another model") as caught:
        read_competence(tmp_path, model=lambda: "bbbb")

    assert "cards fit" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "its schema is 99, and this version reads"),
        ({"speaks": [[0.05] * 12] * 3}, "a row of speaks is no distribution"),
        ({"solves": [[1.2] * 12] * 3}, "chances to solve lie from 0 to 1"),
        ({"solves": [[0.5]] * 3}, "solves has shape"),
        ({"bands": ["a"]}, "could not convert"),
        ({"look_seconds": -1}, "look_seconds -1.0 is not a number from 0"),
        ({"scale": {"prior": [1.0], "grades": []}}, "at least one class and one grade"),
        ({"scale": []}, "cannot be used"),
        ({"scale": {}}, "lacks the key 'prior'"),
    ],
)
def test_damaged_cards_say_what_is_wrong(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = {**CARDS["small"].to_json("small"), **change}
    (tmp_path / COMPETENCE_FILE).write_text(json.dumps(content), encoding="utf-8")

    with pytest.raises(ModelError, match=message):
        read_competence(tmp_path)


def test_edges_of_bands_rise() -> None:
    scale = DifficultyScale((1.0,), ((1.0,),))

    with pytest.raises(ValueError, match="must rise"):
        Competence(scale=scale, bands=(0.5, 0.5), speaks=((0.2, 0.3, 0.5),), solves=((0.1, 0.2, 0.3),))
