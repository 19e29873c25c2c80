"""The fake chat model replies from a list or a function, and keeps its calls."""

from __future__ import annotations

import asyncio

import pytest

from metagym.errors import ModelError
from metagym.models import Call
from metagym.testing import FakeChatModel
from metagym.types import Completion, Message

USER: Message = {"role": "user", "content": "one two three"}
ASSISTANT: Message = {"role": "assistant", "content": "four"}


def complete(model: FakeChatModel, *messages: Message) -> Completion:
    return asyncio.run(model.complete(messages, Call(role="actor")))


def test_it_takes_the_reply_of_the_turn() -> None:
    model = FakeChatModel(["first", "second"])
    assert complete(model, USER).text == "first"
    assert complete(model, USER, ASSISTANT, USER).text == "second"
    assert complete(model, USER, ASSISTANT, USER, ASSISTANT, USER).text == "second"
    assert complete(model, USER).text == "first"


def test_it_counts_words_as_tokens() -> None:
    usage = complete(FakeChatModel(["a b"]), USER).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.num_calls) == (3, 2, 1)


def test_it_keeps_its_calls() -> None:
    model = FakeChatModel(lambda messages, call: f"{len(messages)} for the {call.role}")
    assert complete(model, USER).text == "1 for the actor"
    assert model.calls == [([USER], Call(role="actor"))]


def test_it_raises_the_exceptions_in_its_list() -> None:
    with pytest.raises(ModelError, match=r"down"):
        complete(FakeChatModel([ModelError("down")]), USER)
