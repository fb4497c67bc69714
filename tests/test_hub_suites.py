"""The paper's datasets, on rows that we wrote in the schema they have on the hub; nothing is downloaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
from click.testing import CliRunner
from datasets import ClassLabel, Features, Image, Value
from datasets import Sequence as Columns  # a Sequence of a dict is stored as a dict of lists, as on the hub

from disrouter.cli import cli
from disrouter.errors import DataError, MissingExtraError, UnknownNameError
from disrouter.evaluation.hub import DATASETS, HubSuite
from disrouter.evaluation.hub.rows import Row
from disrouter.evaluation.outcomes import Outcome, OutcomeTable
from disrouter.evaluation.suites import Suite, suite_of
from disrouter.types import Query

TEXT = Value("string")
ANNOTATED = {
    "number": TEXT,
    "date": {"day": TEXT, "month": TEXT, "year": TEXT},
    "spans": Columns(TEXT),
    "worker_id": TEXT,
    "hit_id": TEXT,
}
LABELLED = Columns({"text": TEXT, "label": TEXT})

SCHEMAS: dict[str, dict[str, Any]] = {
    "gsm8k": {"question": TEXT, "answer": TEXT},
    "arc": {"id": TEXT, "question": TEXT, "choices": LABELLED, "answerKey": TEXT},
    "mmlu": {
        "question": TEXT,
        "subject": TEXT,
        "choices": Columns(TEXT),
        "answer": ClassLabel(names=["A", "B", "C", "D"]),
    },
    "race": {"example_id": TEXT, "article": TEXT, "answer": TEXT, "question": TEXT, "options": Columns(TEXT)},
    "openbookqa": {"id": TEXT, "question_stem": TEXT, "choices": LABELLED, "answerKey": TEXT},
    "drop": {
        "section_id": TEXT,
        "passage": TEXT,
        "question": TEXT,
        "query_id": TEXT,
        "answer": ANNOTATED,
        "validated_answers": Columns(ANNOTATED),
    },
    "cosmosqa": {
        **dict.fromkeys(("id", "context", "question", "answer0", "answer1", "answer2", "answer3"), TEXT),
        "label": Value("int32"),
    },
    "squad": {
        **dict.fromkeys(("id", "title", "context", "question"), TEXT),
        "answers": Columns({"text": TEXT, "answer_start": Value("int32")}),
    },
    "hellaswag": {
        "ind": Value("int32"),
        **dict.fromkeys(("activity_label", "ctx_a", "ctx_b", "ctx"), TEXT),
        "endings": Columns(TEXT),
        **dict.fromkeys(("source_id", "split", "split_type", "label"), TEXT),
    },
    "headqa": {
        **dict.fromkeys(("name", "year", "category"), TEXT),
        "qid": Value("int32"),
        "qtext": TEXT,
        "ra": Value("int32"),
        "image": Image(),
        "answers": [{"aid": Value("int32"), "atext": TEXT}],
    },
}


def annotated(number: str = "", spans: Sequence[str] = (), day: str = "", month: str = "", year: str = "") -> Any:
    date = {"day": day, "month": month, "year": year}
    return {"number": number, "date": date, "spans": list(spans), "worker_id": "", "hit_id": ""}


def together(*answers: Any) -> dict[str, list[Any]]:
    return {key: [answer[key] for answer in answers] for key in annotated()}


ROWS: dict[str, dict[str, Any]] = {
    "gsm8k": {
        "question": "Ann picks 4 pears and 3 plums. How many fruits is that?",
        "answer": "Ann picks 4+3=<<4+3=7>>7 fruits.\n#### 7",
    },
    "arc": {
        "id": "Q_1",
        "question": "Which of these melts first in the sun?",
        "choices": {"text": ["a stone", "an ice cube", "a nail"], "label": ["1", "2", "3"]},
        "answerKey": "2",
    },
    "mmlu": {"question": "What is 2 + 2?", "subject": "arithmetic", "choices": ["3", "4", "5", "6"], "answer": 1},
    "race": {
        "example_id": "high1.txt",
        "article": "Tom missed the bus and walked.",
        "answer": "C",
        "question": "Tom _ .",
        "options": ["rode", "drove", "walked", "swam"],
    },
    "openbookqa": {
        "id": "7-980",
        "question_stem": "A plant grows towards",
        "choices": {"text": ["noise", "night", "rock", "light"], "label": ["A", "B", "C", "D"]},
        "answerKey": "D",
    },
    "drop": {
        "section_id": "nfl_1",
        "passage": "Lee and Kim scored in the first half.",
        "question": "Who scored in the first half?",
        "query_id": "q-1",
        "answer": annotated(spans=["Lee", "Kim"]),
        "validated_answers": together(annotated(spans=["Lee"]), annotated(spans=["Lee", "Kim"])),
    },
    "cosmosqa": {
        "id": "3Q9",
        "context": "I forgot my umbrella and came home soaked.",
        "question": "Why was I soaked?",
        "answer0": "It rained .",
        "answer1": "I swam .",
        "answer2": "I slept .",
        "answer3": "None of the above choices .",
        "label": 0,
    },
    "squad": {
        "id": "5733",
        "title": "York",
        "context": "York lies in the north of England.",
        "question": "Where does York lie?",
        "answers": {"text": ["the north of England", "England", "England"], "answer_start": [13, 26, 26]},
    },
    "hellaswag": {
        "ind": 4,
        "activity_label": "Making tea",
        "ctx_a": "[header] How to make tea [title] Boil water.",
        "ctx_b": "then",
        "ctx": "[header] How to make tea [title] Boil water. then",
        "endings": ["you fly.", "[step] you pour it over the leaves.", "you sleep.", "you sing."],
        "source_id": "wikihow~1",
        "split": "val",
        "split_type": "indomain",
        "label": "1",
    },
    "headqa": {
        "name": "Cuaderno_2013_1_B",
        "year": "2013",
        "category": "biology",
        "qid": 1,
        "qtext": "The heart has:",
        "ra": 4,
        "image": None,
        "answers": [
            {"aid": 1, "atext": "One chamber."},
            {"aid": 2, "atext": "Two chambers."},
            {"aid": 4, "atext": "Four chambers."},
        ],
    },
}

RIGHT_AND_WRONG = {
    "gsm8k": ("4 + 3 = 7\nA: 7.00", "A: 8"),
    "arc": ("Ice melts.\nA: B", "A: C"),
    "mmlu": ("A: (B)", "A: A"),
    "race": ("A: C", "A: D"),
    "openbookqa": ("A: D", "A: A"),
    "drop": ("Both did.\nA: Kim; Lee", "A: Ann"),
    "cosmosqa": ("A: A", "A: B"),
    "squad": ("A: north of England", "A: France"),
    "hellaswag": ("A: B", "A: D"),
    "headqa": ("A: C", "A: A"),
}

CHOICE = "Reason step by step and end with a line `A: <letter>`."

PROMPTS = {
    "gsm8k": """Ann picks 4 pears and 3 plums. How many fruits is that?

Reason step by step and end with a line `A: <number>`.""",
    "arc": f"""Which of these melts first in the sun?
A. a stone
B. an ice cube
C. a nail

{CHOICE}""",
    "race": f"""Tom missed the bus and walked.

Tom _ .
A. rode
B. drove
C. walked
D. swam

{CHOICE}""",
    "drop": """Lee and Kim scored in the first half.

Who scored in the first half?

Reason step by step and end with a line `A: <answer>`, several answers separated by semicolons.""",
    "squad": """York lies in the north of England.

Where does York lie?

Reason step by step and end with a line `A: <answer>`, in words of the text.""",
    "hellaswag": f"""Making tea: How to make tea. Boil water. then

Which of these goes on best from there?
A. you fly.
B. you pour it over the leaves.
C. you sleep.
D. you sing.

{CHOICE}""",
    "headqa": f"""The heart has:
A. One chamber.
B. Two chambers.
C. Four chambers.

{CHOICE}""",
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write(folder: Path, name: str, split: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as the Parquet file that the hub would have."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    table = datasets.Dataset.from_list([dict(row) for row in rows], features=Features(SCHEMAS[name]))
    table.to_parquet(str(folder / name / f"{split}-00000-of-00001.parquet"))


def write_lines(folder: Path, name: str, split: str, rows: Sequence[Mapping[str, Any]]) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name / f"{split}.jsonl").write_text(lines, encoding="utf-8")


def sums(numbers: range) -> list[dict[str, str]]:
    return [{"question": f"What is {i} + 1?", "answer": f"It is {i + 1}.\n#### {i + 1}"} for i in numbers]


def the_query(folder: Path, name: str, row: Mapping[str, Any] | None = None) -> Query:
    write(folder, name, DATASETS[name].test, [row or ROWS[name]])
    (query,) = HubSuite(name, folder).queries(DATASETS[name].domain, 0, 10)
    return query


# -- rows become queries ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_is_passage_question_options_and_answer_template(name: str, tmp_path: Path) -> None:
    query = the_query(tmp_path, name)

    assert [(message.role, message.content) for message in query.messages] == [("user", PROMPTS[name])]
    assert query.dataset == name


@pytest.mark.parametrize("name", DATASETS)
def test_a_right_answer_is_accepted_and_a_wrong_one_refused(name: str, tmp_path: Path) -> None:
    query = the_query(tmp_path, name)
    right, wrong = RIGHT_AND_WRONG[name]

    assert HubSuite(name).grade(query, right) == 1.0
    assert HubSuite(name).grade(query, wrong) == 0.0


def test_an_answer_that_finds_part_of_the_span_is_partly_right(tmp_path: Path) -> None:
    suite = HubSuite("squad")
    query = the_query(tmp_path, "squad")

    # "north" is one of the three words of "north of england": 2 * 1 / (1 + 3); it shares none with "england"
    assert suite.grade(query, "A: the north") == 0.5


def test_the_answers_of_several_annotators_are_all_right(tmp_path: Path) -> None:
    suite = HubSuite("drop")
    query = the_query(tmp_path, "drop")

    assert query.reference == '[["Lee", "Kim"], ["Lee"]]'
    assert suite.grade(query, "A: Lee") == 1.0
    assert suite.grade(query, "A: Kim") == 0.5  # one of the first annotator's two spans


def test_numbers_and_dates_are_answers_too(tmp_path: Path) -> None:
    nobody = together(annotated())  # where nobody validated, the hub has one empty answer
    number = {**ROWS["drop"], "answer": annotated(number="1,200"), "validated_answers": nobody}
    date = {**ROWS["drop"], "answer": annotated(day="3", month="May", year="1926"), "validated_answers": nobody}

    suite = HubSuite("drop")

    assert suite.grade(the_query(tmp_path / "number", "drop", number), "A: 1200") == 1.0
    assert the_query(tmp_path / "date", "drop", date).reference == '[["3 May 1926"]]'


def test_the_worked_solution_ends_as_an_answer_should(tmp_path: Path) -> None:
    suite, query = HubSuite("gsm8k", tmp_path), the_query(tmp_path, "gsm8k")
    write(tmp_path, "gsm8k", "train", sums(range(20)))

    solution = suite.worked(query)

    assert solution == "Ann picks 4+3=7 fruits.\nA: 7"
    assert suite.grade(query, solution) == 1.0


def test_a_dataset_without_solutions_has_none_to_show(tmp_path: Path) -> None:
    assert HubSuite("arc", tmp_path).worked(the_query(tmp_path, "arc")) is None


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("hellaswag", {"label": ""}),
        ("cosmosqa", {"label": -1}),
        ("squad", {"answers": {"text": [], "answer_start": []}}),
        ("drop", {"answer": annotated(), "validated_answers": together(annotated())}),
        ("headqa", {"image": {"path": "heart.png", "bytes": b"not even a picture"}}),
    ],
)
def test_a_row_that_nobody_can_be_judged_on_is_left_out(name: str, hidden: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path, name, DATASETS[name].test, [{**ROWS[name], **hidden}, ROWS[name]])

    assert len(HubSuite(name, tmp_path).queries(DATASETS[name].domain, 0, 10)) == 1


def test_a_split_of_hidden_labels_only_says_so(tmp_path: Path) -> None:
    write(tmp_path, "hellaswag", "validation", [{**ROWS["hellaswag"], "label": ""}])

    with pytest.raises(DataError, match="'hellaswag' has no question with a public answer in split 'validation'"):
        HubSuite("hellaswag", tmp_path).queries("out", 0, 1)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gsm8k", {"answer": "It is 7."}, r"column 'answer': a solution with a last line '#### number' is wanted"),
        ("arc", {"answerKey": "4"}, r"column 'answerKey': one of the 3 options is wanted, not '4'"),
        ("race", {"answer": "AB"}, r"column 'answer': one of the 4 options is wanted, not 'AB'"),
        ("mmlu", {"choices": "3, 4"}, r"column 'choices': a list of texts is wanted, not '3, 4'"),
        ("cosmosqa", {"label": "0"}, r"column 'label': a whole number is wanted, not '0'"),
        ("cosmosqa", {"question": None}, r"column 'question': a text is wanted, not None"),
        ("headqa", {"answers": ["One"]}, r"column 'answers': a list of rows is wanted, not \['One'\]"),
        ("headqa", {"answers": [{"aid": 4}]}, r"answers\[0\]: there is no column 'atext'. It has 'aid'"),
        ("squad", {"answers": ["England"]}, r"there is no column 'answers.text'"),
        ("drop", {"answer": "Lee"}, r"column 'answer': a row is wanted, not 'Lee'"),
        ("drop", {"validated_answers": []}, r"column 'validated_answers': columns of lists are wanted, not \[\]"),
        (
            "drop",
            {"validated_answers": {"number": ["", ""], "spans": [[]]}},
            r"column 'validated_answers': lists of one length are wanted",
        ),
    ],
)
def test_an_unusable_row_names_dataset_row_and_column(name: str, change: dict[str, Any], message: str) -> None:
    row = Row(f"Dataset '{name}', split 'train', row 3", {**ROWS[name], **change})

    with pytest.raises(DataError, match=rf"^Dataset '{name}', split 'train', row 3.*{message}"):
        DATASETS[name].example(row)


def test_a_row_of_a_file_is_named_by_split_and_number(tmp_path: Path) -> None:
    write(tmp_path, "arc", "test", [ROWS["arc"], {**ROWS["arc"], "answerKey": "9"}])

    with pytest.raises(DataError, match="Dataset 'arc', split 'test', row 1, column 'answerKey'"):
        HubSuite("arc", tmp_path).queries("in", 0, 1)


# -- draws ------------------------------------------------------------------------------------------------------------


def test_the_seed_orders_the_queries_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    write(tmp_path / "a", "gsm8k", "test", sums(range(30)))
    write(tmp_path / "b", "gsm8k", "test", sums(range(30))[::-1])
    suite = HubSuite("gsm8k", tmp_path / "a")

    drawn = suite.queries("in", 1, 10)

    assert drawn == HubSuite("gsm8k", tmp_path / "b").queries("in", 1, 10)
    assert drawn == suite.queries("in", 1, 20)[:10]
    assert drawn != suite.queries("in", 2, 10)
    assert len({query.id for query in suite.queries("in", 1, 100)}) == 30


def test_the_id_does_not_depend_on_the_wording_of_the_template() -> None:
    row, usual = Row("row 0", ROWS["gsm8k"]), DATASETS["gsm8k"]

    one, other = usual.example(row), replace(usual, ending="`A: …`").example(row)

    assert one is not None and other is not None
    assert one.query.id == other.query.id
    assert one.query.messages != other.query.messages


def test_the_splits_of_a_dataset_share_no_question_and_no_passage(tmp_path: Path) -> None:
    passages = {
        split: [
            {**ROWS["squad"], "context": f"{split} passage {number}.", "question": question}
            for number in range(60)
            for question in ("Where?", "When?")
        ]
        for split in ("train", "validation")
    }
    write(tmp_path, "squad", "train", [*passages["train"], *passages["validation"][:20]])
    write(tmp_path, "squad", "validation", passages["validation"])
    suite = HubSuite("squad", tmp_path)

    train = suite.queries("out", 0, 1000, split="train")
    validation = suite.queries("out", 0, 1000, split="validation")
    test = suite.queries("out", 0, 1000)

    def passages_of(queries: list[Query]) -> set[str]:
        return {query.text.partition("\n")[0] for query in queries}

    assert len(test) == 120
    assert len(train) + len(validation) == 120  # the 20 that are test questions too are gone
    assert not passages_of(train) & passages_of(validation)
    assert 2 <= len(validation) <= 40  # one in ten, as the hash falls
    assert all(text.startswith("validation passage") for text in passages_of(test))


def test_a_question_of_two_hub_splits_is_for_the_later_judgement(tmp_path: Path) -> None:
    rows = [{**ROWS["arc"], "question": f"Question {number}?"} for number in range(4)]
    write(tmp_path, "arc", "train", rows)
    write(tmp_path, "arc", "validation", rows[1:3])
    write(tmp_path, "arc", "test", rows[2:3])
    suite = HubSuite("arc", tmp_path)

    def asked(queries: list[Query]) -> set[str]:
        return {query.text.partition("\n")[0] for query in queries}

    assert asked(suite.queries("in", 0, 9, split="train")) == {"Question 0?", "Question 3?"}
    assert asked(suite.queries("in", 0, 9, split="validation")) == {"Question 1?"}
    assert asked(suite.queries("in", 0, 9)) == {"Question 2?"}


def test_mmlu_trains_on_its_small_splits(tmp_path: Path) -> None:
    def rows(split: str, number: int) -> list[dict[str, Any]]:
        return [{**ROWS["mmlu"], "question": f"{split} {index}?"} for index in range(number)]

    for split, number in (("dev", 5), ("validation", 40), ("test", 3)):
        write(tmp_path, "mmlu", split, rows(split, number))
    suite = HubSuite("mmlu", tmp_path)

    train = suite.queries("in", 0, 99, split="train")
    validation = suite.queries("in", 0, 99, split="validation")

    assert len(train) + len(validation) == 45
    assert len(suite.queries("in", 0, 99)) == 3


def test_the_datasets_of_the_paper_take_turns(tmp_path: Path) -> None:
    for name, dataset in DATASETS.items():
        write(tmp_path, name, dataset.test, [ROWS[name]])
    write(tmp_path, "gsm8k", "test", sums(range(3)))
    suite = HubSuite("paper", tmp_path)

    drawn = [query.dataset for query in suite.queries("in", 0, 100)]

    # seven in turn; when the others have no more, the one that has goes on alone
    assert drawn == ["gsm8k", "arc", "mmlu", "race", "openbookqa", "drop", "cosmosqa", "gsm8k", "gsm8k"]
    assert [query.dataset for query in suite.queries("out", 0, 2)] == ["squad", "hellaswag"]


def test_fewer_than_one_query_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="A set of 0 queries is empty"):
        HubSuite("gsm8k", tmp_path).queries("in", 0, 0)


def test_a_dataset_out_of_the_domain_is_not_given_as_in_domain() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown domain 'in' in suite 'squad'\. Known: 'out'"):
        HubSuite("squad").queries("in", 0, 1)


def test_a_query_of_another_dataset_is_neither_graded_nor_solved(tmp_path: Path) -> None:
    write(tmp_path, "gsm8k", "train", sums(range(20)))
    write(tmp_path, "gsm8k", "test", sums(range(20, 22)))
    suite = HubSuite("gsm8k", tmp_path)
    foreign = replace(the_query(tmp_path / "other", "gsm8k"), dataset="gsm8k")

    with pytest.raises(DataError, match=r"Query 'q' is not of suite 'gsm8k'"):
        suite.grade(Query(id="q", messages=(), reference="1", dataset="arc"), "A: 1")
    with pytest.raises(DataError, match=rf"Query '{foreign.id}' is not of suite 'gsm8k'"):
        suite.worked(foreign)
    with pytest.raises(DataError, match="Query 'q' has no reference"):
        suite.grade(Query(id="q", messages=(), dataset="gsm8k"), "A: 1")


# -- where the rows come from -----------------------------------------------------------------------------------------


def test_lines_of_json_do_as_well_as_parquet(tmp_path: Path) -> None:
    for name in ("gsm8k", "arc", "drop", "squad", "headqa"):
        write(tmp_path / "parquet", name, DATASETS[name].test, [ROWS[name]])
        write_lines(tmp_path / "lines", name, DATASETS[name].test, [ROWS[name]])
        domain = DATASETS[name].domain

        assert HubSuite(name, tmp_path / "lines").queries(domain, 0, 1) == HubSuite(name, tmp_path / "parquet").queries(
            domain, 0, 1
        )


def test_a_missing_file_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file of split 'test' of dataset 'gsm8k' in") as caught:
        HubSuite("gsm8k", tmp_path).queries("in", 0, 1)

    assert caught.value.hint == (
        "put the files of 'openai/gsm8k' into a folder as DIR/gsm8k/test*.parquet (or .jsonl) "
        "and add @DIR to the name of the suite"
    )


def test_a_damaged_file_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.parquet").write_bytes(b"not parquet")

    with pytest.raises(DataError, match=r"Cannot load split 'test' of dataset 'gsm8k' from '.*gsm8k'"):
        HubSuite("gsm8k", tmp_path).queries("in", 0, 1)


@pytest.mark.parametrize("name", ["gsm8k", "hellaswag"])
def test_a_machine_without_a_hub_is_told_what_to_do(name: str) -> None:
    with pytest.raises(DataError, match=f"Cannot load split '.*' of dataset '{name}' from '.*' on the hub") as caught:
        HubSuite(name).queries(DATASETS[name].domain, 0, 1)

    assert f"DIR/{name}/{DATASETS[name].test}*.parquet" in str(caught.value.hint)


def test_the_hub_is_asked_for_repository_configuration_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def load_dataset(**request: object) -> object:
        asked.append(request)
        name = "gsm8k" if request["path"] == "openai/gsm8k" else "cosmosqa"
        return datasets.Dataset.from_list([ROWS[name]], features=Features(SCHEMAS[name]))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)

    HubSuite("gsm8k").queries("in", 0, 1)
    HubSuite("cosmosqa").queries("in", 0, 1)

    assert asked == [
        {"path": "openai/gsm8k", "name": "main", "split": "test"},
        {
            "path": "allenai/cosmos_qa",
            "revision": "refs/convert/parquet",
            "data_files": {"validation": "default/validation/*.parquet"},
            "split": "validation",
        },
    ]


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)

    with pytest.raises(MissingExtraError, match=r"pip install 'disrouter\[train\]'"):
        HubSuite("gsm8k", tmp_path).queries("in", 0, 1)


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["paper", *DATASETS])
def test_every_dataset_is_a_suite_by_its_name(name: str) -> None:
    suite = suite_of(name)

    assert isinstance(suite, Suite)
    assert suite.name == name


def test_a_name_may_bring_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "gsm8k", "test", [ROWS["gsm8k"]])

    suite = suite_of(f"gsm8k@{tmp_path}")

    assert suite == HubSuite("gsm8k", tmp_path)
    assert [query.reference for query in suite.queries("in", 0, 5)] == ["7"]


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_that_is_not_there_is_named(folder: str) -> None:
    with pytest.raises(DataError, match=f"There is no folder '{folder}' for suite 'gsm8k'"):
        suite_of(f"gsm8k@{folder}")


def test_an_unknown_name_lists_the_suites() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown suite 'gsm9k@data'\. Known: 'lab', 'paper', 'gsm8k'"):
        suite_of("gsm9k@data")
    with pytest.raises(UnknownNameError, match="Unknown suite 'papers'"):
        HubSuite("papers").queries("in", 0, 1)


def test_naming_a_suite_does_not_load_the_library() -> None:
    code = "import sys; from disrouter.evaluation.suites import suite_of; suite_of('paper'); print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"datasets", "pyarrow", "torch", "scipy"} & set(loaded)


def test_the_command_line_evaluates_a_folder_of_files(tmp_path: Path) -> None:
    write(tmp_path, "gsm8k", "test", sums(range(4)))
    write(tmp_path, "gsm8k", "train", sums(range(4, 60)))
    suite = HubSuite("gsm8k", tmp_path)
    queries = [*suite.queries("in", 0, 99), *suite.queries("in", 0, 99, split="validation")]
    OutcomeTable.of([always_right(query) for query in queries]).write(tmp_path / "table.parquet")
    network = "name: pool\nagents: [{name: only, backend: recorded, model: table.parquet, price: {cost: 0.5}}]"
    (tmp_path / "pool.yaml").write_text(network, encoding="utf-8")

    result = CliRunner().invoke(
        cli,
        [
            *("eval", "--suite", f"gsm8k@{tmp_path}", "--network", str(tmp_path / "pool.yaml")),
            *("--scenario", "balance", "--run-dir", str(tmp_path / "run"), "--json"),
        ],
    )

    assert result.exit_code == 0, result.stderr
    measured = json.loads(result.stdout)
    assert measured["n"] == 4
    assert [agent["accuracy"] for agent in measured["agents"]] == [1.0]


def always_right(query: Query) -> Outcome:
    """What an agent is recorded to say; the suite grades it again."""
    return Outcome(
        query_id=query.id,
        agent="only",
        scenario="balance",
        alpha=0.5,
        score=0.0,
        answer=f"A: {query.reference}",
        prompt_tokens=9,
        answer_tokens=2,
        look_cost=0.05,
        answer_cost=0.5,
    )
