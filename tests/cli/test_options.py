"""Options that hold pairs: NAME=VALUE."""

from __future__ import annotations

from typing import Any

import pytest

from metagym.cli.options import read_assignments, read_pairs
from metagym.errors import ConfigError


def test_a_value_is_json_or_a_word() -> None:
    assert read_pairs(["a=1", "b=word", 'c={"d": [1]}', "e=a=b"]) == {"a": 1, "b": "word", "c": {"d": [1]}, "e": "a=b"}


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("temperature=0,max_tokens=800", {"temperature": 0, "max_tokens": 800}),
        (' a = 1 , b = two words , c="x,y" ', {"a": 1, "b": "two words", "c": "x,y"}),
        ('stop=["a,b","c"],extra_body={"top_k": 5}', {"stop": ["a,b", "c"], "extra_body": {"top_k": 5}}),
        ("tokens=50_000,date=2024-01-01", {"tokens": "50_000", "date": "2024-01-01"}),
        ("a=,b=true", {"a": "", "b": True}),
    ],
)
def test_assignments_are_pairs_with_commas_between(text: str, pairs: dict[str, Any]) -> None:
    assert read_assignments("--sampling", text) == pairs


@pytest.mark.parametrize("text", ["", "temperature", "a=1,b", "a=1,,b=2", '{"a": 1}'])
def test_text_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--sampling expects NAME=VALUE with commas between the pairs, got"):
        read_assignments("--sampling", text)


def test_a_name_is_given_once() -> None:
    with pytest.raises(ConfigError, match="expects each name once, got 'a' twice"):
        read_assignments("--sampling", "a=1,a=2")
