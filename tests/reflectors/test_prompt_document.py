"""Reading replies: JSON with words around it, and never a reply that was cut off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from metagym.reflectors.prompt_document import read_json_reply, read_marked_reply
from tests.conftest import reply


class Answer(BaseModel):
    number: int
    words: list[str] = []


@pytest.mark.parametrize(
    "text",
    [
        '{"number": 3}',
        '```json\n{"number": 3}\n```',
        'I thought {long} and hard:\n```\n{"number": 3}\n```\nThat is all.',
        'Draft:\n```\n{"number": 1}\n```\nFinal:\n```json\n{"number": 3}\n```',
        'Here it is: {"number": 3}. Good luck!',
        '{"number": "3", "more": null}',
    ],
)
def test_json_is_found_among_words_and_fences(text: str) -> None:
    assert read_json_reply(reply(text), Answer) == (Answer(number=3), "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "The reply holds no JSON mapping"),
        ("} not {", "The reply holds no JSON mapping"),
        ('{"number": 3', "The reply holds no JSON mapping"),
        ("[3]", "The reply's JSON does not have the expected fields (the mapping: "),
        ('{"number": 3, "words": ["\\ud800"]}', "The reply holds no JSON mapping"),
        ('{"words": []}', "The reply's JSON does not have the expected fields (number: Field required)"),
        ('{"number": 3, "words": ["a", 4]}', "The reply's JSON does not have the expected fields (words.1: "),
    ],
)
def test_json_without_the_expected_fields_is_a_problem(text: str, problem: str) -> None:
    found, why = read_json_reply(reply(text), Answer)
    assert found is None
    assert why.startswith(problem)


@pytest.mark.parametrize(
    ("reason", "problem"),
    [
        ("length", "The reply was cut off before its end"),
        ("content_filter", "The server's content filter stopped the reply"),
        ("abort", "The server ended the reply as 'abort'"),
    ],
)
def test_a_reply_that_did_not_end_by_itself_is_never_read(reason: str, problem: str) -> None:
    assert read_json_reply(reply('{"number": 3}', finish_reason=reason), Answer) == (None, problem)
    assert read_marked_reply(reply("LESSON: Knock.", finish_reason=reason), "lesson")[1:] == (None, problem)


def test_a_line_end_inside_a_string_is_read() -> None:
    assert read_json_reply(reply('{"number": 3, "words": ["a\nb"]}'), Answer)[0] == Answer(number=3, words=["a\nb"])


@given(st.text(max_size=60))
def test_any_reply_is_either_an_answer_or_a_problem(text: str) -> None:
    found, problem = read_json_reply(reply(text), Answer)
    assert (found is None) == bool(problem)
