"""The script in place of a model on Gates answers each reply form from the request alone; its replies can be spoilt."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from metagym.errors import ConfigError
from metagym.models import Call
from metagym.reflectors import find_method, takes_model
from metagym.reflectors.registry import METHODS
from metagym.reflectors.scripted_model import ScriptedReflectorModel
from metagym.types import Completion, Message

SEEN = "You push. The iron gate opens. You stand before the oak gate.\nYou knock. The oak gate stays shut."


def answer(instructions: str, text: str = SEEN, **options: Any) -> Completion:
    messages: list[Message] = [{"role": "system", "content": instructions}, {"role": "user", "content": text}]
    return asyncio.run(ScriptedReflectorModel(**options).complete(messages, Call(role="reflector")))


def test_it_adds_a_rule_for_each_gate_that_opened() -> None:
    assert "- when the gate is iron, push" in answer("IMPROVED PROMPT:").text
    assert "oak" not in answer("LESSON:").text


def test_it_corrects_a_contradicted_rule_and_repeats_no_rule() -> None:
    rules = "<rules>\n1. when the gate is iron, sing (2)\n2. when the gate is stone, wait (2)\n</rules>\n"
    assert answer("UPVOTE", rules + SEEN).text == "EDIT 1: when the gate is iron, push"
    assert answer("UPVOTE", rules.replace("sing", "push") + SEEN).text == "UPVOTE 1"
    assert answer("UPVOTE", "nothing was seen").text == "NONE"
    playbook = "[4] helpful=0 harmful=0 (Gates) when the gate is iron, sing\n"
    assert json.loads(answer('"tags"', playbook + SEEN).text)["operations"] == [
        {"type": "UPDATE", "id": 4, "text": "when the gate is iron, push"}
    ]


def test_it_knows_only_the_request() -> None:
    assert answer("LESSON:") == answer("LESSON:")
    assert answer("LESSON:", "nothing").text == "ANALYSIS: I lost turns at the gates.\nLESSON: Try each way once."


def test_it_replies_malformed_or_truncated_on_request() -> None:
    assert answer("LESSON:", reply="malformed").text == "I would rather not say."
    cut = answer("LESSON:", reply="truncated")
    assert cut.finish_reason == "length"
    assert answer("LESSON:").text.startswith(cut.text)


def test_it_counts_words_as_tokens_and_is_marked_as_scripted() -> None:
    usage = answer("LESSON: now", "nothing at all").usage
    assert (usage.prompt_tokens, usage.num_calls) == (5, 1)
    assert ScriptedReflectorModel().scripted


def test_an_unknown_reply_form_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"ask for one of the forms IMPROVED PROMPT:, LESSON:"):
        answer("Write a poem.")
    with pytest.raises(ConfigError, match=r"reply must be 'good', 'malformed' or 'truncated', got 'bad'"):
        ScriptedReflectorModel(reply="bad")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in METHODS if takes_model(name)])
def test_it_knows_the_form_of_every_method(name: str) -> None:
    from metagym.reflectors import make_reflector

    reflector: Any = make_reflector({"method": name, "model": "demo"})
    assert isinstance(reflector, find_method(name))  # type: ignore[arg-type]
    assert isinstance(reflector.model, ScriptedReflectorModel)
