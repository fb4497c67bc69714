from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from disrouter.errors import DataError, UnknownNameError
from disrouter.evaluation.graders import (
    choice,
    drop,
    exact,
    final_part,
    grader_of,
    number_in,
    numeric,
    references_of,
    span_f1,
)
from disrouter.evaluation.suites import FileSuite, Suite, suite_of
from disrouter.types import Query

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("3 + 4 = 7\nA: 7", "7"),
        ("Answer: 3\nno, wait.\nAnswer: 4", "4"),
        ("The answer is 12.", "12."),
        ("so\n#### 5", "5"),
        (r"so \boxed{5}", "5}"),
        ("just 7", "just 7"),
        ("Plan A: 3 apples", "Plan A: 3 apples"),
    ],
)
def test_the_answer_stands_after_the_last_mark(text: str, part: str) -> None:
    assert final_part(text) == part


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("$1,234.50.", "1234.50"),
        ("-5", "-5"),
        ("−7 degrees", "-7"),
        ("$-5", "-5"),
        ("3-4", "4"),
        (".5", "0.5"),
        ("12%", "12"),
        ("5.", "5"),
        ("1,2,3", "3"),
        ("12,345,678 in all", "12345678"),
    ],
)
def test_the_last_number_is_read_with_its_sign_and_separators(text: str, number: str) -> None:
    assert number_in(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "none", "v2", "."])
def test_a_text_without_a_number_has_none(text: str) -> None:
    assert number_in(text) is None


def test_numbers_are_compared_by_value_and_exactly() -> None:
    assert numeric("A: 3.0", "3") == 1.0
    assert numeric("A: 1,000", "1000") == 1.0
    assert numeric("A: 0.30000000001", "0.3") == 0.0
    assert numeric("I cannot say", "3") == 0.0


def test_numbers_before_the_answer_mark_do_not_count() -> None:
    assert numeric("2 + 2 = 4\nA: 5", "4") == 0.0


def test_a_reference_without_a_number_is_refused() -> None:
    with pytest.raises(DataError, match="'four' holds no number"):
        numeric("A: 4", "four")


def test_exact_match_ignores_case_spaces_and_end_punctuation() -> None:
    assert exact("Answer:  New   York.", "new york") == 1.0
    assert exact("Answer: York", "New York") == 0.0


@pytest.mark.parametrize(
    ("reference", "texts"),
    [
        ('["York", "the city of York"]', ("York", "the city of York")),
        ("York", ("York",)),
        ("[1, 2]", ("[1, 2]",)),
        ("[sic]", ("[sic]",)),
        ("[]", ("[]",)),
    ],
)
def test_a_json_list_of_texts_is_several_references(reference: str, texts: tuple[str, ...]) -> None:
    assert references_of(reference) == texts


def test_one_of_several_references_is_enough() -> None:
    assert exact("Answer: the city of York", '["York", "The City of York"]') == 1.0
    assert span_f1("Answer: the city of York", '["Leeds", "City of York"]') == 1.0


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("She moved.\nA: York", 1.0),
        ("A: the York.", 1.0),  # articles and punctuation do not count
        ("A: the city of York", 0.5),  # 1 of 3 words is right, 1 of 1 found: 2 * 1 / (3 + 1)
        ("A: York York", pytest.approx(2 / 3)),  # the second York is one too many: 2 * 1 / (2 + 1)
        ("A: Leeds", 0.0),
        ("A: ", 0.0),
    ],
)
def test_a_span_is_as_right_as_its_words(text: str, score: float) -> None:
    assert span_f1(text, "York") == score


@pytest.mark.parametrize(
    ("text", "reference", "score"),
    [
        ("A: Lee; Kim", '[["Kim", "Lee"]]', 1.0),  # order does not matter
        ("A: Kim", '[["Kim", "Lee"]]', 0.5),  # the other span is missing: (1 + 0) / 2
        ("A: Kim; Lee; Ann", '[["Kim", "Lee"]]', 0.67),  # one too many: (1 + 1 + 0) / 3
        ("A: Kim Lee", '[["Kim", "Lee"]]', 0.33),  # one pair of F1 2 * 1 / (2 + 1), the other empty: (2/3 + 0) / 2
        ("A: Kim", '[["Kim", "Lee"], ["Kim"]]', 1.0),  # as another annotator says
        ("A: 1,200", '[["1200"]]', 1.0),
        ("A: 12 yards", '[["12"]]', 0.67),  # 2 * 1 / (2 + 1)
        ("A: 13 yards", '[["12 yards"]]', 0.0),  # a wrong number is wrong, whatever stands beside it
        ("A: 3rd of May", '[["3 May"]]', 0.0),
        ("A: twenty-one", '[["twenty one"]]', 1.0),
        ("A: the", '[["Kim"]]', 0.0),
        ("A: ;", '[["Kim"]]', 0.0),
    ],
)
def test_drop_pairs_spans_and_insists_on_numbers(text: str, reference: str, score: float) -> None:
    assert drop(text, reference) == score


@pytest.mark.parametrize("reference", ["12", "[]", '["12"]', "[[]]", "[[12]]", "[["])
def test_a_reference_that_is_no_list_of_answers_is_refused(reference: str) -> None:
    with pytest.raises(DataError, match="is not a JSON list of lists of spans"):
        drop("A: 12", reference)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Answer: (B)", 1.0),
        ("The answer is B. Not A.", 1.0),
        ("Answer: A", 0.0),
        ("A is wrong, C too, so B", 1.0),
        ("b", 1.0),
        ("because", 0.0),
        ("", 0.0),
    ],
)
def test_the_chosen_letter_is_found(text: str, score: float) -> None:
    assert choice(text, "B") == score


def test_a_reference_of_more_than_one_letter_is_refused() -> None:
    with pytest.raises(DataError, match="'AB' is not one letter"):
        choice("A", "AB")


def test_an_unknown_grader_names_the_known() -> None:
    with pytest.raises(UnknownNameError, match="Known: 'exact', 'numeric', 'choice', 'span_f1', 'drop'"):
        grader_of("vibes")


def test_numeric_grader_agrees_with_every_recorded_verdict() -> None:
    path = SHARED / "gsm8k_solutions.jsonl"
    if not path.is_file():
        pytest.skip("needs the recorded GSM8K solutions in ../shared/data")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    disagreements = [
        (row["id"], row["model"])
        for row in rows
        if (numeric(row["solution"], row["reference"]) == 1.0) != row["is_correct"]
    ]

    assert len(rows) == 5276
    assert disagreements == []


# -- suites from files ------------------------------------------------------------------------------------------------


def line(id: str, **more: object) -> str:
    return json.dumps({"id": id, "query": f"What is {id}?", "reference": "4", "grader": "numeric", **more})


def suite_file(folder: Path, *lines: str) -> Path:
    path = folder / "sums.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_file_of_queries_is_a_suite(tmp_path: Path) -> None:
    path = suite_file(tmp_path, line("a", split="test", dataset="sums", level=3), line("b", split="test", domain="out"))

    suite = suite_of(str(path))

    assert isinstance(suite, Suite)
    assert suite.name == "sums"
    (query,) = suite.queries("in", 0, 10)
    assert (query.text, query.dataset, query.level) == ("What is a?", "sums", 3)
    assert suite.grade(query, "A: 4") == 1.0


def test_the_seed_orders_the_queries_of_a_file(tmp_path: Path) -> None:
    suite = FileSuite(suite_file(tmp_path, *(line(f"q{i}", split="test") for i in range(30))))

    first = [q.id for q in suite.queries("in", 1, 10)]

    assert first == [q.id for q in suite.queries("in", 1, 10)]
    assert first != [q.id for q in suite.queries("in", 2, 10)]


def test_test_and_validation_queries_of_a_file_are_apart(tmp_path: Path) -> None:
    suite = FileSuite(suite_file(tmp_path, *(line(f"q{i}") for i in range(200))))

    test = {q.id for q in suite.queries("in", 0, 200)}
    validation = {q.id for q in suite.queries("in", 7, 200, split="validation")}

    assert test.isdisjoint(validation)
    assert len(test) + len(validation) == 200
    assert 20 <= len(validation) <= 60


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is empty"),
        (["{"], "line 1: not JSON"),
        (["[1]"], "line 1: a JSON object is wanted, not list"),
        ([line("a"), line("a")], "line 2: query id 'a' is already taken by line 1"),
        ([line("a", grader="vibes")], "unknown grader 'vibes'"),
        ([line("a", split="dev")], "unknown split 'dev'"),
        ([line("a", level="hard")], "'level' must be a whole number, not 'hard'"),
        ([line("a", colour="red")], "unknown key 'colour'"),
        (['{"id": 3}'], "no 'query'; no 'reference'; no 'grader'; 'id' must be text, not 3"),
    ],
)
def test_an_unusable_line_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    suite = FileSuite(suite_file(tmp_path, *lines))

    with pytest.raises(DataError, match=message):
        suite.queries("in", 0, 1)


def test_an_unknown_domain_names_what_there_is(tmp_path: Path) -> None:
    suite = FileSuite(suite_file(tmp_path, line("a", split="test")))

    with pytest.raises(DataError, match=r"no test query of domain 'far'\. It has queries of: in test"):
        suite.queries("far", 0, 1)


def test_a_query_of_another_suite_is_not_graded(tmp_path: Path) -> None:
    suite = FileSuite(suite_file(tmp_path, line("a")))

    with pytest.raises(DataError, match="Query 'z' is not of suite"):
        suite.grade(Query.from_text("?", id="z"), "4")


def test_an_unknown_suite_names_the_known() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown suite 'labs'\. Known: 'lab'"):
        suite_of("labs")


def test_a_missing_suite_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no suite file at"):
        suite_of(str(tmp_path / "none.jsonl"))


def test_the_lab_is_a_suite() -> None:
    assert isinstance(suite_of("lab"), Suite)


def test_a_suite_file_that_is_no_text_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "suite.jsonl"
    path.write_bytes(line("q1").encode() + b"\n\xff\xfe\n")

    with pytest.raises(DataError, match="line 2: not text in UTF-8"):
        FileSuite(path).queries("in", 0, 1)


def test_a_suite_file_may_hold_queries_to_train_on(tmp_path: Path) -> None:
    suite = FileSuite(suite_file(tmp_path, line("a", split="train"), line("b", split="test")))

    assert [query.id for query in suite.queries("in", 0, 5, split="train")] == ["a"]
    assert [query.id for query in suite.queries("in", 0, 5)] == ["b"]
