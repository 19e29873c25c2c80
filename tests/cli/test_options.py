"""Options that hold pairs (NAME=VALUE), and those of the first release, refused with what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

from metagym.cli.options import INSTEAD, read_assignments, read_pairs
from metagym.errors import ConfigError
from tests.cli.conftest import Metagym


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
    with pytest.raises(ConfigError, match="--option expects each name once, got 'a' twice"):
        read_pairs(["a=1", "b=2", "a=3"])


@pytest.mark.parametrize(
    ("words", "got"),
    [(("--control",), "nothing"), (("--control", "--yes"), "--yes"), (("--test-on", "--actor", "demo"), "--actor")],
)
def test_a_short_form_without_its_value_is_refused(command: Metagym, words: tuple[str, ...], got: str) -> None:
    done = command("evaluate", "ict", *words)
    assert done.code == 2
    assert f"{words[0]} expects a value, got {got}: write {words[0]} VALUE" in " ".join(done.err.split())


# Options of the first release -------------------------------------------------------------------------

OLD = {
    ("run", "MetaGym/Gates-v0"): (
        *("--model", "--base-url", "--api-key-env", "--actor-model", "--actor-base-url", "--reflector-model"),
        *("--reflector-base-url", "--client", "--max-tokens", "--max-calls", "--max-cost", "--prompt", "--replay"),
    ),
    ("evaluate", "--preset", "ict"): ("--actor-model", "--reflector-model", "--client", "--no-controls", "--max-cost"),
    ("arena",): ("--model", "--base-url", "--reflectors", "--no-controls", "--max-tokens"),
    ("resume", "RUN"): ("--max-tokens", "--max-calls", "--max-cost"),
    ("estimate", "MetaGym/Gates-v0"): ("--price-prompt", "--price-completion"),
    ("doctor",): ("--model", "--base-url", "--api-key-env"),
    ("train", "collect", "MetaGym/Gates-v0"): ("--actor-model", "--api-key-env", "--reflector-base-url"),
}


@pytest.mark.parametrize(
    ("command_line", "option"), [(line, option) for line, options in OLD.items() for option in options]
)
def test_an_old_option_is_refused_with_the_new_spelling(
    command: Metagym, command_line: tuple[str, ...], option: str
) -> None:
    done = command(*command_line, option, "x")
    assert done.code == 2
    text = " ".join(done.err.replace("│", " ").split())
    assert f"{option} is no longer an option: write {INSTEAD[option][:40]}" in text
    assert command(*command_line, f"{option}=x").code == 2


def test_the_model_that_grpo_trains_is_its_reflector(command: Metagym) -> None:
    done = command("train", "grpo", "MetaGym/Gates-v0", "--model", "x")
    assert done.code == 2
    assert "--model is no longer an option: write --reflector FOLDER" in done.err


def test_every_old_option_is_tried_here() -> None:
    assert {option for options in OLD.values() for option in options} == set(INSTEAD)
