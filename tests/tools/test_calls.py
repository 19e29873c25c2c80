"""A call as canonical JSON: read, written, and held to the tools that are offered."""

from __future__ import annotations

from typing import Any

import pytest

from metagym.tools import ToolCall, call_problem, read_call

SHOP: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "refund",
            "parameters": {"type": "object", "properties": {"order": {"type": "integer"}}, "required": ["order"]},
        },
    },
    {"type": "function", "function": {"name": "clock"}},
]


def test_a_call_is_read_back_equal_and_has_one_spelling() -> None:
    call = ToolCall("refund", {"order": 17, "because": "é"})
    assert call.text == '{"name": "refund", "arguments": {"because": "é", "order": 17}}'
    assert read_call(call.text) == call
    assert ToolCall("refund", {"because": "é", "order": 17}).text == call.text


@pytest.mark.parametrize(
    "text",
    [
        "refund(order=17)",
        "I am done.",
        "{not JSON",
        '{"name": "refund"}',
        '{"name": "refund", "arguments": "{}"}',
        '{"name": "refund", "arguments": {}, "id": 1}',
        '{"name": 3, "arguments": {}}',
        '{"name": "refund", "arguments": {"order": NaN}}',
        '{"name": "a", "arguments": ' + '{"a": ' * 2000 + "1" + "}" * 2001,
        "[]",
    ],
)
def test_everything_else_is_plain_text(text: str) -> None:
    assert read_call(text) is None


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (ToolCall("refund", {"order": 17}), ""),
        (ToolCall("clock", {}), ""),
        (ToolCall("refnd", {}), "There is no tool 'refnd'. Did you mean 'refund'?"),
        (ToolCall("x", {}), "There is no tool 'x'. Tools: refund, clock."),
        (ToolCall("refund", {}), "The arguments of 'refund' are wrong: 'order' is missing."),
    ],
)
def test_a_call_is_held_to_the_tools(call: ToolCall, problem: str) -> None:
    assert call_problem(call, SHOP) == problem
