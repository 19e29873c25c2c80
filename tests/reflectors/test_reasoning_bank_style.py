"""ReasoningBank style extracts items from each episode, and the actor picks from them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metagym.actor import retrieve_items
from metagym.errors import ConfigError
from metagym.reflectors.prompt_document import MEMORY_HEADING
from metagym.reflectors.reasoning_bank_style import ReasoningBankStyle
from metagym.testing import FakeChatModel
from metagym.types import Observation
from tests.reflectors.batches import lost, reflect_on, won


def bank_reply(*titles: str) -> str:
    return json.dumps(
        {"items": [{"title": title, "description": "d", "content": f"About {title}."} for title in titles]}
    )


def test_the_bank_takes_at_most_three_items_per_episode_and_no_item_twice() -> None:
    model = FakeChatModel(lambda messages, call: bank_reply("oak", "iron", "stone", "glass"))
    (reflection,) = reflect_on(ReasoningBankStyle(model), [won(), lost()])
    assert [entry["title"] for entry in reflection.memory["items"]] == ["oak", "iron", "stone"]
    assert f"{MEMORY_HEADING}\n- **oak** d\n  About oak.\n- **iron** d" in reflection.prompt


def test_the_bank_learns_from_successes_and_from_failures() -> None:
    model = FakeChatModel(lambda messages, call: bank_reply("oak"))
    reflect_on(ReasoningBankStyle(model), [won(), lost()])
    instructions = [messages[0]["content"] for messages, _ in model.calls]
    assert "The episode is a success. Say why it worked" in instructions[0]
    assert "The episode is a failure. Say what went wrong" in instructions[1]
    assert [call.repetition for _, call in model.calls] == [0, 1]


def test_with_self_judge_the_outcome_is_hidden_and_the_judge_decides() -> None:
    def respond(messages: Any, call: Any) -> str:
        if call.role == "judge":
            return '{"verdict": "failure"}' if "door" in messages[1]["content"] else "no idea"
        return bank_reply("oak")

    model = FakeChatModel(respond)
    (reflection,) = reflect_on(ReasoningBankStyle(model, self_judge=True), [won(), lost()])
    assert [call.role for _, call in model.calls] == ["judge", "judge", "reflector"]
    assert "The episode is a failure" in model.calls[-1][0][0]["content"]
    assert not [messages for messages, _ in model.calls if "Outcome" in messages[1]["content"]]
    assert "1 replies could not be read" in reflection.analysis


def test_replies_that_cannot_be_read_are_left_out() -> None:
    model = FakeChatModel(lambda messages, call: bank_reply("oak") if call.repetition else "nothing")
    (reflection,) = reflect_on(ReasoningBankStyle(model), [won(), won()])
    assert (reflection.problem, len(reflection.memory["items"])) == ("", 1)


def test_the_actor_picks_the_bank_items_that_fit_its_task() -> None:
    model = FakeChatModel(lambda messages, call: bank_reply("oak", "iron", "stone"))
    (reflection,) = reflect_on(ReasoningBankStyle(model), [won()])
    prompt = f"{reflection.prompt}\n\n## Rules\n- Be quick."
    read = retrieve_items(1, below=MEMORY_HEADING)
    picked = read(prompt, "Pass the iron gate.", (), Observation(text="You stand before a gate."))
    assert picked == f"Be brave.\n\n{MEMORY_HEADING}\n- **iron** d\n  About iron.\n\n## Rules\n- Be quick."


def test_an_option_below_its_least_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_items must be at least 1, got 0"):
        ReasoningBankStyle(FakeChatModel([]), max_items=0)
