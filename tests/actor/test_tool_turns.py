"""The calls in a reply, native or written as text, and the steps of an episode in turns."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metagym.actor import read_calls, turns_of
from metagym.types import Completion
from tests.adapter.playing import called, play_scales

A = '{"name": "weigh", "arguments": {"parcel": "a"}}'
B = '{"name": "weigh", "arguments": {"parcel": "b"}}'


@pytest.mark.parametrize(
    ("text", "thought", "parcels"),
    [
        (A, "", ["a"]),
        (f"{A}\n{B}\n", "", ["a", "b"]),  # as Qwen2.5-Coder-0.5B writes them behind llama.cpp
        (f"```json\n{A}\n```", "", ["a"]),
        (f"Both.\n<tool_call>{A}</tool_call>\n<tool_call>\n{B}", "Both.", ["a", "b"]),
        (f"<tool_call>{A.replace('arguments', 'parameters')}</tool_call>", "", ["a"]),
        (f"I call {A}", f"I call {A}", []),
        (f"{A} and that is all", f"{A} and that is all", []),
        ('{"answer": 3}', '{"answer": 3}', []),
        ("{" * 5_000, "{" * 5_000, []),
        ("", "", []),
    ],
)
def test_calls_that_are_written_as_text_are_read(text: str, thought: str, parcels: list[str]) -> None:
    found, calls = read_calls(Completion(text=text))
    assert found == thought
    assert [call.arguments and call.arguments["parcel"] for call in calls] == parcels


@pytest.mark.parametrize("form", ["{}", "```json\n{}\n```", "<tool_call>\n{}\n</tool_call>"])
@pytest.mark.parametrize(
    "text",
    [
        '{"name": "weigh", "parameters": {"parcel": "a"}}',
        '{"name": "weigh", "arguments": "{\\"parcel\\": \\"a\\"}"}',
        '{"id": "x", "name": "weigh", "arguments": {"parcel": "a"}}',
        '{"type": "function", "name": "weigh", "parameters": {"parcel": "a"}}',
        f'{{"type": "function", "function": {A}}}',
        f"[{A}]",
    ],
)
def test_a_call_is_read_in_each_usual_spelling_with_marks_and_without(text: str, form: str) -> None:
    _, calls = read_calls(Completion(text=form.replace("{}", text)))
    assert [(call.name, call.arguments) for call in calls] == [("weigh", {"parcel": "a"})]


def test_several_calls_may_be_in_one_list_or_between_two_marks() -> None:
    for text in (f"[{A}, {B}]", f"<tool_call>[{A}, {B}]</tool_call>", f"<tool_call>{A}\n{B}</tool_call>", f"{A}[{B}]"):
        assert [call.arguments for call in read_calls(Completion(text=text))[1]] == [{"parcel": "a"}, {"parcel": "b"}]


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Ann"}',
        '{"name": "Ann", "arguments": "none at all"}',
        '{"name": "Ann", "parameters": {}, "age": 7}',
        '{"name": "Ann", "type": "person", "parameters": {}}',
        '{"function": "sin", "name": "Ann", "arguments": {}}',
        '{"function": {"name": "sin"}}',
        '[{"name": "Ann"}]',
        "[]",
        "[1, 2]",
        f"[{A}, 1]",
        '{"name": "weigh", "arguments": {"parcel": NaN}}',
    ],
)
def test_a_json_answer_that_is_no_call_stays_an_answer(text: str) -> None:
    assert read_calls(Completion(text=text)) == (text, ())


def nested(levels: int) -> Any:
    return {"in": nested(levels - 1)} if levels else {}


@pytest.mark.parametrize("as_text", [True, False])
def test_native_arguments_are_json_as_a_text_and_as_an_object(as_text: bool) -> None:
    def read(arguments: str) -> Any:
        given = json.dumps(arguments) if as_text else arguments
        text = f'{{"type": "function", "function": {{"name": "weigh", "arguments": {given}}}}}'
        _, (call,) = read_calls(Completion(text="", tool_calls=(text,)))
        return call.problem or call.arguments

    assert read('{"grams": 1e999}') == {"grams": None}
    assert "at most 64 levels" in read(json.dumps(nested(80)))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('<tool_call>{"name": "weigh", "argu</tool_call>', "Your call is no JSON"),
        ("<tool_call></tool_call>", "Your call is no JSON"),
        ("<tool_call>[]</tool_call>", "Your call must have a name and arguments"),
        ('<tool_call>{"arguments": {}}</tool_call>', "Your call must have a name and arguments"),
        ('<tool_call>{"name": "weigh", "arguments": [1]}</tool_call>', "must be a JSON object, got [1]"),
    ],
)
def test_a_call_between_marks_that_cannot_be_read_is_a_call_with_a_problem(text: str, problem: str) -> None:
    _, (call,) = read_calls(Completion(text=text))
    assert call.action is None
    assert problem in call.problem


def test_a_reply_that_was_cut_off_has_no_calls() -> None:
    assert read_calls(Completion(text=A, finish_reason="length")) == (A, ())


def test_steps_are_grouped_by_the_reply_that_led_to_them() -> None:
    trajectory, *_ = play_scales(called("", "a", "b", "a"), called("", "b"), "a", "b")
    assert [len(turn.steps) for turn in turns_of(trajectory.steps)] == [3, 1, 1, 1]
    assert turns_of(trajectory.steps[:2])[0].waiting is not None
    assert turns_of(trajectory.steps)[0].waiting is None
