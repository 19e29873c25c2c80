"""Questions from the rows of a file or a list: their families, their roles, and how a reply is scored.

This module knows no environments. `metagym.tasks.TaskSet.from_rows` makes tasks of them.
"""

from __future__ import annotations

import csv
import functools
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal, DecimalException
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from metagym.errors import ConfigError, UnknownNameError
from metagym.imports import import_object, require
from metagym.types import Task, digest

Row = Mapping[str, Any]
Rows = str | Path | Iterable[Row]
"""The path of a JSONL, CSV or Parquet file, or the rows themselves."""
Score = Callable[[str, Row], float]
"""Returns a reply's score from 0 to 1, given the row; True and False also say whether it is a success."""

SPLITS: Final = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""The names of official splits, and the role that each means."""
_NUMBER = re.compile(r"(?:(?<!\d)[-+\u2212])?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_BEFORE_RESULT = re.compile(r"####|=|\\boxed\{")
"""The marks before the result of a worked answer."""
_THOUSANDS = re.compile(r"[^,]*\d(?:,\d{2,3})*,\d{3}(?:\.\d*)?")
_OF_EXPRESSIONS = re.compile(r"[\u221a\u03c0\u00bc-\u00be]|\\(?:frac|sqrt|pi)\b")
"""Signs by which a number is only a part, such as the root before a 2."""


class QuestionRow(NamedTuple):
    """A question with its answers, as a task."""

    task: Task
    text: str
    answers: tuple[str, ...]
    """The accepted answers; empty if your own function scores without them."""
    row: Row
    """All columns, for your own score."""


def read_questions(
    rows: Rows, *, question: str, answer: str | None, family: str | None, split: str | None, kind: str | None = None
) -> list[QuestionRow]:
    """Return the questions of the rows. The arguments are the names of columns; see `TaskSet.from_rows`.

    Raises:
        ConfigError: a file cannot be read, a column or a value is missing, or a question has two official splits.
    """
    default = Path(rows).stem if isinstance(rows, str | Path) else "questions"
    found: list[QuestionRow] = []
    roles: dict[str, tuple[int, str]] = {}
    for number, row in enumerate(_rows(rows), 1):
        text = _text(row, question, "question", number)
        content = digest(" ".join(unicodedata.normalize("NFC", text).split()))
        role = "" if split is None else _role(_text(row, split, "split", number), number)
        first, other = roles.setdefault(content, (number, role))
        if other != role:
            raise ConfigError(
                f"Rows {first} and {number} ask the same question, one with the split {other!r} and one with {role!r}: "
                f"{text!r:.80}. Learning and measurement would share a task. Remove one of them."
            )
        name = default if family is None else _text(row, family, "family", number)
        like = "" if kind is None else _text(row, kind, "kind", number)
        task = Task(id=f"{name}/{number}", family=name, split=role, seed=number, digest=content, kind=like)
        found.append(QuestionRow(task, text, () if answer is None else _answers(row, answer, number), row))
    if not found:
        raise ConfigError(
            f"Expected rows with questions, got nothing{f' in {rows}' if isinstance(rows, str | Path) else ''}."
        )
    return found


def exact(reply: str, answers: Iterable[str]) -> bool:
    """Whether the reply is one of the answers; case, white space and a full stop at the end do not count.

    Nor does the way in which Unicode writes a letter with an accent.

    >>> exact("  paris. ", ["Paris"])
    True
    """
    return _plain(reply) in map(_plain, answers)


def numeric(reply: str, answers: Iterable[str]) -> bool:
    """Whether the last number of the reply equals the last number of an answer; commas divide thousands.

    Whole numbers must be equal. If one of them has a fraction, a millionth of the larger one may be between them.

    >>> numeric("It is 1,250.0 m.", ["25 * 50 = 1250"]), numeric("0.3333", ["0.33333333"])
    (True, False)
    """
    number = last_number(reply)
    return number is not None and any(
        known is not None and _is_close(number, known) for known in map(last_number, answers)
    )


def _is_close(one: Decimal, two: Decimal) -> bool:
    try:
        if one == one.to_integral_value() and two == two.to_integral_value():
            return one == two
        return abs(one - two) <= max(Decimal("1e-9"), Decimal("1e-6") * max(abs(one), abs(two)))
    except DecimalException:  # such as a difference of more than a million digits
        return False


def last_number(text: str) -> Decimal | None:
    """Return the last number in a text; None without a number."""
    found = _NUMBER.findall(text)
    try:
        return Decimal(found[-1].replace(",", "").replace("\u2212", "-")) if found else None
    except DecimalException:  # an exponent of 19 digits
        return None


def is_one_number(answer: str) -> bool:
    r"""Whether an answer is one number, perhaps with a unit; a worked answer has it behind `=`, `####` or `\boxed{`.

    >>> [is_one_number(answer) for answer in ("$1,250", "48 / 2 = 24 clips", "3/4", r"\frac{\pi}{4}", "1,2,3")]
    [True, True, False, False, False]
    """
    text = _BEFORE_RESULT.split(answer)[-1]
    found = _NUMBER.findall(text)
    if len(found) != 1 or last_number(text) is None or _OF_EXPRESSIONS.search(text):
        return False
    number = found[0].rstrip(",")
    return "," not in number or _THOUSANDS.fullmatch(number) is not None


SCORES: Final[Mapping[str, Callable[[str, Iterable[str]], bool]]] = {"exact": exact, "numeric": numeric}
"""The scores that have names."""


def read_score(score: str | Score, questions: Iterable[QuestionRow]) -> Callable[[str, QuestionRow], float]:
    """Return the function of a reply and a question that `score` names: a name, an import path or a function."""
    if isinstance(score, str) and score in SCORES:
        named = SCORES[score]
        for number, item in enumerate(questions, 1):
            if not item.answers:
                raise ConfigError(f"The score {score!r} compares with answers: name their column, answer='...'.")
            odd = next((known for known in item.answers if not is_one_number(known)), None)
            if score == "numeric" and odd is not None:
                raise ConfigError(
                    f"The score 'numeric' expects one number as each answer, got {odd!r:.80} in row {number}. Write it "
                    "as a number (0.75 for 3/4), or take score='exact' or your own function."
                )
        return functools.partial(_by_answers, named)
    if isinstance(score, str) and ":" not in score:
        raise UnknownNameError.of("score", score, SCORES, remedy="Or your own function, as package.module:name.")
    own: Any = import_object(score) if isinstance(score, str) else score
    if not callable(own):
        raise ConfigError(f"Expected a function (reply, row) as score, got {own!r:.80}.")
    return functools.partial(_by_function, own)


# Functions of the module, and no lambdas: worker processes receive them.
def _by_answers(named: Callable[[str, Iterable[str]], bool], reply: str, question: QuestionRow) -> float:
    return named(reply, question.answers)


def _by_function(score: Score, reply: str, question: QuestionRow) -> float:
    value: Any = score(reply, question.row)
    is_number = isinstance(value, bool | int | float) or hasattr(value, "__float__")
    if not is_number or not 0.0 <= float(value) <= 1.0:
        name = getattr(score, "__name__", "score")
        raise ConfigError(f"Expected {name}(reply, row) to return a number from 0 to 1, got {value!r:.80}.")
    return bool(value) if isinstance(value, bool | np.bool_) else float(value)


def _rows(rows: Rows) -> Iterator[Row]:
    if isinstance(rows, str | Path):
        yield from _read_file(Path(rows))
        return
    if not isinstance(rows, Iterable) or isinstance(rows, Mapping | bytes):
        raise ConfigError(f"Expected the path of a file or a list of mappings as rows, got {type(rows).__name__}.")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise ConfigError(f"Expected row {number} to be a mapping from columns to values, got {row!r:.80}.")
        yield row


def _read_file(path: Path) -> Iterator[Row]:
    try:
        if path.suffix in (".jsonl", ".ndjson"):
            for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
                if line.strip():
                    yield _json_row(line, path, number)
        elif path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from csv.DictReader(file, strict=True)
        elif path.suffix == ".parquet":
            yield from require("pyarrow.parquet", extra="report").read_table(path).to_pylist()
        else:
            raise ConfigError(f"Expected a file in .jsonl, .csv or .parquet, got {path}.")
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's errors are of these kinds
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"Expected a file of questions at {path} that can be read: {error}.") from error


def _json_row(line: str, path: Path, number: int) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"Expected a JSON mapping in {path}, line {number}: {error}.") from error
    if not isinstance(row, dict):
        raise ConfigError(f"Expected a JSON mapping in {path}, line {number}, got {line.strip()!r:.80}.")
    return row


def _text(row: Row, column: str, what: str, number: int) -> str:
    value = _value(row, column, what, number)
    if isinstance(value, bool) or not _is_text(value) or not (text := str(value).strip()):
        raise ConfigError(f"Expected a text in the column {column!r} of row {number}, got {value!r:.80}.")
    return text


def _answers(row: Row, column: str, number: int) -> tuple[str, ...]:
    value = _value(row, column, "answer", number)
    value = value.tolist() if isinstance(value, np.ndarray) else value
    values = value if isinstance(value, list | tuple) else [value]
    if not values or not all(_is_text(item) and str(item).strip() for item in values):
        raise ConfigError(
            f"Expected an answer, or a list of them, in column {column!r} of row {number}, got {value!r:.80}."
        )
    return tuple(str(item).strip() for item in values)


def _value(row: Row, column: str, what: str, number: int) -> Any:
    if column not in row:
        raise UnknownNameError.of(
            f"column of row {number}", column, map(str, row), remedy=f"Name the column that holds the {what}."
        )
    if row[column] is None:
        raise ConfigError(f"Expected a value in the column {column!r} of row {number} (the {what}), got nothing.")
    return row[column]


def _is_text(value: Any) -> bool:
    is_missing = value is None or (isinstance(value, float) and value != value)  # pandas writes NaN
    return not is_missing and not isinstance(value, Mapping | list | tuple | np.ndarray)


def _role(value: str, number: int) -> str:
    if value.lower() not in SPLITS:
        raise UnknownNameError.of(f"split of row {number}", value, SPLITS)
    return SPLITS[value.lower()]


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split()).removesuffix(".").strip().casefold()
