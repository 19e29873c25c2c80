"""Reading a reply: strict, whatever Markdown is around the markers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.actor import ChatActor, read_reply
from metagym.testing import FakeChatModel
from metagym.types import Completion
from tests.actor.acting import act
from tests.conftest import reply


@pytest.mark.parametrize(
    "text",
    [
        "Thought: It is shut.\nAction: knock",
        "Thought: It is shut.\n\nAction:knock\n",
        "thought: It is shut.\nACTION : knock",
        "**Thought:** It is shut.\n**Action:** knock",
        "**Thought**: It is shut.\n**Action**: `knock`",
        "Thought: It is shut.\n**Action: knock**",
        "*Thought:* It is shut.\n__Action:__ **knock**",
        "## Thought: It is shut.\n## Action: knock",
        "> Thought: It is shut.\n> Action: knock",
        "  Thought: It is shut.\n  Action: knock",
        "Thought: It is shut.\nAction:\nknock",
        "It is shut.\nAction: knock",
        "Thought: It is shut. Action: knock",
        "It is shut. **Action:** knock",
    ],
)
def test_markdown_around_markers_and_action_is_removed(text: str) -> None:
    thought, action, problem = read_reply(reply(text))
    assert (thought.strip("> "), action, problem) == ("It is shut.", "knock", "")


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=40))
def test_any_one_line_action_is_read_back(action: str) -> None:
    plain = " ".join(action.split())
    if plain.strip("*_`") != plain or not plain:
        return
    assert read_reply(reply(f"Thought: so be it\nAction: {plain}"))[1:] == (plain, "")


@given(st.text(max_size=60))
def test_any_reply_is_either_an_action_or_a_problem(text: str) -> None:
    _, action, problem = read_reply(reply(text))
    assert (action is None) == bool(problem)
    assert action is None or action.strip()


@pytest.mark.parametrize(
    ("text", "finish_reason", "message"),
    [
        ("", "stop", "Your reply was empty. Expected 'Action: <one action>'."),
        (" \n ", "stop", "Your reply was empty. Expected 'Action: <one action>'."),
        ("knock", "stop", "Your reply holds no line 'Action: <one action>'."),
        ("I choose the Action: knock", "stop", "Your reply holds no line 'Action: <one action>'."),
        ("It is oak. Action: knock. Action: push", "stop", "Your reply holds 2 lines 'Action: ...'; give exactly one."),
        ("Action: knock\nAction: push", "stop", "Your reply holds 2 lines 'Action: ...'; give exactly one."),
        ("Action: knock\nObservation: It opens.", "stop", "Expected one line after 'Action:' and nothing behind it."),
        ("Action:", "stop", "The line 'Action:' is empty."),
        ("Thought: hm\nAction: ****", "stop", "The line 'Action:' is empty."),
        ("Thought: hm\nAction: kno", "length", "Your reply was cut off before its end. Be brief."),
        ("Thought: hm\nAction: knock", "repetition", "The server ended your reply as 'repetition'."),
        ("Thought: and so on and", "length", "Your reply was cut off before its end. Be brief."),
    ],
)
def test_fault_4_an_unreadable_reply_is_no_action(text: str, finish_reason: str, message: str) -> None:
    assert read_reply(reply(text, finish_reason=finish_reason))[1:] == (None, message)


def test_the_thought_is_kept_even_if_the_action_is_not() -> None:
    assert read_reply(reply("Thought: I wonder."))[0] == "I wonder."


def test_the_action_records_the_raw_reply() -> None:
    completion = reply("Thought: hm\nAction: **knock**")
    action = act(ChatActor(FakeChatModel([completion])))
    assert (action.text, action.thought, action.completion) == ("knock", "hm", completion)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("push", "push"),
        (" **push**\n", "push"),
        ("`go to shelf 1`", "go to shelf 1"),
        ("Action: push", "push"),
        ("Thought: it is oak.\nAction: push", "push"),
    ],
)
def test_in_the_form_act_the_whole_reply_is_the_action_unless_it_names_one(text: str, action: str) -> None:
    assert read_reply(reply(text), "act")[1:] == (action, "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Your reply was empty. Expected one action."),
        ("I push.\nThen I wait.", "Expected one line with the action and nothing else."),
        ("Thought: it is oak.", "Your reply holds no line 'Action: <one action>'."),
    ],
)
def test_in_the_form_act_anything_else_is_no_action(text: str, problem: str) -> None:
    assert read_reply(reply(text), "act")[1:] == (None, problem)


@pytest.mark.parametrize("text", ["", "  ", "I will open it."])
def test_a_reply_that_only_calls_a_tool_is_not_empty(text: str) -> None:
    call = '{"id": "a", "function": {"name": "open", "arguments": "{}"}}'
    thought, action, problem = read_reply(Completion(text=text, finish_reason="tool_calls", tool_calls=(call,)))
    assert (thought, action) == (text.strip(), None)
    assert problem == f"Your reply calls a tool ({call}), and there is none. Expected 'Action: <one action>'."


def test_an_action_beside_the_call_of_a_tool_is_played() -> None:
    completion = Completion(text="Action: push", finish_reason="tool_calls", tool_calls=('{"function": {}}',))
    assert read_reply(completion)[1] == "push"
