"""The lab's skills: right answers, worked reasoning, splits that never meet."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from disrouter.errors import DataError, UnknownNameError
from disrouter.lab.skills import IN_DOMAIN, LEVELS, OUT_OF_DOMAIN, SKILLS, Problem, answer_of, split_of
from disrouter.lab.suite import EVERY_LEVEL, LabSuite, query_of


def problems(skill: str, count: int = 40) -> list[Problem]:
    rng = Random(7)
    return [SKILLS[skill].problem(rng, level) for level in LEVELS for _ in range(count)]


def right_answer(problem: Problem) -> str:
    """Solve a question by other means than its generator."""
    text = problem.question
    match problem.skill:
        case "add":
            first, second = text.split("+")
            return str(int(first) + int(second))
        case "sub":
            first, second = text.split("-")
            return str(int(first) - int(second))
        case "mul":
            first, second = text.split("*")
            return str(int(first) * int(second))
        case "rem":
            first, second = text.split("%")
            return str(int(first) % int(second))
        case "sort":
            return "".join(sorted(text.removeprefix("sort ")))
        case "reverse":
            return "".join(reversed(text.removeprefix("reverse ")))
        case "count":
            _, letter, word = text.split()
            return str(Counter(word)[letter])
        case "shift":
            _, by, word = text.split()
            return "".join(chr((ord(letter) - ord("a") + int(by)) % 26 + ord("a")) for letter in word)
        case "max":
            return str(max(map(int, text.split()[1:])))
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize("skill", [name for name in SKILLS if name != "facts"])
def test_every_answer_agrees_with_an_independent_solution(skill: str) -> None:
    for problem in problems(skill):
        assert problem.answer == right_answer(problem), problem.question


def test_facts_about_one_person_never_contradict_each_other() -> None:
    known: dict[tuple[str, str], str] = {}

    for problem in problems("facts", 200):
        *asked, name = problem.question.split()
        for attribute, value in zip(asked, problem.answer.split(), strict=True):
            assert known.setdefault((name, attribute), value) == value


@pytest.mark.parametrize("skill", SKILLS)
def test_a_solution_ends_in_the_answer_after_the_mark(skill: str) -> None:
    for problem in problems(skill, 5):
        assert answer_of(problem.solution) == problem.answer


def test_worked_sum_shows_every_column_with_its_carry() -> None:
    # 47 + 85: 7+5+0=12, carry 1, 4+8+1=13
    rng = Random(0)
    problem = next(
        p for p in (SKILLS["add"].problem(rng, 2) for _ in range(100_000)) if p.question in ("47+85", "85+47")
    )

    assert problem.solution in ("7+5+0=12 4+8+1=13 #132", "5+7+0=12 8+4+1=13 #132")


def test_a_text_without_a_mark_commits_to_no_answer() -> None:
    assert answer_of("7+5+0=12") is None


def test_the_same_seed_gives_the_same_queries() -> None:
    assert LabSuite().queries("in", 3, 50) == LabSuite().queries("in", 3, 50)
    assert LabSuite().queries("in", 3, 50) != LabSuite().queries("in", 4, 50)


@pytest.mark.parametrize(("domain", "skills"), [("in", IN_DOMAIN), ("out", OUT_OF_DOMAIN)])
def test_a_test_set_has_equal_shares_of_its_domains_skills_and_no_question_twice(
    domain: str, skills: tuple[str, ...]
) -> None:
    queries = LabSuite().queries(domain, 11, 210)

    assert Counter(query.dataset for query in queries) == dict.fromkeys(skills, 210 // len(skills))
    assert len({query.text for query in queries}) == 210


def test_no_test_question_of_any_seed_belongs_to_another_split() -> None:
    for seed in range(3):
        for domain in ("in", "out"):
            assert {split_of(query.text) for query in LabSuite().queries(domain, seed, 300)} == {"test"}


def test_train_validation_and_test_have_about_70_10_and_20_percent_of_questions() -> None:
    splits = Counter(split_of(f"{a}+{b}") for a in range(100, 200) for b in range(100))

    assert splits["train"] == pytest.approx(7000, abs=200)
    assert splits["validation"] == pytest.approx(1000, abs=150)
    assert splits["test"] == pytest.approx(2000, abs=200)


def test_an_answer_is_graded_by_what_stands_after_the_mark() -> None:
    query = query_of(Problem("add", 1, "12+3", "2+3+0=5 1+0+0=1 ", "15"), id="q")

    assert LabSuite().grade(query, "2+3+0=5 1+0+0=1 #15") == 1.0
    assert LabSuite().grade(query, "2+3+0=5 1+0+0=1 #16") == 0.0
    assert LabSuite().grade(query, "15") == 0.0


def test_an_empty_test_set_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        LabSuite().queries("in", 0, 0)


def test_an_unknown_domain_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'sideways'.*'in', 'out'"):
        LabSuite().queries("sideways", 0, 1)


def test_a_test_set_larger_than_the_number_of_questions_is_refused() -> None:
    # Level 1 of the facts has 24 people and 16 questions about each, a fifth of them in the test split: about 77.
    famous_only = LabSuite(weights={**EVERY_LEVEL, "facts": (1, 0, 0, 0, 0, 0, 0, 0)})

    with pytest.raises(DataError, match="'facts' has no more different questions"):
        famous_only.queries("in", 0, 7 * 120)


def test_a_suite_knows_the_worked_solution_of_a_query_that_another_one_drew() -> None:
    # A profile that was made elsewhere is learnt from by a suite that has drawn nothing yet.
    query = LabSuite().queries("in", 7, 30, split="train")[-1]

    solution = LabSuite().worked(query)

    assert solution is not None
    assert LabSuite().grade(query, solution) == 1.0
    assert LabSuite().worked(replace(query, id="in-train-8-00029")) is None  # another query's id
    assert LabSuite().worked(replace(query, id="mine")) is None
