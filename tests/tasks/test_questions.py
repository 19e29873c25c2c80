"""Questions from rows: columns, families, official splits, and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metagym.errors import ConfigError, TasksExhaustedError, UnknownNameError
from metagym.tasks import ROLES, TaskSet

ROWS = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(60)]


def split_rows(*splits: str) -> list[dict[str, Any]]:
    return [{**row, "fold": splits[number % len(splits)]} for number, row in enumerate(ROWS)]


def draw(tasks: TaskSet, split: str, num_tasks: int = 3) -> list[str]:
    return [task.id for task in tasks.draw(num_tasks, rng=np.random.default_rng(0), split=split)]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    else:
        arrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(arrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("name", ["quiz.jsonl", "quiz.csv", "quiz.parquet"])
def test_a_file_and_a_list_give_the_same_questions(tmp_path: Path, name: str) -> None:
    read, listed = TaskSet.from_rows(write_rows(tmp_path / name, ROWS)), TaskSet.from_rows(ROWS)
    assert read.families == ("quiz",)
    for number in range(1, len(ROWS) + 1):
        one, other = read.question(f"quiz/{number}"), listed.question(f"questions/{number}")
        assert (one.text, one.answers, one.task.split) == (other.text, other.answers, other.task.split)


def test_without_official_splits_every_role_has_questions_and_an_equal_question_has_one_role() -> None:
    tasks = TaskSet.from_rows([*ROWS, *({**row, "question": f" {row['question']}  "} for row in ROWS)])
    assert all(draw(tasks, role) for role in ROLES)
    for number in range(1, 61):
        assert tasks.find(f"questions/{number}").split == tasks.find(f"questions/{number + 60}").split


def test_a_question_has_one_role_however_its_letters_are_encoded() -> None:
    rows = [{"question": f"Caf\u00e9 {number}?", "answer": "1"} for number in range(40)]
    tasks = TaskSet.from_rows([*rows, *({**row, "question": f"Cafe\u0301 {n}?"} for n, row in enumerate(rows))])
    for number in range(1, 41):
        assert tasks.find(f"questions/{number}").split == tasks.find(f"questions/{number + 40}").split


def test_a_list_of_answers_may_be_an_array() -> None:
    tasks = TaskSet.from_rows([{"question": "?", "answer": np.array(["Paris", "Lutetia"])}])
    assert tasks.question("questions/1").answers == ("Paris", "Lutetia")


@pytest.mark.parametrize(("name", "text"), [("q.csv", "question,answer\n?,1\n"), ("q.jsonl", json.dumps(ROWS[0]))])
def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert TaskSet.from_rows(tmp_path / name).question("q/1").answers == ("1",)


def test_a_column_names_the_kind_of_a_question() -> None:
    rows = [{**row, "topic": "even" if number % 2 else "odd"} for number, row in enumerate(ROWS)]
    tasks = TaskSet.from_rows(rows, kind="topic")
    assert tasks.names_kinds
    assert [tasks.find(f"questions/{number}").kind for number in (1, 2, 3)] == ["odd", "even", "odd"]
    assert not TaskSet.from_rows(rows).names_kinds
    with pytest.raises(UnknownNameError, match=r"Unknown column of row 1 'subject'.*that holds the kind"):
        TaskSet.from_rows(rows, kind="subject")


def test_official_splits_are_the_roles() -> None:
    tasks = TaskSet.from_rows(split_rows("train", "dev", "test"), split="fold")
    assert [tasks.find(f"questions/{number}").split for number in (1, 2, 3)] == ["train", "validation", "test"]


def test_a_missing_validation_split_is_named() -> None:
    tasks = TaskSet.from_rows(split_rows("train", "test"), split="fold")
    with pytest.raises(
        TasksExhaustedError, match=r"split 'validation', and the list has no such tasks; it has test \(30\), train"
    ):
        draw(tasks, "validation")


def test_one_question_with_two_official_splits_is_refused() -> None:
    rows = [*split_rows("train", "validation", "test"), {**ROWS[0], "fold": "test"}]
    with pytest.raises(
        ConfigError, match=r"Rows 1 and 61 ask the same question, one with the split 'train' and one with"
    ):
        TaskSet.from_rows(rows, split="fold")


def test_a_column_is_the_family() -> None:
    tasks = TaskSet.from_rows(
        [{**row, "topic": "odd" if n % 2 else "even"} for n, row in enumerate(ROWS)], family="topic"
    )
    assert tasks.families == ("even", "odd")
    assert tasks.find("odd/2").family == "odd"


@pytest.mark.parametrize(
    ("score", "reply", "answer", "is_right"),
    [
        ("exact", " paris.", "Paris", True),
        ("exact", "Paris, France", "Paris", False),
        ("exact", "Lutetia", ["Paris", "Lutetia"], True),
        ("exact", "cafe\u0301", "Caf\u00e9", True),
        ("numeric", "So it is $1,250.", "25 * 50 = #### 1250", True),
        ("numeric", "-3", "3", False),
        ("numeric", "0.3333", "0.33333333", False),
        ("numeric", "none", "3", False),
        ("numeric", "1e3", 1000, True),
        ("numeric", "7006650", "7006652", False),
        ("numeric", "9" * 400, "9" * 399 + "8", False),
        ("numeric", "1234567.5", "1234567.4", True),
        ("numeric", "It is \u22125.", "-5", True),
        ("numeric", "It is 10-20", "20", True),
        ("numeric", "x=-5", "-5", True),
        ("numeric", "\u22125", "5", False),
        ("numeric", "1e999999999", "0.5", False),
        ("numeric", "1e99999999999999999999", "5", False),
    ],
)
def test_named_scores(score: str, reply: str, answer: object, is_right: bool) -> None:
    tasks = TaskSet.from_rows([{"question": "?", "answer": answer}], score=score)
    assert tasks.score("questions/1", reply) is is_right


@pytest.mark.parametrize(
    "answer",
    [
        *(
            "3/4",
            r"\frac{3}{4}",
            r"\frac{\pi}{4}",
            r"\sqrt{2}",
            "\u221a2",
            "2\u03c0",
            r"2\pi",
            "3\u00bd",
            "10^5",
        ),
        *("1,2,3", "3,14", "1, 2", "3 or 4", "3-4", "2020-01-05", "12:30", "1 000", "five", "5 ="),
        *("25 * 50", "so 3/4 = 6/8", "#### 3/4", r"\boxed{3/4}", ["0.75", "3/4"]),
    ],
)
def test_a_numeric_answer_that_is_not_one_number_is_refused_by_its_row(answer: Any) -> None:
    rows = [{"question": "a?", "answer": "1"}, {"question": "b?", "answer": answer}]
    with pytest.raises(ConfigError, match=r"expects one number as each answer, got .* in row 2. Write .*0.75 for 3/4"):
        TaskSet.from_rows(rows, score="numeric")


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        *(
            ("$1,250", "1250"),
            ("1,234,567.5", "1234567.5"),
            ("12,34,567", "1234567"),
            ("-.5", "-0.5"),
            ("\u22125", "-5"),
        ),
        *(
            ("72 clips", "72"),
            ("50%", "50"),
            ("10 m\u00b2", "10"),
            ("60 km/h", "60"),
            (r"30^\circ", "30"),
            ("**5**", "5"),
        ),
        *(("**5**", "5"), ("\u22125", "-5"), ("x=-5", "-5"), ("48/2 = 24", "24")),
        *(("48/2=<<48/2=24>>24 a day.\n#### 72", "72"), (r"$\boxed{7}$", "7")),
        *((1e-05, "0.00001"), (7, "7"), ("5, of course", "5"), ("It is 5.", "5")),
    ],
)
def test_a_numeric_answer_may_have_a_unit_a_word_or_its_way(answer: Any, reply: str) -> None:
    tasks = TaskSet.from_rows([{"question": "?", "answer": answer}], score="numeric")
    assert tasks.score("questions/1", reply) is True


def test_a_score_of_the_users_reads_the_whole_row() -> None:
    rows = [{"question": "Which?", "wanted": "b", "weight": 0.5}]
    tasks = TaskSet.from_rows(rows, answer=None, score=lambda reply, row: row["weight"] * (reply == row["wanted"]))
    assert [tasks.score("questions/1", reply) for reply in "ab"] == [0.0, 0.5]


@pytest.mark.parametrize("value", [2.0, -0.1, float("nan"), None, "0.5"])
def test_a_score_beyond_0_and_1_is_refused(value: object) -> None:
    tasks = TaskSet.from_rows(ROWS, score=lambda reply, row: value)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match=r"return a number from 0 to 1, got"):
        tasks.score("questions/1", "2")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, "Expected rows with questions, got nothing"),
        (["?"], {}, "Expected row 1 to be a mapping"),
        (7, {}, "Expected the path of a file or a list of mappings"),
        ([{"q": "?", "answer": "1"}], {}, r"Unknown column of row 1 'question': expected one of 'q', 'answer'"),
        ([{"question": "?"}], {}, r"Unknown column of row 1 'answer'.* Name the column that holds the answer"),
        ([{"question": " ", "answer": "1"}], {}, "Expected a text in the column 'question' of row 1"),
        (
            [{"question": "?", "answer": None}],
            {},
            r"Expected a value in the column .answer. of row 1 \(the answer\), got nothing",
        ),
        ([{"question": "?", "answer": []}], {}, "Expected an answer, or a list of them"),
        ([{"question": "?", "answer": float("nan")}], {}, "Expected an answer, or a list of them.* got nan"),
        ([{"question": "?", "answer": [None]}], {}, "Expected an answer, or a list of them"),
        ([{"question": float("nan"), "answer": "1"}], {}, "Expected a text in the column 'question' of row 1, got nan"),
        ([{"question": "?", "answer": "1", "fold": "trian"}], {"split": "fold"}, r"Unknown split of row 1 'trian'"),
        (
            [{"question": "?", "answer": "one"}],
            {"score": "numeric"},
            "expects one number as each answer, got 'one' in row 1",
        ),
        ([{"question": "?", "answer": "1"}], {"score": "nmeric"}, r"Unknown score 'nmeric'.* Did you mean 'numeric'"),
        ([{"question": "?", "answer": "1"}], {"score": "no.such:thing"}, "Expected an import path"),
        ([{"question": "?", "answer": "1"}], {"score": 3}, r"Expected a function \(reply, row\) as score"),
        ([{"question": "?"}], {"answer": None}, "compares with answers: name their column"),
        ("nowhere.jsonl", {}, "Expected a file of questions at nowhere.jsonl that can be read"),
        ("nowhere.csv", {}, "Expected a file of questions at nowhere.csv"),
        ("questions.xlsx", {}, r"Expected a file in .jsonl, .csv or .parquet"),
    ],
)
def test_a_wrong_row_or_file_is_refused_in_words(rows: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        TaskSet.from_rows(rows, **options)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.jsonl", b'{"question": 1\n'),
        ("q.jsonl", b"[1]\n"),
        ("q.csv", b"question,answer\n\xff,1\n"),
        ("q.parquet", b"no"),
    ],
)
def test_a_damaged_file_is_refused_in_words(tmp_path: Path, name: str, content: bytes) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="needs the extra report")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=r"Expected a (JSON mapping in|file of questions at) "):
        TaskSet.from_rows(tmp_path / name)
